"""Backlog of settling: how many rows wait, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    func,
    select,
)

from receiver.database import DatabaseNow
from receiver.database.tables import delivery_report, sent_message

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_WAITING: Final = 1_000_000
"""Rows that are counted at most to say how many wait to be settled."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows that wait to be settled: how many of each kind, and the oldest's age in seconds.

    Of each kind no more than WAITING_MAX are looked at.
    """

    messages: int
    reports: int
    oldest_seconds: float | None


def waiting(connection: Connection) -> Waiting:
    """Count what waits to be settled."""
    counts, oldest = [], []
    for table, arrived in (
        (sent_message.c, sent_message.c.recorded_at),
        (delivery_report.c, delivery_report.c.received_at),
    ):
        first_ones = (
            select(arrived.label("arrived"))
            .where(table.settled_at.is_(None))
            .order_by(table.id)
            .limit(MAX_WAITING)
            .subquery()
        )
        count, first = connection.execute(
            select(func.count(), func.min(first_ones.c.arrived))
        ).one()
        counts.append(count)
        oldest += [first] if first is not None else []
    now = connection.execute(select(DatabaseNow())).scalar_one()
    age = max(0.0, (now - min(oldest)).total_seconds()) if oldest else None
    return Waiting(counts[0], counts[1], age)
