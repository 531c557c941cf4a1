"""Bulk statements: many rows or ids in one, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import any_, func, literal, select
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite

from receiver.database.column_types import SQLITE, Credit, Instant, instant_text
from receiver.database.tables import LATER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Dialect, Table
    from sqlalchemy.types import TypeEngine


T = TypeVar("T")
R = TypeVar("R")

MAX_VALUES: Final = 999
"""The values that SQLite before 3.32 takes in one statement, at most."""
MAX_LISTED: Final = 500
"""The values that one of our statements lists, at most, beside the others it has."""


def chunks(items: Sequence[T], size: int = MAX_LISTED) -> Iterator[Sequence[T]]:
    """Return the items in pieces of at most so many: as many as one statement may list."""
    return (items[start : start + size] for start in range(0, len(items), size))


def id_list(dialect: Dialect, ids: Iterable[int | str]) -> Any:
    """Return ids as one value of a statement, however many: JSON on SQLite, else an array."""
    listed = list(ids)
    return json.dumps(listed) if dialect.name == SQLITE else listed


def among(
    dialect: Dialect, column: ColumnElement[Any], ids: Iterable[int | str]
) -> ColumnElement[bool]:
    """Return the condition that a column is one of the ids: numbers or texts, however many.

    It is one statement with one value whatever their number. Bytes have no place in JSON: list
    those in `chunks`.
    """
    listed = id_list(dialect, ids)
    if dialect.name == SQLITE:
        return column.in_(select(func.json_each(listed).table_valued("value").c.value))
    return column == any_(literal(listed, postgresql_dialect.ARRAY(column.type)))


def halve(
    items: Sequence[T],
    work: Callable[[Sequence[T]], Iterable[R]],
    is_theirs: Callable[[Exception], bool],
    alone: Callable[[T, Exception], R],
) -> list[R]:
    """Do work on all items together; where one is at fault, find it, and do it on the others.

    `work` is a transaction that returns a value for each item. Where it raises what `is_theirs`,
    each half is tried by itself, until the one at fault stands `alone`: that says what comes of it.
    Of a thousand items with one that the database refuses some ten transactions fail. Anything
    else that is raised ends it; what was done before stays done.
    """
    try:
        return list(work(items))
    except Exception as error:
        if not is_theirs(error):
            raise
        if len(items) == 1:
            return [alone(items[0], error)]
        half = len(items) // 2
        first = halve(items[:half], work, is_theirs, alone)
        return first + halve(items[half:], work, is_theirs, alone)


def larger(dialect: Dialect, first: Any, second: Any) -> ColumnElement[Any]:
    """Return the larger of two values; where one is NULL, the databases differ."""
    maximum = func.max if dialect.name == SQLITE else func.greatest
    return maximum(first, second)


def upsert(connection: Connection, table: Table) -> Any:
    """Return the dialect's own INSERT with ON CONFLICT: the two share no type, but the words.

    What was inserted is told by `returning`, never by a number of rows.
    """
    kind = sqlite if connection.dialect.name == SQLITE else postgresql_dialect
    return kind.insert(table).inline()


STATEMENT_ROWS: Final = (32, 8, 1)
"""The rows that one statement of SQLite inserts, where that is no more than MAX_VALUES."""


class BulkInsert:
    """INSERT of many rows, bound by the driver itself.

    SQLAlchemy's work for each row would cost as much as the database's own. SQLite runs a prepared
    statement for each SIZES rows: one for each row would give up and take back Python's lock each
    time. PostgreSQL runs one for all, with an array for each column. `conflict` is the ON CONFLICT
    clause. With `ids` the rows bring their ids, which the database makes by itself otherwise.
    `returning` names a column whose values tell which rows were inserted: a number of rows is not
    to be relied on, where rows are spread over machines (Citus gives that of the rows offered).
    """

    def __init__(
        self, table: Table, conflict: str = "", *, ids: bool = False, returning: str = ""
    ) -> None:
        columns = [c for c in table.columns if ids or (c.identity is None and LATER not in c.info)]
        self.columns = [(column.name, _WRITTEN.get(type(column.type))) for column in columns]
        names = ", ".join(f'"{column.name}"' for column in columns)
        into = f"INSERT INTO {table.name} ({names})"
        clause = f"{conflict} RETURNING {returning}" if returning else conflict
        placeholders = ", ".join("?" * len(columns))
        dialect = postgresql_dialect.dialect()  # type: ignore[no-untyped-call]
        types = [column.type.compile(dialect) for column in columns]
        arrays = ", ".join(f"CAST(%s AS {of}[])" for of in types)
        self.sqlite = {
            size: f"{into} VALUES {', '.join([f'({placeholders})'] * size)} {clause}"
            for size in STATEMENT_ROWS
            if size * len(columns) <= MAX_VALUES
        }
        overriding = "OVERRIDING SYSTEM VALUE " if ids else ""
        self.postgresql = f"{into} {overriding}SELECT * FROM unnest({arrays}) {clause}"

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Insert rows that name every column, with `ids`; else all but the id and those LATER.

        Return what `returning` names of those that were inserted; nothing where it names none.
        """
        values = [
            tuple(
                row[name] if write is None or row[name] is None else write(row[name])
                for name, write in self.columns
            )
            for row in rows
        ]
        if connection.dialect.name != SQLITE:
            arrays = tuple(list(column) for column in zip(*values, strict=True))
            return self._run(connection, self.postgresql, arrays)
        returned: list[Any] = []
        at = 0
        for size, statement in self.sqlite.items():
            while len(values) - at >= size:
                flat = tuple(chain.from_iterable(values[at : at + size]))
                returned += self._run(connection, statement, flat)
                at += size
        return returned

    @staticmethod
    def _run(connection: Connection, statement: str, values: tuple[Any, ...]) -> list[Any]:
        result = connection.exec_driver_sql(statement, values)
        return list(result.scalars()) if result.returns_rows else []


class GivenRows:
    """Rows that a statement is given as if they were a table, `AS` the name that it is given.

    SQLite reads them from one JSON list (one statement for each would give up and take back
    Python's lock each time), PostgreSQL from an array for each column.
    """

    def __init__(self, name: str, columns: Mapping[str, TypeEngine[Any]]) -> None:
        self.columns = tuple(columns)
        dialect = postgresql_dialect.dialect()  # type: ignore[no-untyped-call]
        values = ", ".join(
            f"json_extract(value, '$[{at}]') AS {column}" for at, column in enumerate(columns)
        )
        arrays = ", ".join(f"CAST(%s AS {of.compile(dialect)}[])" for of in columns.values())
        self.sql = {
            SQLITE: f"(SELECT {values} FROM json_each(?)) AS {name}",
            "postgresql": f"unnest({arrays}) AS {name} ({', '.join(columns)})",
        }

    @staticmethod
    def bind(connection: Connection, rows: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
        """Return what the statement is run with: at least one row, of values as a driver has them.

        SQLite gets no times and no bytes but as texts.
        """
        if connection.dialect.name == SQLITE:
            return (json.dumps(rows),)
        return tuple(list(column) for column in zip(*rows, strict=True))


class BulkUpdate:
    """UPDATE of many rows by their ids, in one statement.

    What a column is set to is the new value, or the SQL that `formulas` gives for it, in which
    `{old}` and `{new}` stand for its values.
    """

    def __init__(
        self, table: Table, columns: Sequence[str], formulas: Mapping[str, str] | None = None
    ) -> None:
        self.given = GivenRows("u", {name: table.c[name].type for name in ("id", *columns)})
        formulas = dict.fromkeys(columns, "{new}") | dict(formulas or {})
        changes = ", ".join(
            f"{name} = {formula.format(old=f'{table.name}.{name}', new=f'u.{name}')}"
            for name, formula in formulas.items()
        )
        self.sql = {
            name: f"UPDATE {table.name} SET {changes} FROM {given} WHERE {table.name}.id = u.id"
            for name, given in self.given.sql.items()
        }
        self.sql["postgresql"] += f" RETURNING {table.name}.id"

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Update rows that name `id` and every column, with values as the driver has them.

        Return the ids of those that were there. On SQLite all are: they were read in the caller's
        transaction, and nobody else can have deleted one since.
        """
        if not rows:
            return []
        values = [[row[name] for name in self.given.columns] for row in rows]
        result = connection.exec_driver_sql(
            self.sql[connection.dialect.name], self.given.bind(connection, values)
        )
        return list(result.scalars()) if result.returns_rows else [row["id"] for row in rows]


# What a driver cannot write by itself. Both databases read these texts.
_WRITTEN: Final[dict[type, Callable[[Any], str]]] = {Instant: instant_text, Credit: str}
