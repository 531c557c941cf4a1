"""The `receiver` command in a process of its own that is forked from one which imported it.

Importing it takes half a second of a core, and the tests start it some hundred times. The process
is a real one: its settings, folder and standard streams are its own, warnings are errors in it, and
it can be killed. What it shares is only what has been imported. Whoever tests the start itself
starts `python -m receiver`.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import random
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

import receiver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

CONTEXT: Final = multiprocessing.get_context("forkserver")
LAZY: Final = ("httptools", "psycopg", "sqlalchemy.dialects.postgresql.psycopg", "uvloop")
"""What the receiver has others import, when it starts."""
CONTEXT.set_forkserver_preload(
    [
        module.name
        for module in pkgutil.walk_packages(receiver.__path__, "receiver.")
        if not module.name.endswith("__main__")
    ]
    + list(LAZY)
)


@dataclass(frozen=True, slots=True)
class Streams:
    """The files that are standard input (`None`: the null device), output and error."""

    stdin: Path | None
    stdout: Path
    stderr: Path


class Started:
    """A started command, to be waited for, signalled and killed as `subprocess.Popen` is."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        self._lock = Lock()
        assert process.pid is not None
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        return self.poll()

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        with self._lock:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when it has ended; `timeout` is in seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                assert timeout is not None
                raise subprocess.TimeoutExpired("receiver", timeout)
            self._process.join(0.05)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, where it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, where it still runs."""
        self.send_signal(signal.SIGKILL)


def start(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], streams: Streams
) -> Started:
    """Start the command in a folder, with an environment that is all it sees."""
    process = CONTEXT.Process(
        target=_run, args=(list(arguments), folder, dict(environment), streams), name="receiver"
    )
    process.start()
    return Started(process)


def _run(arguments: list[str], folder: Path, environment: dict[str, str], streams: Streams) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for number, path, flags in (
        (0, streams.stdin or os.devnull, os.O_RDONLY),
        (1, streams.stdout, writing),
        (2, streams.stderr, writing),
    ):
        descriptor = os.open(path, flags, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = ["receiver", *arguments]
    random.seed()
    warnings.resetwarnings()
    warnings.simplefilter("error")
    from receiver.cli import main

    main()
