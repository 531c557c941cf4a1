"""Retention: deleting what is old, in portions so small that nobody waits for them.

A message goes by `sent_at`, with all its reports; a report of no message by `received_at`; a
callback with the first of its reports that goes, and by its own age. So nothing is left that a
replay could raise a deleted message's report from. What the roll-ups counted stays counted. Any
portion may be the last: what is done is right, and the next run does the rest.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, or_, select, tuple_, update

from receiver.database import DERIVED, MAX_LISTED, READ, chunks, passes, transact
from receiver.database.tables import callback, delivery_report, receiver_state, sent_message
from receiver.domain import first_id

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine, Select

    from receiver.settings import Settings


FIRST_PORTION_ROWS: Final = 20
"""The rows of the first portion; each next one is sized by how long the last one took."""
MAX_PORTION_ROWS: Final = MAX_LISTED
"""The rows of a portion at most: its statements list their ids."""
TARGET_SECONDS: Final = 0.015
"""The seconds a portion should hold its locks; one that turns out slow still ends within 0.1 s."""
REST_FACTOR: Final = 1.5
"""The rest after each portion, as a multiple of the time it took."""
MAX_REFUSALS: Final = 5
"""The portions that the database may refuse in a row before it counts as unavailable."""
STOP_SECONDS: Final = 1.0
"""The seconds that stopping waits for the portion under way."""
CHECK_SECONDS: Final = 60.0
"""The seconds between checks whether it is night, and between renewals of the lease meanwhile."""

Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of retention: what is older than these aware times is deleted; None deletes nothing.

    `callbacks` is never before `messages`: no callback outlives its reports. `unreadable` is for
    callbacks that could not be read whole, and whose texts could not be blanked.
    """

    messages: datetime | None = None
    callbacks: datetime | None = None
    unreadable: datetime | None = None

    @classmethod
    def at(
        cls,
        now: datetime,
        older_than: timedelta | None,
        callbacks: timedelta | None,
        unreadable: timedelta | None,
    ) -> Limits:
        """Return the limits for ages, counted back from a time."""
        ages = [age for age in (older_than, callbacks) if age is not None]
        return cls(
            messages=_before(now, older_than),
            callbacks=_before(now, min(ages, default=None)),
            unreadable=_before(now, unreadable),
        )

    @classmethod
    def set(cls, settings: Settings, now: datetime) -> Limits:
        """Return the limits that are set, counted back from a time."""
        return cls.at(
            now,
            settings.purge_older_than,
            settings.purge_callbacks_older_than,
            settings.purge_unreadable_older_than,
        )

    def __bool__(self) -> bool:
        """Say whether anything ever goes."""
        return self != Limits()


def _before(now: datetime, age: timedelta | None) -> datetime | None:
    return None if age is None else now - age


# What goes, as conditions. Messages that are not counted yet wait until they are.


def _messages(before: datetime) -> ColumnElement[bool]:
    table = sent_message.c
    counted = table.rollup_id.is_not(None) & table.settled_at.is_not(None)
    return (table.sent_at < before) & counted


def _nobodys(before: datetime) -> ColumnElement[bool]:
    """Choose reports whose message is unknown, or was deleted while they were being linked."""
    table = delivery_report.c
    known = select(1).where(sent_message.c.id == table.sent_message_id).exists()
    return (table.received_at < before) & table.settled_at.is_not(None) & ~known


def _unreadable(before: datetime) -> ColumnElement[bool]:
    table = callback.c
    return (table.outcome != "read") & (table.received_at < before) & ~table.redacted


def _reports_of(messages: Sequence[int]) -> ColumnElement[bool]:
    return delivery_report.c.sent_message_id.in_(messages)


# Deleting by id, in the caller's transaction; each returns how many rows of which kind went.


def delete_messages(connection: Connection, ids: Sequence[int]) -> Counter[str]:
    """Delete messages with all that was reported of them."""
    deleted = _delete_reports(connection, _reports_of(ids))
    table = sent_message.c
    deleted["messages"] = connection.execute(delete(sent_message).where(table.id.in_(ids))).rowcount
    return deleted


def _delete_nobodys(connection: Connection, ids: Sequence[int]) -> Counter[str]:
    return _delete_reports(connection, delivery_report.c.id.in_(ids))


def _delete_reports(connection: Connection, chosen: ColumnElement[bool]) -> Counter[str]:
    """Delete reports, and the callbacks that brought them."""
    brought = select(delivery_report.c.callback_id).where(chosen).distinct()
    callbacks = connection.execute(brought).scalars().all()
    gone = Counter(reports=connection.execute(delete(delivery_report).where(chosen)).rowcount)
    for part in chunks(callbacks):
        gone += _delete_callbacks(connection, part)
    return gone


def _delete_callbacks(connection: Connection, ids: Sequence[str]) -> Counter[str]:
    with_id = callback.c.id.in_(ids)
    return Counter(callbacks=connection.execute(delete(callback).where(with_id)).rowcount)


@dataclass(frozen=True, slots=True)
class _Step:
    """One kind of row that goes: how the oldest are found after a place, and how they go.

    The place is what keeps each look from passing over all that was deleted before it.
    """

    oldest: Select[Any]
    order: Sequence[ColumnElement[Any]]
    delete: Callable[[Connection, Sequence[Any]], Counter[str]]

    def next(self, connection: Connection, after: Sequence[Any] | None, limit: int) -> Any:
        """Return the next rows: the id, then what they are ordered by."""
        statement = self.oldest.order_by(*self.order).limit(limit)
        if after is not None:
            types = [column.type for column in self.order]
            statement = statement.where(tuple_(*self.order) > tuple_(*after, types=types))
        return connection.execute(statement).all()


def _steps(limits: Limits) -> Iterator[_Step]:
    messages, reports, callbacks = sent_message.c, delivery_report.c, callback.c
    if limits.messages is not None:
        order: Sequence[ColumnElement[Any]] = (messages.sent_at, messages.id)
        oldest = select(messages.id, *order).where(_messages(limits.messages))
        yield _Step(oldest, order, delete_messages)
        order = (reports.received_at, reports.id)
        oldest = select(reports.id, *order).where(_nobodys(limits.messages))
        yield _Step(oldest, order, _delete_nobodys)
    if limits.callbacks is not None:
        # By the id, which is made on arrival and in the order of arrival.
        oldest = select(callbacks.id, callbacks.id.label("place"))
        arrived = callbacks.id < first_id(limits.callbacks)
        yield _Step(oldest.where(arrived), (callbacks.id,), _delete_callbacks)
    if limits.unreadable is not None:
        order = (callbacks.outcome, callbacks.received_at, callbacks.id)
        oldest = select(callbacks.id, *order).where(_unreadable(limits.unreadable))
        yield _Step(oldest, order, _delete_callbacks)


def purge(
    engine: Engine,
    limits: Limits,
    *,
    progress: Progress | None = None,
    stopping: threading.Event | None = None,
) -> Counter[str]:
    """Delete what is older than the limits; return how many messages, reports and callbacks.

    `progress` is told how many rows each portion deleted. Ends early once `stopping` is set.
    """
    stopping = stopping or threading.Event()
    if limits.messages is not None:
        _store_limit(engine, limits.messages)
    deleted: Counter[str] = Counter()
    for step in _steps(limits):
        for part in _delete_rows(engine, step, stopping):
            deleted += part
            if progress is not None:
                progress(part.total())
    return deleted


def _store_limit(engine: Engine, before: datetime) -> None:
    """Remember it first: whatever happens from here on, a replay brings nothing of it back."""
    until = receiver_state.c.purged_until
    later = or_(until.is_(None), until < before)
    transact(engine, lambda c: c.execute(update(receiver_state).where(later).values(
        purged_until=before)))  # fmt: skip


def _delete_rows(engine: Engine, step: _Step, stopping: threading.Event) -> Iterator[Counter[str]]:
    """Delete the rows of a step, a portion in a transaction, and rest after each."""
    reader, writer = engine.execution_options(**READ), engine.execution_options(**DERIVED)
    size, after, refused = FIRST_PORTION_ROWS, None, 0
    while not stopping.is_set():
        # Read first, so that the rows are in memory when they are locked.
        with reader.connect() as connection:
            rows = step.next(connection, after, size)
        if not rows:
            return
        began = 0.0

        def work(connection: Connection, rows: Sequence[Any] = rows) -> Counter[str]:
            nonlocal began  # from when it has the lock: before that it held up nobody
            began = time.perf_counter()
            return step.delete(connection, [row[0] for row in rows])

        try:
            deleted = transact(writer, work)
        except Exception as error:
            # Who has the lock for so long needs it more.
            refused += 1
            if not passes(error) or refused == MAX_REFUSALS:
                raise
            stopping.wait(refused)
            continue
        seconds = time.perf_counter() - began
        after, refused = tuple(rows[-1][1:]), 0
        size = max(1, min(MAX_PORTION_ROWS, 2 * size, round(size * TARGET_SECONDS / seconds)))
        yield deleted
        stopping.wait(seconds * REST_FACTOR)


def count(engine: Engine, limits: Limits) -> Counter[str]:
    """Return how many messages, reports and callbacks `purge` would delete."""
    with engine.execution_options(**READ).connect() as connection:
        return _count(connection, limits)


def _count(connection: Connection, limits: Limits) -> Counter[str]:
    deleted: Counter[str] = Counter()
    brought: list[ColumnElement[bool]] = []
    reports = delivery_report.c
    if limits.messages is not None:
        going = _messages(limits.messages)
        deleted["messages"] = _number(connection, sent_message, going)
        of_them = reports.sent_message_id.in_(select(sent_message.c.id).where(going))
        either = or_(of_them, _nobodys(limits.messages))
        deleted["reports"] = _number(connection, delivery_report, either)
        brought.append(callback.c.id.in_(select(reports.callback_id).where(either)))
    if limits.callbacks is not None:
        brought.append(callback.c.id < first_id(limits.callbacks))
    if limits.unreadable is not None:
        brought.append(_unreadable(limits.unreadable))
    if brought:
        deleted["callbacks"] = _number(connection, callback, or_(*brought))
    return deleted


def _number(connection: Connection, table: Any, chosen: ColumnElement[bool]) -> int:
    return connection.execute(select(func.count()).select_from(table).where(chosen)).scalar_one()


def purged_until(connection: Connection) -> datetime | None:
    """Return the time before which messages may have been deleted; None where none was."""
    until: datetime | None = connection.execute(select(receiver_state.c.purged_until)).scalar_one()
    return until
