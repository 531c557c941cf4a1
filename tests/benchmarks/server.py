"""The server under test: a process that is started, watched and always stopped."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.benchmarks import processes
from tests.kit.serving import ask

if TYPE_CHECKING:
    from types import TracebackType

ROOT: Final = Path(__file__).resolve().parents[2]
TOKEN: Final = "benchmark-0123456789abcdef"
COMMANDS: Final = {
    "peer": ("-m", "tests.benchmarks.peer"),
    "receiver": ("-m", "receiver", "serve"),
    "ceiling": ("-m", "tests.benchmarks.ceiling"),
}
RELEASES: Final[dict[str, Path]] = {}
"""Where the code of other revisions lies, which are servers by these names, too."""
READY_SECONDS: Final = 30
STOP_SECONDS: Final = 15
TAIL: Final = 2000
"""Characters of a server's log that are shown when it fails."""


class ServerError(Exception):
    """The server under test did not do what it must."""


def unpack(revision: str, folder: Path) -> None:
    """Make a server of what the receiver was at a revision of this repository.

    It runs on the libraries that are installed, so that only our own code differs. Raises
    ServerError where there is no such revision.
    """
    folder.mkdir()
    git = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=tar", revision],
        check=False,
        capture_output=True,
    )
    if git.returncode:
        raise ServerError(f"{revision}: {git.stderr.decode(errors='replace').strip()}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=git.stdout, check=True)
    RELEASES[revision] = folder


class Server:
    """A server under test, in a folder of its own; leaving the `with` stops it."""

    def __init__(self, name: str, url: str, folder: Path, *more: str) -> None:
        self.name = name
        self.log = folder / "log"
        self.port = _free_port()
        self.exit_code: int | None = None
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RECEIVER_")}
        environment |= {
            "PYTHONPATH": str(RELEASES.get(name, ROOT)),
            "RECEIVER_DATABASE_URL": url,
            "RECEIVER_THAIBULKSMS_TOKENS": TOKEN,
            "RECEIVER_ANTS_TOKENS": TOKEN,
            "RECEIVER_API_KEYS": "benchmark-key-0123456789abcdef",
        }
        command = [
            sys.executable,
            *COMMANDS.get(name, COMMANDS["receiver"]),
            "--port",
            str(self.port),
            *more,
        ]
        if setpriv := shutil.which("setpriv"):  # so that it does not outlive a killed benchmark
            command = [setpriv, "--pdeathsig", "TERM", *command]
        with self.log.open("wb") as log:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            self.ready_seconds = self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _wait(self) -> float:
        """Return the seconds from the start of the process to the first 200 of /readyz."""
        while time.perf_counter() - self.started < READY_SECONDS:
            if self.process.poll() is not None:
                raise ServerError(
                    f"The {self.name} ended with code {self.process.returncode}:\n{self.tail()}"
                )
            with suppress(OSError):
                if self.get("/readyz")[0] == http.client.OK:
                    return time.perf_counter() - self.started
            time.sleep(0.005)
        raise ServerError(f"The {self.name} was not ready within {READY_SECONDS} s:\n{self.tail()}")

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask the server."""
        return ask(self.port, path)

    def waiting(self) -> int:
        """Return how much /readyz says is waiting; the peer says nothing, and nothing waits."""
        status, said = self.get("/readyz")
        if status != http.client.OK:
            raise ServerError(f"/readyz answers {status} after the load:\n{self.tail()}")
        try:
            return _waiting(json.loads(said))
        except ValueError:
            return 0

    def cpu_seconds(self) -> float:
        """Return what the server has used so far."""
        return processes.cpu_seconds(self.process.pid)

    def peak_memory(self) -> int:
        """Return the bytes it held at its peak."""
        return processes.peak_memory(self.process.pid)

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-TAIL:].strip()

    def _stop(self) -> None:
        """Ask it to end, and make it end; whatever it started ends with it."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.exit_code = self.process.wait(STOP_SECONDS)


class Fleet:
    """Servers of one kind on one database; leaving the `with` stops them all."""

    def __init__(self, name: str, url: str, folder: Path, count: int, *more: str) -> None:
        self.servers: list[Server] = []
        self._stack = ExitStack()
        self._given = name, url, folder, count, more

    def __enter__(self) -> Self:
        name, url, folder, count, more = self._given
        with self._stack:
            for number in range(count):
                home = folder / str(number)
                home.mkdir()
                server = Server(name, url, home, *more)
                self.servers.append(self._stack.enter_context(server))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def ports(self) -> list[int]:
        """Return where they listen."""
        return [server.port for server in self.servers]

    @property
    def pids(self) -> list[int]:
        """Return their process ids."""
        return [server.process.pid for server in self.servers]

    @property
    def ready_seconds(self) -> float:
        """Return how long the slowest took to be ready."""
        return max(server.ready_seconds for server in self.servers)

    @property
    def exit_codes(self) -> set[int | None]:
        """Return how they ended."""
        return {server.exit_code for server in self.servers}

    def cpu_seconds(self) -> float:
        """Return what all have used so far."""
        return sum(server.cpu_seconds() for server in self.servers)

    def peak_memory(self) -> int:
        """Return the bytes that all held at their peaks."""
        return sum(server.peak_memory() for server in self.servers)

    def waiting(self) -> int:
        """Return how much waits anywhere, once where several see the same."""
        return max(server.waiting() for server in self.servers)

    def tail(self) -> str:
        """Return the ends of their logs."""
        return "\n".join(server.tail() for server in self.servers)


def _waiting(said: Any) -> int:
    """Add up every whole number in an object that is no size and no time."""
    if isinstance(said, dict):
        return sum(
            _waiting(value)
            for name, value in said.items()
            if not name.endswith(("bytes", "seconds"))
        )
    return said if isinstance(said, int) else 0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
