"""The read side: what the answers, the commands and the feed are made of."""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    literal,
    select,
    text,
    tuple_,
)

from receiver.database import READ
from receiver.errors import UnreadableError
from receiver.models import (
    SQLITE,
    DatabaseNow,
    Instant,
    Key,
    RowId,
    callback,
    callback_repeat,
    delivery_report,
    sent_message,
)
from receiver.report import Status, msisdn
from receiver.views import SENT_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Select

Json = dict[str, Any]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
# No more digits than a time and the databases' integers have.
_CURSOR: Final = re.compile(r"([0-9]{1,14})-([0-9]{1,18})")
LOOKUP_SECONDS: Final = 3
"""How long one statement of a look-up may take; on SQLite, all of them."""
STEPS_BETWEEN: Final = 1_000_000
"""Steps of SQLite's, some 20 ms of them, after which it asks whether to go on."""
WAITING_MAX: Final = 1_000_000
"""Rows that are counted at most to say how many wait to be settled."""
FEED_DELAY: Final = timedelta(seconds=2)
FEED_LIMIT: Final = 1000
FEED_MAX: Final = 10_000
FOUND_MAX: Final = 1000
"""Messages that one look-up returns at most; `truncated` says when there were more."""

TIMELINE_MAX: Final = 5000
"""Reports of all these messages together; a provider may repeat itself without end."""

_views = MetaData()

# What a message is now; the columns are those of the table and what its reports add.
message_status = Table(
    "message_status",
    _views,
    *(Column(name, sent_message.c[name].type) for name in SENT_MESSAGE.split()),
    Column("final", Boolean),
    Column("provider_status", Text),
    Column("provider_code", Text),
    Column("provider_description", Text),
    Column("report_count", Integer),
    Column("delivery_seconds", Float),
)
message_timeline = Table(
    "message_timeline",
    _views,
    Column("sent_message_id", RowId),
    Column("provider", Text),
    Column("transaction_id", Text),
    Column("message_id", Text),
    Column("at", Instant),
    Column("event", Text),
    Column("status", Text),
    Column("provider_status", Text),
    Column("provider_code", Text),
    Column("provider_description", Text),
    Column("received_at", Instant),
    Column("repeats", Integer),
    Column("callback_id", Key),
)


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


_JSON: Final[dict[type, Callable[[Any], str]]] = {
    datetime: _instant,
    Decimal: str,
    bytes: bytes.hex,
}


def jsonable(value: object) -> object:
    """Return a value as JSON has it everywhere: ISO 8601 with Z, credit as text, digests in hex."""
    written = _JSON.get(type(value))
    return value if written is None else written(value)


def as_json(row: RowMapping) -> Json:
    """Return a row as a JSON object."""
    names: Iterable[Any] = row  # text that knows whether to be quoted; making it plain costs more
    return dict(zip(names, map(jsonable, row.values()), strict=True))


@dataclass(frozen=True, slots=True)
class Found:
    """Messages with their timelines, and reports that no message was found for."""

    messages: list[Json]
    unmatched: list[Json]
    truncated: bool = False

    def __bool__(self) -> bool:
        return bool(self.messages or self.unmatched)

    def as_json(self) -> Json:
        """Return the answer of `GET /messages`."""
        found: Json = {"messages": self.messages, "unmatched": self.unmatched}
        return found | {"truncated": True} if self.truncated else found


@contextmanager
def limited(connection: Connection) -> Iterator[None]:
    """Let no statement outlast LOOKUP_SECONDS, waiting for locks included.

    On SQLite, where nobody waits for locks to read, the statements together.
    """
    if connection.dialect.name != SQLITE:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{LOOKUP_SECONDS}s'")
        yield
        return
    driver, until = connection.connection.driver_connection, time.monotonic() + LOOKUP_SECONDS
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - what the dialect says
    driver.set_progress_handler(lambda: time.monotonic() > until, STEPS_BETWEEN)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


def by_id(connection: Connection, provider: str | None, given: str) -> Found:
    """Find by message id or transaction id, of one provider or of any."""
    table, reports = message_status.c, delivery_report.c
    of_provider = [table.provider == provider] if provider else []
    of_report = [reports.provider == provider] if provider else []
    # Two look-ups that each use an index; an OR over both need not.
    ids = union_of(
        select(table.id).where(column == given, *of_provider)
        for column in (table.message_id, table.transaction_id)
    )
    unmatched = union_of(
        select(reports.id).where(column == given, reports.sent_message_id.is_(None), *of_report)
        for column in (reports.message_id, reports.transaction_id)
    )
    return _found(connection, table.id.in_(ids), reports.id.in_(unmatched))


def union_of(selects: Iterable[Select[Any]]) -> Any:
    """Return one select of several."""
    first, *others = selects
    return first.union(*others)


def by_reference(connection: Connection, reference: str) -> Found:
    """Find by the sender's own id."""
    return _found(connection, message_status.c.reference == reference, None)


def by_recipient(connection: Connection, number: str) -> Found:
    """Find by phone number, in any way of writing it."""
    written = {number.strip(), msisdn(number)} - {None}
    return _found(connection, message_status.c.recipient.in_(written), None)


def _found(
    connection: Connection,
    messages: ColumnElement[bool],
    unmatched: ColumnElement[bool] | None,
) -> Found:
    newest = (
        select(message_status)
        .where(messages)
        .order_by(message_status.c.sent_at.desc(), message_status.c.id.desc())
        .limit(FOUND_MAX + 1)
    )
    rows = connection.execute(newest).mappings().all()
    found = [as_json(row) for row in rows[:FOUND_MAX]]
    timelines, more = _timelines(connection, [row["id"] for row in found])
    reports: Sequence[Any] = ()
    if unmatched is not None:
        statement = (
            select(delivery_report)
            .where(unmatched)
            .order_by(delivery_report.c.id)
            .limit(FOUND_MAX + 1)
        )
        reports = connection.execute(statement).mappings().all()
    return Found(
        [row | {"timeline": timelines.get(row["id"], [])} for row in found],
        [as_json(row) for row in reports[:FOUND_MAX]],
        truncated=more or max(len(rows), len(reports)) > FOUND_MAX,
    )


def _timelines(connection: Connection, ids: Sequence[int]) -> tuple[dict[int, list[Json]], bool]:
    """Return what happened to each message, in order, and whether there was more."""
    if not ids:
        return {}, False
    table = message_timeline.c
    statement = (
        select(message_timeline)
        .where(table.sent_message_id.in_(ids))
        .order_by(table.event.desc(), table.at, table.received_at)  # "sent" before "report"
        .limit(TIMELINE_MAX + 1)
    )
    rows = connection.execute(statement).mappings().all()
    timelines: dict[int, list[Json]] = {}
    for row in rows[:TIMELINE_MAX]:
        timelines.setdefault(row["sent_message_id"], []).append(as_json(row))
    return timelines, len(rows) > TIMELINE_MAX


def changes(connection: Connection, cursor: str, limit: int) -> tuple[list[Json], str]:
    """Return messages whose status changed after the cursor, in order, and the next cursor.

    None is skipped: a settling transaction gives every change a time later than all before it.
    They are held back 2 s. An empty cursor is the beginning. Raises UnreadableError for a
    cursor that is none of ours.
    """
    table = message_status.c
    after = _cursor(cursor)
    now = connection.execute(select(DatabaseNow())).scalar_one()
    wanted = [table.changed_at.is_not(None), table.changed_at <= now - FEED_DELAY]
    if after is not None:
        # The first condition lets every planner begin at the right place in the index.
        wanted += [
            table.changed_at >= after[0],
            tuple_(table.changed_at, table.id) > tuple_(*after, types=[Instant(), RowId]),
        ]
    statement = (
        select(message_status).where(*wanted).order_by(table.changed_at, table.id).limit(limit)
    )
    rows = connection.execute(statement).mappings().all()
    if rows:
        last = rows[-1]
        cursor = f"{(last['changed_at'] - EPOCH) // MILLISECOND}-{last['id']}"
    return [as_json(row) for row in rows], cursor


def _cursor(cursor: str) -> tuple[datetime, int] | None:
    if not cursor:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise UnreadableError("changed_after: expected a cursor from an earlier answer")
    return EPOCH + int(found[1]) * MILLISECOND, int(found[2])


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
            .limit(WAITING_MAX)
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


def has_callbacks(connection: Connection) -> bool:
    """Say whether anything was ever received."""
    return connection.execute(select(callback.c.id).limit(1)).first() is not None


# What the commands ask.

OUTCOMES: Final = ("read", "partial", "unreadable")


def unknown_words(connection: Connection, since: datetime) -> list[tuple[str, str, int]]:
    """Return provider, word in lower case and number of reports, for words that were unknown."""
    table = delivery_report.c
    statement = (
        select(table.provider, table.provider_status, func.count())
        .where(table.received_at >= since, table.status == Status.UNKNOWN.value)
        .group_by(table.provider, table.provider_status)
    )
    counts: Counter[tuple[str, str]] = Counter()
    for provider, word, count in connection.execute(statement):
        counts[provider, word.lower()] += count
    return [(provider, word, count) for (provider, word), count in sorted(counts.items())]


def kept_callbacks(
    connection: Connection, outcomes: Sequence[str], limit: int
) -> Sequence[RowMapping]:
    """Return the newest callbacks with these outcomes (none: all), newest first, without bodies."""
    table = callback.c
    statement = select(*(c for c in table if c.name not in {"body", "digest"})).limit(limit)
    if outcomes:
        statement = statement.where(table.outcome.in_(outcomes))
    if not outcomes or "read" in outcomes:  # the id begins with the time of arrival
        statement = statement.order_by(table.id.desc())
    else:  # as the index of the few that were not read has it
        statement = statement.where(text("outcome <> 'read'"))
        statement = statement.order_by(table.received_at.desc(), table.id.desc())
    return connection.execute(statement).mappings().all()


def with_head(head: int) -> list[ColumnElement[Any]]:
    """Return the columns of a callback, of its body only the head, and `length`, all its bytes."""
    body = callback.c.body
    shown = func.substr(body, 1, head, type_=LargeBinary).label("body")
    others = [column for column in callback.c if column is not body]
    return [*others, shown, func.length(body).label("length")]


def kept_callback(connection: Connection, id_: str, head: int | None = None) -> RowMapping:
    """Return a callback with its body, or of that only the head, and then its `length` beside it.

    Raises UnreadableError where the id is none of one.
    """
    try:
        key = str(UUID(id_))
    except ValueError:
        raise UnreadableError("Expected a callback's id, as `callbacks` lists it.") from None
    # An id that was answered for bytes that had come before stands for the callback that has them.
    first = select(callback_repeat.c.callback_id).where(callback_repeat.c.id == key)
    known = callback.c.id.in_(select(literal(key, Key)).union(first))
    columns = list(callback.c) if head is None else with_head(head)
    row = connection.execute(select(*columns).where(known)).mappings().first()
    if row is None:
        raise UnreadableError(f"There is no callback {key}.")
    return row


def kept_ids(engine: Engine, ids: Sequence[str]) -> list[str]:
    """Return ids of callbacks as they are kept. Raises UnreadableError for one that is none."""
    if not ids:
        return []
    with engine.execution_options(**READ).connect() as connection:
        return [kept_callback(connection, id_, head=0)["id"] for id_ in ids]


def anything(connection: Connection, sought: str) -> Found:
    """Find by message id, transaction id, reference or phone number, each message once."""
    found = [
        by_id(connection, None, sought),
        by_reference(connection, sought),
        by_recipient(connection, sought),
    ]
    messages = {message["id"]: message for part in found for message in part.messages}
    return Found(
        list(messages.values()), found[0].unmatched, truncated=any(part.truncated for part in found)
    )
