"""Gauges for /metrics from the database, which cost no more however much it holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import func, or_, select, text

from receiver.database import DatabaseNow, provider_activity, time_limit
from receiver.database.tables import (
    LAST_TIMES,
    UNFINISHED_ONLY,
    delivery_report,
    sent_message,
)
from receiver.monitoring.alarms import store
from receiver.outbound import store as outbound_store
from receiver.providers import PROVIDERS
from receiver.settling import backlog
from receiver.statistics import OTHER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection


GAUGES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "receiver_waiting_rows": ("Rows that wait to be settled.", ("kind",)),
    "receiver_waiting_oldest_seconds": ("Age of the oldest row that waits to be settled.", ()),
    "receiver_unfinished_oldest_seconds": ("Age of the oldest message that is not final.", ()),
    "receiver_unmatched_reports": (
        "Reports of the last 24 hours without a message; counted up to 10,000.",
        ("provider",),
    ),
    "receiver_last_callback_timestamp_seconds": ("When the last callback came.", ("provider",)),
    "receiver_last_report_timestamp_seconds": ("When the last report came.", ("provider",)),
    "receiver_last_recorded_timestamp_seconds": (
        "When a message was last recorded.",
        ("provider",),
    ),
    "receiver_events_lag_seconds": (
        "Age of the oldest change that a destination was not told of.",
        ("destination",),
    ),
    "receiver_events_sent": ("Messages that a destination has taken.", ("destination",)),
    "receiver_events_failed": ("Requests that a destination has not taken.", ("destination",)),
    "receiver_events_set_aside": ("Messages that a destination refused.", ("destination",)),
    "receiver_alarm": ("Alarms that were raised at the last look.", ("name", "provider")),
}
UNMATCHED_SINCE: Final = timedelta(days=1)
UNMATCHED_MAX: Final = 10_000


class Figure(NamedTuple):
    """One value of a gauge, with the values of its labels."""

    name: str
    labels: tuple[str, ...]
    value: float


def read(connection: Connection) -> list[Figure]:
    """Return the values of all gauges; one without a value is left out."""
    with time_limit.limited(connection):
        now = connection.execute(select(DatabaseNow())).scalar_one()
        return [
            *_waiting(connection),
            *_unfinished(connection, now),
            *_unmatched(connection, now),
            *_last(connection),
            *_destinations(connection),
            *_alarms(connection),
        ]


def _waiting(connection: Connection) -> Iterator[Figure]:
    waiting = backlog.waiting(connection)
    yield Figure("receiver_waiting_rows", ("message",), waiting.messages)
    yield Figure("receiver_waiting_rows", ("report",), waiting.reports)
    yield Figure("receiver_waiting_oldest_seconds", (), waiting.oldest_seconds or 0)


def _unfinished(connection: Connection, now: datetime) -> Iterator[Figure]:
    table = sent_message.c
    first = (
        select(table.sent_at)
        .where(
            text(UNFINISHED_ONLY),
            or_(table.error.is_(None), table.report_id.is_not(None)),
        )
        .order_by(table.sent_at)
        .limit(1)
    )
    oldest = connection.execute(first).scalar()
    age = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    yield Figure("receiver_unfinished_oldest_seconds", (), age)


def _unmatched(connection: Connection, now: datetime) -> Iterator[Figure]:
    table = delivery_report.c
    newest = (
        select(table.provider)
        .where(table.sent_message_id.is_(None), table.received_at >= now - UNMATCHED_SINCE)
        .order_by(table.received_at.desc())
        .limit(UNMATCHED_MAX)
        .subquery()
    )
    counted = select(newest.c.provider, func.count()).group_by(newest.c.provider)
    counts = dict.fromkeys(PROVIDERS, 0)
    for provider, count in connection.execute(counted):
        counts[known(provider)] = counts.get(known(provider), 0) + count
    for provider, count in counts.items():
        yield Figure("receiver_unmatched_reports", (provider,), count)


def _last(connection: Connection) -> Iterator[Figure]:
    columns = provider_activity.c
    latest = select(columns.provider, *(func.max(columns[name]).label(name) for name in LAST_TIMES))
    for row in connection.execute(latest.group_by(columns.provider)).mappings():
        if row["provider"] not in PROVIDERS:  # any word may stand in a row of somebody else's
            continue
        for name in LAST_TIMES:
            if row[name] is not None:
                gauge = f"receiver_{name.removesuffix('_at')}_timestamp_seconds"
                yield Figure(gauge, (row["provider"],), row[name].timestamp())


def _destinations(connection: Connection) -> Iterator[Figure]:
    for name, found in outbound_store.standings(connection).items():
        yield Figure("receiver_events_lag_seconds", (name,), found.lag_seconds)
        yield Figure("receiver_events_sent", (name,), found.row.sent)
        yield Figure("receiver_events_failed", (name,), found.row.failed)
        yield Figure("receiver_events_set_aside", (name,), found.set_aside)


def _alarms(connection: Connection) -> Iterator[Figure]:
    raised: dict[tuple[str, str], bool] = {}
    for alarm in store.latest(connection):
        labels = alarm.name, known(alarm.provider) if alarm.provider else ""
        raised[labels] = raised.get(labels, False) or alarm.is_raised
    for labels, is_raised in raised.items():
        yield Figure("receiver_alarm", labels, is_raised)


def known(provider: str) -> str:
    """Return a provider's name where it is one of ours, so that labels stay few."""
    return provider if provider in PROVIDERS else OTHER
