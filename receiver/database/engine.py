"""Connections: how SQLite and PostgreSQL are opened, and whose fault an error of theirs is."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from receiver.database import postgresql
from receiver.database.column_types import SQLITE
from receiver.database.failures import (
    failed_statement,
    is_away,
    reason,
    remedy,
)
from receiver.domain import ReceiverError, SettingsError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine


CANCEL_SECONDS: Final = 0.5
"""The seconds that a server may take to hear that a statement is cancelled."""
BUSY_SECONDS: Final = 1
"""The seconds SQLite waits for another program's write lock before it counts as unavailable."""

# Chosen by measurement (docs/performance.md): larger page caches do not pay on the write path.
SQLITE_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit is on the disk before we answer 200
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
    "PRAGMA cache_size = -16000",  # 16 MB a connection
    "PRAGMA temp_store = MEMORY",  # what one statement sets aside for itself makes no file
)

# Queries that all see one state of the database, as SQLite's of one transaction do anyway.
SNAPSHOT: Final = {"receiver_read": True, "receiver_snapshot": True}


def parse_url(text: str, name: str = "RECEIVER_DATABASE_URL") -> URL:
    """Return a database URL we support; `postgres://` and `postgresql://` mean psycopg.

    One of PostgreSQL may name several hosts and any parameter that libpq knows. `name` is where it
    was given. Raises SettingsError, which does not repeat the URL: it may hold a password.
    """
    try:
        single_host, hosts = postgresql.split_hosts(text)
        url = make_url(single_host)
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


def why(error: BaseException) -> str:
    """Return sentences that say why nothing could be written: what was refused, and what to do."""
    if isinstance(error, ReceiverError):
        return str(error)
    if is_away(error) or not isinstance(error, DBAPIError):
        return f"{reason(error)}."
    refused = failed_statement(error) or "COMMIT"
    return f"It refuses `{refused}`: {reason(error)}. {remedy(error)}"
