"""Matching and settling: which message a report is about, and what a message's status is.

The rules that docs/sql.md tells users, as SQL, and nothing else. Everything here is a function
of what is in the database, set-based and idempotent, and run by one hand at a time: on SQLite a
write transaction excludes every other, on PostgreSQL the hand holds the lock of a one-row table.
Each row is looked at after it was committed, so no order of arrival leaves a wrong end state.

The statements are the same text for both databases but for how a list of ids is passed and how
rows are locked. `CROSS JOIN` keeps SQLite from starting with the big table; `COALESCE(message_id,
'') = ''` keeps planners from walking the index of rows without one.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import TextClause, text

from receiver import rollup
from receiver.database import DERIVED, transact
from receiver.models import SQLITE, instant_text
from receiver.report import FAILED, Status
from receiver.rollup import Added

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Engine, Row

PORTION: Final = 5000
"""Rows of each kind that one transaction settles."""
WALK: Final = 1000
"""Messages that one transaction counts because nobody has; fewer, since they are not waited for."""
LOOK_AGAIN: Final = timedelta(seconds=1)
"""How often to look for scheduled messages whose time has come."""
NOTE_AFTER: Final = timedelta(minutes=1)
"""How often an idle receiver writes down that it looked."""
DAY: Final = timedelta(days=1)
"""How much of the time it was stopped a receiver looks at once."""

# Which report decides: the lower number first. No report undoes delivered, and a late interim
# report never replaces a final one.
RANK: Final = {
    Status.DELIVERED: 0,
    **dict.fromkeys(FAILED, 1),
    Status.ENROUTE: 2,
    Status.ACCEPTED: 3,
    Status.UNKNOWN: 4,
}


def _case(order: Iterable[tuple[Status, int]]) -> str:
    return "CASE r.status " + " ".join(f"WHEN '{s}' THEN {n}" for s, n in order) + " END"


# The whole rule. Within a rank the later time (a missing one counts as earliest), then the order
# of FAILED, then the lower digest.
DECIDES: Final = (
    f"{_case(RANK.items())}, r.done_at DESC NULLS LAST,"
    f" {_case((s, n) for n, s in enumerate(FAILED))}, r.digest"
)

# How each database takes a list of ids, and how it locks the rows it takes. A row that somebody
# else is changing right now is left for the next round.
IDS: Final = {
    "sqlite": "SELECT value FROM json_each(:ids)",
    "postgresql": "SELECT unnest(CAST(:ids AS bigint[]))",
}
SKIP: Final = {"sqlite": "", "postgresql": "FOR NO KEY UPDATE SKIP LOCKED"}
LOCK: Final = {"sqlite": "", "postgresql": "FOR NO KEY UPDATE"}
# The database's clock, the latest change, and the time of the next: later than any change there, so
# that a clock set back, or receivers whose clocks differ, never put a change behind a reader of
# the feed.
CLOCK: Final = {
    "sqlite": """
        SELECT now, latest,
               max(now, coalesce(strftime('%Y-%m-%d %H:%M:%fZ', latest, '+0.001 seconds'), ''))
                   AS change
        FROM (SELECT strftime('%Y-%m-%d %H:%M:%fZ', 'now') AS now,
                     (SELECT max(changed_at) FROM sent_message
                      WHERE changed_at IS NOT NULL) AS latest)
    """,
    "postgresql": """
        SELECT now, latest, greatest(now, latest + interval '1 millisecond') AS change
        FROM (SELECT date_trunc('milliseconds', clock_timestamp()) AS now,
                     (SELECT max(changed_at) FROM sent_message
                      WHERE changed_at IS NOT NULL) AS latest) AS clock
    """,
}

# How far the roll-ups are.
NEWEST: Final = "SELECT coalesce(max(id), 0) FROM sent_message"
STATE_COLUMNS: Final = ("uncounted_to", "counted_until", "changed_until", "uncredited_before")
STATE: Final = f"SELECT {', '.join(STATE_COLUMNS)} FROM receiver_state"
WRITE_STATE: Final = """
    UPDATE receiver_state SET uncounted_to = :uncounted_to, counted_until = :counted_until,
        changed_until = :changed_until, uncredited_before = :uncredited_before
"""
# Messages that were there before anybody counted, newest first.
TAKE_OLDER: Final = """
    SELECT id FROM sent_message WHERE id <= :uncounted_to ORDER BY id DESC LIMIT :portion
"""
# Messages that were scheduled, and whose time has come. Of what was counted when it was recorded
# this reads the last moments only.
TAKE_DUE: Final = """
    SELECT id FROM sent_message
    WHERE sent_at > :since AND sent_at <= :until
      AND rollup_id IS NULL AND settled_at IS NOT NULL
    ORDER BY sent_at LIMIT :portion
"""

HAND: Final = "SELECT id FROM receiver_state WHERE id = 1 FOR UPDATE SKIP LOCKED"

TAKE_MESSAGES: Final = """
    SELECT id FROM sent_message WHERE settled_at IS NULL ORDER BY id LIMIT :portion {skip}
"""

_REPORT: Final = """
    SELECT r.id, r.sent_message_id, r.provider, r.account, r.transaction_id,
           (r.message_id IS NULL AND r.recipient IS NULL AND r.erased_at IS NULL) AS bare,
           (r.erased_at IS NOT NULL AND r.sent_message_id IS NOT NULL) AS fixed
    FROM delivery_report AS r
"""
TAKE_REPORTS: Final = _REPORT + "WHERE r.settled_at IS NULL ORDER BY r.id LIMIT :portion {skip}"
READ_REPORTS: Final = _REPORT + "WHERE r.id IN ({ids}) ORDER BY r.id {lock}"

# Reports that the messages of :ids may win or lose.
WIDEN: Final = """
    SELECT id FROM (
        SELECT r.id FROM sent_message AS m CROSS JOIN delivery_report AS r
        WHERE m.id IN ({ids}) AND r.message_id = m.message_id AND r.provider = m.provider
        UNION
        SELECT r.id FROM sent_message AS m CROSS JOIN delivery_report AS r
        WHERE m.id IN ({ids}) AND r.transaction_id = m.message_id AND r.provider = m.provider
          AND COALESCE(r.message_id, '') = ''
        UNION
        SELECT r.id FROM sent_message AS m CROSS JOIN delivery_report AS r
        WHERE m.id IN ({ids}) AND r.transaction_id = m.transaction_id
          AND r.recipient = m.recipient AND r.provider = m.provider
        UNION
        SELECT r.id FROM (
            SELECT DISTINCT transaction_id, provider FROM sent_message WHERE id IN ({ids})
        ) AS t CROSS JOIN delivery_report AS r
        WHERE r.transaction_id = t.transaction_id AND r.recipient IS NULL
          AND r.provider = t.provider AND COALESCE(r.message_id, '') = ''
        UNION
        SELECT r.id FROM delivery_report AS r WHERE r.sent_message_id IN ({ids})
    ) AS found WHERE id > :after ORDER BY id LIMIT :portion
"""

# Candidates with the report's own account go before those with none.
_ACCOUNT: Final = "(m.account = r.account OR m.account = '' OR r.account = '')"
_PLACE: Final = "CASE WHEN r.account <> '' AND m.account = r.account THEN 0 ELSE 1 END"

# Rules 1 and 2: per report the candidates of each grade, how many, and one of them. A message whose
# number was erased comes after those that have the report's.
MATCH: Final = f"""
    SELECT report, grade, count(*), min(message) FROM (
        SELECT r.id AS report, {_PLACE} + CASE WHEN r.recipient <> '' AND m.recipient IS NULL
                   THEN 4 ELSE 0 END AS grade, m.id AS message
        FROM delivery_report AS r CROSS JOIN sent_message AS m
        WHERE r.id IN ({{ids}})
          AND m.message_id = COALESCE(r.message_id, r.transaction_id)
          AND m.provider = r.provider AND {_ACCOUNT}
          AND (r.recipient IS NULL OR m.recipient IS NULL OR m.recipient = r.recipient)
        UNION ALL
        SELECT r.id, 2 + {_PLACE}, m.id
        FROM delivery_report AS r CROSS JOIN sent_message AS m
        WHERE r.id IN ({{ids}})
          AND m.transaction_id = r.transaction_id AND m.recipient = r.recipient
          AND (COALESCE(m.message_id, '') = '' OR COALESCE(r.message_id, '') = '')
          AND m.provider = r.provider AND {_ACCOUNT}
    ) AS candidate GROUP BY report, grade ORDER BY report, grade
"""

# Rule 3: per transaction at most two of its messages that were not refused, of the report's own
# account and of the others it may belong to. LIMIT keeps a transaction of a million cheap.
_OF: Final = """
    FROM sent_message AS m WHERE m.transaction_id = t.transaction_id AND m.provider = t.provider
      AND m.error IS NULL AND {account}
"""
_OWN: Final = _OF.format(account="t.account <> '' AND m.account = t.account")
_OTHER: Final = _OF.format(account="(m.account = '' OR t.account = '')")
SOLE: Final = f"""
    SELECT t.provider, t.account, t.transaction_id,
           (SELECT count(*) FROM (SELECT 1 {_OWN} LIMIT 2) AS own),
           (SELECT m.id {_OWN} LIMIT 1),
           (SELECT count(*) FROM (SELECT 1 {_OTHER} LIMIT 2) AS other),
           (SELECT m.id {_OTHER} LIMIT 1)
    FROM (
        SELECT DISTINCT provider, account, transaction_id
        FROM delivery_report WHERE id IN ({{ids}})
    ) AS t
"""

DECIDING: Final = f"""
    SELECT message, id, status, done_at, sent_at, delivered, failed,
           CAST(round(credit * 10000) AS BIGINT) AS credit
    FROM (
        SELECT r.sent_message_id AS message, r.id, r.status, r.done_at, r.sent_at, r.credit,
               row_number() OVER (PARTITION BY r.sent_message_id ORDER BY {DECIDES}) AS place,
               max(CASE WHEN r.status = '{Status.DELIVERED}' THEN 1 ELSE 0 END)
                   OVER (PARTITION BY r.sent_message_id) AS delivered,
               max(CASE WHEN r.status IN ({", ".join(f"'{s}'" for s in FAILED)}) THEN 1 ELSE 0 END)
                   OVER (PARTITION BY r.sent_message_id) AS failed
        FROM delivery_report AS r WHERE r.sent_message_id IN ({{ids}})
    ) AS ranked WHERE place = 1
"""

# `gone`: the report that decided was deleted; then the message keeps what it said.
READ_MESSAGES: Final = f"""
    SELECT m.id, {rollup.COLUMNS},
           m.status, m.done_at, m.report_id, m.conflicting, m.error IS NOT NULL AS refused,
           m.report_id IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM delivery_report AS r WHERE r.id = m.report_id
           ) AS gone
    FROM sent_message AS m WHERE m.id IN ({{ids}})
"""

LINK: Final = {
    "sqlite": "UPDATE delivery_report SET sent_message_id = :link WHERE id = :id",
    "postgresql": """
        UPDATE delivery_report AS r SET sent_message_id = u.link
        FROM unnest(CAST(:id AS bigint[]), CAST(:link AS bigint[])) AS u (id, link)
        WHERE r.id = u.id
    """,
}
SETTLE_REPORTS: Final = {
    "sqlite": """
        UPDATE delivery_report SET sent_message_id = :link, settled_at = :now WHERE id = :id
    """,
    "postgresql": """
        UPDATE delivery_report AS r SET sent_message_id = u.link, settled_at = u.now
        FROM unnest(CAST(:id AS bigint[]), CAST(:link AS bigint[]), CAST(:now AS timestamptz[]))
            AS u (id, link, now)
        WHERE r.id = u.id
    """,
}
DECIDE: Final = {
    "sqlite": """
        UPDATE sent_message
        SET status = :status, done_at = :done_at, report_id = :report_id,
            conflicting = :conflicting, changed_at = coalesce(:changed_at, changed_at),
            rollup_id = :rollup_id, counted_as = :counted_as,
            counted_credit = :counted_credit, counted_milliseconds = :counted_milliseconds,
            counted_reported_credit = :counted_reported_credit
        WHERE id = :id
    """,
    "postgresql": """
        UPDATE sent_message AS m
        SET status = u.status, done_at = u.done_at, report_id = u.report_id,
            conflicting = u.conflicting, changed_at = coalesce(u.changed_at, m.changed_at),
            rollup_id = u.rollup_id, counted_as = u.counted_as,
            counted_credit = u.counted_credit, counted_milliseconds = u.counted_milliseconds,
            counted_reported_credit = u.counted_reported_credit
        FROM unnest(
            CAST(:id AS bigint[]), CAST(:status AS text[]), CAST(:done_at AS timestamptz[]),
            CAST(:report_id AS bigint[]), CAST(:conflicting AS boolean[]),
            CAST(:changed_at AS timestamptz[]), CAST(:rollup_id AS bigint[]),
            CAST(:counted_as AS text[]), CAST(:counted_credit AS bigint[]),
            CAST(:counted_milliseconds AS bigint[]),
            CAST(:counted_reported_credit AS bigint[])
        ) AS u (id, status, done_at, report_id, conflicting, changed_at, rollup_id, counted_as,
                counted_credit, counted_milliseconds, counted_reported_credit)
        WHERE m.id = u.id RETURNING m.id
    """,
}
# The same of messages that stay as they are: no index and no CHECK knows these columns.
COUNT: Final = {
    "sqlite": """
        UPDATE sent_message
        SET rollup_id = :rollup_id, counted_as = :counted_as, counted_credit = :counted_credit,
            counted_milliseconds = :counted_milliseconds,
            counted_reported_credit = :counted_reported_credit
        WHERE id = :id
    """,
    "postgresql": """
        UPDATE sent_message AS m
        SET rollup_id = u.rollup_id, counted_as = u.counted_as,
            counted_credit = u.counted_credit, counted_milliseconds = u.counted_milliseconds,
            counted_reported_credit = u.counted_reported_credit
        FROM unnest(
            CAST(:id AS bigint[]), CAST(:rollup_id AS bigint[]), CAST(:counted_as AS text[]),
            CAST(:counted_credit AS bigint[]), CAST(:counted_milliseconds AS bigint[]),
            CAST(:counted_reported_credit AS bigint[])
        ) AS u (id, rollup_id, counted_as, counted_credit, counted_milliseconds,
                counted_reported_credit)
        WHERE m.id = u.id RETURNING m.id
    """,
}
SETTLE_MESSAGES: Final = "UPDATE sent_message SET settled_at = :now WHERE id IN ({ids})"


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
        return max(self.messages, self.reports) >= PORTION


def settle_all(engine: Engine, portion: int = PORTION) -> int:
    """Settle until nothing waits, each portion in a transaction of its own; return how many rows.

    Stops at once where another receiver is the hand; that one looks every second.
    """
    rows = 0
    while True:
        done = settle_one(engine, portion)
        if not done.more:
            return rows
        rows += done.messages + done.reports


def settle_one(engine: Engine, portion: int = PORTION) -> Settled:
    """Settle one portion in a transaction of its own, again after a deadlock."""

    def work(connection: Connection) -> Settled:
        hand = _Hand(connection, portion)
        done = hand.catch_up(hand.settle())
        hand.write_state()
        return replace(done, took=tuple(hand.took))

    return transact(engine.execution_options(**DERIVED), work)


def settle(connection: Connection, portion: int = PORTION) -> Settled:
    """Settle at most a portion of what waits, in the caller's write transaction."""
    hand = _Hand(connection, portion)
    done = hand.settle()
    hand.write_state()
    return done


def take_hand(connection: Connection) -> None:
    """Wait until no other receiver settles, and keep it so until the transaction ends."""
    if connection.dialect.name != SQLITE:
        connection.execute(text(HAND.replace("SKIP LOCKED", "")))


def concerned(connection: Connection, messages: Sequence[int]) -> Iterator[int]:
    """Return the reports that these messages may win or lose."""
    for found in _Hand(connection, PORTION).concerned(messages):
        yield from found


@functools.cache
def _from_list(template: str) -> str:
    """Return an update of one row, by its id, as one of all the rows of a JSON list."""
    table = template.split()[1]
    named = re.sub(r":(\w+)", r"json_extract(u.value, '$.\1')", template)
    return named.replace("WHERE id =", f"FROM json_each(?) AS u WHERE {table}.id =")


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


class _Hand:
    """One settling transaction."""

    def __init__(self, connection: Connection, portion: int) -> None:
        self.connection = connection
        self.portion = portion
        self.sqlite = connection.dialect.name == SQLITE
        self.took: list[tuple[str, int]] = []

    def settle(self) -> Settled:
        """Settle once.

        Take what is unsettled, messages and reports; add the reports these messages may win or
        lose; link them all; decide again every message that lost or got a report; mark what was
        taken.
        """
        if not self._take():
            return Settled()
        messages = [row.id for row in self._rows(TAKE_MESSAGES, portion=self.portion)]
        reports = self._rows(TAKE_REPORTS, portion=self.portion)
        if not messages and not reports:
            return Settled()
        links = self._match(reports)
        # What was derived from a report may be new although its link is not, so every message of
        # an unsettled report is decided again.
        moved = {row.sent_message_id for row in reports}.union(links.values())
        moved |= self._widen(messages, {row.id for row in reports})
        now = self.state.now
        self._write(SETTLE_REPORTS, [{"id": i, "link": m, "now": now} for i, m in links.items()])
        changes = self._decide(moved.union(messages))
        if messages:
            self._run(SETTLE_MESSAGES, ids=messages, now=now)
        return Settled(len(messages), len(reports), changes)

    def catch_up(self, done: Settled) -> Settled:
        """Count what nobody has counted: older messages, and scheduled ones whose time has come.

        Not where a full portion was settled: what waits goes first.
        """
        if done.messages + done.reports >= min(self.portion, WALK) or not self._take():
            return done
        state, older = self.state, list[int]()
        hours = self._credit_hour() if state.uncredited_before is not None else 0
        if state.uncounted_to:
            older = self._column(TAKE_OLDER, uncounted_to=state.uncounted_to, portion=WALK)
            self._decide(older)
            state.uncounted_to = older[-1] - 1 if older else 0
        return replace(done, older=hours + len(older) + self._count_due(busy=done.more))

    def _credit_hour(self) -> int:
        """Add what the rows of one hour lack, newest first; return how many hours that were."""
        before = rollup.moment(self.state.uncredited_before)
        begins = rollup.last_hour(self.connection, before)
        if begins is None:
            self.state.uncredited_before = None
            return 0
        rollup.remake(self.connection, begins, some=True)  # others may have been deleted
        self.state.uncredited_before = self._instant(begins)
        return 1

    def _count_due(self, *, busy: bool) -> int:
        """Count scheduled messages whose time has come, at most WALK; return how many."""
        state = self.state
        since, until = state.counted_until, rollup.moment(state.until)
        if since is None:
            state.counted_until = state.until
            return 0
        age = until - rollup.moment(since)
        if age < LOOK_AGAIN:
            return 0
        upto = state.until if age <= DAY else self._instant(rollup.moment(since) + DAY)
        due = self._column(TAKE_DUE, since=since, until=upto, portion=WALK)
        self._decide(due)
        # An idle receiver need not write every second.
        if len(due) < WALK and (busy or due or age >= NOTE_AFTER):
            state.counted_until = upto
        return len(due)

    def _take(self) -> bool:
        """Be the hand until the transaction ends; say whether nobody else is."""
        return self.sqlite or bool(self._rows(HAND))

    @functools.cached_property
    def state(self) -> _State:
        """Read the clock, and how far the roll-ups are."""
        clock = self._rows(CLOCK[self.connection.dialect.name])[0]
        found = self._rows(STATE)[0]
        uncounted_to = found.uncounted_to
        # Somebody else changed a status: a version of this program that does not count. What it
        # did is found by looking at every message, newest first, as after the upgrade.
        if uncounted_to is None or found.changed_until != clock.latest:
            (uncounted_to,) = self._column(NEWEST)
        since = found.counted_until
        until = clock.now if since is None else max(clock.now, since)
        return _State(
            clock.now,
            clock.change,
            until,
            uncounted_to,
            since,
            clock.latest,
            found.uncredited_before,
            tuple(found),
        )

    def write_state(self) -> None:
        """Write how far the roll-ups are, where that has changed."""
        if "state" in self.__dict__ and (row := self.state.row()) != self.state.read:
            self._run(WRITE_STATE, **dict(zip(STATE_COLUMNS, row, strict=True)))

    def _instant(self, value: datetime) -> Any:
        return instant_text(value) if self.sqlite else value

    def concerned(self, messages: Sequence[int]) -> Iterator[Sequence[int]]:
        """Return the reports that messages may win or lose, in portions."""
        after = 0
        while messages:
            found = (
                self._run(WIDEN, ids=messages, after=after, portion=self.portion).scalars().all()
            )
            yield found
            if len(found) < self.portion:
                return
            after = found[-1]

    def _widen(self, messages: Sequence[int], taken: set[int]) -> set[int | None]:
        """Link again what the messages may win or lose; return the messages that did."""
        moved: set[int | None] = set()
        for found in self.concerned(messages):
            others = [i for i in found if i not in taken]
            if not others:
                continue
            old = {row.id: row for row in self._rows(READ_REPORTS, ids=others)}
            links = self._match(list(old.values()))
            new = {i: m for i, m in links.items() if m != old[i].sent_message_id}
            moved.update(new.values(), (old[i].sent_message_id for i in new))
            self._write(LINK, [{"id": i, "link": m} for i, m in new.items()])
        return moved

    def _match(self, reports: Sequence[Row[Any]]) -> dict[int, int | None]:
        """Return the message of each report; None where the rules name none."""
        # What showed where it belongs was erased.
        links: dict[int, int | None] = {r.id: r.sent_message_id for r in reports if r.fixed}
        ids = [row.id for row in reports]
        if ids:
            for report, _, count, message in self._rows(MATCH, ids=ids):
                # Ordered by grade: the first is the best, and two candidates there are no match.
                links.setdefault(report, message if count == 1 else None)
        bare = [row for row in reports if row.bare and row.id not in links]
        if bare:
            sole = self._sole([row.id for row in bare])
            for row in bare:
                links[row.id] = sole[row.provider, row.account, row.transaction_id]
        return dict.fromkeys(ids) | links

    def _sole(self, ids: Sequence[int]) -> dict[tuple[str, str, str], int | None]:
        """Return the only message of each transaction, where it has only one."""
        found: dict[tuple[str, str, str], int | None] = {}
        for provider, account, transaction, own, own_id, other, other_id in self._rows(
            SOLE, ids=ids
        ):
            count, message = (own, own_id) if own else (other, other_id)
            found[provider, account, transaction] = message if count == 1 else None
        return found

    def _decide(self, messages: Iterable[int | None]) -> dict[int, tuple[str, str]]:
        """Give each message the status its reports decide, and count it as what it is now.

        Return the statuses that changed.
        """
        best: dict[int, Row[Any]] = {}
        rows: list[Row[Any]] = []
        for part in _portions(sorted(m for m in messages if m is not None), self.portion):
            best |= {row.message: row for row in self._rows(DECIDING, ids=part)}
            rows += self._rows(READ_MESSAGES, ids=part)
        if not rows:
            return {}
        state = self.state
        tally = rollup.Tally(self.connection, rollup.moment(state.until))
        decide, count = list[dict[str, Any]](), list[dict[str, Any]]()
        written: dict[int, tuple[Row[Any], Added]] = {}
        changes = {}
        for row, place in tally.place(rows):
            id_, report = row.id, best.get(row.id)
            decided = _decision(row, report)
            added = _added(row, report, decided, place)
            values: dict[str, Any] = {"id": id_}
            values.update(zip(Added._fields, added, strict=True))
            if decided != _stands(row):
                values.update(zip(DECIDED, decided, strict=True))
                values["changed_at"] = None
                if decided[0] != row.status:
                    values["changed_at"] = state.change
                    changes[id_] = (row.status, decided[0])
                decide.append(values)
            elif added != rollup.noted(row):
                count.append(values)
            else:
                continue
            written[id_] = row, added
        # What was deleted meanwhile stays counted as it was.
        for id_ in [*self._write(DECIDE, decide), *self._write(COUNT, count)]:
            tally.change(*written[id_])
        tally.write()
        self.took += tally.took
        if changes:
            state.changed_until = state.change
        return changes

    def _rows(self, template: str, **values: Any) -> Sequence[Any]:
        rows: Sequence[Any] = self._run(template, **values).all()
        return rows

    def _column(self, template: str, **values: Any) -> list[Any]:
        return list(self._run(template, **values).scalars())

    def _run(self, template: str, **values: Any) -> Any:
        if self.sqlite and "ids" in values:
            values["ids"] = json.dumps(values["ids"])
        return self.connection.execute(_statement(template, self.connection.dialect.name), values)

    def _write(self, templates: Mapping[str, str], rows: list[dict[str, Any]]) -> list[int]:
        """Update rows by their ids: one prepared statement on SQLite, arrays on PostgreSQL.

        Return the ids of those that were there, where the statement says so; on SQLite nobody
        else can have deleted one.
        """
        if not rows:
            return []
        if self.sqlite:
            # One statement: one for each row would give up and take back Python's lock each time.
            self.connection.exec_driver_sql(_from_list(templates["sqlite"]), (json.dumps(rows),))
            return [row["id"] for row in rows]
        there: list[int] = []
        for part in _portions(rows, self.portion):
            columns = {name: [row[name] for row in part] for name in part[0]}
            statement = _statement(templates["postgresql"], "postgresql")
            result = self.connection.execute(statement, columns)
            there += result.scalars() if result.returns_rows else ()
        return there


def _portions(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _stands(row: Row[Any]) -> Decision:
    """Return what a message says of itself."""
    return row.status, row.done_at, row.report_id, bool(row.conflicting)


def _decision(row: Row[Any], best: Row[Any] | None) -> Decision:
    """Return what a message's reports decide, or what it says where they were deleted."""
    if row.gone and (best is None or RANK[Status(best.status)] >= RANK[Status(row.status)]):
        return _stands(row)
    if best is None:
        first = Status.REJECTED if row.refused else Status.ACCEPTED
        return first.value, None, None, False
    conflicting = bool(best.delivered) and bool(best.failed)
    return best.status, best.done_at, best.id, conflicting


def _added(row: Row[Any], best: Row[Any] | None, decided: Decision, place: int | None) -> Added:
    """Return what a message adds to the row of the roll-ups that is its place."""
    if place is None:
        return Added()
    status, done_at, report_id, _ = decided
    group = rollup.group(status, reported=report_id is not None, refused=bool(row.refused))
    took = None
    if group == "delivered" and done_at is not None:
        if best is not None and best.id == report_id:
            took = rollup.took(best.sent_at or row.sent_at, done_at)
        elif row.counted_as == group:  # the report was deleted: as it was counted
            took = row.counted_milliseconds
        else:
            took = rollup.took(row.sent_at, done_at)
    told = row.counted_reported_credit if report_id is not None else None
    if best is not None and best.id == report_id:  # it is there to be read
        told = best.credit
    return Added(place, group, row.credit, took, told)
