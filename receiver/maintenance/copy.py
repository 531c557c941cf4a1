"""Copying everything from one database into another, empty one.

The tables are those of the models. Each is read in the order of its key and written in that order,
a batch in a transaction: what an interrupted copy left is the beginning of a table of the source,
and anything else that is there belongs to somebody else. No row of the target is changed or
removed, but for those that the making of its schema left.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Row, Table, delete, func, select, text
from sqlalchemy.exc import DBAPIError

from receiver.database import (
    SNAPSHOT,
    SQLITE,
    BulkInsert,
    halve,
    is_away,
    is_transient,
    opening,
    portions,
    schema,
    transact,
)
from receiver.database.tables import metadata, operations
from receiver.display import Table as Shown
from receiver.display import progress, show
from receiver.domain import CopyError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from receiver.settings import Settings


MAX_BATCH_ROWS: Final = 2000
"""The rows of one transaction at most; fewer where they are long."""
SEEDED: Final = frozenset({operations.receiver_state.name})
"""Tables that hold rows from their making; those of the source take their place."""
TO: Final = "--to"
RUN_AGAIN: Final = "Empty it (drop it, make it, `receiver migrate`) and run this again."

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """How many rows a table has, and what they come to: the same on both databases."""

    rows: int
    digest: str


def copy(settings: Settings, to: str) -> None:
    """Copy every table to the database of the URL `to`, compare the two, and say what came of it.

    Copying again goes on where it was cut off, and changes nothing where all is there. Raises
    SettingsError for a URL that is none, SchemaError for a schema that is not this program's, and
    CopyError where the target holds something else or comes out different.
    """
    target_settings = settings.model_copy(update={"database_url": to})
    with (
        _opened(settings, opening.DATABASE_URL) as source,
        _opened(target_settings, TO) as target,
    ):
        if opening.identity(source) == opening.identity(target):
            raise CopyError(f"{TO}: expected another database than the one that is copied.")
        _copy(source, target)
        sums = _compare(source, target)
    shown = Shown(columns=("table", "rows", "checksum"), right=frozenset({"rows"}))
    shown.rows += [(name, sum_.rows, sum_.digest) for name, sum_ in sums.items()]
    show(shown)
    sys.stdout.write("Both databases hold the same.\n")


@contextmanager
def _opened(settings: Settings, name: str) -> Iterator[Engine]:
    """Open a database whose schema must be this program's: a newer one may hold what it misses."""
    engine = opening.must_exist(settings.database_url, name)
    prefix = f"{TO}: " if name == TO else ""
    try:
        with _reading(engine) as connection:
            try:
                newer = schema.check(connection)
            except SchemaError as error:
                raise SchemaError(f"{prefix}{error}") from None
        if newer:
            raise SchemaError(f"{prefix}{newer} Copy with the newer program.")
        yield engine
    finally:
        engine.dispose()


def _reading(engine: Engine) -> Connection:
    """Open a connection that sees one state of the database, whatever others do meanwhile."""
    return engine.execution_options(**SNAPSHOT).connect()


def _copy(source: Engine, target: Engine) -> None:
    tables = metadata.sorted_tables
    with _reading(source) as reading:
        with _reading(target) as target_reading:
            begun = {table: _begun(reading, target_reading, table) for table in tables}
        with progress("Copying", sum(_count(reading, t) for t in tables)) as advance:
            for table, count in begun.items():
                advance(count)
                for batch in _batches(reading, table, after=count):
                    _insert(target, table, batch)
                    advance(len(batch))

        def finish(writing: Connection) -> None:
            for table in tables:
                _set_last_id(reading, writing, table)
            if target.dialect.name != SQLITE:
                writing.execute(text("ANALYZE"))

        transact(target, finish)


def _begun(source: Connection, target: Connection, table: Table) -> int:
    """Return how many rows an earlier run copied. Raises CopyError for rows that are not ours."""
    if table.name in SEEDED:
        return 0
    count = _count(target, table)
    pairs = zip(_rows(target, table), _rows(source, table), strict=False)
    same = sum(row == expected for row, expected in pairs)
    if same != count:
        raise CopyError(
            f"{TO}: {table.name} holds rows there that are not those of the source. {RUN_AGAIN}"
        )
    return count


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _batches(connection: Connection, table: Table, after: int = 0) -> Generator[list[Values]]:
    """Return the rows of a table in the order of its key, but for the first ones, in batches."""
    last_key = None
    if after:
        key = portions.in_order(table, connection.dialect)
        last = connection.execute(select(*key).order_by(*key).offset(after - 1).limit(1)).first()
        if last is None:
            return
        last_key = tuple(last)
    for rows in portions.rows(connection, table, last_key, chunk=MAX_BATCH_ROWS):
        yield [_portable(row) for row in rows]


def _rows(connection: Connection, table: Table) -> Iterator[Values]:
    for batch in _batches(connection, table):
        yield from batch


def _portable(row: Row[Any]) -> Values:
    """Return values that are the same from both databases: SQLite has local times as text."""
    return tuple(
        str(value) if isinstance(value, date) and getattr(value, "tzinfo", None) is None else value
        for value in row
    )


def _insert(target: Engine, table: Table, rows: Sequence[Values]) -> None:
    """Commit rows with their ids. Raises CopyError that names a row the target does not take."""
    bulk = BulkInsert(table, ids=True)

    def insert(some: Sequence[Values]) -> Sequence[None]:
        def work(writing: Connection) -> None:
            if table.name in SEEDED:
                writing.execute(delete(table))
            bulk(writing, [dict(zip(table.columns.keys(), row, strict=True)) for row in some])

        transact(target, work)
        return ()

    def is_theirs(error: Exception) -> bool:
        is_of_data = isinstance(error, DBAPIError | UnicodeError)
        return is_of_data and not (is_away(error) or is_transient(error))

    def refuse(row: Values, error: Exception) -> None:
        raise CopyError(_refused(table, row, error)) from error

    halve(rows, insert, is_theirs, refuse)


def _refused(table: Table, row: Values, error: Exception) -> str:
    """Say which row is refused, without its values: they may be a phone number."""
    key = [row[n] for n, column in enumerate(table.columns) if column.primary_key]
    kind = type(getattr(error, "orig", error)).__name__
    return (
        f"{table.name}, key {', '.join(map(str, key))}: {TO} does not take this row ({kind})."
        " Correct it in the source, and run this again."
    )


def _set_last_id(source: Connection, target: Connection, table: Table) -> None:
    """Let the next row id be the one that would come next in the source: none is used twice."""
    name = table.name
    if table.autoincrement_column is None or table.autoincrement_column.identity is None:
        return
    if source.dialect.name == SQLITE:
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    else:
        query = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id')::regclass)")
    last = source.execute(query, {"name": name}).scalar()
    if last is None:  # there never was a row
        return
    if target.dialect.name == SQLITE:
        target.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
        change = "INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"
    else:
        change = "SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"
    target.execute(text(change), {"name": name, "last": last})


def _compare(source: Engine, target: Engine) -> dict[str, Sum]:
    """Return the sums of all tables. Raises CopyError where those of the target are others.

    Both are read anew, so that what was changed in the source meanwhile is seen, too.
    """
    with _reading(source) as ours, _reading(target) as theirs:
        tables = metadata.sorted_tables
        sums = {}
        with progress("Comparing", 2 * sum(_count(ours, table) for table in tables)) as advance:
            for table in tables:
                sums[table.name] = _sum(ours, table, advance)
                if _sum(theirs, table, advance) != sums[table.name]:
                    raise CopyError(
                        f"{table.name} has changed since it was copied: something still writes to"
                        f" one of the databases. Stop it. {RUN_AGAIN.replace('it', TO, 1)}"
                    )
    return sums


def _sum(connection: Connection, table: Table, advance: Callable[[int], None]) -> Sum:
    digest, count = sha256(), 0
    for batch in _batches(connection, table):
        for row in batch:
            digest.update(repr(row).encode("utf-8", "surrogatepass"))
        count += len(batch)
        advance(len(batch))
    return Sum(count, digest.hexdigest()[:16])
