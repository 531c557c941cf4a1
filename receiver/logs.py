"""Logging: one structured line per event on stderr, for people on a terminal, logfmt elsewhere.

No phone number, message text, token, query string or body is ever logged.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure() -> None:
    """Set up logging for a process that serves."""
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
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # uvicorn's lines repeat ours, and its errors hold what strangers sent.
    uvicorn = logging.getLogger("uvicorn")
    uvicorn.addHandler(logging.NullHandler())
    uvicorn.propagate = False
