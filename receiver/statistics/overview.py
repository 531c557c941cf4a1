"""Overview for the operator's first page: sums of the roll-ups, and of what few rows hold.

Hours are Bangkok's, as in the roll-ups. No figure here reads the messages themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select, text

from receiver.database import provider_activity
from receiver.database.tables import NOT_READ, callback, delivery_report, delivery_rollup
from receiver.domain import DELIVERY_TIMES, GROUPS, HOUR
from receiver.statistics.bangkok import hour_begins, hour_of
from receiver.statistics.groups import delivery_rate, submitted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, FromClause


Counts = dict[str, int]

COUNTED_MAX: Final = 10_000
"""Rows of a kind that are counted at most; more are "10,000+"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """Messages by the hour in which they were sent, and how soon half and 95 % of them arrived."""

    begins: datetime
    counts: Counts
    median: int | None
    p95: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCounts:
    """What became of the messages of one provider and account; `rate` is between 0 and 1."""

    provider: str
    account: str
    counts: Counts
    submitted: int
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """When a provider, or an account, was last heard of, and what came of late; times are UTC."""

    provider: str
    account: str
    last_callback_at: datetime | None
    last_report_at: datetime | None
    last_recorded_at: datetime | None
    callbacks_hour: int
    callbacks_day: int
    refused_hour: int
    refused_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything that is counted; `unmatched` and `unreadable` no further than COUNTED_MAX."""

    since: datetime
    lines: Sequence[AccountCounts]
    hours: Sequence[Hour]
    contacts: Sequence[Contact]
    unmatched: int
    unreadable: int


def glance(
    connection: Connection, now: datetime, window: timedelta, charted: timedelta
) -> Overview:
    """Count what was sent and received in a window before `now`, and hour by hour in `charted`.

    Both begin at a full hour of Bangkok's clocks; all times are aware.
    """
    since, first = hour_begins(now - window), hour_begins(now - charted)
    return Overview(
        since=since,
        lines=list(_account_counts(connection, since)),
        hours=list(_hours(connection, first, now)),
        contacts=_contacts(connection),
        unmatched=_unmatched(connection, since),
        unreadable=_unreadable(connection, since),
    )


def _sums(*names: str) -> list[Any]:
    return [func.sum(delivery_rollup.c[name]).label(name) for name in names]


def _account_counts(connection: Connection, since: datetime) -> Iterator[AccountCounts]:
    table = delivery_rollup.c
    statement = (
        select(table.provider, table.account, *_sums(*GROUPS))
        .where(table.hour >= hour_of(since))
        .group_by(table.provider, table.account)
        .order_by(table.provider, table.account)
    )
    for row in connection.execute(statement).mappings():
        counts = {name: int(row[name]) for name in GROUPS}
        if number := submitted(counts):
            yield AccountCounts(
                provider=row["provider"],
                account=row["account"],
                counts=counts,
                submitted=number,
                rate=delivery_rate(counts),
            )


def _hours(connection: Connection, first: datetime, now: datetime) -> Iterator[Hour]:
    """Return every hour up to now, those without messages too."""
    table = delivery_rollup.c
    statement = (
        select(table.hour, *_sums(*GROUPS, "timed", *DELIVERY_TIMES.names))
        .where(table.hour >= hour_of(first))
        .group_by(table.hour)
    )
    rows = {str(row["hour"]): row for row in connection.execute(statement).mappings()}
    begins = first
    while begins <= now:
        row: Mapping[Any, Any] = rows.get(hour_of(begins), {})
        yield Hour(
            begins=begins,
            counts={name: int(row.get(name) or 0) for name in GROUPS},
            median=DELIVERY_TIMES.percentile(row, 1, 2),
            p95=DELIVERY_TIMES.percentile(row, 19, 20),
        )
        begins += HOUR


def _contacts(connection: Connection) -> Sequence[Contact]:
    table = provider_activity.c
    contacts = select(*(table[one.name] for one in fields(Contact)))
    rows = connection.execute(contacts.order_by(table.provider, table.account)).mappings()
    return [Contact(**row) for row in rows]


def _unmatched(connection: Connection, since: datetime) -> int:
    table = delivery_report.c
    statement = select(table.id).where(table.sent_message_id.is_(None), table.received_at >= since)
    return _counted(connection, statement.limit(COUNTED_MAX + 1).subquery())


def _unreadable(connection: Connection, since: datetime) -> int:
    statement = select(callback.c.id).where(text(NOT_READ), callback.c.received_at >= since)
    return _counted(connection, statement.limit(COUNTED_MAX + 1).subquery())


def _counted(connection: Connection, rows: FromClause) -> int:
    return connection.execute(select(func.count()).select_from(rows)).scalar_one()
