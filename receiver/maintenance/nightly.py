"""Nightly retention: one receiver at a time deletes what is old."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import select, update

from receiver.database import READ, Background, transact
from receiver.database.tables import receiver_state
from receiver.maintenance.retention import LOOK_EVERY, STOP_SECONDS, Limits, purge

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Engine

    from receiver.settings import Settings


log = structlog.get_logger(__name__)
NIGHT: Final = 3
"""The hour, by RECEIVER_TIMEZONE, from which on `serve` deletes."""
LEASE: Final = timedelta(minutes=10)
"""After so long without a sign of life another receiver goes on."""


class Nightly:
    """The thread in which `serve` follows the settings, one receiver of a database at a time."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self._background = Background(
            "purge", self.look, LOOK_EVERY, "purging failed, will try again"
        )
        self._stopping = self._background.stopping

    def start(self) -> None:
        """Look from now on; where nothing ever goes, do not even that."""
        if Limits.set(self.settings, datetime.now(UTC)):
            self._background.start()

    def stop(self) -> None:
        """Stop after the portion under way."""
        self._background.stop(STOP_SECONDS)

    def look(self) -> None:
        """Delete what is to go, if it is night and nobody else does it."""
        now = datetime.now(UTC)
        if not self.claim(now):
            return
        began, said = time.monotonic(), time.monotonic()

        def sign(_rows: int) -> None:
            nonlocal said
            if time.monotonic() - said > LOOK_EVERY:
                said = time.monotonic()
                self._wait_until(datetime.now(UTC) + LEASE)

        limits = Limits.set(self.settings, now)
        gone = purge(self.engine, limits, progress=sign, stopping=self._stopping)
        if self._stopping.is_set():
            self._wait_until(now)
            return
        self._wait_until(self.night(now))
        if gone.total():
            log.info("purged", **gone, seconds=round(time.monotonic() - began, 1))

    def night(self, now: datetime) -> datetime:
        """Return when the next night's work begins, in UTC."""
        here = now.astimezone(self.settings.timezone)
        begins = here.replace(hour=NIGHT, minute=0, second=0, microsecond=0)
        if begins <= here:
            begins += timedelta(days=1)
        return begins.astimezone(UTC)

    def claim(self, now: datetime) -> bool:
        """Take tonight's work, where it is due and nobody has; say whether it is ours."""
        after = receiver_state.c.purge_after
        with self.engine.execution_options(**READ).connect() as connection:
            due = connection.execute(select(after)).scalar_one()
        if due is None:
            self._wait_until(self.night(now), where=after.is_(None))
            return False
        return due <= now and self._wait_until(now + LEASE, where=after == due)

    def _wait_until(self, at: datetime, where: ColumnElement[bool] | None = None) -> bool:
        """Write down when somebody is to look again; say whether it was still to be written."""
        statement = update(receiver_state).values(purge_after=at)
        if where is not None:
            statement = statement.where(where)
        return transact(self.engine, lambda c: c.execute(statement).rowcount) == 1
