"""Connections: how SQLite and PostgreSQL are opened, and whose fault an error of theirs is."""

from __future__ import annotations

import os
import random
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from receiver import postgresql
from receiver.errors import ReceiverError, SettingsError
from receiver.failures import failed_statement, is_data, message, remedy, sqlstate
from receiver.models import LATER, SQLITE, Credit, Instant, instant_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg
    from sqlalchemy import URL, Connection, Engine, Table

T = TypeVar("T")

CANCEL_SECONDS: Final = 0.5
"""How long a server may take to hear that a statement is cancelled."""
ATTEMPTS: Final = 10
"""How often a transaction is tried that others got in the way of."""
BUSY_SECONDS: Final = 1
"""How long SQLite waits for another program's write lock before the database counts as away."""

# Chosen by measurement (docs/performance.md): larger page caches do not pay on the write path.
SQLITE_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit is on the disk before we answer 200
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
    "PRAGMA cache_size = -16000",  # 16 MB a connection
    "PRAGMA temp_store = MEMORY",  # what one statement sets aside for itself makes no file
)

# Read-only queries: `engine.execution_options(**READ)`. SQLite then takes no write lock.
READ: Final = {"receiver_read": True}

# Queries that all see one state of the database, as SQLite's of one transaction do anyway.
SNAPSHOT: Final = {"receiver_read": True, "receiver_snapshot": True}

# Transactions that may be lost with the power, since they would only be done again: their commit
# does not wait for the disk. Everything else does.
DERIVED: Final = {"receiver_derived": True}

RETRIED: Final = frozenset({"40001", "40P01"})
"""SQLSTATEs that say "try the same again": serialization failure, deadlock."""


def parse_url(text: str, name: str = "RECEIVER_DATABASE_URL") -> URL:
    """Return a database URL we support; `postgres://` and `postgresql://` mean psycopg.

    One of PostgreSQL may name several hosts and any parameter that libpq knows. `name` is where it
    was given. Raises SettingsError, which does not repeat the URL: it may hold a password.
    """
    try:
        one, hosts = postgresql.split_hosts(text)
        url = make_url(one)
    except (ArgumentError, ValueError):  # the latter for a port that is none
        raise SettingsError(
            f"{name}: expected a URL such as sqlite:///receiver.db or"
            " postgresql://user:password@host/database"
        ) from None
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise SettingsError(f"{name}: expected sqlite:/// or postgresql://")
    if url.drivername.startswith("sqlite") and url.database in {None, "", ":memory:"}:
        raise SettingsError(f"{name}: expected a file, sqlite:///receiver.db")
    if url.drivername.startswith("postgresql"):
        url = url.update_query_dict(hosts)
        postgresql.check_query(url, name)
    return url


def connect(url: URL) -> Engine:
    """Make an engine; nothing is opened before its first use.

    SQLite: WAL, synchronous=FULL, and a write transaction takes its lock when it begins. On
    PostgreSQL: READ COMMITTED, synchronous_commit=on (see postgresql.py). Parameters never appear
    in errors.
    """
    if url.drivername.startswith(SQLITE):
        engine = create_engine(
            url,
            hide_parameters=True,
            connect_args={"isolation_level": None, "timeout": BUSY_SECONDS},
        )
        file = _File(Path(url.database or "").absolute())
        event.listen(engine, "connect", file.check)
        event.listen(engine, "connect", _open_sqlite)
        event.listen(engine, "begin", file.check)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(
        url,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",  # Sessions begins transactions, in one message
        pool_pre_ping=True,
        connect_args=postgresql.parameters(url),
    )
    postgresql.Sessions(url).listen(engine)
    return engine


class _File:
    """SQLite's file, which must stay the one that was opened first.

    A backup that is put in its place under a running receiver would otherwise get nothing of what
    is written from then on: that goes into the file that is gone. Nor can the new one be opened,
    since the old one's log would be taken for its own. So the database counts as away until the
    next start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first: tuple[int, int] | None = None

    def check(self, *_: object) -> None:
        """Raise OperationalError where another file is there by now, or none."""
        try:
            found = self.path.stat()
        except OSError:
            now = None
        else:
            now = found.st_dev, found.st_ino
        if self.first is None:
            self.first = now
        elif now != self.first:
            was = sqlite3.OperationalError(
                f"{self.path} was {'replaced' if now else 'removed'} while it was in use;"
                " stop the receiver, see docs/operations.md, start it again"
            )
            raise OperationalError("BEGIN", None, was)


def _open_sqlite(connection: sqlite3.Connection, record: object) -> None:  # noqa: ARG001
    for pragma in SQLITE_PRAGMAS:
        connection.execute(pragma).close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    # With a log, NORMAL keeps the order of commits; the next FULL one brings them all to the disk.
    level = "NORMAL" if options.get("receiver_derived") else "FULL"
    connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
    # A deferred transaction that writes later can fail half-way when another program wrote first.
    connection.exec_driver_sql("BEGIN" if options.get("receiver_read") else "BEGIN IMMEDIATE")


def is_away(error: BaseException) -> bool:
    """Say whether the database cannot take any transaction now: gone, locked, read-only, full."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or is_damage(error.orig):
        return True
    state = sqlstate(error)
    if state == "25006":  # read-only: an InternalError to the driver
        return True
    # Operational to the drivers, and yet it answers: to try again, too large, "no such table".
    code = getattr(error.orig, "sqlite_errorcode", None)
    if state in RETRIED or (state or "").startswith("54") or code == sqlite3.SQLITE_ERROR:
        return False
    return isinstance(error, OperationalError | InterfaceError)


def is_damage(error: BaseException | None) -> bool:
    """Say whether SQLite finds its file damaged, or no database at all."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    # What we found ourselves; what SQLite raises has a code, and a kind of its own.
    return type(error) is sqlite3.DatabaseError


def is_cut(error: BaseException) -> bool:
    """Say whether a statement was ended because it took too long."""
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_INTERRUPT or sqlstate(error) == "57014"


class RaceError(Exception):
    """Another transaction got in between: roll back, and do the whole again."""


def is_transient(error: BaseException) -> bool:
    """Say whether the same transaction should simply be tried again.

    After 40001, 40P01, a race, and where a prepared statement was lost: none is used any more.
    """
    if isinstance(error, RaceError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    return sqlstate(error) in RETRIED or (
        error.connection_invalidated and postgresql.is_unprepared(error.orig)
    )


def passes(error: BaseException) -> bool:
    """Say whether an error is the database's, not the data's: the same may be written later."""
    ours = isinstance(error, DBAPIError | PoolTimeoutError | RaceError)
    return ours and not is_data(error)


def again(work: Callable[[], T], attempts: int = ATTEMPTS) -> T:
    """Do a whole transaction, again after a deadlock or the like, bounded."""
    for attempt in range(1, attempts):
        try:
            return work()
        except (DBAPIError, RaceError) as error:
            if not is_transient(error):
                raise
            # Whoever collided with us should not do so again at the same moment.
            time.sleep(random.uniform(0, 0.01 * attempt))  # noqa: S311
    return work()


def transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Commit the work in a transaction of its own, again after a deadlock or the like."""

    def once() -> T:
        with engine.begin() as connection:
            return work(connection)

    return again(once)


class _Ends:
    """How a connection is cut, at the server's end and at ours, from any thread."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        # Of our own: the driver's may be closed, and its number used again, at any moment.
        self.socket = socket.socket(fileno=os.dup(connection.fileno()))

    def cut(self) -> None:
        """Cancel what the server does, where it can be reached, and end the connection."""
        with suppress(Exception):
            self.connection.cancel_safe(timeout=CANCEL_SECONDS)
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Line:
    """One connection that a thread keeps between its transactions, and that another can cut.

    Nothing else ends the wait for a database that neither answers nor goes away. A pool would ask
    the database whether it is there before each transaction. What is cut is cancelled first: a
    server that waits, for a lock or for a standby, does not see that nobody listens any more, and
    each new try would leave one more of its processes behind.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._connection: Connection | None = None
        self._ends: _Ends | None = None
        self._until: float | None = None
        self._cut = False

    def transaction(self, work: Callable[[Connection], T], seconds: float) -> T:
        """Commit the work, again after races, deadlocks and serialization failures.

        After `seconds`, beside what connecting takes, it may be cut. A connection that was lost
        meanwhile is made anew, once.
        Raises what the database raises; whether a lost COMMIT was one is then unknown.
        """
        return again(lambda: self._patiently(work, seconds))

    def _patiently(self, work: Callable[[Connection], T], seconds: float) -> T:
        old = self._connection is not None
        try:
            return self._once(work, seconds)
        except DBAPIError as error:
            if not (old and error.connection_invalidated and not self._cut):
                raise
            return self._once(work, seconds)

    def _once(self, work: Callable[[Connection], T], seconds: float) -> T:
        if self._cut:  # a moment after the last one had ended
            self.close()
        connection = self._connection or self._connect()
        self._cut = False
        self._until = time.monotonic() + seconds
        try:
            with connection.begin():
                result = work(connection)
            self._check_uncut()
        except DBAPIError as error:
            # A server that may only be read is best left, too; and a new connection has the rights
            # and the search path of today.
            if (
                self._cut
                or error.connection_invalidated
                or not (is_data(error) or is_transient(error))
            ):
                self.close()
            raise
        finally:
            self._until = None
        return result

    def _check_uncut(self) -> None:
        """Raise OperationalError where a transaction was cut that nevertheless seems committed.

        A server that was to wait for its standby answers so when the wait is cancelled.
        """
        if self._cut:
            raise OperationalError("COMMIT", None, TimeoutError("cut off: it took too long"))

    def _connect(self) -> Connection:
        connection = self.engine.connect()
        if connection.dialect.name != SQLITE:
            self._ends = _Ends(postgresql.driver(connection))
        self._connection = connection
        return connection

    def cut_if_overdue(self) -> None:
        """End a transaction that takes too long, from any thread. SQLite's never wait so long."""
        until, ends = self._until, self._ends
        if until is not None and ends is not None and not self._cut and time.monotonic() > until:
            self._cut = True
            threading.Thread(target=ends.cut, name="cut", daemon=True).start()

    def hurry(self, seconds: float) -> None:
        """Let the transaction that is under way take no longer than this from now on."""
        until = self._until
        if until is not None:
            self._until = min(until, time.monotonic() + seconds)

    def close(self) -> None:
        """Close the connection; the next transaction makes another."""
        connection, self._connection = self._connection, None
        ends, self._ends = self._ends, None
        if ends is not None:
            ends.socket.close()
        if connection is not None:
            with suppress(DBAPIError):
                connection.invalidate()
            with suppress(DBAPIError):
                connection.close()


def upsert(connection: Connection, table: Table) -> Any:
    """Return the dialect's own INSERT with ON CONFLICT: the two share no type, but the words.

    What was inserted is told by `returning`, never by a number of rows.
    """
    kind = sqlite if connection.dialect.name == SQLITE else postgresql_dialect
    return kind.insert(table).inline()


SIZES: Final = (32, 8, 1)
"""Rows that one statement of SQLite inserts."""


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
        end = f"{conflict} RETURNING {returning}" if returning else conflict
        marks = ", ".join("?" * len(columns))
        dialect = postgresql_dialect.dialect()  # type: ignore[no-untyped-call]
        types = [column.type.compile(dialect) for column in columns]
        arrays = ", ".join(f"CAST(%s AS {of}[])" for of in types)
        self.sqlite = {
            size: f"{into} VALUES {', '.join([f'({marks})'] * size)} {end}" for size in SIZES
        }
        given = "OVERRIDING SYSTEM VALUE " if ids else ""
        self.postgresql = f"{into} {given}SELECT * FROM unnest({arrays}) {end}"

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


# What a driver cannot write by itself. Both databases read these texts.
_WRITTEN: Final[dict[type, Callable[[Any], str]]] = {Instant: instant_text, Credit: str}


def reason(error: BaseException) -> str:
    """Return a sentence for a person: no parameters, no password, no value of ours, one line."""
    origin = getattr(error, "orig", None) or error
    return f"{type(origin).__name__}: {message(origin)}".strip()


def why(error: BaseException) -> str:
    """Return sentences that say why nothing could be written: what was refused, and what to do."""
    if isinstance(error, ReceiverError):
        return str(error)
    if is_away(error) or not isinstance(error, DBAPIError):
        return f"{reason(error)}."
    refused = failed_statement(error) or "COMMIT"
    return f"It refuses `{refused}`: {reason(error)}. {remedy(error)}"
