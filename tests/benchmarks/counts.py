"""What counting costs: CPU time for each report, kept and settled, with it and without.

`python -m tests.benchmarks.counts` prints both, and what counting takes by itself, which is too
little to be seen in the difference of two such times. Everything runs in this process, on a new
SQLite database: callbacks of one report each, so many at once, each for a message that was
recorded. The two take turns, and the least of each is told, since whatever else the machine does
only adds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
import time
import timeit
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import structlog

from receiver.database import schema
from receiver.database.engine import connect, parse_url
from receiver.database.transactions import transact
from receiver.domain.callback import Callback
from receiver.domain.reading import Kept
from receiver.domain.sent_message import SentMessage
from receiver.ingest import interpret
from receiver.ingest.interpret import Interpreter
from receiver.ingest.writer import Writer
from receiver.messages import recording
from receiver.settings.settings import Settings
from receiver.settling import settle
from receiver.statistics import activity_rollup
from receiver.statistics.counters import Counters
from receiver.statistics.delivery_rollup import Tally
from receiver.statistics.instruments import Metrics

if TYPE_CHECKING:
    from receiver.domain.reading import Reading

COUNTING = (
    (Counters, ("keep", "write")),
    (Metrics, ("answered", "committed", "delivered", "reported", "show")),
    (Tally, ("_record",)),
    (activity_rollup, ("write",)),
)


@contextmanager
def uncounted() -> Iterator[None]:
    """Count nothing."""
    with ExitStack() as stack:
        for owner, names in COUNTING:
            for name in names:
                stack.enter_context(patch.object(owner, name, lambda *_, **__: None))
        yield


def readings(count: int) -> list[Reading]:
    """Return callbacks of one report each, read."""
    interpreter = Interpreter.from_settings(Settings())
    done = datetime.now(UTC) + timedelta(hours=7, minutes=10)  # in Bangkok, and after all sending
    return [
        interpret.read(
            Callback(
                provider="ants",
                method="POST",
                content_type="application/json",
                body=json.dumps(
                    {"details": [{"messageId": f"m{n}", "to": "66812345678",
                                  "doneDate": f"{done:%Y-%m-%dT%H:%M:%S.%f}",
                                  "status": {"name": "DELIVERED"}}]}
                ).encode(),
            ),
            interpreter,
        )
        for n in range(count)
    ]  # fmt: skip


async def keep(writer: Writer, given: Sequence[Reading], at_once: int) -> None:
    """Keep them all, so many at once, and answer each."""
    writer.start()
    waiting = iter(given)

    async def one() -> None:
        for reading in waiting:
            await writer.keep(reading)
            writer.counters.answered("ants", 200)

    await asyncio.gather(*(one() for _ in range(at_once)))
    await writer.stop()


def cost(folder: Path, name: str, given: Sequence[Reading], at_once: int) -> float:
    """Return the seconds of CPU time that each report took."""
    engine = connect(parse_url(f"sqlite:///{folder / name}.db"))
    schema.upgrade(engine)
    messages = [SentMessage(recipient="66812345678", message_id=f"m{n}") for n in range(len(given))]
    transact(engine, lambda c: recording.record(c, "ants", messages))
    settle.settle_all(engine)
    readings = {one.callback.id: one for one in given}
    writer = Writer(engine, read=lambda arrived: readings[arrived.id], counters=Counters(Metrics()))
    began = time.process_time()
    asyncio.run(keep(writer, given, at_once))
    settle.settle_all(engine)
    took = time.process_time() - began
    engine.dispose()
    return took / len(given)


def alone(given: Sequence[Reading], at_once: int) -> float:
    """Return the seconds of CPU time that counting a report takes by itself, in such batches."""
    counters, batch = Counters(Metrics()), given[:at_once]
    kept = [Kept(id=reading.callback.id) for reading in batch]
    took = [("ants", 61_000)] * len(batch)

    def count() -> None:
        for _ in batch:
            counters.answered("ants", 200)
        counters.keep(batch, kept)
        counters.committed(len(batch), 0.01, spooled=False)
        counters.delivered(took)

    times = timeit.repeat(count, number=20, repeat=50, timer=time.process_time)
    return min(times) / 20 / len(batch)


def options(arguments: Sequence[str] | None = None) -> Any:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.counts")
    parser.add_argument("--reports", type=int, default=20_000, help="of each round")
    parser.add_argument("--at-once", type=int, default=200, help="callbacks under way")
    parser.add_argument("--rounds", type=int, default=5, help="of each kind")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asked = options()
    given = readings(asked.reports)
    found: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.rounds):
            for kind, took in found.items():
                with ExitStack() as stack:
                    if kind == "without":
                        stack.enter_context(uncounted())
                    name = f"{kind}{number}"
                    took.append(cost(Path(folder), name, given, asked.at_once))
    for kind, took in found.items():
        print(f"{kind:>8} counting: {min(took) * 1e6:6.1f} µs of CPU time for each report")
    itself, least = alone(given, asked.at_once), min(found["without"])
    print(f" counting itself: {itself * 1e6:6.1f} µs, {itself / least * 100:.1f} % of it")


if __name__ == "__main__":
    main()
