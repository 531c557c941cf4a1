"""Logging: one structured line per event on stderr, for people on a terminal, logfmt elsewhere.

No phone number, message text, token, query string or body is ever logged. While `serve` runs its
standard streams are queues with a thread behind them (`never_waiting`): nobody may drain a pipe, a
terminal may be stopped and a disk full, and callbacks are received all the same.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import select
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator


MAX_QUEUED_WRITES: Final = 5_000
"""Writes, mostly one line each, that may wait for a stream; one more is dropped and counted."""
DROPPED_LOG_SECONDS: Final = 1.0
"""Seconds between two log lines on how many lines were dropped."""
CLOSE_SECONDS: Final = 1.0
"""Seconds that the end of the process waits for what is still queued."""

log = structlog.get_logger(__name__)


class _Stderr:
    """Writes each line to what stderr is at that moment, so that nothing holds on to it."""

    def msg(self, line: str) -> None:
        """Write a line; where it cannot be written, the work it tells of goes on all the same."""
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


class QueuedStream(io.TextIOBase):
    """A text stream whose writer never waits: a thread writes, and what is too much is dropped.

    It writes to the descriptor itself: a thread that is stuck in a buffered stream holds that
    stream's lock, on which Python waits when the process ends.
    """

    def __init__(self, stream: io.TextIOBase, name: str, most: int = MAX_QUEUED_WRITES) -> None:
        super().__init__()
        self.dropped = 0
        """Writes that were dropped, or failed, since the last log line that told of them."""
        self._encoding = stream.encoding or "utf-8"
        self._descriptor = stream.fileno()
        self._is_terminal = stream.isatty()
        self._tell_at = 0.0
        self._queue: queue.Queue[bytes | None] = queue.Queue(most)
        self._thread = threading.Thread(target=self._drain, name=name, daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Queue a text; drop it where too much waits already."""
        try:
            self._queue.put_nowait(text.encode(self._encoding, "backslashreplace"))
        except queue.Full:
            self.dropped += 1
        return len(text)

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def isatty(self) -> bool:
        """Say whether a person sees it."""
        return self._is_terminal

    def fileno(self) -> int:
        """Return the descriptor behind it."""
        return self._descriptor

    def close_within(self, seconds: float) -> None:
        """Write what is queued, unless it takes longer; then that is left."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=seconds)
            self._thread.join(seconds)

    def _drain(self) -> None:
        while (data := self._queue.get()) is not None:
            try:
                self._write(data)
            except OSError:  # no space, nobody reads it any more
                self.dropped += 1
                continue
            if self.dropped and time.monotonic() >= self._tell_at:
                self._tell_at = time.monotonic() + DROPPED_LOG_SECONDS
                dropped, self.dropped = self.dropped, 0
                log.warning("log lines dropped", lines=dropped)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody who shares the stream made it so
                select.select([], [self._descriptor], [])


@contextmanager
def never_waiting() -> Iterator[None]:
    """Let nobody who writes to stdout or stderr wait for whoever reads them, while this is open."""
    before = sys.stdout, sys.stderr
    queued = []
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        with suppress(OSError, ValueError):  # a stream of a test's has no descriptor
            if isinstance(stream, io.TextIOBase):
                stream.flush()
                queued.append(QueuedStream(stream, name))
                setattr(sys, name, queued[-1])
    try:
        yield
    finally:
        for one in queued:
            one.close_within(CLOSE_SECONDS)
        sys.stdout, sys.stderr = before


def configure() -> None:
    """Set up logging for a process that keeps callbacks or reads them again."""
    terminal = sys.stderr.isatty()
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if terminal:
        processors.append(structlog.dev.ConsoleRenderer())
    else:
        processors.append(
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=True,
    )
    # What libraries log themselves: uvicorn's lines repeat ours, and warnings of parsers hold what
    # strangers sent.
    logging.getLogger().addHandler(logging.NullHandler())
