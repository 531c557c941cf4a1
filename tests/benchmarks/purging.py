"""How fast reports settle while old rows are deleted: `python -m tests.benchmarks.purging --help`.

A round without a purge, then one during it, on the same database: both have messages of their own.
The purge is `receiver purge`'s own code in a process of its own; how long each portion held its
locks is measured inside it, from when it had them to the end of its commit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from receiver.database.engine import connect, parse_url
from receiver.database.transactions import transact
from receiver.maintenance import retention
from tests.benchmarks import data, growth, history, load, report
from tests.benchmarks.server import ROOT, ServerError
from tests.benchmarks.trial import leave_cleanly, machine, tell

if TYPE_CHECKING:
    from tests.benchmarks.data import Databases

ROWS: Final = 5
"""Rows of one settled message: itself, two reports, two callbacks."""
OLDER_THAN: Final = timedelta(hours=25)
"""98 of 100 messages that `history` makes are older."""
LONGEST_MS: Final = 100
"""What no portion may hold its locks for."""
SHARE: Final = 0.5
"""Of the rate without a purge that is wanted during one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What a purge did; milliseconds that its portions held their locks."""

    rows: int
    seconds: float
    portions: int
    p99_ms: float
    longest_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One database: a round alone, one during the purge, and whether that outlasted the load."""

    database: str
    alone: report.Run
    during: report.Run
    purged: Purged
    outlasted: bool


def purge(url: str) -> Purged:
    """Purge, and measure."""
    held: list[float] = []

    def measured(engine: Any, work: Any) -> Any:
        began = 0.0

        def timed(connection: Any) -> Any:
            nonlocal began
            began = time.perf_counter()
            return work(connection)

        done = transact(engine, timed)
        held.append((time.perf_counter() - began) * 1000)
        return done

    retention.transact = measured  # type: ignore[attr-defined]
    began = time.perf_counter()
    engine = connect(parse_url(url))
    gone = retention.purge(engine, retention.Limits.at(datetime.now(UTC), OLDER_THAN, None, None))
    engine.dispose()
    held.sort()
    return Purged(
        rows=gone.total(),
        seconds=time.perf_counter() - began,
        portions=len(held),
        p99_ms=held[len(held) * 99 // 100],
        longest_ms=held[-1],
    )


def measure(chosen: argparse.Namespace, databases: Databases, folder: Path) -> Result:
    """Fill a database, load it alone, then again while what is old goes."""
    url, shape = databases.empty(), data.SHAPES["single"]
    data.migrate(url)
    began = time.monotonic()
    plan = history.Plan(messages=chosen.rows // ROWS * 100 // 98, now=int(time.time() - 5) * 1000)
    history.fill(url, plan, lambda said: tell(f"{time.monotonic() - began:7.1f} s  {said}"))
    databases.record(url, shape.provider, 2 * chosen.messages)
    try:
        alone = growth.load_once(chosen, databases, url, 0, folder)
        command = [sys.executable, "-m", "tests.benchmarks.purging", "--purge", url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as purging:
            during = growth.load_once(chosen, databases, url, 1, folder)
            outlasted = purging.poll() is None
            tell(f"{databases.name}: waiting for the purge to end")
            said, _ = purging.communicate()
        if purging.returncode:
            raise ServerError(f"The purge ended with code {purging.returncode}.")
        purged = Purged(**json.loads(said))
    finally:
        databases.drop(url)
    return Result(
        database=databases.name, alone=alone, during=during, purged=purged, outlasted=outlasted
    )


def render(chosen: argparse.Namespace, found: list[Result], folder: Path) -> str:
    """Write a table of the rounds, one of the purges, and what was wanted."""
    given = f"{chosen.rows:,} rows, {chosen.connections} connections, {chosen.seconds} s of load"
    lines = [given, ", ".join(f"{name} {value}" for name, value in machine(folder).items()), ""]
    rows = [["database", "", "settled/s", "p50 ms", "p99 ms", "lag s", "others' CPU s"]]
    for result in found:
        for name, run in (("alone", result.alone), ("while purging", result.during)):
            numbers = (run.rate, run.load.p50_ms, run.load.p99_ms)
            rows.append([result.database, name, *(f"{n:,.0f}" for n in numbers),
                         f"{run.lag_seconds:.2f}", f"{run.others_cpu:.1f}"])  # fmt: skip
    lines += [report.aligned(rows), ""]
    rows = [["database", "rows deleted", "seconds", "rows/s", "portions", "p99 ms", "longest ms"]]
    for result in found:
        done = result.purged
        rows.append([result.database, f"{done.rows:,}", f"{done.seconds:,.0f}",
                     f"{done.rows / done.seconds:,.0f}", f"{done.portions:,}",
                     f"{done.p99_ms:.1f}", f"{done.longest_ms:.1f}"])  # fmt: skip
    lines += [report.aligned(rows), ""]
    for result in found:
        share = result.during.rate / result.alone.rate
        name = result.database
        lines += [
            report.verdict(f"share of the rate on {name}", share, 2, SHARE, at_least=True),
            report.verdict(f"longest lock on {name}, ms", result.purged.longest_ms, 1, LONGEST_MS),
        ]
        if not result.outlasted:
            lines.append(f"{name}: the purge was done before the load: more --rows, less --seconds")
    lines += [f"FAILED: {r.database}: {f}" for r in found for run in (r.alone, r.during)
              for f in run.failures]  # fmt: skip
    return "\n".join(lines)


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.purging",
        description="Measure settling while rows are deleted. Needs wrk, and 0.5 kB of disk a row.",
    )
    parser.add_argument("--database", choices=[*data.DATABASES, "both"], default="both")
    parser.add_argument("--rows", type=int, default=5_000_000, help="to be deleted, about")
    parser.add_argument("--messages", type=int, default=200_000, help="recorded for each round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=15, help="of load in each round")
    parser.add_argument("--purge", metavar="URL", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> int:
    """Measure and print; the exit code is 1 where a run failed."""
    chosen = options()
    if chosen.purge:
        done = purge(chosen.purge)
        print(json.dumps({name: getattr(done, name) for name in Purged.__slots__}))
        return 0
    leave_cleanly()
    found = []
    try:
        load.wrk()
        with tempfile.TemporaryDirectory(prefix="receiver-purging-") as name:
            folder = Path(name)
            folder.chmod(0o755)  # PostgreSQL runs as a user of its own
            for kind in data.DATABASES if chosen.database == "both" else (chosen.database,):
                databases = data.make(kind, folder / kind, "thaibulksms", 0)
                try:
                    found.append(measure(chosen, databases, folder))
                finally:
                    databases.close()
                    shutil.rmtree(folder / kind, ignore_errors=True)
            print(render(chosen, found, folder))
    except (load.LoadError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if any(run.failures for r in found for run in (r.alone, r.during)) else 0


if __name__ == "__main__":
    sys.exit(main())
