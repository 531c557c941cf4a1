"""Logging never holds anybody up, and never fills a disk by itself."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import structlog

from receiver.domain.callback import Callback
from receiver.domain.reading import Kept, Reading
from receiver.ingest import commit_log
from receiver.ingest.commit_log import CommitLog
from receiver.server import logs
from tests.kit.commands import TOKENS
from tests.kit.serving import READY_SECONDS, ROOT, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL: Final = Path("/dev/full")


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """Return a pipe of one page in which there is no room for a byte more."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(writer, False)
        try:
            while os.write(writer, b"." * 512 + b"\n"):
                pass
        except BlockingIOError:
            os.set_blocking(writer, True)
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def all_of(reader: int) -> str:
    os.set_blocking(reader, False)
    read = b""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            piece = os.read(reader, 65536)
        except BlockingIOError:
            if read.endswith(b"end\n"):
                break
            time.sleep(0.01)
        else:
            read += piece
            if not piece:
                break
    return read.decode()


# A stream that nobody drains.


def test_who_writes_never_waits_and_what_is_dropped_is_counted() -> None:
    structlog.reset_defaults()
    logs.configure()
    with full_pipe() as (reader, writer), os.fdopen(os.dup(writer), "w") as behind:
        stream = logs.QueuedStream(behind, "test", 3)
        before, sys.stderr = sys.stderr, stream
        try:
            for number in range(10):
                stream.write(f"line {number}\n")
            assert stream.dropped >= 6  # one may be with the thread
            os.read(reader, 65536)
            until = time.monotonic() + 10
            while stream.dropped and time.monotonic() < until:
                time.sleep(0.01)
            stream.write("end\n")
            stream.close_within(5)
        finally:
            sys.stderr = before
        read = all_of(reader)
    dropped = 7 if "line 2\n" in read and "line 3\n" not in read else 6
    assert re.search(rf'event="log lines dropped" lines={dropped}\n', read), read
    assert read.endswith("end\n")


def test_a_stream_that_never_moves_does_not_keep_the_process() -> None:
    with full_pipe() as (_, writer), os.fdopen(os.dup(writer), "w") as behind:
        stream = logs.QueuedStream(behind, "test", 3)
        stream.write("stuck")
        began = time.monotonic()
        stream.close_within(0.2)
        assert time.monotonic() - began < 60  # else for ever


def test_what_its_encoding_does_not_have_is_written_out(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="ascii") as behind:
        stream = logs.QueuedStream(behind, "test")
        stream.write("สวัสดี\n")
        stream.close_within(5)
    assert (tmp_path / "log").read_bytes().startswith(b"\\u0e2a")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("streams", "workers"),
    [
        (("full pipe", "full pipe"), 1),
        (("full", "full"), 1),
        (("closed", "closed"), 1),
        (("full pipe", "full pipe"), 2),
    ],
)
def test_serve_receives_whatever_its_streams_are(
    tmp_path: Path, streams: tuple[str, str], workers: int, request: pytest.FixtureRequest
) -> None:
    """Callbacks are answered, and SIGTERM ends it in time, though none of its lines is read."""
    settings = dict(TOKENS)
    if workers > 1:
        databases = request.getfixturevalue("databases")
        settings["RECEIVER_DATABASE_URL"] = databases.make("postgresql")
    port = free_port()
    shell = " ".join(f"{number}>&-" for number, kind in enumerate(streams, 1) if kind == "closed")
    command = [sys.executable, "-m", "receiver", "serve", "--port", port, "--workers", str(workers)]
    with full_pipe() as (_, writer):
        ends = {"full pipe": writer, "full": os.open(FULL, os.O_WRONLY)}
        started = subprocess.Popen(
            ["sh", "-c", f'exec "$@" {shell}', "sh", *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | settings,
            stdin=subprocess.DEVNULL,
            stdout=ends.get(streams[0], subprocess.DEVNULL),
            stderr=ends.get(streams[1], subprocess.DEVNULL),
        )
        try:
            token = TOKENS["RECEIVER_THAIBULKSMS_TOKENS"].split(",")[0].rpartition(":")[2]
            url = f"http://127.0.0.1:{port}/callbacks/thaibulksms/{token}"
            wait_for(f"http://127.0.0.1:{port}/healthz", started)
            for number in range(50):
                query = f"Transaction=t{number}&Status=delivered&Time=2026-11-28+10:00:00"
                with urllib.request.urlopen(f"{url}?{query}", timeout=20) as answer:
                    assert answer.status == 200
            started.send_signal(signal.SIGTERM)
            assert started.wait(20) == 0
        finally:
            os.close(ends["full"])
            started.kill()
            started.wait()


def free_port() -> str:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def wait_for(url: str, started: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_SECONDS
    while True:
        assert started.poll() is None, started.returncode
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)


# Commands.


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_a_command_says_that_its_output_is_lost(tmp_path: Path) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "receiver", "urls"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | TOKENS,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"receiver: Something went wrong: No space left on device: ")
    assert done.stderr.count(b"\n") == 1


def test_a_closed_stream_is_no_databases_number(tmp_path: Path) -> None:
    """With stderr closed the next file opened would be descriptor 2, and be written into."""
    code = (
        "import os, sys\nfrom receiver.cli.run import open_closed_streams\nopen_closed_streams()\n"
        "file = open('data', 'w')\nassert file.fileno() > 2, file.fileno()\n"
        "print('x', file=sys.stderr)\nos.write(1, b'done')\n"
    )
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" 2>&- <&-', sys.executable, code],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"done")
    assert (tmp_path / "data").read_text() == ""


# What is kept, in few lines.


def test_kept_callbacks_are_told_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("receiver.ingest.commit_log.time.monotonic", lambda: clock[0])
    structlog.reset_defaults()
    monkeypatch.setattr(commit_log, "log", structlog.get_logger())
    with structlog.testing.capture_logs() as lines:
        commits = CommitLog()
        commits.add([reading("ants")], [Kept(id="first")], 0.001, spooled=False)
        for number in range(120):
            clock[0] += 1 / 128  # which is exact
            seconds = 0.25 if number == 7 else 0.002
            commits.add(
                [reading("ants"), reading("ants"), reading("thaibulksms"), reading("ants")],
                [Kept(id="a"), Kept(id="b", repeats=1), Kept(id="c"), ValueError()],
                seconds,
                spooled=False,
            )
        assert len(lines) == 2
        commits.write()
        assert len(lines) == 2
        clock[0] += 1
        commits.write()
        commits.write()
        commits.add([reading("ants")], [Kept(id="z")], 0.5, spooled=True)
        commits.add([reading("ants")], [ValueError()], 0.5, spooled=False)
        commits.add([reading("ants")], [Kept(id="y")], 0.5, spooled=False)
        assert len(lines) == 5
        commits.write(at_once=True)
        commits.write(at_once=True)
    names = "event", "provider", "callbacks", "repeats", "commits", "ms"
    told = [tuple(line[name] for name in names) for line in lines]
    assert told == [
        ("kept", "ants", 1, 0, 1, 1.0),
        ("kept", "thaibulksms", 1, 0, 1, 2.0),
        ("kept", "ants", 240, 120, 120, 250.0),
        ("kept", "thaibulksms", 119, 0, 119, 250.0),
        ("kept in the spool", "ants", 1, 0, 1, 500.0),
        ("kept", "ants", 1, 0, 1, 500.0),
    ]
    assert [line.get("callback") for line in lines] == ["first", "c", None, None, "z", "y"]


def reading(provider: str) -> Reading:
    return Reading(
        callback=Callback(
            provider=provider, account="", method="GET", query="", content_type="", body=b""
        ),
        outcome="read",
    )


def test_a_flood_of_callbacks_is_few_lines_and_all_are_in_them(tmp_path: Path) -> None:
    with serving(folder=tmp_path) as server:
        url = f"{server.url}/callbacks/thaibulksms/{server.tokens['thaibulksms']}"
        began = time.monotonic()
        for number in range(200):
            query = f"Transaction=t{number}&Status=delivered&Time=2026-11-28+10:00:00"
            with urllib.request.urlopen(f"{url}?{query}", timeout=20) as answer:
                assert answer.status == 200
        seconds = time.monotonic() - began
        server.stop()
        lines = [line for line in server.stderr().splitlines() if "event=kept " in line]
    assert len(lines) <= seconds + 2
    counts = [re.search(r"callbacks=([0-9]+)", line) for line in lines]
    assert sum(int(found[1]) for found in counts if found) == 200
