"""Salvage of spool files: what can still be read of a damaged one."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from receiver.domain import Callback, SpoolError
from receiver.ingest.spool.file import (
    SELECT,
    UPDATE,
    BusyError,
    ForeignError,
    NewerError,
    SpoolFile,
    callback_of,
    error_code,
    row_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_MISSES: Final = 10_000
"""The consecutive unreadable rows after which salvage stops."""


def salvage(path: Path) -> Iterator[Callback | None]:
    """Return every callback that can be read of a spool file, also of a damaged one.

    None stands for one that was there and cannot be read. The file is copied first and stays as
    it is. Raises SpoolError where it is in use, or nothing at all can be read of it.
    """
    with tempfile.TemporaryDirectory(prefix="receiver-") as folder:
        copy = Path(folder) / "spool.db"
        try:
            _check_free(path)
            for ending in ("", "-wal"):
                if Path(f"{path}{ending}").exists():
                    shutil.copyfile(f"{path}{ending}", f"{copy}{ending}")
        except OSError as error:
            raise SpoolError(f"{path}: {error.strerror}.") from None
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            # Lets SQLite read a file that is shorter than it should be.
            connection.execute("PRAGMA writable_schema = ON").close()
            yield from salvaged(connection, path)


def rewrite(path: Path, change: Callable[[Callback], Callback]) -> int | None:
    """Change callbacks in a spool file, and leave nothing of what was; return how many changed.

    None where the file cannot be had: a running receiver has it, or it is damaged.
    """
    try:
        file = SpoolFile(path)
    except (BusyError, NewerError, ForeignError, sqlite3.Error):
        return None
    changed = 0
    try:
        positions = file.connection.execute("SELECT position FROM callback").fetchall()
        for (position,) in positions:
            row = file.connection.execute(f"{SELECT} WHERE position = ?", (position,)).fetchone()
            old = callback_of(row[1], row[2:])
            new = change(old)
            if new != old:
                file.transaction([(UPDATE, [(*row_of(new), position)])], "FULL")
                changed += 1
        if changed:
            file.connection.execute("VACUUM").close()
            file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except ValueError:
        return None
    finally:
        file.close()
    return changed


def _check_free(path: Path) -> None:
    with path.open("rb"), closing(sqlite3.connect(f"file:{path}?mode=ro", 0, uri=True)) as opened:
        try:
            opened.execute("SELECT 1 FROM sqlite_master").close()
        except sqlite3.Error as error:
            if error_code(error) == sqlite3.SQLITE_BUSY:
                raise SpoolError(
                    f"{path} is in use by a running receiver, which brings it in by itself."
                ) from None


def salvaged(connection: sqlite3.Connection, path: Path) -> Iterator[Callback | None]:
    """Return rows in order; past one that cannot be read, look for each by its position."""
    position, misses, readable = 0, 0, 0
    last = _last(connection)
    while misses < MAX_MISSES and (last is None or position < last):
        where = "position = ?" if misses else "position > ?"
        value = position + 1 if misses else position
        try:
            row = connection.execute(
                f"{SELECT} WHERE {where} ORDER BY position LIMIT 1", (value,)
            ).fetchone()
        except sqlite3.Error:
            misses, position = misses + 1, position + 1
            if last is not None:
                yield None
            continue
        if row is None:
            if not misses:
                return
            misses, position = misses + 1, position + 1
            continue
        misses, position, readable = 0, row[0], readable + 1
        try:
            yield callback_of(row[1], row[2:])
        except ValueError:
            yield None
    if not readable and misses:
        raise SpoolError(f"{path}: no callback can be read of it.")


def _last(connection: sqlite3.Connection) -> int | None:
    """Return the last position that was ever given, where that can be read."""
    try:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'callback'")
        last = row.fetchone()
    except sqlite3.Error:
        return None
    return None if last is None else int(last[0])
