"""What `receiver report` prints: counts and rates as a table, CSV or JSON, and unknown words."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from receiver.display import Table, json_values, lines, local, printable, show
from receiver.domain import UnreadableError
from receiver.ingest import Interpreter, advice, unknown_words, words
from receiver.statistics import COUNTED, DIMENSIONS, totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from receiver.ingest import Word
    from receiver.settings import Settings


BANGKOK: Final = timezone(timedelta(hours=7))
"""Bangkok's days, which `day` and `hour` are; it has no summer time."""
UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
FORMATS: Final = ("table", "csv", "json")

_AGO: Final = re.compile(r"([0-9]{1,9})([mhd])")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be counted, and how it is to be printed."""

    since: datetime
    by: list[str]
    format: str


def wanted(since: str, by: str, format_: str) -> Wanted:
    """Read the options. Raises UnreadableError that names the one that is wrong."""
    if format_ not in FORMATS:
        raise UnreadableError(f"--format: expected one of: {', '.join(FORMATS)}")
    return Wanted(start(since, datetime.now(UTC)), dimensions(by), format_)


def start(said: str, now: datetime) -> datetime:
    """Return when `90m`, `24h`, `7d` ago was, or when a day began in Bangkok."""
    try:
        if ago := _AGO.fullmatch(said):
            return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(said)
        return (time if time.tzinfo else time.replace(tzinfo=BANGKOK)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UnreadableError(
            "--since: expected 90m, 24h, 7d, or a date such as 2026-11-21"
        ) from None


def dimensions(said: str) -> list[str]:
    """Return what to group by, each once."""
    names = list(dict.fromkeys(name.strip().lower() for name in said.split(",") if name.strip()))
    if not set(names) <= set(DIMENSIONS):
        raise UnreadableError(f"--by: expected some of: {','.join(DIMENSIONS)}")
    return names


def report(settings: Settings, connection: Connection, wanted: Wanted) -> None:
    """Print the figures on stdout; unknown words below a table, and beside CSV on stderr."""
    rows = totals.figures(connection, wanted.by, wanted.since)
    found = unknown_words.unknown_words(connection, wanted.since)
    statuses = Interpreter.from_settings(settings).statuses
    unknown = words(found, statuses, settings.status_map)
    if wanted.format == "json":
        sys.stdout.write(as_json(rows, wanted, unknown))
        return
    if wanted.format == "csv":
        sys.stdout.write(as_csv(rows, wanted.by))
    elif any(row["submitted"] for row in rows):
        show(table(rows, wanted.by))
    else:
        sys.stdout.write(f"No message was sent since {local(wanted.since, BANGKOK)[:16]}.\n")
    beside = sys.stderr if wanted.format == "csv" else sys.stdout
    beside.writelines(f"{line}\n" for line in advice(unknown))


def table(rows: Sequence[Mapping[str, Any]], by: Sequence[str]) -> Table:
    """Return figures for reading, the rate in per cent."""
    columns = [*by, *COUNTED, "rate"]
    made = Table(columns=columns, right=frozenset(columns) - set(by))
    for row in rows:
        rate = row["rate"]
        made.bars.append(rate)
        made.rows.append(
            [
                *(printable(row[name]) or "-" for name in by),
                *(row[name] for name in COUNTED),
                "-" if rate is None else f"{rate:.1%}",
            ]
        )
    return made


def as_csv(rows: Sequence[Mapping[str, Any]], by: Sequence[str]) -> str:
    """Return figures as CSV; the rate is between 0 and 1, as exact as a float is."""
    columns = [*by, *COUNTED, "rate"]
    return "".join(lines(columns, ([row[name] for name in columns] for row in rows)))


def as_json(rows: Sequence[Mapping[str, Any]], wanted: Wanted, unknown: Iterable[Word]) -> str:
    """Return figures and unknown words as JSON."""
    document = {
        "since": json_values.jsonable(wanted.since),
        "by": wanted.by,
        "rows": list(rows),
        "unknown_words": [word.as_json() for word in unknown],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
