"""Nightly retention: one receiver at a time deletes what is old."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import select, update

from receiver.database import READ, Background, transact
from receiver.database.tables import receiver_state
from receiver.maintenance.retention import CHECK_SECONDS, STOP_SECONDS, Limits, purge

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Engine

    from receiver.settings import Settings


log = structlog.get_logger(__name__)
NIGHT_HOUR: Final = 3
"""The hour of the day, by RECEIVER_TIMEZONE, from which on `serve` deletes."""
LEASE: Final = timedelta(minutes=10)
"""How long a receiver owns tonight's work after each renewal; then another may go on with it."""


class Nightly:
    """The thread in which `serve` follows the settings, one receiver of a database at a time."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self._background = Background(
            "purge", self.run_if_due, CHECK_SECONDS, "purging failed, will try again"
        )
        self._stopping = self._background.stopping

    def start(self) -> None:
        """Check from now on whether it is night; not even that where no limit is set."""
        if Limits.set(self.settings, datetime.now(UTC)):
            self._background.start()

    def stop(self) -> None:
        """Stop after the portion under way."""
        self._background.stop(STOP_SECONDS)

    def run_if_due(self) -> None:
        """Delete what is past its limits, if it is night and no other receiver does it."""
        now = datetime.now(UTC)
        if not self.claim(now):
            return
        began, renewed_at = time.monotonic(), time.monotonic()

        def renew(_rows: int) -> None:
            nonlocal renewed_at
            if time.monotonic() - renewed_at > CHECK_SECONDS:
                renewed_at = time.monotonic()
                self._wait_until(datetime.now(UTC) + LEASE)

        limits = Limits.set(self.settings, now)
        deleted = purge(self.engine, limits, progress=renew, stopping=self._stopping)
        if self._stopping.is_set():
            self._wait_until(now)
            return
        self._wait_until(self.night(now))
        if deleted.total():
            log.info("purged", **deleted, seconds=round(time.monotonic() - began, 1))

    def night(self, now: datetime) -> datetime:
        """Return when the next night's work begins, in UTC; `now` is aware."""
        local = now.astimezone(self.settings.timezone)
        begins = local.replace(hour=NIGHT_HOUR, minute=0, second=0, microsecond=0)
        if begins <= local:
            begins += timedelta(days=1)
        return begins.astimezone(UTC)

    def claim(self, now: datetime) -> bool:
        """Take the lease on tonight's work, where it is due and free; False where it is not ours.

        `now` is aware.
        """
        after = receiver_state.c.purge_after
        with self.engine.execution_options(**READ).connect() as connection:
            due = connection.execute(select(after)).scalar_one()
        if due is None:
            self._wait_until(self.night(now), where=after.is_(None))
            return False
        return due <= now and self._wait_until(now + LEASE, where=after == due)

    def _wait_until(self, at: datetime, where: ColumnElement[bool] | None = None) -> bool:
        """Store when the next check is due; False where the condition no longer holds."""
        statement = update(receiver_state).values(purge_after=at)
        if where is not None:
            statement = statement.where(where)
        return transact(self.engine, lambda c: c.execute(statement).rowcount) == 1
