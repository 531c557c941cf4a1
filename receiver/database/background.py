"""Background work: a thread that does it now and then, and says once that it fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

import structlog

from receiver.database.failures import reason

if TYPE_CHECKING:
    from collections.abc import Callable


log = structlog.get_logger(__name__)
T = TypeVar("T")


class Attempt:
    """Work that may fail and is tried again: of failures in a row the first is logged.

    `failure` is the log line's event, such as "purging failed, will try again".
    """

    def __init__(self, failure: str) -> None:
        self.failure = failure
        self.is_failing = False

    def __call__(self, work: Callable[[], T], otherwise: T) -> T:
        """Do the work and return what it returns, or `otherwise` where it raises anything."""
        try:
            done = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live to try again
            if not self.is_failing:
                log.warning(self.failure, reason=reason(error))
            self.is_failing = True
            return otherwise
        self.is_failing = False
        return done


class Background:
    """A thread that does work every `seconds`, until it is stopped or the process ends.

    `last` is done in it at the end, so that whoever stops it waits no longer than it wants to.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        seconds: float,
        failure: str,
        last: Callable[[], object] = lambda: None,
    ) -> None:
        self.stopping = threading.Event()
        """Set when it is to stop; work that takes long looks at it."""
        self._work = work
        self._last = last
        self._after = 0.0
        self._seconds = seconds
        self._attempt = Attempt(failure)
        # A daemon: what a database holds up must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, after: float = 0.0) -> None:
        """Do the work for the first time after so many seconds, then every `seconds`."""
        self._after = after
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Let the thread end, and wait for it so long."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        wait = self._after
        while not self.stopping.wait(wait):
            self._attempt(self._work, None)
            wait = self._seconds
        self._last()
