"""Measures the receiver beside its peer: `python -m tests.benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from tests.benchmarks import data, load, report
from tests.benchmarks.server import COMMANDS, Fleet, Server, ServerError, unpack
from tests.benchmarks.trial import Tested, Trial, leave_cleanly, machine, tell

if TYPE_CHECKING:
    from tests.benchmarks.data import Databases

STARTS: Final = 5
CONNECTIONS: Final = (1, 16, 64, 256)


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure how many reports a second are settled, beside a peer that commits"
        " every request by itself, and a ceiling that keeps nothing. Needs wrk.",
    )
    parser.add_argument("--database", choices=[*data.DATABASES, "both"], default="both")
    parser.add_argument("--messages", type=int, default=1_000_000, help="sent messages recorded")
    parser.add_argument("--connections", type=int, nargs="+", default=[64], metavar="N")
    parser.add_argument("--seconds", type=int, default=15, help="of load in each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=list(data.SHAPES), nargs="+", default=["single"])
    parser.add_argument(
        "--matrix",
        action="store_true",
        help=f"every shape over {', '.join(map(str, CONNECTIONS))} connections",
    )
    parser.add_argument(
        "--offered",
        type=int,
        default=0,
        metavar="RATE",
        help="requests a second, whatever the answers; without it as many as are answered",
    )
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[1],
        metavar="N",
        help="of the receiver, each number in its turn; more than 1 on PostgreSQL only",
    )
    parser.add_argument(
        "--receivers",
        type=int,
        nargs="+",
        default=[1],
        metavar="N",
        help="that many of them on one database of PostgreSQL, each number in its turn",
    )
    parser.add_argument(
        "--against",
        default="",
        metavar="REVISION",
        help="of this repository: what the receiver was then is measured, too (0.1.0 is 2329c14)",
    )
    parser.add_argument("--only", choices=list(COMMANDS), help="one server, for profiling")
    parser.add_argument("--no-startup", action="store_true", help="leave out the start-up figure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    chosen = parser.parse_args(arguments)
    if chosen.matrix:
        chosen.shape, chosen.connections = list(data.SHAPES), list(CONNECTIONS)
    if max(*chosen.workers, *chosen.receivers) > 1 and chosen.database != "postgresql":
        parser.error("more than one worker or receiver needs --database postgresql")
    return chosen


def main() -> int:
    """Measure and print; the exit code is 1 where a run failed."""
    chosen = options()
    leave_cleanly()
    try:
        load.wrk()
        with tempfile.TemporaryDirectory(prefix="receiver-benchmark-") as folder:
            Path(folder).chmod(0o755)  # PostgreSQL runs as a user of its own
            result = Benchmark(chosen, Path(folder)).measure()
    except (load.LoadError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    print(report.render(result))
    if chosen.json:
        chosen.json.write_text(json.dumps(result.as_json(), indent=1) + "\n")
    return 1 if any(run.failures for run in result.runs) else 0


class Benchmark:
    """What was asked for, and the folder it happens in."""

    def __init__(self, chosen: argparse.Namespace, folder: Path) -> None:
        self.chosen = chosen
        self.folder = folder
        self.shapes = [data.SHAPES[name] for name in chosen.shape]
        self.servers = [chosen.only] if chosen.only else list(COMMANDS)
        if chosen.against:
            unpack(chosen.against, folder / "against")
            self.servers.append(chosen.against)
        self.tried = [
            Tested(server, workers, receivers)
            for server in self.servers
            for workers in (chosen.workers if server == "receiver" else [1])
            for receivers in (chosen.receivers if server == "receiver" else [1])
        ]
        self.result = report.Result(
            shapes=self.shapes,
            options={k: str(v) if isinstance(v, Path) else v for k, v in vars(chosen).items()},
            machine=machine(folder),
        )

    def measure(self) -> report.Result:
        """Make every run on every database."""
        chosen = self.chosen
        names = data.DATABASES if chosen.database == "both" else (chosen.database,)
        providers = dict.fromkeys(shape.provider for shape in self.shapes)
        for provider in providers:
            tell(f"making {chosen.messages:,} messages of {provider}")
            data.write_numbers(self.numbers(provider), provider, chosen.messages)
        for name, provider in product(names, providers):
            folder = self.folder / f"{name}-{provider}"
            databases = data.make(name, folder, provider, chosen.messages)
            try:
                self.all_runs(databases, provider)
                if provider == self.shapes[0].provider and not chosen.no_startup:
                    self.start_all(databases)
            finally:
                databases.close()
                shutil.rmtree(folder, ignore_errors=True)
        return self.result

    def all_runs(self, databases: Databases, provider: str) -> None:
        """Make every run with one provider's messages, servers in turn: all meet one machine."""
        shapes = [shape for shape in self.shapes if shape.provider == provider]
        turns = range(1, self.chosen.rounds + 1)
        for shape, connections, turn, tried in product(
            shapes, self.chosen.connections, turns, self.tried
        ):
            run = self.run(databases, shape, connections, turn, tried)
            self.result.runs.append(run)

    def start_all(self, databases: Databases) -> None:
        """Measure how long each server takes to be ready."""
        for server in self.servers:
            if server == "ceiling":
                continue
            seconds = [self.start(databases, server) for _ in range(STARTS)]
            self.result.startups[f"{databases.name} {server}"] = seconds
            tell(f"{databases.name} {server}: ready in {median(seconds):.2f} s")

    def run(
        self,
        databases: Databases,
        shape: data.Shape,
        connections: int,
        turn: int,
        what: Tested,
    ) -> report.Run:
        """Run one server on a fresh database until all that it took is settled."""
        url, home = databases.fresh(), self.home()
        trial = Trial(databases, url, home, shape, connections)
        try:
            return trial.run(what, turn, partial(self.send, shape, connections))
        finally:
            databases.drop(url)
            shutil.rmtree(home, ignore_errors=True)

    def send(self, shape: data.Shape, connections: int, tested: Fleet) -> load.Load:
        """Load the server."""
        return load.run(
            shape,
            ports=tested.ports,
            numbers=self.numbers(shape.provider),
            messages=self.chosen.messages,
            connections=connections,
            seconds=self.chosen.seconds,
            offered=self.chosen.offered,
        )

    def start(self, databases: Databases, server: str) -> float:
        """Return the seconds from the start of a server to ready, on an empty database."""
        url, home = databases.empty(), self.home()
        try:
            with Server(server, url, home) as tested:
                return tested.ready_seconds
        finally:
            databases.drop(url)
            shutil.rmtree(home, ignore_errors=True)

    def numbers(self, provider: str) -> Path:
        """Name the file of what wrk sends."""
        return self.folder / f"numbers-{provider}"

    def home(self) -> Path:
        """Make a folder for a server."""
        return Path(tempfile.mkdtemp(dir=self.folder))


if __name__ == "__main__":
    sys.exit(main())
