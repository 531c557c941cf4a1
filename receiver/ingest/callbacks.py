"""Callbacks as they are kept: listed, found by id, shown raw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import (
    literal,
    select,
    text,
)

from receiver.database import READ, Key
from receiver.database.tables import NOT_READ, callback, callback_repeat
from receiver.domain import UnreadableError
from receiver.messages import with_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine, RowMapping


def has_callbacks(connection: Connection) -> bool:
    """Say whether anything was ever received."""
    return connection.execute(select(callback.c.id).limit(1)).first() is not None


# What the commands ask.

OUTCOMES: Final = ("read", "partial", "unreadable")


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
    else:
        statement = statement.where(text(NOT_READ))
        statement = statement.order_by(table.received_at.desc(), table.id.desc())
    return connection.execute(statement).mappings().all()


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
