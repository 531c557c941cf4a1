"""Matching and settling: which message a report is about, and what a message's status is.

The rules that docs/sql.md tells users, as SQL, and nothing else. Everything here is a function
of what is in the database, set-based and idempotent. One process at a time settles: on SQLite a
write transaction excludes every other, on PostgreSQL the settling lock is that of a one-row table.
Each row is read after it was committed, so no order of arrival leaves a wrong end state.

How to think about it: never ask what a report changes, ask what the set of a message's reports
says. A report or message that is new or changed is *unsettled*; settling it derives its link and
its message's status from everything that is there, as if all had come at once.

For example, `delivered` for message 7 comes first, and matches nothing: the report is settled
without a link. Then 7 is recorded. It is unsettled, so the reports whose match may change because
of it are matched again: the report gets its link, and 7 becomes delivered. Then `enroute` comes
late. It is linked too, and 7 is decided again from both: RANK puts delivered first, so nothing
changes. Any other order of the three ends in the same rows.

The statements are the same text for both databases but for how a list of ids is passed and how
rows are locked. `CROSS JOIN` keeps SQLite from starting with the big table; `COALESCE(message_id,
'') = ''` keeps planners from walking the index of rows without one.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import TextClause, text

from receiver.database import DERIVED, SQLITE, GivenRows, instant_text, transact
from receiver.domain import RANK, Status, group_of
from receiver.settling.statements import (
    AFFECTED_REPORTS,
    CLOCK,
    COUNT,
    DECIDE,
    DECIDING,
    GIVEN,
    IDS,
    LINK,
    LOCK,
    MATCH,
    NEWEST,
    READ_MESSAGES,
    READ_REPORTS,
    SETTLE_MESSAGES,
    SETTLE_REPORTS,
    SETTLING_LOCK,
    SKIP,
    SOLE,
    STATE,
    STATE_COLUMNS,
    TAKE_DUE,
    TAKE_MESSAGES,
    TAKE_OLDER,
    TAKE_REPORTS,
    TRANSACTIONS,
    WRITE_STATE,
)
from receiver.statistics import Contribution, bangkok, delivery_rollup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Engine, Row


MAX_PORTION_ROWS: Final = 5000
"""The rows of each kind that one transaction settles, at most."""
MAX_CATCH_UP: Final = 1000
"""The messages that one transaction counts because nobody has; few, since nobody waits for them."""
DUE_INTERVAL: Final = timedelta(seconds=1)
"""How often scheduled messages are searched for whose time has come."""
STATE_INTERVAL: Final = timedelta(minutes=1)
"""How often an idle receiver stores up to when it counted."""
MAX_DUE_SPAN: Final = timedelta(days=1)
"""The span of the time it was stopped that a receiver counts at once."""


class Matched(NamedTuple):
    """A report, as the rules see it; `id` is any number where it is not in the table yet."""

    id: int
    provider: str
    account: str
    transaction_id: str | None
    message_id: str | None
    recipient: str | None
    sent_message_id: int | None = None
    erased: bool = False


Transaction = tuple[str, str, str | None]
"""Provider, account and transaction id."""
Decision = tuple[str, Any, int | None, bool]
DECIDED: Final = ("status", "done_at", "report_id", "conflicting")


@dataclass(frozen=True, slots=True)
class Settled:
    """What one portion did: rows marked settled, and by message the status (from, to).

    `older` are messages that were looked at because nobody had counted them yet; `took` are new
    deliveries, each with its provider and milliseconds.
    """

    messages: int = 0
    reports: int = 0
    changes: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    older: int = 0
    took: Sequence[tuple[str, int]] = ()

    @property
    def more(self) -> bool:
        """Say whether more may wait."""
        return bool(self.messages or self.reports or self.older)

    @property
    def full(self) -> bool:
        """Say whether it was as much as one transaction takes, so that more does wait."""
        return max(self.messages, self.reports) >= MAX_PORTION_ROWS


def settle_all(engine: Engine, portion: int = MAX_PORTION_ROWS) -> int:
    """Settle until nothing waits, each portion in a transaction of its own; return how many rows.

    Stops at once where another receiver has the settling lock; that one settles every second.
    """
    rows = 0
    while True:
        done = settle_one(engine, portion)
        if not done.more:
            return rows
        rows += done.messages + done.reports


def settle_one(engine: Engine, portion: int = MAX_PORTION_ROWS) -> Settled:
    """Settle one portion in a transaction of its own, again after a deadlock."""

    def work(connection: Connection) -> Settled:
        settlement = _Settlement(connection, portion)
        done = settlement.catch_up(settlement.settle())
        settlement.write_state()
        return replace(done, took=tuple(settlement.took))

    return transact(engine.execution_options(**DERIVED), work)


def settle(connection: Connection, portion: int = MAX_PORTION_ROWS) -> Settled:
    """Settle at most a portion of what waits, in the caller's write transaction."""
    settlement = _Settlement(connection, portion)
    done = settlement.settle()
    settlement.write_state()
    return done


def lock_settling(connection: Connection) -> None:
    """Wait until no other receiver settles, and keep it so until the transaction ends."""
    if connection.dialect.name != SQLITE:
        connection.execute(text(SETTLING_LOCK.replace("SKIP LOCKED", "")))


def affected_reports(connection: Connection, messages: Sequence[int]) -> Iterator[int]:
    """Return the reports whose match may change because these messages are new or changed."""
    for reports in _Settlement(connection, MAX_PORTION_ROWS).affected_reports(messages):
        yield from reports


@dataclass(slots=True)
class _State:
    """How far the roll-ups are, as the transaction found it and will leave it.

    Times are as the driver has them. `until` is now, or later where the clock was set back.
    """

    now: Any
    change: Any
    until: Any
    uncounted_to: int
    counted_until: Any
    changed_until: Any
    uncredited_before: Any
    read: tuple[Any, ...]

    def row(self) -> tuple[Any, ...]:
        """Return what the table has."""
        return self.uncounted_to, self.counted_until, self.changed_until, self.uncredited_before


@functools.cache
def _statement(template: str, dialect: str) -> TextClause:
    return text(template.format(ids=IDS[dialect], skip=SKIP[dialect], lock=LOCK[dialect]))


class _Settlement:
    """Unit of work of one settling transaction."""

    def __init__(self, connection: Connection, portion: int) -> None:
        self.connection = connection
        self.portion = portion
        self.sqlite = connection.dialect.name == SQLITE
        self.took: list[tuple[str, int]] = []

    def settle(self) -> Settled:
        """Settle once.

        Take what is unsettled, messages and reports; add the reports whose match may change because
        of these messages; link them all; decide again every message that lost or got a report; mark
        what was taken.
        """
        if not self._take_lock():
            return Settled()
        messages = [row.id for row in self._rows(TAKE_MESSAGES, portion=self.portion)]
        reports = self._reports(TAKE_REPORTS, portion=self.portion)
        if not messages and not reports:
            return Settled()
        links = self._match(reports)
        # What was derived from a report may be new although its link is not, so every message of
        # an unsettled report is decided again.
        moved = {row.sent_message_id for row in reports}.union(links.values())
        moved |= self._relink(messages, {row.id for row in reports})
        now = self.state.now
        settled = [
            {"id": report, "sent_message_id": message, "settled_at": now}
            for report, message in links.items()
        ]
        SETTLE_REPORTS(self.connection, settled)
        changes = self._decide(moved.union(messages))
        if messages:
            self._run(SETTLE_MESSAGES, ids=messages, now=now)
        return Settled(len(messages), len(reports), changes)

    def catch_up(self, done: Settled) -> Settled:
        """Count what nobody has counted: older messages, and scheduled ones whose time has come.

        Not where a full portion was settled: what waits goes first.
        """
        if done.messages + done.reports >= min(self.portion, MAX_CATCH_UP) or not self._take_lock():
            return done
        state, older = self.state, list[int]()
        hours = self._credit_hour() if state.uncredited_before is not None else 0
        if state.uncounted_to:
            older = self._column(TAKE_OLDER, uncounted_to=state.uncounted_to, portion=MAX_CATCH_UP)
            self._decide(older)
            state.uncounted_to = older[-1] - 1 if older else 0
        return replace(done, older=hours + len(older) + self._count_due(busy=done.more))

    def _credit_hour(self) -> int:
        """Add what the rows of one hour lack, newest first; return how many hours that were."""
        before = bangkok.moment(self.state.uncredited_before)
        begins = bangkok.last_hour(self.connection, before)
        if begins is None:
            self.state.uncredited_before = None
            return 0
        delivery_rollup.remake(self.connection, begins, some=True)  # others may have been deleted
        self.state.uncredited_before = self._instant(begins)
        return 1

    def _count_due(self, *, busy: bool) -> int:
        """Count scheduled messages whose time has come, at most WALK; return how many."""
        state = self.state
        since, until = state.counted_until, bangkok.moment(state.until)
        if since is None:
            state.counted_until = state.until
            return 0
        age = until - bangkok.moment(since)
        if age < DUE_INTERVAL:
            return 0
        upto = (
            state.until
            if age <= MAX_DUE_SPAN
            else self._instant(bangkok.moment(since) + MAX_DUE_SPAN)
        )
        due = self._column(TAKE_DUE, since=since, until=upto, portion=MAX_CATCH_UP)
        self._decide(due)
        # An idle receiver need not write every second.
        if len(due) < MAX_CATCH_UP and (busy or due or age >= STATE_INTERVAL):
            state.counted_until = upto
        return len(due)

    def _take_lock(self) -> bool:
        """Take the settling lock for this transaction; False where another process has it."""
        return self.sqlite or bool(self._rows(SETTLING_LOCK))

    @functools.cached_property
    def state(self) -> _State:
        """Read the clock, and how far the roll-ups are."""
        clock = self._rows(CLOCK[self.connection.dialect.name])[0]
        stored = self._rows(STATE)[0]
        uncounted_to = stored.uncounted_to
        # Somebody else changed a status: a version of this program that does not count. What it
        # did is found by looking at every message, newest first, as after the upgrade.
        if uncounted_to is None or stored.changed_until != clock.latest:
            (uncounted_to,) = self._column(NEWEST)
        since = stored.counted_until
        until = clock.now if since is None else max(clock.now, since)
        return _State(
            clock.now,
            clock.change,
            until,
            uncounted_to,
            since,
            clock.latest,
            stored.uncredited_before,
            tuple(stored),
        )

    def write_state(self) -> None:
        """Write how far the roll-ups are, where that has changed."""
        if "state" in self.__dict__ and (row := self.state.row()) != self.state.read:
            self._run(WRITE_STATE, **dict(zip(STATE_COLUMNS, row, strict=True)))

    def _instant(self, value: datetime) -> Any:
        return instant_text(value) if self.sqlite else value

    def affected_reports(self, messages: Sequence[int]) -> Iterator[Sequence[int]]:
        """Return the reports whose match may change because of these messages, in portions."""
        after = 0
        while messages:
            reports = (
                self._run(AFFECTED_REPORTS, ids=messages, after=after, portion=self.portion)
                .scalars()
                .all()
            )
            yield reports
            if len(reports) < self.portion:
                return
            after = reports[-1]

    def _relink(self, messages: Sequence[int], taken: set[int]) -> set[int | None]:
        """Match again the reports that these messages affect; return who lost or got one."""
        moved: set[int | None] = set()
        for reports in self.affected_reports(messages):
            settled = [i for i in reports if i not in taken]
            if not settled:
                continue
            old = {row.id: row for row in self._reports(READ_REPORTS, ids=settled)}
            links = self._match(list(old.values()))
            new = {i: m for i, m in links.items() if m != old[i].sent_message_id}
            moved.update(new.values(), (old[i].sent_message_id for i in new))
            LINK(self.connection, [{"id": i, "sent_message_id": m} for i, m in new.items()])
        return moved

    def _match(self, reports: Sequence[Matched]) -> dict[int, int | None]:
        """Return the message of each report; None where the rules name none."""
        if not reports:
            return {}
        # What showed where it belongs was erased.
        links: dict[int, int | None] = {
            r.id: r.sent_message_id for r in reports if r.erased and r.sent_message_id is not None
        }
        given = [report[: len(GIVEN.columns)] for report in reports]
        for report, _, count, message in self._given(MATCH, GIVEN, given):
            # Ordered by grade: the first is the best, and two candidates there are no match.
            links.setdefault(report, message if count == 1 else None)
        bare = [
            r
            for r in reports
            if r.message_id is None and r.recipient is None and not r.erased and r.id not in links
        ]
        if bare:
            sole = self._sole({(r.provider, r.account, r.transaction_id) for r in bare})
            for r in bare:
                links[r.id] = sole[r.provider, r.account, r.transaction_id]
        return {r.id: links.get(r.id) for r in reports}

    def _sole(self, transactions: set[Transaction]) -> dict[Transaction, int | None]:
        """Return the only message of each transaction, where it has only one."""
        by_transaction: dict[Transaction, int | None] = {}
        for provider, account, transaction, own, own_id, other, other_id in self._given(
            SOLE, TRANSACTIONS, list(transactions)
        ):
            count, message = (own, own_id) if own else (other, other_id)
            by_transaction[provider, account, transaction] = message if count == 1 else None
        return by_transaction

    def _decide(self, messages: Iterable[int | None]) -> dict[int, tuple[str, str]]:
        """Give each message the status its reports decide, and count it as what it is now.

        Return the statuses that changed, by message: from, to.

        The report that decides is the first by DECIDES, of all that are linked. For example, of
        `undeliverable` at 10:00, `delivered` at 9:00 and `enroute` at 11:00 the message is
        delivered: rank goes before time. It is also conflicting, since a final failure is there.
        """
        best: dict[int, Row[Any]] = {}
        rows: list[Row[Any]] = []
        for part in _portions(sorted(m for m in messages if m is not None), self.portion):
            best |= {row.message: row for row in self._rows(DECIDING, ids=part)}
            rows += self._rows(READ_MESSAGES, ids=part)
        if not rows:
            return {}
        state = self.state
        tally = delivery_rollup.Tally(self.connection, bangkok.moment(state.until))
        decide, count = list[dict[str, Any]](), list[dict[str, Any]]()
        written: dict[int, tuple[Row[Any], Contribution]] = {}
        changes = {}
        for row, rollup_id in tally.place(rows):
            id_, report = row.id, best.get(row.id)
            decided = _decision(row, report)
            added = _added(row, report, decided, rollup_id)
            values: dict[str, Any] = {"id": id_}
            values.update(zip(Contribution._fields, added, strict=True))
            if decided != _stored(row):
                values.update(zip(DECIDED, decided, strict=True))
                values["changed_at"] = None
                if decided[0] != row.status:
                    values["changed_at"] = state.change
                    changes[id_] = (row.status, decided[0])
                decide.append(values)
            elif added != delivery_rollup.noted(row):
                count.append(values)
            else:
                continue
            written[id_] = row, added
        # What was deleted meanwhile stays counted as it was.
        for id_ in [*DECIDE(self.connection, decide), *COUNT(self.connection, count)]:
            tally.change(*written[id_])
        tally.write()
        self.took += tally.took
        if changes:
            state.changed_until = state.change
        return changes

    def _given(self, template: str, given: GivenRows, rows: Sequence[Sequence[Any]]) -> Any:
        statement = template.format(rows=given.sql[self.connection.dialect.name])
        return self.connection.exec_driver_sql(statement, given.bind(self.connection, rows))

    def _rows(self, template: str, **values: Any) -> Sequence[Any]:
        rows: Sequence[Any] = self._run(template, **values).all()
        return rows

    def _reports(self, template: str, **values: Any) -> list[Matched]:
        return [Matched(*row) for row in self._rows(template, **values)]

    def _column(self, template: str, **values: Any) -> list[Any]:
        return list(self._run(template, **values).scalars())

    def _run(self, template: str, **values: Any) -> Any:
        if self.sqlite and "ids" in values:
            values["ids"] = json.dumps(values["ids"])
        return self.connection.execute(_statement(template, self.connection.dialect.name), values)


def _portions(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _stored(row: Row[Any]) -> Decision:
    """Return the decision that a message's row holds."""
    return row.status, row.done_at, row.report_id, bool(row.conflicting)


def _decision(row: Row[Any], best: Row[Any] | None) -> Decision:
    """Return what a message's reports decide, or what its row holds where they were deleted."""
    if row.gone and (best is None or RANK[Status(best.status)] >= RANK[Status(row.status)]):
        return _stored(row)
    if best is None:
        first = Status.REJECTED if row.refused else Status.ACCEPTED
        return first.value, None, None, False
    conflicting = bool(best.delivered) and bool(best.failed)
    return best.status, best.done_at, best.id, conflicting


def _added(
    row: Row[Any], best: Row[Any] | None, decided: Decision, rollup_id: int | None
) -> Contribution:
    """Return what a message adds to its row of the roll-ups; nothing where it has none yet."""
    if rollup_id is None:
        return Contribution()
    status, done_at, report_id, _ = decided
    group = group_of(status, reported=report_id is not None, refused=bool(row.refused))
    milliseconds = None
    if group == "delivered" and done_at is not None:
        if best is not None and best.id == report_id:
            milliseconds = delivery_rollup.took(best.sent_at or row.sent_at, done_at)
        elif row.counted_as == group:  # the report was deleted: as it was counted
            milliseconds = row.counted_milliseconds
        else:
            milliseconds = delivery_rollup.took(row.sent_at, done_at)
    reported_credit = row.counted_reported_credit if report_id is not None else None
    if best is not None and best.id == report_id:  # it is there to be read
        reported_credit = best.credit
    return Contribution(rollup_id, group, row.credit, milliseconds, reported_credit)
