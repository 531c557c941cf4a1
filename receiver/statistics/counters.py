"""What this process counted and has not written down yet: what came, and what was turned away.

Counting is in the path of a callback and only adds to a number in memory; writing is not, and is
left to the hand that settles (writer.py), once a second. A process that is killed loses the counts
of its last second, and of nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog

from receiver.database import DERIVED, Attempt, transact
from receiver.domain import EPOCH, HOUR, Kept
from receiver.statistics import activity_rollup, refusals
from receiver.statistics.activity_rollup import ActivityKey, HourlyActivity, later
from receiver.statistics.bangkok import hour_begins, hour_of
from receiver.statistics.refusals import Refusal, Refused, Times

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Engine

    from receiver.domain import Callback, Reading
    from receiver.statistics.instruments import Metrics


log = structlog.get_logger(__name__)

WRITE_EVERY: Final = 1.0
"""Seconds between two writings."""


class Counters:
    """Counts, from any thread; written once a second by one of them."""

    def __init__(self, metrics: Metrics) -> None:
        """`metrics` is where they are counted for Prometheus, too."""
        self.answered = metrics.answered
        self.probed = metrics.probed
        self.committed = metrics.committed
        self.delivered = metrics.delivered
        self._metrics = metrics
        self._refused: Refused = {}
        self._came: dict[tuple[str, str, str], HourlyActivity] = {}
        self._lock = threading.Lock()
        self._begins = self._ends = EPOCH
        self._hour = ""
        self._due = 0.0
        self._attempt = Attempt("counts not written, will try again")

    def refuse(self, provider: str, account: str, why: str, address: str) -> None:
        """Count a callback that was turned away now."""
        self._metrics.refused(provider, why)
        now = datetime.now(UTC)
        key = Refusal(hour_of(now), provider, account, why, address)
        with self._lock:
            refusals.count(self._refused, key, Times(1, now))

    def keep(self, readings: Sequence[Reading], kept: Iterable[Kept | Exception]) -> None:
        """Count callbacks that are in the database now, those that were there before left out."""
        statuses: dict[tuple[str, str], int] = defaultdict(int)
        repeats: dict[str, int] = defaultdict(int)
        with self._lock:
            for reading, value in zip(readings, kept, strict=True):
                if not isinstance(value, Kept) or value.was_there:
                    continue
                came = self._keep(reading.callback)
                if reading.outcome == "unreadable":
                    came.unreadable += 1
                elif reports := reading.reports:
                    provider = reading.callback.provider
                    came.reports += len(reports)
                    came.last_report_at = later(came.last_report_at, reading.callback.received_at)
                    for _, derived in reports:
                        statuses[provider, derived.status] += 1
                    if value.repeats:
                        came.repeats += value.repeats
                        repeats[provider] += value.repeats
        self._metrics.reported(statuses, repeats)

    def _keep(self, arrived: Callback) -> HourlyActivity:
        """Count a callback; return what came with it in its hour."""
        at = arrived.received_at
        if not self._begins <= at < self._ends:  # what arrives is mostly of the same hour
            self._begins = hour_begins(at)
            self._ends = self._begins + HOUR
            self._hour = hour_of(at)
        place = (self._hour, arrived.provider, arrived.account)
        came = self._came.get(place)
        if came is None:
            came = self._came[place] = HourlyActivity()
        came.callbacks += 1
        came.last_callback_at = later(came.last_callback_at, at)
        return came

    def write(self, engine: Engine, *, at_once: bool = False) -> None:
        """Write the counts down, at most once a second unless `at_once`.

        What cannot be written now is kept for the next time.
        """
        now = time.monotonic()
        if now < self._due and not at_once:
            return
        self._due = now + WRITE_EVERY
        with self._lock:
            refused, self._refused = self._refused, {}
            came, self._came = self._came, {}
        if not (refused or came):
            return

        def work(connection: Connection) -> bool:
            if refused:
                refusals.write(connection, refused)
            activity_rollup.write(
                connection, {ActivityKey(*place): of for place, of in came.items()}
            )
            return True

        # Counts must not keep anybody from settling.
        if not self._attempt(lambda: transact(engine.execution_options(**DERIVED), work), False):
            self._put_back(refused, came)

    def _put_back(self, refused: Refused, came: dict[tuple[str, str, str], HourlyActivity]) -> None:
        with self._lock:
            for key, times in refused.items():
                refusals.count(self._refused, key, times)
            for place, more in came.items():
                self._came.setdefault(place, HourlyActivity()).add(more)
