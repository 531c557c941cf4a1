"""Counters of this process, in memory until they are written: what came, and what was refused.

Counting is in the path of a callback and only adds to a number in memory; writing is not, and is
left to the thread that settles, once a second. A process that is killed loses the counts
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

WRITE_SECONDS: Final = 1.0
"""The seconds between two writings."""


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
        self._activity: dict[tuple[str, str, str], HourlyActivity] = {}
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

    def keep(self, readings: Sequence[Reading], results: Iterable[Kept | Exception]) -> None:
        """Count callbacks that are in the database now, those that were there before left out."""
        statuses: dict[tuple[str, str], int] = defaultdict(int)
        repeats: dict[str, int] = defaultdict(int)
        with self._lock:
            for reading, value in zip(readings, results, strict=True):
                if not isinstance(value, Kept) or value.was_there:
                    continue
                activity = self._count(reading.callback)
                if reading.outcome == "unreadable":
                    activity.unreadable += 1
                elif reports := reading.reports:
                    provider = reading.callback.provider
                    activity.reports += len(reports)
                    activity.last_report_at = later(
                        activity.last_report_at, reading.callback.received_at
                    )
                    for _, derived in reports:
                        statuses[provider, derived.status] += 1
                    if value.repeats:
                        activity.repeats += value.repeats
                        repeats[provider] += value.repeats
        self._metrics.reported(statuses, repeats)

    def _count(self, arrived: Callback) -> HourlyActivity:
        """Count a callback; return what came with it in its hour."""
        at = arrived.received_at
        if not self._begins <= at < self._ends:  # what arrives is mostly of the same hour
            self._begins = hour_begins(at)
            self._ends = self._begins + HOUR
            self._hour = hour_of(at)
        key = (self._hour, arrived.provider, arrived.account)
        activity = self._activity.get(key)
        if activity is None:
            activity = self._activity[key] = HourlyActivity()
        activity.callbacks += 1
        activity.last_callback_at = later(activity.last_callback_at, at)
        return activity

    def write(self, engine: Engine, *, at_once: bool = False) -> None:
        """Write the counts down, at most once a second unless `at_once`.

        What cannot be written now is kept for the next time.
        """
        now = time.monotonic()
        if now < self._due and not at_once:
            return
        self._due = now + WRITE_SECONDS
        with self._lock:
            refused, self._refused = self._refused, {}
            activity, self._activity = self._activity, {}
        if not (refused or activity):
            return

        def work(connection: Connection) -> bool:
            if refused:
                refusals.write(connection, refused)
            activity_rollup.write(
                connection, {ActivityKey(*key): of for key, of in activity.items()}
            )
            return True

        # Counts must not keep anybody from settling.
        if not self._attempt(lambda: transact(engine.execution_options(**DERIVED), work), False):
            self._put_back(refused, activity)

    def _put_back(
        self, refused: Refused, activity: dict[tuple[str, str, str], HourlyActivity]
    ) -> None:
        with self._lock:
            for key, times in refused.items():
                refusals.count(self._refused, key, times)
            for activity_key, more in activity.items():
                self._activity.setdefault(activity_key, HourlyActivity()).add(more)
