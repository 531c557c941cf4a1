"""Portions of a table: all its rows in the order of the key, as many at a time as fit into memory.

A portion is bounded by rows and by bytes: a body may be megabytes, and is then alone. How long rows
are is asked first, which reads no body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import LargeBinary, String, func, literal, select, tuple_

from receiver.database.column_types import SQLITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Dialect, Row, Table


PORTION_BYTES: Final = 8 * 1024 * 1024
"""The bytes of a portion's texts and bodies together, about; a single row may be longer."""

KeyValues = tuple[Any, ...]
"""The values of a row's key, by which portions begin and end."""


def in_order(table: Table, dialect: Dialect) -> Sequence[ColumnElement[Any]]:
    """Return what a table is ordered by: its key, texts by their bytes as SQLite has them."""
    return [
        column.collate("C")
        if dialect.name != SQLITE and isinstance(column.type.dialect_impl(dialect), String)
        else column
        for column in table.primary_key
    ]


def next_keys(
    connection: Connection,
    table: Table,
    after: KeyValues | None,
    rows: int,
    *,
    size: int = PORTION_BYTES,
    where: Sequence[ColumnElement[bool]] = (),
) -> list[KeyValues]:
    """Return the keys of the rows that come next, in order: none where there is no more.

    At most so many rows, and of about so many bytes; the first is there whatever its length.
    """
    key = in_order(table, connection.dialect)
    statement = select(*key, _length(table, connection.dialect)).where(*where)
    statement = statement.order_by(*key).limit(rows)
    if after is not None:
        statement = statement.where(_key(table, key) > _values(table, after))
    keys: list[KeyValues] = []
    total = 0
    for row in connection.execute(statement):
        total += row[-1]
        if keys and total > size:
            break
        keys.append(tuple(row[:-1]))
    return keys


def between(
    table: Table, dialect: Dialect, after: KeyValues | None, last: KeyValues
) -> Sequence[ColumnElement[bool]]:
    """Return the conditions of the rows behind one place, up to and with another."""
    key = in_order(table, dialect)
    conditions = [_key(table, key) <= _values(table, last)]
    if after is not None:
        conditions.append(_key(table, key) > _values(table, after))
    return conditions


def rows(
    connection: Connection,
    table: Table,
    after: KeyValues | None = None,
    *,
    chunk: int,
    size: int = PORTION_BYTES,
) -> Iterator[Sequence[Row[Any]]]:
    """Return whole rows behind a place, portion by portion."""
    dialect = connection.dialect
    while keys := next_keys(connection, table, after, chunk, size=size):
        statement = select(table).where(*between(table, dialect, after, keys[-1]))
        yield connection.execute(statement.order_by(*in_order(table, dialect))).all()
        after = keys[-1]


def _length(table: Table, dialect: Dialect) -> ColumnElement[int]:
    """Return how long the texts and bodies of a row are, about: characters and bytes."""
    kinds = String | LargeBinary
    long = [c for c in table.columns if isinstance(c.type.dialect_impl(dialect), kinds)]
    return sum((func.coalesce(func.length(c), 0) for c in long), literal(0))


def _key(table: Table, key: Sequence[ColumnElement[Any]]) -> Any:
    return tuple_(*key) if len(table.primary_key) > 1 else key[0]


def _values(table: Table, place: KeyValues) -> Any:
    types = [column.type for column in table.primary_key]
    return tuple_(*place, types=types) if len(types) > 1 else place[0]
