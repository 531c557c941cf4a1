"""Hours and days of Bangkok's clocks, which roll-ups are counted by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from receiver.database.tables import sent_message
from receiver.domain import BANGKOK, EPOCH, HOUR

if TYPE_CHECKING:
    from sqlalchemy import Connection


FIRST: Final = EPOCH - BANGKOK.utcoffset(None)
"""When the hour with the number 0 began: midnight in Bangkok on 1 January 1970."""


def moment(value: Any) -> datetime:
    """Return a time as Python has it; SQLite's is text where a statement is not SQLAlchemy's."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def hour_begins(at: datetime) -> datetime:
    """Return when the hour began that an aware time is in."""
    return at - (at - EPOCH) % HOUR


def hour_of(at: datetime) -> str:
    """Return the hour of Bangkok's clocks that an aware time is in, as the tables have it.

    17:30 UTC on 20 November is in `2026-11-21 00:00:00`. PostgreSQL reads it as a timestamp.
    """
    local = at.astimezone(BANGKOK).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    return local.isoformat(" ")


def hour_number(at: datetime) -> int:
    """Return how many hours of Bangkok's clocks have passed since 1970 began there."""
    return (at - FIRST) // HOUR


def numbered(hour: int) -> datetime:
    """Return when the hour with this number begins, as Bangkok's clocks show it."""
    return (FIRST + hour * HOUR).astimezone(BANGKOK)


def read_hour(value: Any) -> datetime:
    """Return when an hour of the tables began; PostgreSQL's is a time without a zone."""
    return datetime.fromisoformat(str(value)).replace(tzinfo=BANGKOK).astimezone(UTC)


def next_hour(connection: Connection, before: datetime | None) -> datetime | None:
    """Return when the next hour begins that still has messages, in UTC; None: the first one."""
    table = sent_message.c
    first = select(func.min(table.sent_at)).where(table.rollup_id.is_not(None))
    if before is not None:
        first = first.where(table.sent_at >= before + HOUR)
    sent_at = connection.execute(first).scalar_one()
    return None if sent_at is None else hour_begins(sent_at)


def last_hour(connection: Connection, before: datetime) -> datetime | None:
    """Return when the last hour before a time began of which messages are counted, in UTC."""
    table = sent_message.c
    counted = table.rollup_id.is_not(None), table.sent_at < before
    sent_at = connection.execute(select(func.max(table.sent_at)).where(*counted)).scalar_one()
    return None if sent_at is None else hour_begins(sent_at)
