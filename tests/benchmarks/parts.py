"""Processor time of a report by part, without HTTP: `python -m tests.benchmarks.parts --help`.

Callbacks are read, kept in batches and settled, each for itself, in this one thread: what the
writer does with them, but for waiting. SQLite's work is in it, PostgreSQL's is not.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from receiver.database import InterruptibleConnection
from receiver.database.engine import connect, parse_url
from receiver.domain.callback import Callback
from receiver.ingest import interpret, store
from receiver.ingest.interpret import Interpreter
from receiver.settings.settings import Settings
from receiver.settling import settle
from tests.benchmarks import data
from tests.benchmarks.report import aligned, spread
from tests.benchmarks.trial import leave_cleanly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from receiver.domain.reading import Reading

PROVIDER: Final = "thaibulksms"
SECONDS: Final = 60.0
Parts = dict[str, float]


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is asked for; ends the process where it is nothing that can be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.parts",
        description="Measure the processor time of a report by part, in microseconds.",
    )
    parser.add_argument("--database", choices=data.DATABASES, default="sqlite")
    parser.add_argument("--messages", type=int, default=100_000, help="sent messages recorded")
    parser.add_argument("--reports", type=int, default=10_000, help="of each run")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 40], metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    chosen = options()
    leave_cleanly()
    rows = [["batch", "read", "keep", "settle", "together"]]
    with tempfile.TemporaryDirectory(prefix="receiver-parts-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as a user of its own
        databases = data.make(
            chosen.database, Path(folder) / "databases", PROVIDER, chosen.messages
        )
        try:
            found: dict[int, list[Parts]] = {size: [] for size in chosen.batch}
            for _, size in product(range(chosen.rounds), chosen.batch):
                found[size].append(measured(databases, chosen.reports, size))
        finally:
            databases.close()
            shutil.rmtree(folder, ignore_errors=True)
    for size, rounds in found.items():
        cells = [spread([parts[name] for parts in rounds], 0) for name in rows[0][1:4]]
        together = f"{median(sum(parts.values()) for parts in rounds):,.0f}"
        rows.append([str(size), *cells, together])
    print(aligned(rows))


def measured(databases: data.Databases, reports: int, size: int) -> Parts:
    """Return the microseconds of a report by part, on a fresh database."""
    url = databases.fresh()
    engine = connect(parse_url(url))
    try:
        began = time.process_time()
        readings = read(reports)
        at_read = time.process_time()
        keep(engine, readings, size)
        at_kept = time.process_time()
        settle.settle_all(engine)
        at_settled = time.process_time()
    finally:
        engine.dispose()
        databases.drop(url)
    each = 1e6 / reports
    return {
        "read": (at_read - began) * each,
        "keep": (at_kept - at_read) * each,
        "settle": (at_settled - at_kept) * each,
    }


def read(reports: int) -> Sequence[Reading]:
    """Read the callbacks that the load sends, too: one report each."""
    interpreter = Interpreter.from_settings(Settings())
    return [
        interpret.read(
            Callback(
                provider=PROVIDER,
                method="GET",
                query=f"Transaction={data.message_id(PROVIDER, number)}&Status=delivery"
                f"&Time=2026-11-21+10:00:00&msisdn={data.recipient(number)}",
            ),
            interpreter,
        )
        for number in range(reports)
    ]


def keep(engine: Engine, readings: Sequence[Reading], size: int) -> None:
    """Keep them as the writer does, in batches."""
    line = InterruptibleConnection(engine)
    try:
        for at in range(0, len(readings), size):
            store.keep_or_refuse(
                partial(line.transaction, seconds=SECONDS), readings[at : at + size]
            )
    finally:
        line.close()


if __name__ == "__main__":
    main()
