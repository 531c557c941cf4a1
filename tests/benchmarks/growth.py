"""How fast it stays when it is big: `python -m tests.benchmarks.growth --help`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, select, update

from receiver.database.engine import connect, parse_url
from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.database.tables.statistics import delivery_rollup
from receiver.database.transactions import READ
from receiver.domain.times import EPOCH, MILLISECOND
from receiver.messages import lookup
from tests.benchmarks import data, history, load, report
from tests.benchmarks.server import ServerError
from tests.benchmarks.trial import Tested, Trial, leave_cleanly, machine, tell

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from tests.benchmarks.data import Databases
    from tests.benchmarks.server import Fleet

SIZES: Final = (0, 1_000_000, 10_000_000)
SHARE: Final = 0.7
"""Of the rate on an empty database that is wanted on the biggest."""
TIMES: Final = 7
"""How often a question is asked, warm."""
ENOUGH_SECONDS: Final = 10
"""After so long it is not asked again."""
PAGE: Final = 1000
"""Rows of the feed in one page."""
RATES: Final = "SELECT * FROM delivery_rate_"

Ask = Callable[["Connection"], int]
"""Asks once, and returns how many rows came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A question, and how long its answer took."""

    name: str
    wanted_ms: float
    rows: int
    ms: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A database of one size: what was asked of it, and how fast it settled."""

    database: str
    messages: int
    fill_seconds: float
    reads: list[Read]
    runs: list[report.Run]

    @property
    def rate(self) -> float:
        """Reports settled a second."""
        return median(run.rate for run in self.runs)


@dataclass(slots=True, kw_only=True)
class Result:
    """Everything that was measured."""

    options: dict[str, Any]
    machine: dict[str, Any]
    sizes: list[Size] = field(default_factory=list)

    def of(self, database: str) -> list[Size]:
        """Return the sizes of one database."""
        return [size for size in self.sizes if size.database == database]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "options": self.options,
            "machine": self.machine,
            "sizes": [
                {**asdict(size), "rate": size.rate, "rates": [run.rate for run in size.runs]}
                for size in self.sizes
            ],
        }


# -- the read side ----------------------------------------------------------------------------


def questions(now: datetime, message: tuple[str, str, str]) -> list[tuple[str, float, str]]:
    """Return what a user would type, with a name and the milliseconds that are wanted.

    `message` is the id, the reference and the recipient of one.
    """
    id_, reference, recipient = message
    day = (now - timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S.000Z")
    month = (now - timedelta(days=30)).strftime("%Y-%m-%d")
    return [
        ("message by id", 2, f"SELECT * FROM message_status WHERE message_id = '{id_}'"),
        ("by reference", 2, f"SELECT * FROM message_status WHERE reference = '{reference}'"),
        ("by recipient", 2, f"SELECT * FROM message_status WHERE recipient = '{recipient}'"),
        (
            "statuses of 24 hours",
            150,
            f"SELECT status, count(*) FROM sent_message WHERE sent_at >= '{day}' GROUP BY status",
        ),
        ("delivery_rate_daily of 30 days", 100, f"{RATES}daily WHERE day >= '{month}'"),
        ("delivery_rate_hourly of 30 days", 100, f"{RATES}hourly WHERE hour >= '{month} 00:00:00'"),
        (
            "delivery_latency_daily of 30 days",
            100,
            f"SELECT * FROM delivery_latency_daily WHERE day >= '{month}'",
        ),
        ("unfinished_message, 100 rows", 100, "SELECT * FROM unfinished_message LIMIT 100"),
        ("unmatched_report, 100 rows", 100, "SELECT * FROM unmatched_report LIMIT 100"),
        ("conflicting_message, 100 rows", 100, "SELECT * FROM conflicting_message LIMIT 100"),
    ]


def read_side(engine: Engine) -> list[Read]:
    """Ask every question of a database, of a message in its middle where it needs one."""
    reader = engine.execution_options(**READ)
    table = sent_message.c
    with reader.connect() as connection:
        last = connection.execute(select(table.id).order_by(table.id.desc()).limit(1)).scalar()
        middle = connection.execute(
            select(sent_message).where(table.id == (last or 0) // 2 + 1)
        ).first()
    cursor, message = "", ("none", "none", "66800000000")
    if middle is not None:
        cursor = f"{(middle.changed_at - EPOCH) // MILLISECOND}-{middle.id}"
        message = (middle.message_id, middle.reference, middle.recipient)
    asked = [
        (name, wanted, partial(_rows, statement))
        for name, wanted, statement in questions(datetime.now(UTC), message)
    ]
    asked.append(("feed, a page of 1,000", 50, partial(_page, cursor)))
    return [
        Read(name=name, wanted_ms=wanted, rows=rows, ms=ms)
        for name, wanted, ask in asked
        for rows, ms in [_timed(reader, ask)]
    ]


def _rows(statement: str, connection: Connection) -> int:
    return len(connection.exec_driver_sql(statement).all())


def _page(cursor: str, connection: Connection) -> int:
    return len(lookup.changes(connection, cursor, PAGE)[0])


def _timed(reader: Engine, ask: Ask) -> tuple[int, list[float]]:
    """Ask once for the caches' sake, then some more times; return rows and milliseconds."""
    taken: list[float] = []
    rows, began = 0, time.perf_counter()
    with reader.connect() as connection:
        for _ in range(TIMES + 1):
            start = time.perf_counter()
            rows = ask(connection)
            taken.append((time.perf_counter() - start) * 1000)
            if time.perf_counter() - began > ENOUGH_SECONDS:
                break
    return rows, taken[1:] or taken


# -- the sizes --------------------------------------------------------------------------------


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.growth",
        description="Measure writing and reading on databases of several sizes. Needs wrk, and"
        " some 2.5 kB of disk for each message.",
    )
    parser.add_argument("--database", choices=[*data.DATABASES, "both"], default="both")
    parser.add_argument(
        "--sizes",
        type=lambda given: [int(size) for size in given.split(",")],
        default=list(SIZES),
        help="settled messages, such as 0,1000000,10000000",
    )
    parser.add_argument(
        "--unmatched",
        action="store_true",
        help="of each size keep the reports only, as where messages are in somebody else's tables",
    )
    parser.add_argument(
        "--messages", type=int, default=200_000, help="sent messages recorded for each round"
    )
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=15, help="of load in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=history.SEED)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    return parser.parse_args(arguments)


def main() -> int:
    """Measure and print; the exit code is 1 where a run failed."""
    chosen = options()
    leave_cleanly()
    try:
        load.wrk()
        with tempfile.TemporaryDirectory(prefix="receiver-growth-") as folder:
            Path(folder).chmod(0o755)  # PostgreSQL runs as a user of its own
            result = measure(chosen, Path(folder))
    except (load.LoadError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    print(render(result))
    if chosen.json:
        chosen.json.write_text(json.dumps(result.as_json(), indent=1) + "\n")
    return 1 if any(run.failures for size in result.sizes for run in size.runs) else 0


def measure(chosen: argparse.Namespace, folder: Path) -> Result:
    """Measure every size on every database."""
    given = {k: str(v) if isinstance(v, Path) else v for k, v in vars(chosen).items()}
    result = Result(options=given, machine=machine(folder))
    for name in data.DATABASES if chosen.database == "both" else (chosen.database,):
        databases = data.make(name, folder / name, "thaibulksms", 0)
        try:
            result.sizes += [grow(chosen, databases, size, folder) for size in chosen.sizes]
        finally:
            databases.close()
            shutil.rmtree(folder / name, ignore_errors=True)
    return result


def grow(chosen: argparse.Namespace, databases: Databases, messages: int, folder: Path) -> Size:
    """Make a database of a size, ask it, load it."""
    url, shape = databases.empty(), data.SHAPES["single"]
    tell(f"{databases.name}: making {messages:,} settled messages")
    began = time.monotonic()
    data.migrate(url)
    now = int(time.time() - 5) * 1000
    if messages:
        plan = history.Plan(messages=messages, now=now, seed=chosen.seed)
        history.fill(url, plan, lambda said: tell(f"{time.monotonic() - began:7.1f} s  {said}"))
        if chosen.unmatched:
            forget_messages(url)
    filled = time.monotonic() - began
    try:
        engine = connect(parse_url(url))
        reads = read_side(engine)
        engine.dispose()
        databases.record(url, shape.provider, chosen.rounds * chosen.messages)
        runs = [load_once(chosen, databases, url, n, folder) for n in range(chosen.rounds)]
    finally:
        databases.drop(url)
    return Size(
        database=databases.name, messages=messages, fill_seconds=filled, reads=reads, runs=runs
    )


def forget_messages(url: str) -> None:
    """Leave the reports alone, as if no message had ever been recorded."""
    engine = connect(parse_url(url))
    with engine.begin() as connection:
        connection.execute(delete(sent_message))
        connection.execute(delete(delivery_rollup))
        connection.execute(update(delivery_report).values(sent_message_id=None))
    engine.dispose()


def load_once(
    chosen: argparse.Namespace, databases: Databases, url: str, number: int, folder: Path
) -> report.Run:
    """Load a receiver on the database with messages that no other round has."""
    shape = data.SHAPES["single"]
    home = Path(tempfile.mkdtemp(dir=folder))
    data.write_numbers(home / "numbers", shape.provider, chosen.messages, number * chosen.messages)

    def send(tested: Fleet) -> load.Load:
        return load.run(
            shape,
            ports=tested.ports,
            numbers=home / "numbers",
            messages=chosen.messages,
            connections=chosen.connections,
            seconds=chosen.seconds,
        )

    try:
        trial = Trial(databases, url, home, shape, chosen.connections)
        return trial.run(Tested("receiver"), number + 1, send, only_new=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)


# -- the tables -------------------------------------------------------------------------------


def render(result: Result) -> str:
    """Write everything: two tables a database, what was wanted, what failed."""
    given = result.options
    lines = [
        f"{given['connections']} connections, {given['seconds']} s, rounds: {given['rounds']}",
        ", ".join(f"{name} {value}" for name, value in result.machine.items()),
    ]
    verdicts: list[str] = []
    for database in dict.fromkeys(size.database for size in result.sizes):
        sizes = result.of(database)
        lines += ["", writing(sizes), "", reading(sizes)]
        verdicts += wanted(sizes)
    lines += ["", *verdicts]
    lines += [
        f"FAILED: {size.database} {size.messages:,}, round {run.round}: {failure}"
        for size in result.sizes
        for run in size.runs
        for failure in run.failures
    ]
    return "\n".join(lines)


def writing(sizes: list[Size]) -> str:
    """Write how fast each size settled."""
    rows = [
        [
            "database",
            "messages",
            "settled/s",
            "of the first",
            "p50 ms",
            "p99 ms",
            "µs/report",
            "db µs/report",
            "lag s",
            "peak MB",
            "made in s",
        ]
    ]
    for size in sizes:
        columns: tuple[tuple[int, Callable[[report.Run], float]], ...] = (
            (1, lambda run: run.load.p50_ms),
            (1, lambda run: run.load.p99_ms),
            (0, lambda run: run.microseconds),
            (0, lambda run: run.database_microseconds),
            (2, lambda run: run.lag_seconds),
            (0, lambda run: run.peak_mb),
        )
        rows.append(
            [
                size.database,
                f"{size.messages:,}",
                report.spread([run.rate for run in size.runs], 0),
                f"{100 * size.rate / sizes[0].rate:.0f} %" if sizes[0].rate else "-",
                *(report.spread([value(run) for run in size.runs], n) for n, value in columns),
                f"{size.fill_seconds:,.0f}",
            ]
        )
    return report.aligned(rows)


def reading(sizes: list[Size]) -> str:
    """Write how long each question took at each size, and what was wanted."""
    rows = [
        [f"ms on {sizes[0].database}", *(f"{size.messages:,}" for size in sizes), "rows", "wanted"]
    ]
    for reads in zip(*(size.reads for size in sizes), strict=True):
        cells = [report.spread(read.ms, 1) for read in reads]
        rows.append([reads[0].name, *cells, f"{reads[-1].rows:,}", f"{reads[0].wanted_ms:g}"])
    return report.aligned(rows)


def wanted(sizes: list[Size]) -> list[str]:
    """Write what was wanted of the biggest, and whether it is so."""
    first, last = sizes[0], sizes[-1]
    where = f"on {last.database} at {last.messages:,}"
    found = []
    if first.rate and first is not last:
        share = last.rate / first.rate
        found.append(
            report.verdict(f"share of the first rate {where}", share, 2, SHARE, at_least=True)
        )
    found += [
        report.verdict(f"{read.name}, ms {where}", median(read.ms), 1, read.wanted_ms)
        for read in last.reads
    ]
    return found


if __name__ == "__main__":
    sys.exit(main())
