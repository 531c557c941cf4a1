"""One round: a database, receivers, the load, and the comparison at the end."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, Literal, Self

from tests.chaos import databases, load, receivers, truth
from tests.chaos.receivers import Receiver

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

MEGABYTES: Final = {"sqlite": 8, "postgresql": 96}
"""The size of a small disk for the database."""
SPOOL_MEGABYTES: Final = 16
"""The size of one for the spool: room enough for the log of SQLite, when it is empty again."""
FILE_BYTES: Final = 1024 * 1024
"""How long a file may get where no small disk can be mounted; a log stays far below that."""
LOAD_SECONDS: Final = 15
SLOW_SECONDS: Final = 0.3
SLOW: Final = f"""
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static int slow(long number, int file) {{
    if (access(getenv("CHAOS_SLOW"), F_OK) == 0) usleep({int(SLOW_SECONDS * 1e6)});
    return syscall(number, file);
}}
int fsync(int file) {{ return slow(SYS_fsync, file); }}
int fdatasync(int file) {{ return slow(SYS_fdatasync, file); }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What harm is done, to which databases, and what has to be arranged for it."""

    name: str
    harm: Callable[[Scene], None]
    title: str
    databases: Sequence[str] = ("sqlite", "postgresql")
    receivers: int = 1
    rate: int = 300
    connections: int = 8
    small: Literal["", "database", "spool"] = ""
    """What is on a small disk of its own."""
    preload: Literal["", "slow", "clock"] = ""
    """What is loaded into the processes."""
    lacks: Callable[[str, Path], str] = lambda _database, _folder: ""
    """Says why the round cannot be arranged here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was chosen for all rounds."""

    kills: int = 30
    seconds: float = 30
    seed: int = 1
    command: Sequence[str] = receivers.COMMAND


@dataclass(slots=True, kw_only=True)
class Result:
    """A row of the table."""

    round: str
    database: str
    seed: int
    verdict: truth.Verdict = field(default_factory=truth.Verdict)
    gap: float = 0.0
    down: float = 0.0
    seconds: float = 0.0
    skipped: str = ""


class Scene:
    """Where a round takes place; leaving the `with` ends everything that was started."""

    def __init__(self, played: Round, database: str, folder: Path, options: Options) -> None:
        self.round = played
        self.folder = folder
        self.options = options
        self.random = Random(f"{options.seed} {played.name} {database}")
        self.small = folder / "small"
        self.switch = folder / "switch"
        self.journals: list[Path] = []
        self.faults: list[str] = []
        self.down: list[tuple[float, float]] = []
        self.spans: list[tuple[float, float]] = []
        self.verdict = truth.Verdict()
        self.sender: subprocess.Popen[bytes] | None = None
        self.database: databases.Sqlite | databases.Postgresql | None = None
        self.receivers: list[Receiver] = []
        self.name = database

    def __enter__(self) -> Self:
        try:
            self._arrange()
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clear()

    def _arrange(self) -> None:
        played = self.round
        home = self.folder / "database"
        if played.small:
            self.small.mkdir()
            size = MEGABYTES[self.name] if played.small == "database" else SPOOL_MEGABYTES
            mount(self.small, size)
            home = self.small if played.small == "database" else home
        environment = self._environment()
        slow = environment if played.preload == "slow" else {}
        self.database = databases.make(self.name, home, slow)
        if played.small == "spool":
            environment["RECEIVER_SPOOL_PATH"] = str(self.small / "spool.db")
        for number in range(played.receivers):
            own = self.folder / f"receiver-{number + 1}"
            made = Receiver(own, self.database.url, environment, self.options.command)
            self.receivers.append(made)
            made.start()
        self.begin()

    def _environment(self) -> dict[str, str]:
        if self.round.preload == "slow":
            library = self.folder / "slow.so"
            compiler = shutil.which("cc") or "cc"
            subprocess.run(
                [compiler, "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(library)],
                input=SLOW.encode(), check=True,
            )  # fmt: skip
            return {"LD_PRELOAD": str(library), "CHAOS_SLOW": str(self.switch)}
        if self.round.preload == "clock":
            self.set_clock(0)
            return {
                "LD_PRELOAD": faketime(),
                "FAKETIME_TIMESTAMP_FILE": str(self.switch),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        return {}

    def _clear(self) -> None:
        if self.sender is not None and self.sender.poll() is None:
            self.sender.kill()
            self.sender.wait()
        for receiver in self.receivers:
            receiver.kill()
        if self.database is not None:
            self.database.close()
        if self.small.is_mount():
            if not self.verdict.good:
                shutil.copytree(self.small, self.folder / "evidence", dirs_exist_ok=True)
            umount(self.small)

    # What rounds ask for.

    @property
    def receiver(self) -> Receiver:
        """Return the first receiver."""
        return self.receivers[0]

    @property
    def sqlite(self) -> databases.Sqlite:
        """Return the database, which is SQLite."""
        assert isinstance(self.database, databases.Sqlite)
        return self.database

    @property
    def postgresql(self) -> databases.Postgresql:
        """Return the database, which is PostgreSQL."""
        assert isinstance(self.database, databases.Postgresql)
        return self.database

    @property
    def any_database(self) -> databases.Database:
        """Return the database, whichever it is."""
        assert self.database is not None
        return self.database

    @property
    def short(self) -> float:
        """Return how long harm lasts that need not last long."""
        return min(8.0, self.options.seconds)

    def begin(self) -> None:
        """Start a load, with ids of its own."""
        name = f"chaos{len(self.journals) + 1}"
        self.journals.append(self.folder / f"{name}.jsonl")
        ports = [receiver.port for receiver in self.receivers]
        self.sender = load.start(
            self.journals[-1], ports, run=name, seed=self.random.randrange(10**6),
            rate=self.round.rate, connections=self.round.connections * len(ports),
        )  # fmt: skip
        until = time.monotonic() + LOAD_SECONDS
        while not (self.journals[-1].exists() and self.journals[-1].stat().st_size):
            if time.monotonic() > until:
                raise receivers.ReceiverError("the load did not begin")
            time.sleep(0.02)
        self.spans.append((time.monotonic(), float("inf")))

    def pause(self, least: float, most: float | None = None) -> None:
        """Let time pass, a random time where two are given."""
        time.sleep(self.random.uniform(least, least if most is None else most))

    def kill(self, receiver: Receiver) -> None:
        """Kill a receiver."""
        began = time.monotonic()
        receiver.kill()
        self._note_down(began)

    def stop(self, receiver: Receiver) -> None:
        """Stop a receiver with SIGTERM."""
        began = time.monotonic()
        if wrong := receiver.stop():
            self.faults.append(wrong)
        self._note_down(began)

    def _note_down(self, began: float) -> None:
        if all(r.process is None or r.process.poll() is not None for r in self.receivers):
            self.down.append((began, float("inf")))

    def start(self, receiver: Receiver) -> None:
        """Start a receiver again."""
        receiver.start()
        if self.down and self.down[-1][1] == float("inf"):
            self.down[-1] = (self.down[-1][0], time.monotonic())

    def fill(self) -> None:
        """Fill the small disk; where there is none, let the receivers' files grow no more."""
        if not self.small.is_mount():
            self._limit(FILE_BYTES)
            return
        with suppress(OSError), (self.small / "ballast").open("ab", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass

    def empty(self) -> None:
        """Make room again."""
        (self.small / "ballast").unlink(missing_ok=True)
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        for receiver in self.receivers:
            if receiver.process is not None:
                limits = (size, resource.RLIM_INFINITY)
                resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE, limits)

    def set_clock(self, seconds: int) -> None:
        """Set the receivers' clock."""
        new = self.switch.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self.switch)

    def check(self, *, last: bool = False) -> None:
        """Wait until all is settled, stop, and compare; go on with a new load unless it is last."""
        self._end_load()
        for receiver in self.receivers:
            self._note(receiver.wait_until_settled())
        for receiver in self.receivers:
            self._note(receiver.stop())
        self.verdict = truth.compare(
            truth.read_journals(self.journals), truth.read_database(self.any_database.url)
        )
        for receiver in self.receivers:
            if left := truth.spooled(receiver.spool):
                self.verdict.lost += left
                self.verdict.told.append(f"{left} callbacks are left in the spool")
        self._note(self.receiver.rebuild())
        for sentence in self.faults:
            self.verdict.fault(sentence)
        if not last and self.verdict.good:
            for receiver in self.receivers:
                receiver.start()
            self.begin()

    def _note(self, wrong: str) -> None:
        if wrong:
            self.faults.append(wrong)

    def _end_load(self) -> None:
        if self.sender is not None:
            self.spans[-1] = (self.spans[-1][0], time.monotonic())
            self.sender.send_signal(signal.SIGTERM)
            code = self.sender.wait(LOAD_SECONDS)
            self._note(f"the load ended with code {code}" if code else "")

    def gap(self) -> float:
        """Return the longest gap in service that was not of the kit's own making."""
        times = truth.read_journals(self.journals).times
        return max(truth.longest_gap(times, span, self.down) for span in self.spans)


def play(played: Round, database: str, folder: Path, options: Options) -> Result:
    """Play a round, and say what came of it."""
    result = Result(round=played.name, database=database, seed=options.seed)
    if why := played.lacks(database, folder):
        result.skipped = why
        return result
    began = time.monotonic()
    folder.mkdir(mode=0o755, exist_ok=True)
    with Scene(played, database, folder, options) as scene:
        played.harm(scene)
        if scene.sender is not None and scene.sender.poll() is None:
            scene.check(last=True)
        result.verdict = scene.verdict
        result.gap = scene.gap()
        result.down = max((end - begin for begin, end in scene.down), default=0.0)
    result.seconds = time.monotonic() - began
    return result


def mount(folder: Path, megabytes: int) -> bool:
    """Mount a small disk, where that is allowed."""
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def umount(folder: Path) -> None:
    """Take a mounted disk away, as soon as nobody uses it."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def faketime() -> str:
    """Return Debian's libfaketime; empty where it is not installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else ""
