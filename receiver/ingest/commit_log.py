"""Log lines about commits of callbacks: at most one a second for each provider and store.

A line for each callback would cost a tenth of the whole work and overrun system journals, which
drop what comes too fast; a line for each commit is some 2 GB a day at 120 messages a second.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from receiver.domain import Kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.domain import Reading


log = structlog.get_logger(__name__)

LINE_SECONDS: Final = 1.0
"""Seconds at least between two lines on one provider."""


@dataclass(slots=True)
class _Untold:
    """What was kept of one provider in one store since the last line, and when that was."""

    told_at: float = float("-inf")
    commits: int = 0
    callbacks: int = 0
    reports: int = 0
    repeats: int = 0
    slowest: float = 0.0
    last: tuple[str, str] = "", ""


class CommitLog:
    """Counts commits, and writes them to the log; any thread may use it.

    The first callback after a quiet second is told at once, with its id; what comes within a second
    of a line is told together by `write`, which is to be called now and then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._untold: dict[tuple[str, bool], _Untold] = {}

    def add(
        self,
        readings: Sequence[Reading],
        values: Sequence[Kept | Exception],
        seconds: float,
        *,
        spooled: bool,
    ) -> None:
        """Count a commit and what came of each reading; it took `seconds`."""
        providers = set()
        with self._lock:
            for reading, kept in zip(readings, values, strict=True):
                if not isinstance(kept, Kept):
                    continue
                callback = reading.callback
                key = callback.provider, spooled
                untold = self._untold.get(key) or self._untold.setdefault(key, _Untold())
                untold.callbacks += 1
                untold.reports += len(reading.reports)
                untold.repeats += kept.repeats
                untold.last = str(kept.id), callback.account
                providers.add(key)
            for key in providers:
                untold = self._untold[key]
                untold.commits += 1
                untold.slowest = max(untold.slowest, seconds)
        self.write()

    def write(self, *, at_once: bool = False) -> None:
        """Write what is due, a second after the line before it, or all `at_once`."""
        now = time.monotonic()
        with self._lock:
            due = {
                key: untold
                for key, untold in self._untold.items()
                if untold.callbacks and (at_once or now - untold.told_at >= LINE_SECONDS)
            }
            for key in due:
                self._untold[key] = _Untold(told_at=now)
        for (provider, spooled), untold in sorted(due.items()):
            callback, account = untold.last
            log.info(
                "kept in the spool" if spooled else "kept",
                provider=provider,
                callbacks=untold.callbacks,
                reports=untold.reports,
                repeats=untold.repeats,
                commits=untold.commits,
                ms=round(untold.slowest * 1000, 1),  # of the slowest commit
                **({"callback": callback, "account": account} if untold.callbacks == 1 else {}),
            )
