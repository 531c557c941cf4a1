"""Opening a database for a command: it must exist, be of the right kind, and have our schema."""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from receiver.database import engine as engine_
from receiver.database import failures, schema, transactions
from receiver.domain import SchemaError, SettingsError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from sqlalchemy import Engine


DATABASE_URL: Final = "RECEIVER_DATABASE_URL"
WRITE_LOCK_SECONDS: Final = 10
"""The seconds that a command waits for SQLite's write lock, which a receiver takes all the time."""
SQLITE_HEADER: Final = b"SQLite format 3\0"


def connect(database_url: str, name: str = DATABASE_URL) -> Engine:
    """Make an engine for the database of a URL, which may have to be made.

    `name` is where its URL was given. Raises SettingsError where there cannot be a database.
    """
    try:
        url = engine_.parse_url(database_url, name)
    except ValueError:  # what stands for the port is no number; it may be half a password
        raise SettingsError(
            f"{name}: expected a URL such as postgresql://user:password@host/database;"
            " an @, : or / inside the password is written %40, %3A, %2F"
        ) from None
    engine = engine_.connect(url)
    if (file := sqlite_file(engine)) is not None:
        _check_file(file, name)
    return engine


def must_exist(database_url: str, name: str = DATABASE_URL) -> Engine:
    """Make an engine for a database that must be there, whatever its schema."""
    engine = connect(database_url, name)
    file = sqlite_file(engine)
    if file is not None and not file.exists():
        raise SchemaError(f"There is no database at {file}. Run `receiver serve` first.")
    if file is not None:
        event.listen(engine, "connect", _wait_for_lock)
    return engine


def existing(database_url: str) -> Engine:
    """Connect to a database that must be there. Raises SchemaError where it is not usable."""
    engine = must_exist(database_url)
    try:
        check(engine)
    except Exception:
        engine.dispose()
        raise
    return engine


def check(engine: Engine) -> None:
    """Raise SchemaError for a schema this program cannot use; warn of a newer one."""
    with engine.execution_options(**transactions.READ).connect() as connection:
        warning = schema.check(connection)
    if warning:
        sys.stderr.write(f"receiver: {warning}\n")


def sqlite_file(engine: Engine) -> Path | None:
    """Return SQLite's file; None on PostgreSQL."""
    if engine.dialect.name != "sqlite":
        return None
    return Path(engine.url.database or "").absolute()


@contextmanager
def alone(engine: Engine, who: str) -> Iterator[None]:
    """Be the one receiver of a SQLite file while this is open; `who` tells others where we listen.

    SQLite has one writer: two receivers would hold each other up and count everything twice. The
    lock is on a file of its own, since closing the database's would end SQLite's own locks, and it
    ends with the process. Raises SettingsError where another receiver has it.
    """
    file = sqlite_file(engine)
    if file is None:
        yield
        return
    descriptor = _lock(file.resolve(), who)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(file: Path, who: str) -> int | None:
    """Return the descriptor whose lock says that a file is in use; None where there are no locks.

    A folder that nobody can write in is left for SQLite to complain of.
    """
    try:
        descriptor = os.open(f"{file}-serve", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 1000, 0).decode("utf-8", "replace").strip()
        os.close(descriptor)
        raise SettingsError(
            f"{file} is in use by another receiver ({holder or 'which just starts'}). Stop that one"
            " first; several receivers of one database need PostgreSQL."
        ) from None
    except OSError:  # a network that has none
        os.close(descriptor)
        return None
    with suppress(OSError):  # no space for a name
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{who}, process {os.getpid()}\n".encode(), 0)
    return descriptor


def identity(engine: Engine) -> str:
    """Return what names a database, without a password: its file, or its URL."""
    file = sqlite_file(engine)
    return engine.url.render_as_string() if file is None else str(file)


def explain(error: Exception) -> str | None:
    """Return a sentence where the database is what failed, else None; no password is in it."""
    if not isinstance(error, SQLAlchemyError):
        return None
    return f"The database cannot be used: {failures.reason(error)}"


def _wait_for_lock(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout = {WRITE_LOCK_SECONDS * 1000}").close()


def _check_file(file: Path, name: str) -> None:
    if not file.parent.is_dir():
        raise SettingsError(f"{name}: there is no folder {file.parent}.")
    if file.is_dir():
        raise SettingsError(f"{name}: {file} is a folder; expected a file.")
    try:
        with file.open("rb") as opened:
            header = opened.read(len(SQLITE_HEADER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise SettingsError(f"{name}: {file} cannot be read: {error.strerror}.") from None
    if header and header != SQLITE_HEADER:
        raise SettingsError(f"{name}: {file} is no SQLite database.")
