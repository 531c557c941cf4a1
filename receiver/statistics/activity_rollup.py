"""Roll-up of what came, by the Bangkok hour, provider and account: the table `activity_rollup`.

It answers "when did we last hear of them, and how much", which reports and messages could answer
only by reading many of them. Counts are added, times only move on: any number of writers may add.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func

from receiver.database import larger, upsert
from receiver.database.tables import ACTIVITIES, LAST_TIMES, activity_rollup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


def later(first: datetime | None, second: datetime | None) -> datetime | None:
    """Return the later time; None is earlier than all."""
    if first is None or second is None:
        return first or second
    return max(first, second)


class ActivityKey(NamedTuple):
    """What is counted in one row; `hour` is Bangkok's."""

    hour: str
    provider: str
    account: str


@dataclass(slots=True)
class HourlyActivity:
    """What came, and when last, in UTC."""

    callbacks: int = 0
    unreadable: int = 0
    reports: int = 0
    repeats: int = 0
    recorded: int = 0
    last_callback_at: datetime | None = None
    last_report_at: datetime | None = None
    last_recorded_at: datetime | None = None

    def add(self, other: HourlyActivity) -> None:
        """Add what came besides."""
        for name in ACTIVITIES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in LAST_TIMES:
            setattr(self, name, later(getattr(self, name), getattr(other, name)))


def write(connection: Connection, activity: Mapping[ActivityKey, HourlyActivity]) -> None:
    """Add to the table, in the caller's write transaction.

    In the order of the key, so that two who add to the same rows wait, and do not deadlock.
    """
    if not activity:
        return
    table, insert = activity_rollup.c, upsert(connection, activity_rollup)
    new, dialect = insert.excluded, connection.dialect
    sums: dict[str, Any] = {name: table[name] + new[name] for name in ACTIVITIES}
    # SQLite's max() of two is NULL where one is.
    times = {
        name: func.coalesce(larger(dialect, table[name], new[name]), table[name], new[name])
        for name in LAST_TIMES
    }
    statement = insert.on_conflict_do_update(
        index_elements=list(activity_rollup.primary_key), set_=sums | times
    )
    rows = [key._asdict() | asdict(activity[key]) for key in sorted(activity)]
    connection.execute(statement, rows)
