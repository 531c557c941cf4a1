"""Hours and days of Bangkok's clocks, which roll-ups are counted by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from receiver.database.tables import sent_message

if TYPE_CHECKING:
    from sqlalchemy import Connection


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
BANGKOK: Final = EPOCH - timedelta(hours=7)
"""When the first of the hours that are counted here began: midnight in Bangkok."""
HOUR: Final = timedelta(hours=1)
MILLISECOND: Final = timedelta(milliseconds=1)


def moment(value: Any) -> datetime:
    """Return a time as Python has it; SQLite's is text where a statement is not SQLAlchemy's."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def shown(hour: datetime) -> str:
    """Return an hour of Bangkok's clocks as the table has it; PostgreSQL reads it, too."""
    return hour.replace(tzinfo=None).isoformat(" ", "seconds")


def next_hour(connection: Connection, before: datetime | None) -> datetime | None:
    """Return when the next hour begins that still has messages, in UTC; None: the first one."""
    table = sent_message.c
    first = select(func.min(table.sent_at)).where(table.rollup_id.is_not(None))
    if before is not None:
        first = first.where(table.sent_at >= before + HOUR)
    found = connection.execute(first).scalar_one()
    return None if found is None else found - (found - BANGKOK) % HOUR


def last_hour(connection: Connection, before: datetime) -> datetime | None:
    """Return when the last hour before a time began of which messages are counted, in UTC."""
    table = sent_message.c
    counted = table.rollup_id.is_not(None), table.sent_at < before
    found = connection.execute(select(func.max(table.sent_at)).where(*counted)).scalar_one()
    return None if found is None else found - (found - BANGKOK) % HOUR
