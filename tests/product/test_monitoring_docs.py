"""docs/monitoring.md, the dashboard and the alert rules name what there is, and all of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from receiver.database.column_types import SQLITE
from receiver.monitoring.metrics import database
from receiver.statistics import refusals
from receiver.statistics.instruments import COUNTERS, GAUGES, HISTOGRAMS

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs/monitoring.md").read_text("utf-8")
SQL: Final = (ROOT / "docs/sql.md").read_text("utf-8")
RULES: Final = ROOT / "docs/prometheus-rules.yml"
DASHBOARD: Final = ROOT / "docs/grafana-dashboard.json"
PROMTOOL: Final = shutil.which("promtool")

with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool here")


def there() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return every metric's kind and labels."""
    return {
        **{f"{name}_total": ("counter", labels) for name, (_, labels) in COUNTERS.items()},
        **{name: ("histogram", (label,)) for name, (_, label, _) in HISTOGRAMS.items()},
        **dict.fromkeys(GAUGES, ("gauge", ())),
        **{name: ("gauge", labels) for name, (_, labels) in database.GAUGES.items()},
    }


def series() -> dict[str, set[str]]:
    """Return the names that expressions may use, and the labels of each."""
    found = {}
    for name, (kind, labels) in there().items():
        for suffix in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
            found[name + suffix] = {*labels, "instance", "le"} - (
                set() if suffix == "_bucket" else {"le"}
            )
    return found


def cells(page: str, first: str) -> list[list[str]]:
    """Return the rows of every table whose first column has this title."""
    rows = []
    for table in re.findall(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE):
        rows += [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()]
    return rows


def test_every_metric_is_listed_with_its_labels_and_no_other() -> None:
    documented = {
        name.strip("`"): (kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, _ in cells(PAGE, "metric")
    }
    assert documented == there()


def test_names_in_prose_exist() -> None:
    names = re.findall(r"`(receiver_\w+)", PAGE)
    assert len(names) > 5
    for name in names:
        assert name in there(), name


def test_every_reason_is_listed() -> None:
    words = {v for name, v in vars(refusals).items() if name.isupper() and isinstance(v, str)}
    reasons = {*refusals.REASONS.values()} | words - {refusals.OTHER_ADDRESSES, SQLITE}
    rows = [row for row in cells(SQL, "reason") if row[1].isdecimal()]  # of the answers
    documented = {row[0].strip("`"): int(row[1]) for row in rows}
    assert documented.keys() == reasons
    for answer, reason in refusals.REASONS.items():
        assert documented[reason] == answer


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return found


EXPRESSIONS: Final = [rule["expr"] for rule in rules()] + [
    target["expr"] for panel in panels() for target in panel["targets"]
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_uses_what_exists(expression: str) -> None:
    known = series()
    used = re.findall(r"\b((?:receiver_|up\b)\w*)(\{[^}]*\})?", expression)
    assert used
    labels = {"job", "instance"}
    for name, selector in used:
        if name != "up":
            assert name in known, name
            labels |= known[name]
        for label in re.findall(r"(\w+)[=!]", selector):
            assert label in labels, label
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        assert {word.strip() for word in grouping.split(",")} <= labels, grouping
    for opened, closed in ("()", "[]", "{}"):
        assert expression.count(opened) == expression.count(closed)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    for name in there():
        assert re.search(rf"\b{name}(_bucket|_sum)?\b", shown), name


def test_the_dashboard_is_in_order() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        squares = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                   for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not squares & taken, panel["title"]
        assert max(x for x, _ in squares) < 24
        taken |= squares


def test_every_alert_is_listed_and_says_what_to_do() -> None:
    assert [row[0].strip("`") for row in cells(PAGE, "alert")] == [r["alert"] for r in rules()]
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "action"} == rule["annotations"].keys()


@with_promtool
def test_prometheus_takes_the_rules_and_they_fire_when_they_should() -> None:
    for arguments in (("check", "rules", RULES), ("test", "rules", "tests/prometheus_rules.yml")):
        done = subprocess.run(
            [str(PROMTOOL), *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
