"""A real receiver: `receiver serve` in a process and a folder of its own."""

from __future__ import annotations

import http.client
import os
import re
import secrets
import signal
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from receiver.providers import PROVIDERS
from tests.kit import preloaded

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
READY_SECONDS: Final = 300
STOP_SECONDS: Final = 60
"""From SIGTERM to the exit: the contract's limit is 10, on a machine that has time for it."""


@dataclass(slots=True, kw_only=True)
class Server:
    """A running receiver. `tokens` holds each provider's first token as it was configured."""

    process: preloaded.Started | subprocess.Popen[bytes]
    folder: Path
    tokens: Mapping[str, str]
    api_key: str
    url: str = ""

    def stdout(self) -> str:
        """Return what it has written to stdout so far."""
        return (self.folder / "stdout").read_text()

    def stderr(self) -> str:
        """Return what it has written to stderr so far: its log, and any traceback."""
        return (self.folder / "stderr").read_text()

    def stop(self) -> None:
        """Send SIGTERM; it must end by itself, in time and with exit code 0."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_SECONDS)
        assert code == 0, f"exit code {code}\n{self.stderr()}"

    def wait_until_ready(self) -> None:
        """Read the bound port from its output, then wait until it answers."""
        until = time.monotonic() + READY_SECONDS
        while not (found := re.search(r"listens on (http://\S+)\. ", self.stdout())):
            assert self.process.poll() is None, self.stderr()
            assert time.monotonic() < until, f"not ready\n{self.stderr()}"
            time.sleep(0.01)
        self.url = found[1]
        with urllib.request.urlopen(f"{self.url}/healthz", timeout=READY_SECONDS) as answer:
            assert answer.status == 200


def ask(port: int, path: str) -> tuple[int, bytes]:
    """Ask what listens on a port of this machine; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def serving(
    database_url: str | None = None,
    *,
    folder: Path | str | None = None,
    log: str = "stderr",
    arguments: Sequence[str] = (),
    **environment: str,
) -> Iterator[Server]:
    """Start a receiver; when the `with` ends, stop it and check that it ends cleanly.

    One that the test killed, and waited for, is left alone. Without a folder it has a new one.
    Without a URL it makes a SQLite database in its folder. `environment` adds settings and
    replaces ours: random tokens and an API key. `log` is where its stderr goes; `arguments` are
    further ones of `serve`.
    """
    given = {f"RECEIVER_{name.upper()}_TOKENS": secrets.token_hex(16) for name in PROVIDERS}
    given |= {"RECEIVER_API_KEYS": secrets.token_hex(16), **environment}
    if database_url is not None:
        given["RECEIVER_DATABASE_URL"] = database_url
    outside = {k: v for k, v in os.environ.items() if not k.upper().startswith("RECEIVER_")}
    with tempfile.TemporaryDirectory(prefix="receiver-") as name:
        folder = Path(folder or name)
        for stream in ("stdout", log):
            (folder / stream).write_bytes(b"")
        process = preloaded.start(
            ["serve", "--port", "0", *arguments],
            folder,
            outside | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | given,
            preloaded.Streams(None, folder / "stdout", folder / log),
        )
        server = Server(
            process=process,
            folder=folder,
            tokens={name: _first(given[f"RECEIVER_{name.upper()}_TOKENS"]) for name in PROVIDERS},
            api_key=_first(given["RECEIVER_API_KEYS"]),
        )
        try:
            server.wait_until_ready()
            yield server
            if process.poll() is None:
                server.stop()
            assert process.returncode in {0, -signal.SIGKILL}, server.stderr()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _first(secrets_: str) -> str:
    """Return the first secret of a setting, without its name."""
    return secrets_.split(",", maxsplit=1)[0].rpartition(":")[2]
