"""Snapshot of the figures that alarm rules use, each queried once, cheaply.

Figures come from the roll-ups; messages and reports themselves are read in small samples or from
an index of the few that are concerned, so that a snapshot costs the same on a table of any size.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import case, func, select, text

from receiver.database import DatabaseNow
from receiver.database.tables import (
    NOT_READ,
    UNFINISHED_ONLY,
    UNTIMED,
    account_credit,
    callback,
    delivery_report,
    delivery_rollup,
    refusal,
    sent_message,
)
from receiver.domain import DELIVERY_TIMES, GROUPS, HOUR, Status
from receiver.ingest import callbacks
from receiver.monitoring.alarms import store
from receiver.outbound import store as outbound_store
from receiver.settling import backlog
from receiver.statistics import delivery_rate, hour_of, read_hour, taken

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row, Select

    from receiver.domain import AlarmKey


DAY: Final = timedelta(days=1)
MAX_REPORTS: Final = 1000
"""The reports of one hour that are read, the newest."""
SAMPLED_HOURS: Final = 48
"""The hours that are sampled for how long a first report takes."""
SAMPLED_MESSAGES: Final = 20
"""The messages of each sampled hour that are read for how long a first report takes."""
MAX_WORD_REPORTS: Final = 5000
"""The reports that are read for words or times we do not know, the newest of each kind."""


_UNFINISHED: Final = text(f"sent_message.{UNFINISHED_ONLY}")


class SeriesKey(NamedTuple):
    """A provider, and one of the accounts there."""

    provider: str
    account: str = ""


class Matched(NamedTuple):
    """How many reports came, how many of them belong to no message, and when the first of those."""

    reports: int = 0
    unmatched: int = 0
    first: datetime | None = None


class HourCounts(dict[str, int]):
    """What became of the messages of an hour, or of several: counts by name."""

    @property
    def accepted(self) -> int:
        """Return how many messages the provider did not refuse."""
        return taken(self)

    @property
    def reported(self) -> int:
        """Return of how many messages something was reported."""
        return sum(self[name] for name, group in GROUPS.items() if group.statuses)

    @property
    def rate(self) -> float:
        """Return the delivery rate; there must be messages."""
        rate = delivery_rate(self)
        assert rate is not None  # noqa: S101 - there are messages
        return rate


COUNTED: Final = (*GROUPS, "credit", "timed", *DELIVERY_TIMES.names)


def add(hours: Iterable[Mapping[str, int]]) -> HourCounts:
    """Return the sums of several hours."""
    total = HourCounts(dict.fromkeys(COUNTED, 0))
    for hour in hours:
        for name, count in hour.items():
            total[name] += count
    return total


class Snapshot:
    """The database at an aware time; each figure is queried once, when it is first asked for."""

    def __init__(self, connection: Connection, days: int, now: datetime | None = None) -> None:
        self.connection = connection
        self.days = days
        self.now = now or connection.execute(select(DatabaseNow())).scalar_one()
        self._matched: dict[datetime, Mapping[str, Matched]] = {}

    @functools.cached_property
    def hours(self) -> Mapping[SeriesKey, Mapping[datetime, HourCounts]]:
        """Return what became of the messages of each hour since `days` and a day before."""
        table = delivery_rollup.c
        groups = (table.provider, table.account, table.hour)
        sums = [func.sum(table[name]).label(name) for name in COUNTED]
        since = hour_of(self.now - (self.days + 1) * DAY)
        by_series: dict[SeriesKey, dict[datetime, HourCounts]] = defaultdict(dict)
        rows = self.connection.execute(
            select(*groups, *sums).where(table.hour >= since).group_by(*groups)
        )
        for provider, account, hour, *counts in rows:
            begins = read_hour(hour)
            named = zip(COUNTED, map(int, counts), strict=True)
            by_series[SeriesKey(provider, account)][begins] = HourCounts(named)
        return by_series

    @functools.cached_property
    def recorded(self) -> frozenset[str]:
        """Return the providers that a message was ever recorded for."""
        if counted := {series.provider for series in self.hours}:
            others = delivery_rollup.c.provider.not_in(counted)
        providers = select(delivery_rollup.c.provider).distinct()
        rows = self.connection.execute(providers.where(others) if counted else providers)
        return frozenset(counted | set(rows.scalars()))

    def between(self, series: SeriesKey | None, begins: datetime, ends: datetime) -> HourCounts:
        """Return the sums of the whole hours from one to before another; None: of all places."""
        chosen = self.hours.values() if series is None else [self.hours.get(series, {})]
        return add(hour for hours in chosen for at, hour in hours.items() if begins <= at < ends)

    @functools.cached_property
    def last_sent(self) -> datetime | None:
        """Return when the newest message was handed over; what is scheduled is left out."""
        at = sent_message.c.sent_at
        newest = self.connection.execute(select(func.max(at)).where(at <= self.now))
        return newest.scalar_one_or_none()

    def silent(
        self, series: SeriesKey, since: datetime, until: datetime, limit: int
    ) -> Sequence[datetime]:
        """Return when the newest messages were sent that nothing was reported of, newest first."""
        table = sent_message.c
        statement = (
            select(table.sent_at)
            .where(
                _of(series),
                table.sent_at >= since,
                table.sent_at <= until,
                table.report_id.is_(None),
                table.error.is_(None),
                _UNFINISHED,
            )
            .order_by(table.sent_at.desc())
            .limit(limit)
        )
        return self.connection.execute(statement).scalars().all()

    def is_reported(self, series: SeriesKey, since: datetime, until: datetime) -> bool:
        """Say whether anything was reported of the messages sent in between."""
        table = sent_message.c
        statement = select(table.id).where(
            _of(series), table.sent_at >= since, table.sent_at < until, table.report_id.is_not(None)
        )
        return self.connection.execute(statement.limit(1)).first() is not None

    def waits(self, provider: str, since: datetime, until: datetime, limit: int) -> Sequence[bool]:
        """Say of the newest messages whether they wait for a report; refused ones are left out."""
        table = sent_message.c
        statement = (
            select(table.report_id.is_(None))
            .where(
                table.provider == provider,
                table.sent_at >= since,
                table.sent_at <= until,
                table.error.is_(None),
            )
            .order_by(table.sent_at.desc())
            .limit(limit)
        )
        return self.connection.execute(statement).scalars().all()

    def first_reports(self, series: SeriesKey, until: datetime) -> list[float]:
        """Return how many seconds the first report took of some messages of the last `days`.

        Of hours spread over that time, since no roll-up has it; in order of length.
        """
        hours = sorted(
            at
            for at, hour in self.hours.get(series, {}).items()
            if hour.reported and self.now - self.days * DAY <= at < until
        )
        spread = hours[:: max(1, -(-len(hours) // SAMPLED_HOURS))]
        return sorted(
            max(0.0, (first - sent).total_seconds())
            for at in spread
            for sent, first in self._first(series, at)
            if first is not None
        )

    def _first(self, series: SeriesKey, at: datetime) -> Iterator[tuple[datetime, datetime | None]]:
        table, reports = sent_message.c, delivery_report.c
        first = (
            select(func.min(reports.received_at))
            .where(reports.sent_message_id == table.id)
            .scalar_subquery()
            .label("first")
        )
        statement = (
            select(table.sent_at, first)
            .where(
                _of(series),
                table.sent_at >= at,
                table.sent_at < at + HOUR,
                table.report_id.is_not(None),
            )
            .limit(SAMPLED_MESSAGES)
        )
        for row in self.connection.execute(statement):
            yield row.sent_at, row.first

    @functools.cached_property
    def timed(self) -> Mapping[str, Sequence[Row[Any]]]:
        """Return the newest reports of the last hour with a time in them, by provider.

        `done_at`, `received_at` and `provider_time` of each.
        """
        newest = _newest(self.now).subquery().c
        statement = select(
            newest.provider, newest.done_at, newest.received_at, newest.provider_time
        ).where(newest.done_at.is_not(None))
        by_provider: dict[str, list[Any]] = defaultdict(list)
        for row in self.connection.execute(statement):
            by_provider[row.provider].append(row)
        return by_provider

    def matched(self, until: datetime) -> Mapping[str, Matched]:
        """Say of the newest settled reports of the hour before a time how many have no message."""
        if until not in self._matched:
            newest = _newest(until).subquery().c
            of_none = newest.sent_message_id.is_(None)
            statement = (
                select(
                    newest.provider,
                    func.count().label("reports"),
                    func.count().filter(of_none).label("unmatched"),
                    func.min(newest.received_at).filter(of_none).label("first"),
                )
                .where(newest.settled_at.is_not(None))
                .group_by(newest.provider)
            )
            rows = self.connection.execute(statement)
            self._matched[until] = {provider: Matched(*row) for provider, *row in rows}
        return self._matched[until]

    @functools.cached_property
    def has_callbacks(self) -> bool:
        """Say whether anything was ever received."""
        return callbacks.has_callbacks(self.connection)

    @functools.cached_property
    def shortened(self) -> Mapping[tuple[str, str], Row[Any]]:
        """Return by provider and account the callbacks of the last day that are not kept whole."""
        table = callback.c
        statement = (
            select(
                table.provider,
                table.account,
                func.count().label("callbacks"),
                func.sum(table.body_size).label("size"),
                func.min(table.received_at).label("first"),
            )
            .where(
                text(NOT_READ),
                table.outcome == "unreadable",
                table.received_at > self.now - DAY,
                table.body_size.is_not(None),
            )
            .group_by(table.provider, table.account)
        )
        return {(row.provider, row.account): row for row in self.connection.execute(statement)}

    @functools.cached_property
    def unreadable(self) -> Mapping[str, Row[Any]]:
        """Return by provider the callbacks of the last day that could not be read: how many, when.

        Those of which only some reports could be read are among them. `first` is the time of the
        first.
        """
        table = callback.c
        statement = (
            select(
                table.provider,
                func.count().label("callbacks"),
                func.min(table.received_at).label("first"),
            )
            .where(
                text(NOT_READ),
                table.outcome.in_(("partial", "unreadable")),
                table.received_at > self.now - DAY,
            )
            .group_by(table.provider)
        )
        return {row.provider: row for row in self.connection.execute(statement)}

    @functools.cached_property
    def unknown_words(self) -> Sequence[Any]:
        """Return words of the last day that were unknown, of messages and of unmatched reports.

        `provider`, `provider_status` and `received_at` of each report that decides a message's
        status, and of each without a message; the newest of both.
        """
        table, reports = sent_message.c, delivery_report.c
        since = self.now - DAY
        with_unknown = [
            at
            for hours in self.hours.values()
            for at, hour in hours.items()
            if hour.get("unknown") and at > since
        ]
        columns = (reports.provider, reports.provider_status, reports.received_at)
        newest = (
            select(*columns, reports.status)
            .where(reports.sent_message_id.is_(None), reports.received_at > since)
            .order_by(reports.received_at.desc())
            .limit(MAX_WORD_REPORTS)
            .subquery()
            .c
        )
        unmatched = select(newest.provider, newest.provider_status, newest.received_at).where(
            newest.status == Status.UNKNOWN.value
        )
        rows: list[Any] = list(self.connection.execute(unmatched))
        if with_unknown:
            deciding = (
                select(*columns)
                .select_from(sent_message.join(delivery_report, reports.id == table.report_id))
                .where(
                    table.sent_at >= min(with_unknown),
                    table.sent_at <= self.now,
                    table.status == Status.UNKNOWN.value,
                    _UNFINISHED,
                )
                .order_by(table.sent_at.desc())
                .limit(MAX_WORD_REPORTS)
            )
            rows += self.connection.execute(deciding)
        return rows

    @functools.cached_property
    def unreadable_times(self) -> Mapping[str, Sequence[tuple[str, datetime]]]:
        """Return by provider the times of the last day that could not be read, newest first.

        Each as it was written, with when it came; of at most WORDS reports.
        """
        table = delivery_report.c
        statement = (
            select(
                table.provider,
                table.received_at,
                case((table.done_at.is_(None), table.provider_time)).label("done"),
                case((table.sent_at.is_(None), table.provider_sent_time)).label("sent"),
            )
            .where(text(f"({UNTIMED})"), table.received_at > self.now - DAY)
            .order_by(table.received_at.desc())
            .limit(MAX_WORD_REPORTS)
        )
        by_provider: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
        for row in self.connection.execute(statement):
            times = (written for written in (row.done, row.sent) if written is not None)
            by_provider[row.provider] += ((written, row.received_at) for written in times)
        return by_provider

    @functools.cached_property
    def refused(self) -> Mapping[str, Mapping[str, int]]:
        """Return by provider, and by why, how many callbacks were turned away.

        In this hour and the one before, as clocks show them.
        """
        table = refusal.c
        statement = (
            select(table.provider, table.reason, func.sum(table["count"]))
            .where(table.hour >= hour_of(self.now - HOUR), table.last_at <= self.now)
            .group_by(table.provider, table.reason)
        )
        by_provider: dict[str, dict[str, int]] = defaultdict(dict)
        for provider, reason, times in self.connection.execute(statement):
            by_provider[provider][reason] = int(times)
        return by_provider

    @functools.cached_property
    def credits(self) -> Mapping[SeriesKey, Row[Any]]:
        """Return what is left of each account's credit, of the kind that was used last."""
        rows = self.connection.execute(select(account_credit).order_by(account_credit.c.seen_at))
        return {SeriesKey(row.provider, row.account): row for row in rows}

    @functools.cached_property
    def spools(self) -> Sequence[Row[Any]]:
        """Return the states of spools that processes stored."""
        return store.spools(self.connection)

    @functools.cached_property
    def is_evaluated(self) -> bool:
        """Say whether a receiver evaluates alarms now, and so stores the state of its spool."""
        until = store.lease_until(self.connection)
        return until is not None and until > self.now

    @functools.cached_property
    def since(self) -> Mapping[AlarmKey, datetime]:
        """Return since when each alarm is raised that was raised at the last evaluation."""
        return store.raised_since(self.connection)

    @functools.cached_property
    def waiting(self) -> backlog.Waiting:
        """Return what waits to be settled."""
        return backlog.waiting(self.connection)

    @functools.cached_property
    def destinations(self) -> Mapping[str, outbound_store.Standing]:
        """Return how far the applications are that are told of changes, by name."""
        return outbound_store.standings(self.connection)


def _newest(until: datetime) -> Select[Any]:
    """Return the newest reports of the hour before a time."""
    received_at = delivery_report.c.received_at
    return (
        select(delivery_report)
        .where(received_at > until - HOUR, received_at <= until)
        .order_by(received_at.desc())
        .limit(MAX_REPORTS)
    )


def _of(series: SeriesKey) -> Any:
    table = sent_message.c
    return (table.provider == series.provider) & (table.account == series.account)
