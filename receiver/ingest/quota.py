"""How many bytes of unreadable bodies a day keeps whole: who has a token cannot fill the disk.

For each provider and account, by the days of a zone. Past it the head of a body is kept, with its
length and a digest of the whole, so that it is seen, counted and told from others; a body no longer
than a head is always kept. Bytes that are there already cost nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, tzinfo
from typing import TYPE_CHECKING, Final

from receiver.domain import BusyError, Kept, Reading, Whole
from receiver.ingest.store import unreadable_bytes, unreadable_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection


LIMIT: Final = 256 * 1024 * 1024
"""Bytes: a day on which not one of 600,000 callbacks of 400 bytes can be read stays below it."""
HEAD: Final = 4096
"""The bytes that are kept of a body for which there is no room."""
ASK_EVERY: Final = 60.0
"""The seconds after which the database is asked anew: other receivers keep bodies there, too."""


@dataclass(slots=True)
class _Used:
    """What one account used of its day, and when the database was last asked, on a clock."""

    day: datetime
    size: int = 0
    asked_at: float = float("-inf")


class Quota:
    """The bytes that each account has left today. Used by one thread; `clock` never steps."""

    def __init__(self, limit: int, zone: tzinfo, clock: Callable[[], float]) -> None:
        self.limit = limit
        self.zone = zone
        self.clock = clock
        self._used: dict[tuple[str, str], _Used] = {}

    def fit(
        self, readings: Sequence[Reading], ask: Callable[[Callable[[Connection], int]], int] | None
    ) -> list[Reading]:
        """Return the readings, unreadable ones without the room they do not have.

        `ask` runs work in a transaction; None where no database can be asked.
        """
        wanted: dict[tuple[str, str], int] = {}
        fitted = []
        for reading in readings:
            arrived = reading.callback
            if reading.outcome != "unreadable" or len(arrived.body) <= HEAD:
                fitted.append(reading)
                continue
            account = (arrived.provider, arrived.account)
            used = self._today(account, arrived.received_at, ask)
            total = used.size + wanted.get(account, 0) + len(arrived.body)
            if total > self.limit:
                fitted.append(cut(reading))
            else:
                wanted[account] = wanted.get(account, 0) + len(arrived.body)
                fitted.append(reading)
        return fitted

    def count(self, readings: Sequence[Reading], results: Sequence[Kept | Exception]) -> None:
        """Count what was kept; bytes that were there before cost nothing."""
        for reading, one in zip(readings, results, strict=True):
            arrived = reading.callback
            new = isinstance(one, Kept) and one.id == arrived.id and not one.was_there
            used = self._used.get((arrived.provider, arrived.account))
            if new and used is not None and reading.outcome == "unreadable":
                used.size += len(arrived.body)

    def _today(
        self,
        account: tuple[str, str],
        now: datetime,
        ask: Callable[[Callable[[Connection], int]], int] | None,
    ) -> _Used:
        day = datetime.combine(now.astimezone(self.zone).date(), time(), self.zone).astimezone(UTC)
        used = self._used.get(account)
        if used is None or used.day < day:
            used = self._used[account] = _Used(day)
        if ask is not None and self.clock() - used.asked_at >= ASK_EVERY:
            used.size = ask(lambda connection: unreadable_bytes(connection, *account, used.day))
            used.asked_at = self.clock()
        return used


def cut(reading: Reading) -> Reading:
    """Return a reading of which the head is kept, and what tells it from others."""
    body = reading.callback.body
    why = (
        f"Too many bytes of this account could not be read today, so of this body of {len(body)}"
        f" bytes only the first {HEAD} are kept; its SHA-256 is {hashlib.sha256(body).hexdigest()}."
    )
    return replace(
        reading,
        callback=replace(reading.callback, body=body[:HEAD]),
        error=f"{why} {reading.error or ''}".rstrip(),
        whole=Whole(size=len(body), digest=unreadable_digest(reading.callback)),
    )


def refuse_cut(reading: Reading) -> BusyError | None:
    """Return why a reading is not spooled; None where it may be.

    What comes out of the spool is read again, and half a body may read as something else. Who
    hears that it was not kept sends it again.
    """
    if reading.whole is None:
        return None
    return BusyError("Too many bytes that could not be read wait in the spool.")
