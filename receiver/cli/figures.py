"""Output of `receiver report`: counts and rates as a table, CSV or JSON, and unknown words."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from receiver.display import Table, csv_lines, json_values, local, printable, show
from receiver.domain import BANGKOK, UnreadableError
from receiver.ingest import Interpreter, advice, unknown_words, words
from receiver.statistics import COUNTED, DIMENSIONS, totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from receiver.ingest import Word
    from receiver.settings import Settings


UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
FORMATS: Final = ("table", "csv", "json")

_AGO: Final = re.compile(r"([0-9]{1,9})([mhd])")


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """The options of the command: since when (aware), grouped by what, printed how."""

    since: datetime
    by: list[str]
    format: str


def read_options(since: str, by: str, format_: str) -> ReportOptions:
    """Read the options. Raises UnreadableError that names the one that is wrong."""
    if format_ not in FORMATS:
        raise UnreadableError(f"--format: expected one of: {', '.join(FORMATS)}")
    return ReportOptions(start(since, datetime.now(UTC)), dimensions(by), format_)


def start(text: str, now: datetime) -> datetime:
    """Return when `90m`, `24h`, `7d` ago was, or when a day began in Bangkok, in UTC.

    Raises UnreadableError for any other text.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=BANGKOK)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UnreadableError(
            "--since: expected 90m, 24h, 7d, or a date such as 2026-11-21"
        ) from None


def dimensions(text: str) -> list[str]:
    """Return the columns to group by, each once. Raises UnreadableError for an unknown one."""
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    if not set(names) <= set(DIMENSIONS):
        raise UnreadableError(f"--by: expected some of: {','.join(DIMENSIONS)}")
    return names


def report(settings: Settings, connection: Connection, options: ReportOptions) -> None:
    """Print the figures on stdout; unknown words below a table, and beside CSV on stderr."""
    rows = totals.figures(connection, options.by, options.since)
    counted = unknown_words.unknown_words(connection, options.since)
    statuses = Interpreter.from_settings(settings).statuses
    unknown = words(counted, statuses, settings.status_map)
    if options.format == "json":
        sys.stdout.write(figures_json(rows, options, unknown))
        return
    if options.format == "csv":
        sys.stdout.write(figures_csv(rows, options.by))
    elif any(row["submitted"] for row in rows):
        show(table(rows, options.by))
    else:
        sys.stdout.write(f"No message was sent since {local(options.since, BANGKOK)[:16]}.\n")
    beside = sys.stderr if options.format == "csv" else sys.stdout
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


def figures_csv(rows: Sequence[Mapping[str, Any]], by: Sequence[str]) -> str:
    """Return figures as CSV; the rate is between 0 and 1, as exact as a float is."""
    columns = [*by, *COUNTED, "rate"]
    return "".join(csv_lines(columns, ([row[name] for name in columns] for row in rows)))


def figures_json(
    rows: Sequence[Mapping[str, Any]], options: ReportOptions, unknown: Iterable[Word]
) -> str:
    """Return figures and unknown words as JSON."""
    document = {
        "since": json_values.jsonable(options.since),
        "by": options.by,
        "rows": list(rows),
        "unknown_words": [word.as_json() for word in unknown],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
