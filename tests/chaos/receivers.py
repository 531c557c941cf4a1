"""Receivers that can be killed and started again, in the same folder and on the same port."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.load import KEY, TOKEN
from tests.kit.serving import READY_SECONDS, ROOT, STOP_SECONDS, ask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SETTLED_SECONDS: Final = 60
COMMAND: Final = ("-m", "receiver")
UNCHANGED: Final = "changed: reports 0, links 0, messages 0 "


class ReceiverError(Exception):
    """A receiver did not do what it must."""


class Receiver:
    """A receiver as a supervisor would have it: where it ends, it is started again."""

    def __init__(
        self,
        folder: Path,
        url: str,
        environment: Mapping[str, str],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        outside = {k: v for k, v in os.environ.items() if not k.upper().startswith("RECEIVER_")}
        self.settings = {
            **outside,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
            "RECEIVER_DATABASE_URL": url,
            "RECEIVER_THAIBULKSMS_TOKENS": TOKEN,
            "RECEIVER_ANTS_TOKENS": TOKEN,
            "RECEIVER_API_KEYS": KEY,
        }
        self.environment = environment
        folder.mkdir(parents=True)

    @property
    def spool(self) -> Path:
        """Return where its spool is."""
        return self.folder / self.environment.get("RECEIVER_SPOOL_PATH", "receiver-spool.db")

    def start(self) -> None:
        """Start it and wait until it answers; one that ends at once is started again."""
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if self.process is None or self.process.poll() is not None:
                self._launch()
            with suppress(OSError, http.client.HTTPException):
                if self.get("/healthz")[0] == http.client.OK:
                    return
            time.sleep(0.02)
        raise ReceiverError(f"The receiver did not start:\n{self.tail()}")

    def _launch(self) -> None:
        command = [sys.executable, *self.command, "serve", "--port", str(self.port)]
        if setpriv := shutil.which("setpriv"):  # so that it does not outlive the kit
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.settings | dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask it."""
        return ask(self.port, path)

    def ready(self) -> dict[str, Any]:
        """Return what /readyz says; nothing where it does not answer."""
        try:
            said = json.loads(self.get("/readyz")[1])
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def spooled(self) -> int:
        """Return how many callbacks it says wait in its spool."""
        return int(self.ready().get("spool", {}).get("callbacks", 0))

    def wait_until_settled(self) -> str:
        """Wait until nothing waits any more; return what is wrong where that never comes."""
        until = time.monotonic() + SETTLED_SECONDS
        said: dict[str, Any] = {}
        while time.monotonic() < until:
            said = self.ready()
            counts = [
                (said.get("spool") or {}).get("callbacks", 0),
                (said.get("settling") or {}).get("messages", 1),
                (said.get("settling") or {}).get("reports", 1),
            ]
            if said.get("status") == "ready" and not any(counts):
                return ""
            time.sleep(0.1)
        return f"not ready and settled after {SETTLED_SECONDS} s: {said}\n{self.tail()}"

    def kill(self) -> None:
        """Kill it as the kernel would, where memory is short."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> str:
        """Send SIGTERM; return what is wrong where it does not end cleanly and in time."""
        if self.process is None or self.process.poll() is not None:
            return f"the receiver ended by itself\n{self.tail()}"
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"SIGTERM did not end the receiver within {STOP_SECONDS} s"
        return f"SIGTERM ended it with code {code}\n{self.tail()}" if code else ""

    def rebuild(self) -> str:
        """Return what `rebuild --dry-run` would change."""
        done = subprocess.run(
            [sys.executable, *COMMAND, "rebuild", "--dry-run"],
            cwd=self.folder,
            env=self.settings,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode == 0 and UNCHANGED in done.stdout:
            return ""
        return f"rebuild --dry-run: {done.stdout}{done.stderr}"

    def tail(self) -> str:
        """Return the end of its log."""
        return (self.folder / "log").read_text(errors="replace")[-2000:].strip()


def free_port() -> int:
    """Return a port that is free, and that the system gives to no client."""
    while True:
        port = random.randint(20_000, 30_000)
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
