"""File of a spool: its tables, its lock, and the portions it is drained in."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from receiver.database import instant_text
from receiver.domain import CALLBACK_COLUMNS, Callback
from receiver.ingest.body_budget import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


VERSION: Final = 1
"""The format of the file, its `user_version`. Every lower number stays readable for ever."""
PORTION_BYTES: Final = 4 * 1024 * 1024
"""The bytes of bodies that one portion holds, about."""
LOG_PAGES: Final = 250
"""The pages of 4 KiB in the log before it is brought into the file: a small disk holds both."""

# `checksum`: of the others, since a body that is read over damaged pages is another body.
# `refused`: why the database, which works, does not take this one; it is passed over until `offer`.
TABLES: Final = (
    """
    CREATE TABLE callback (
        position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, provider TEXT NOT NULL,
        account TEXT NOT NULL, received_at TEXT NOT NULL, remote_addr TEXT NOT NULL,
        method TEXT NOT NULL, query TEXT NOT NULL, content_type TEXT NOT NULL, body BLOB NOT NULL,
        redacted INTEGER NOT NULL, checksum BLOB NOT NULL, refused TEXT
    )
    """,
    "CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)
INSERT: Final = (
    f"INSERT INTO callback ({', '.join(CALLBACK_COLUMNS)}, checksum)"
    f" VALUES ({', '.join('?' * len(CALLBACK_COLUMNS))}, ?)"
)
UPDATE: Final = (
    f"UPDATE callback SET {', '.join(f'{name} = ?' for name in CALLBACK_COLUMNS)}, checksum = ?"
    " WHERE position = ?"
)
SELECT: Final = f"SELECT position, checksum, {', '.join(CALLBACK_COLUMNS)} FROM callback"


@dataclass(frozen=True, slots=True)
class Portion:
    """Callbacks from the front of a spool, with their positions in its file."""

    file: SpoolFile
    positions: Sequence[int]
    callbacks: Sequence[Callback]


class BusyError(Exception):
    """Another process has this file."""


class NewerError(Exception):
    """A newer program wrote this file."""


class ForeignError(Exception):
    """This is a database of another kind."""


class SpoolFile:
    """One open, locked file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self.inode = path.stat().st_ino
        self.connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._open()
        except BaseException as error:
            self.connection.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise BusyError from None
            raise

    def _open(self) -> None:
        run = self.connection.execute
        run("PRAGMA locking_mode = EXCLUSIVE").close()
        (version,) = run("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise NewerError
        if not version and run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise ForeignError
        problems = [row for (row,) in run("PRAGMA quick_check(1)")]
        if problems != ["ok"]:
            raise sqlite3.DatabaseError(f"quick_check: {problems[0].splitlines()[-1]}")
        run("PRAGMA journal_mode = WAL").close()
        run("PRAGMA synchronous = FULL").close()
        run(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}").close()
        run("BEGIN EXCLUSIVE").close()
        if not version:
            for statement in TABLES:
                run(statement).close()
        # A write that has to reach the disk: whether it can be written is known from the start.
        self.set_state("opened_at", instant_text(datetime.now(UTC)))
        run("COMMIT").close()
        self.count()

    def count(self) -> None:
        """Count what the file holds."""
        cursor = self.connection.execute(
            "SELECT count(*) FILTER (WHERE refused IS NULL), count(refused),"
            " coalesce(sum(length(body) + length(query)) FILTER (WHERE refused IS NULL), 0)"
            " FROM callback"
        )
        self.callbacks, self.refused, self.bytes = cursor.fetchone()

    def set_state(self, name: str, value: str) -> None:
        """Remember a value under a name."""
        self.connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value)).close()

    def state(self, name: str) -> str | None:
        """Return what is remembered under a name."""
        cursor = self.connection.execute("SELECT value FROM state WHERE name = ?", (name,))
        row = cursor.fetchone()
        return None if row is None else str(row[0])

    def is_there(self) -> bool:
        """Say whether the file still has its name: what is written to a deleted one is lost."""
        try:
            return self.path.stat().st_ino == self.inode
        except OSError:
            return False

    def transaction(self, statements: Sequence[tuple[str, Sequence[Any]]], level: str) -> None:
        """Run statements, each once for every row of values, and commit."""
        run = self.connection.execute
        run(f"PRAGMA synchronous = {level}").close()
        run("BEGIN").close()
        try:
            for statement, values in statements:
                self.connection.executemany(statement, values).close()
            run("COMMIT").close()
        except BaseException:
            with suppress(sqlite3.Error):
                if self.connection.in_transaction:
                    run("ROLLBACK").close()
            raise

    def portion(self, rows: int) -> Portion:
        """Return callbacks from its front, oldest first."""
        cursor = self.connection.execute(
            f"{SELECT} WHERE refused IS NULL ORDER BY position LIMIT ?", (rows,)
        )
        positions, callbacks, size = [], [], 0
        with closing(cursor):
            for row in cursor:
                positions.append(row[0])
                callbacks.append(callback_of(row[1], row[2:]))
                size += len(callbacks[-1].body)
                if size > PORTION_BYTES:
                    break
        return Portion(self, positions, callbacks)

    def large(self) -> Iterator[tuple[str, str, int]]:
        """Return provider, address and bytes of each callback that is not small."""
        cursor = self.connection.execute(
            "SELECT provider, remote_addr, length(body) + length(query) FROM callback"
            " WHERE length(body) + length(query) > ?",
            (SMALL,),
        )
        with closing(cursor):
            yield from cursor

    def oldest(self) -> datetime | None:
        """Return when the first that waits arrived."""
        cursor = self.connection.execute(
            "SELECT received_at FROM callback WHERE refused IS NULL ORDER BY position LIMIT 1"
        )
        row = cursor.fetchone()
        return None if row is None else datetime.fromisoformat(row[0])

    def refusal(self) -> str | None:
        """Return why the first of those was refused that were."""
        cursor = self.connection.execute(
            "SELECT refused FROM callback WHERE refused IS NOT NULL ORDER BY position LIMIT 1"
        )
        row = cursor.fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Let go of it."""
        self.connection.close()


def error_code(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code; None where an error has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def row_of(callback: Callback) -> tuple[Any, ...]:
    """Return a callback as the file has it, its checksum last."""
    values = callback.as_row()
    values["received_at"] = callback.received_at.astimezone(UTC).isoformat()
    values["redacted"] = int(callback.redacted)
    row = tuple(values.values())
    return (*row, _checksum(row))


def _checksum(row: Sequence[Any]) -> bytes:
    return blake2b(repr(tuple(row)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def callback_of(checksum: bytes, row: Sequence[Any]) -> Callback:
    """Return a row as the callback it was. Raises ValueError for one that was damaged."""
    if checksum != _checksum(row):
        raise ValueError("a row that is not what was written")
    values = dict(zip(CALLBACK_COLUMNS, row, strict=True))
    values["received_at"] = datetime.fromisoformat(values["received_at"])
    values["redacted"] = bool(values["redacted"])
    return Callback.from_row(values)
