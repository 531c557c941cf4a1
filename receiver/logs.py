"""Logging: one structured line per event on stderr, for people on a terminal, logfmt elsewhere.

No phone number, message text, token, query string or body is ever logged.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

import structlog


class _Stderr:
    """Writes each line to what stderr is at that moment, so that nothing holds on to it."""

    def msg(self, line: str) -> None:
        """Write a line; where it cannot be written, the work it tells of goes on all the same."""
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


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
