"""Look-ups of messages and their timelines, and the feed of changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import (
    LargeBinary,
    func,
    select,
    tuple_,
)

from receiver.database import (
    Instant,
    RowId,
    among,
    message_status,
    message_timeline,
)
from receiver.database.tables import callback, delivery_report, sent_message
from receiver.display import Json, row_as_json
from receiver.domain import EPOCH, MILLISECOND, UnreadableError, msisdn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, RowMapping, Select
    from sqlalchemy.sql.base import ReadOnlyColumnCollection

# No more digits than a time and the databases' integers have.
_CURSOR: Final = re.compile(r"([0-9]{1,14})-([0-9]{1,18})")
FEED_LIMIT: Final = 1000
FEED_MAX: Final = 10_000
MAX_FOUND: Final = 1000
"""The messages that one look-up returns, at most; `truncated` says when there were more."""

MAX_TIMELINE: Final = 5000
"""The reports of all messages of one look-up, at most; a provider may repeat itself without end."""


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
        document: Json = {"messages": self.messages, "unmatched": self.unmatched}
        return document | {"truncated": True} if self.truncated else document


def by_id(connection: Connection, provider: str | None, id_: str) -> Found:
    """Find by message id or transaction id, of one provider or of any."""
    table, reports = message_status.c, delivery_report.c
    of_provider = [table.provider == provider] if provider else []
    of_report = [reports.provider == provider] if provider else []
    # Two look-ups that each use an index; an OR over both need not.
    ids = union_of(select(table.id).where(one, *of_provider) for one in has_id(table, id_))
    unmatched = union_of(
        select(reports.id).where(one, reports.sent_message_id.is_(None), *of_report)
        for one in has_id(reports, id_)
    )
    return _found(connection, table.id.in_(ids), reports.id.in_(unmatched))


def has_id(columns: Any, id_: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions, each with an index of its own, of which an id may meet any."""
    return columns.message_id == id_, columns.transaction_id == id_


def numbers(text: str) -> set[str]:
    """Return the ways in which a text, taken for a phone number, may have been kept."""
    return {text.strip(), msisdn(text) or text.strip()}


def union_of(selects: Iterable[Select[Any]]) -> Any:
    """Return one select of several."""
    first, *rest = selects
    return first.union(*rest)


def by_reference(connection: Connection, reference: str) -> Found:
    """Find by the sender's own id."""
    return _found(connection, message_status.c.reference == reference, None)


def by_recipient(connection: Connection, number: str) -> Found:
    """Find by phone number, in any way of writing it."""
    return _found(connection, message_status.c.recipient.in_(numbers(number)), None)


def _found(
    connection: Connection,
    messages: ColumnElement[bool],
    unmatched: ColumnElement[bool] | None,
) -> Found:
    newest = (
        select(message_status)
        .where(messages)
        .order_by(message_status.c.sent_at.desc(), message_status.c.id.desc())
        .limit(MAX_FOUND + 1)
    )
    rows = connection.execute(newest).mappings().all()
    messages_ = [row_as_json(row) for row in rows[:MAX_FOUND]]
    timelines, more = _timelines(connection, [row["id"] for row in messages_])
    reports: Sequence[Any] = ()
    if unmatched is not None:
        statement = (
            select(delivery_report)
            .where(unmatched)
            .order_by(delivery_report.c.id)
            .limit(MAX_FOUND + 1)
        )
        reports = connection.execute(statement).mappings().all()
    return Found(
        [row | {"timeline": timelines.get(row["id"], [])} for row in messages_],
        [row_as_json(row) for row in reports[:MAX_FOUND]],
        truncated=more or max(len(rows), len(reports)) > MAX_FOUND,
    )


def _timelines(connection: Connection, ids: Sequence[int]) -> tuple[dict[int, list[Json]], bool]:
    """Return what happened to each message, in order, and whether there was more."""
    if not ids:
        return {}, False
    table = message_timeline.c
    statement = (
        select(message_timeline)
        .where(among(connection.dialect, table.sent_message_id, ids))
        .order_by(table.event.desc(), table.at, table.received_at)  # "sent" before "report"
        .limit(MAX_TIMELINE + 1)
    )
    rows = connection.execute(statement).mappings().all()
    timelines: dict[int, list[Json]] = {}
    for row in rows[:MAX_TIMELINE]:
        timelines.setdefault(row["sent_message_id"], []).append(row_as_json(row))
    return timelines, len(rows) > MAX_TIMELINE


class FeedPosition(NamedTuple):
    """A place in the feed: that of the change of one message. `at` is aware."""

    at: datetime
    id: int


def changes(connection: Connection, cursor: str, limit: int) -> tuple[list[Json], str]:
    """Return messages whose status changed after the cursor, in order, and the next cursor.

    An empty cursor is the beginning. Raises UnreadableError for a cursor that is none of ours.
    """
    rows = changed(connection, _cursor(cursor), limit)
    if rows:
        last = rows[-1]
        cursor = f"{(last['changed_at'] - EPOCH) // MILLISECOND}-{last['id']}"
    return [row_as_json(row) for row in rows], cursor


def changed(
    connection: Connection,
    after: FeedPosition | None,
    limit: int,
    until: FeedPosition | None = None,
) -> Sequence[RowMapping]:
    """Return rows of `message_status` whose status changed after a place, at most up to another.

    None is skipped, and none has to be held back. Who settles holds a lock until its transaction
    has ended, and gives all its changes one time, later than every change that was committed
    before. So who sees a change sees all that have a place before it, whatever the clocks say.
    """
    table = message_status.c
    statement = (
        select(message_status)
        .where(*_between(table, after, until))
        .order_by(table.changed_at, table.id)
        .limit(limit)
    )
    return connection.execute(statement).mappings().all()


def _between(
    columns: ReadOnlyColumnCollection[str, Any],
    after: FeedPosition | None,
    until: FeedPosition | None = None,
) -> Iterator[ColumnElement[bool]]:
    """Return the conditions of what lies between two places of the feed.

    Those on the time alone let every planner begin and end at the right place in the index.
    """
    place = tuple_(columns.changed_at, columns.id)
    yield columns.changed_at.is_not(None)
    if after is not None:
        yield columns.changed_at >= after.at
        yield place > tuple_(*after, types=[Instant(), RowId])
    if until is not None:
        yield columns.changed_at <= until.at
        yield place <= tuple_(*until, types=[Instant(), RowId])


def latest_change(connection: Connection) -> FeedPosition | None:
    """Return the end of the feed; None where no status ever changed."""
    table = sent_message.c
    statement = (
        select(table.changed_at, table.id)
        .where(table.changed_at.is_not(None))
        .order_by(table.changed_at.desc(), table.id.desc())
        .limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else FeedPosition(*row)


def next_change(connection: Connection, after: FeedPosition | None) -> datetime | None:
    """Return when the first change after a place was; None where there is none."""
    table = sent_message.c
    statement = (
        select(table.changed_at)
        .where(*_between(table, after))
        .order_by(table.changed_at, table.id)
        .limit(1)
    )
    return connection.execute(statement).scalar()


def named(connection: Connection, word: str) -> Sequence[int]:
    """Return the row ids of messages with this message id, transaction id or reference."""
    table = sent_message.c
    ids = union_of(
        select(table.id).where(column == word)
        for column in (table.message_id, table.transaction_id, table.reference)
    )
    return connection.execute(ids).scalars().all()


def messages(connection: Connection, ids: Sequence[int]) -> Sequence[RowMapping]:
    """Return the rows of `message_status` with these ids that are there, in the order of ids."""
    table = message_status.c
    statement = select(message_status).where(table.id.in_(ids)).order_by(table.id)
    return connection.execute(statement).mappings().all()


def _cursor(cursor: str) -> FeedPosition | None:
    if not cursor:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise UnreadableError("changed_after: expected a cursor from an earlier answer")
    return FeedPosition(EPOCH + int(match[1]) * MILLISECOND, int(match[2]))


def with_head(head: int) -> list[ColumnElement[Any]]:
    """Return the columns of a callback, of its body only the head, and `length`, all its bytes."""
    body = callback.c.body
    shown = func.substr(body, 1, head, type_=LargeBinary).label("body")
    others = [column for column in callback.c if column is not body]
    return [*others, shown, func.length(body).label("length")]


def anything(connection: Connection, text: str) -> Found:
    """Find by message id, transaction id, reference or phone number, each message once."""
    parts = [
        by_id(connection, None, text),
        by_reference(connection, text),
        by_recipient(connection, text),
    ]
    messages = {message["id"]: message for part in parts for message in part.messages}
    return Found(
        list(messages.values()), parts[0].unmatched, truncated=any(part.truncated for part in parts)
    )
