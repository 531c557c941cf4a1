"""docs/scaling.md: its arithmetic is right, and its commands are commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as kit
from tests.benchmarks import counts, edge, growth, history, parts, purging

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "docs/scaling.md",
    "docs/performance.md",
    "tests/benchmarks/README.md",
    "docs/monitoring.md",
)
OPTIONS = {
    "tests.benchmarks": kit.options,
    "tests.benchmarks.counts": counts.options,
    "tests.benchmarks.edge": edge.options,
    "tests.benchmarks.growth": growth.options,
    "tests.benchmarks.history": history.options,
    "tests.benchmarks.parts": parts.options,
    "tests.benchmarks.purging": purging.options,
}


def test_arithmetic() -> None:
    page = (ROOT / "docs/scaling.md").read_text("utf-8")
    found = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    assert found
    done = subprocess.run(
        [sys.executable, "-c", found[1]], capture_output=True, text=True, check=True
    )
    assert done.stdout == found[2]


@pytest.mark.parametrize("name", PAGES)
def test_commands(name: str) -> None:
    page = (ROOT / name).read_text("utf-8")
    given = re.findall(r"(?:^|`)(python -m [^`\n]*)", page, re.MULTILINE)
    assert given
    for command in given:
        _, _, module, *arguments = shlex.split(command)
        OPTIONS[module](arguments)  # which ends the process where they are none
