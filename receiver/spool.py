"""Where callbacks wait while the database is away: a local SQLite file, one for each process.

SQLite's own lock on the file, held from the first to the last moment, says whose it is. A file that
a process left behind is therefore free, and drained by the next that starts. Files are named
`receiver-spool.db`, `receiver-spool.2.db` and so on; one that is damaged is renamed
`receiver-spool.damaged-….db` and never touched again, except by `receiver receive --spool`.
"""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import tempfile
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from receiver.body_budget import SMALL, Budget
from receiver.callback import Callback
from receiver.database import is_damage, reason
from receiver.errors import SettingsError, SpoolError
from receiver.models import instant_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

log = structlog.get_logger(__name__)

VERSION: Final = 1
"""The format of the file, its `user_version`. Every lower number stays readable for ever."""
PROCESSES: Final = 100
"""How many processes may have a spool beside each other."""
PORTION_BYTES: Final = 4 * 1024 * 1024
"""Bytes of bodies that one portion holds, about."""
MAX_BYTES: Final = 4 * 1024**3
"""Bytes of large bodies that a process's spool holds, unless RECEIVER_SPOOL_MAX_BYTES says another
number; half of what the disk has free, where that is less."""
LOG_PAGES: Final = 250
"""Pages of 4 KiB in the log before it is brought into the file: a small disk holds both."""
CHECKED_BYTES: Final = 16 * 1024
"""How much is written to find out whether it takes something."""
MISSES: Final = 10_000
"""Rows in a row that cannot be read before the rest of a damaged file is given up."""

COLUMNS: Final = (
    "id",
    "provider",
    "account",
    "received_at",
    "remote_addr",
    "method",
    "query",
    "content_type",
    "body",
    "redacted",
)
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
    f"INSERT INTO callback ({', '.join(COLUMNS)}, checksum)"
    f" VALUES ({', '.join('?' * len(COLUMNS))}, ?)"
)
UPDATE: Final = (
    f"UPDATE callback SET {', '.join(f'{name} = ?' for name in COLUMNS)}, checksum = ?"
    " WHERE position = ?"
)
OFFER: Final = (
    "UPDATE callback SET refused = NULL WHERE position IN"
    " (SELECT position FROM callback WHERE refused IS NOT NULL ORDER BY random() LIMIT ?)"
)
SELECT: Final = f"SELECT position, checksum, {', '.join(COLUMNS)} FROM callback"


@dataclass(frozen=True, slots=True)
class Held:
    """What a spool holds: how many callbacks, their bytes, and the age of the oldest in seconds.

    `refused` are more callbacks, which a database that works does not take; `refusal` says why,
    of the first. `set_aside` names damaged files beside it; `trouble` says why it takes nothing, if
    so.
    """

    callbacks: int
    bytes: int
    oldest_seconds: float | None
    refused: int = 0
    refusal: str | None = None
    set_aside: Sequence[str] = ()
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Portion:
    """Callbacks from the front of a spool, with their positions in its file."""

    file: _File
    positions: Sequence[int]
    callbacks: Sequence[Callback]


class _BusyError(Exception):
    """Another process has this file."""


class _NewerError(Exception):
    """A newer program wrote this file."""


class _ForeignError(Exception):
    """This is a database of another kind."""


class _File:
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
                raise _BusyError from None
            raise

    def _open(self) -> None:
        run = self.connection.execute
        run("PRAGMA locking_mode = EXCLUSIVE").close()
        (version,) = run("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise _NewerError
        if not version and run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise _ForeignError
        said = [row for (row,) in run("PRAGMA quick_check(1)")]
        if said != ["ok"]:
            raise sqlite3.DatabaseError(f"quick_check: {said[0].splitlines()[-1]}")
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
        found = self.connection.execute(
            "SELECT count(*) FILTER (WHERE refused IS NULL), count(refused),"
            " coalesce(sum(length(body) + length(query)) FILTER (WHERE refused IS NULL), 0)"
            " FROM callback"
        )
        self.callbacks, self.refused, self.bytes = found.fetchone()

    def set_state(self, name: str, value: str) -> None:
        """Remember a value under a name."""
        self.connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value)).close()

    def state(self, name: str) -> str | None:
        """Return what is remembered under a name."""
        found = self.connection.execute("SELECT value FROM state WHERE name = ?", (name,))
        row = found.fetchone()
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
        found = self.connection.execute(
            f"{SELECT} WHERE refused IS NULL ORDER BY position LIMIT ?", (rows,)
        )
        positions, callbacks, size = [], [], 0
        with closing(found):
            for row in found:
                positions.append(row[0])
                callbacks.append(_callback(row[1], row[2:]))
                size += len(callbacks[-1].body)
                if size > PORTION_BYTES:
                    break
        return Portion(self, positions, callbacks)

    def large(self) -> Iterator[tuple[str, str, int]]:
        """Return provider, address and bytes of each callback that is not small."""
        found = self.connection.execute(
            "SELECT provider, remote_addr, length(body) + length(query) FROM callback"
            " WHERE length(body) + length(query) > ?",
            (SMALL,),
        )
        with closing(found):
            yield from found

    def oldest(self) -> datetime | None:
        """Return when the first that waits arrived."""
        found = self.connection.execute(
            "SELECT received_at FROM callback WHERE refused IS NULL ORDER BY position LIMIT 1"
        )
        row = found.fetchone()
        return None if row is None else datetime.fromisoformat(row[0])

    def refusal(self) -> str | None:
        """Return why the first of those was refused that were."""
        found = self.connection.execute(
            "SELECT refused FROM callback WHERE refused IS NOT NULL ORDER BY position LIMIT 1"
        )
        row = found.fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Let go of it."""
        self.connection.close()


class Spool:
    """This process's spool, and those it found without an owner. Safe to use from any thread."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        """Open the first file that is free; drain others that are, too.

        Large bodies take `max_bytes` at most. Raises SettingsError where there can never be a file,
        SpoolError where there is none now.
        """
        self.path = path
        self.max_bytes = max_bytes
        self.budget = Budget(max_bytes, few=math.inf)
        self.trouble: str | None = None
        self.left: list[_File] = []
        self._lock = threading.RLock()
        self._set_aside: list[Path] = []
        self._own: _File | None = None
        self._database: str | None = None
        if not path.parent.is_dir():
            raise SettingsError(f"RECEIVER_SPOOL_PATH: there is no folder {path.parent}.")
        self._find_set_aside()
        self._reopen()
        own = self._files()
        for name in self._names():
            if name.exists() and name not in [file.path for file in own]:
                try:
                    file = self._file(name)
                except (_BusyError, _NewerError):
                    continue
                except (SpoolError, SettingsError) as error:
                    log.error("spool file left as it is", file=str(name), reason=str(error))
                    continue
                if file.callbacks or file.refused:
                    self.left.append(file)
                else:  # for the next process: otherwise each start of several makes one more
                    file.close()
        self._weigh()
        if found := self.callbacks:
            log.warning("spool found", callbacks=found, files=[f.path.name for f in self._files()])

    # What others ask.

    @property
    def callbacks(self) -> int:
        """How many callbacks wait in it."""
        return sum(file.callbacks for file in self._files())

    @property
    def refused(self) -> int:
        """How many more it holds, which a database that works does not take."""
        return sum(file.refused for file in self._files())

    @property
    def own(self) -> Path | None:
        """Return the file that is this process's own; None where it has none now."""
        file = self._own
        return None if file is None else file.path

    def held(self) -> Held:
        """Say what it holds."""
        with self._lock:
            times, refusals = [], []
            with suppress(sqlite3.Error):
                times = [t for file in self._files() if (t := file.oldest()) is not None]
                refusals = [r for file in self._files() if (r := file.refusal()) is not None]
            age = (datetime.now(UTC) - min(times)).total_seconds() if times else None
            return Held(
                self.callbacks,
                sum(file.bytes for file in self._files()),
                None if age is None else max(0.0, age),
                self.refused,
                next(iter(refusals), None),
                [path.name for path in self._set_aside if path.exists()],
                self.trouble,
            )

    def has_seen(self, database: str) -> bool:
        """Say whether this database was found in order by a receiver that had this spool."""
        with self._lock:
            return any(file.state("database") == database for file in self._files())

    def note(self, database: str) -> None:
        """Remember that this database is in order. Raises SpoolError."""
        with self._lock:
            self._database = database
            if self._own is not None:
                self._doing(lambda file: file.set_state("database", database))

    def check(self) -> None:
        """Find out whether it takes something again, where it took nothing; see `trouble`."""
        with self._lock, suppress(SpoolError, SettingsError):
            if self._own is None:
                self._reopen()
            # As long as a callback: where there is no room for one, a word may still fit.
            now = instant_text(datetime.now(UTC)).ljust(CHECKED_BYTES)
            self._doing(lambda file: file.set_state("checked_at", now))

    # Keeping, and bringing in.

    def keep(self, callbacks: Sequence[Callback]) -> list[bool]:
        """Return once the callbacks are on the disk; of each whether it is.

        A large one is not where others of its provider, address or size have their share of the
        room (body_budget.py). Raises SpoolError; then none of them is.
        """
        with self._lock:
            if self._own is not None and not self._own.is_there():
                log.error("spool file was removed, making a new one", file=str(self._own.path))
                self.left.append(self._own)
                self._own = None
            if self._own is None:
                with suppress(SettingsError):
                    self._reopen()
            has_room = self._admit(callbacks)
            kept = [each for each, room in zip(callbacks, has_room, strict=True) if room]
            rows = [_row(callback) for callback in kept]
            try:
                self._doing(lambda file: file.transaction([(INSERT, rows)], "FULL"))
            except SpoolError:
                self._give_back(kept)
                raise
            if self._own is not None:
                self._own.callbacks += len(rows)
                self._own.bytes += sum(_size(callback) for callback in kept)
        return has_room

    def portion(self, rows: int) -> Portion | None:
        """Return callbacks that wait, oldest first; None where none does. Raises SpoolError."""
        with self._lock:
            for file in self._files():
                if not file.callbacks:
                    continue
                try:
                    found = file.portion(rows)
                except (sqlite3.Error, ValueError) as error:
                    self._lose(file, error)
                    continue
                if found.positions:
                    return found
                file.count()
        return None

    def forget(self, portion: Portion, refused: Sequence[tuple[int, str]] = ()) -> None:
        """Remove a portion that is in the database; keep those that were refused, with the reason.

        It need not reach the disk: what is forgotten too late is brought in twice, which changes
        nothing.
        """
        file, kept = portion.file, {position for position, _ in refused}
        done = [(position,) for position in portion.positions if position not in kept]
        statements = [
            ("DELETE FROM callback WHERE position = ?", done),
            ("UPDATE callback SET refused = ?2 WHERE position = ?1", refused),
        ]
        with self._lock:
            try:
                file.transaction(statements, "NORMAL")
                file.callbacks -= len(portion.positions)
                file.refused += len(refused)
                file.bytes -= sum(_size(callback) for callback in portion.callbacks)
                pairs = zip(portion.positions, portion.callbacks, strict=True)
                self._give_back([each for position, each in pairs if position not in kept])
                if not file.callbacks:
                    file.count()
                    self._emptied(file)
            except sqlite3.Error as error:
                self._lose(file, error)

    def offer(self, rows: int | None) -> None:
        """Let some that were refused wait again, drawn at random; None: all. Raises SpoolError."""
        with self._lock:
            for file in self._files():
                if not file.refused:
                    continue
                try:
                    file.transaction([(OFFER, [(-1 if rows is None else rows,)])], "NORMAL")
                    file.count()
                except sqlite3.Error as error:
                    self._lose(file, error)

    def close(self) -> None:
        """Let go of every file."""
        with self._lock:
            for file in self._files():
                file.close()

    # Behind it.

    def _weigh(self) -> None:
        """Count anew whose large bodies are in the files."""
        self.budget = Budget(self.max_bytes, few=math.inf)
        for file in self._files():
            with suppress(sqlite3.Error):
                for provider, address, size in file.large():
                    self.budget.change(provider, address, 0, size)

    def _admit(self, callbacks: Sequence[Callback]) -> list[bool]:
        """Say of each whether there is room for it, and count it as kept where there is."""
        with suppress(OSError):
            free = shutil.disk_usage(self.path.parent).free
            self.budget.total = min(self.max_bytes, self.budget.used + free // 2)
        return [
            self.budget.body(each.provider, each.remote_addr).cover(_size(each))
            for each in callbacks
        ]

    def _give_back(self, callbacks: Sequence[Callback]) -> None:
        for each in callbacks:
            self.budget.change(each.provider, each.remote_addr, _size(each), 0)

    def _files(self) -> list[_File]:
        return [*self.left, *([self._own] if self._own is not None else [])]

    def _emptied(self, file: _File) -> None:
        """Give the disk its room back; let others have a file that is not ours."""
        with suppress(sqlite3.Error):
            file.connection.execute("VACUUM").close()
            file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if file in self.left and not file.refused:
            self.left.remove(file)
            file.close()

    def _doing(self, work: Any) -> None:
        """Do something with our file; a damaged one is replaced. Raises SpoolError."""
        for _ in range(2):
            if self._own is None:
                raise SpoolError(self.trouble or "there is no spool file")
            try:
                work(self._own)
            except sqlite3.Error as error:
                if not is_damage(error):
                    if self.trouble is None:  # once, and not for each callback
                        log.error("spool takes nothing", reason=reason(error))
                    self.trouble = reason(error)
                    raise SpoolError(self.trouble) from None
                self._lose(self._own, error)
                self._reopen()
            else:
                if self.trouble is not None:
                    log.warning("spool takes callbacks again")
                self.trouble = None
                return
        raise SpoolError("the spool file is damaged")

    def _reopen(self) -> None:
        """Take the first file that is free. Raises SettingsError, where there can be none."""
        self.trouble = "every spool file is in use"
        for name in self._names():
            try:
                self._own = self._file(name)
            except (_BusyError, _NewerError):
                continue
            except (SpoolError, SettingsError) as error:
                self.trouble = str(error)
                if isinstance(error, SettingsError):
                    raise
            else:
                self.trouble = None
                if self._database is not None:
                    self._own.set_state("database", self._database)
            return

    def _names(self) -> Iterator[Path]:
        return _names(self.path)

    def _file(self, name: Path) -> _File:
        """Open a file; one that is damaged is set aside, and begun anew."""
        try:
            return _File(name)
        except _NewerError:
            log.error("spool file of a newer program, left as it is", file=str(name))
            raise
        except _ForeignError:
            raise SettingsError(f"RECEIVER_SPOOL_PATH: {name} is another database.") from None
        except OSError as error:
            raise SettingsError(
                f"RECEIVER_SPOOL_PATH: {name} cannot be written: {error.strerror}."
            ) from None
        except sqlite3.Error as error:
            if is_damage(error):
                self._aside(name, error)
                return _File(name)
            if _code(error) in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
                raise SettingsError(
                    f"RECEIVER_SPOOL_PATH: {name} cannot be written: {reason(error)}."
                ) from None
            raise SpoolError(reason(error)) from None

    def _lose(self, file: _File, error: Exception) -> None:
        """Set a file aside that turned out to be damaged."""
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise SpoolError(reason(error)) from None
        file.close()
        if file is self._own:
            self._own = None
        else:
            self.left.remove(file)
        self._aside(file.path, error)
        self._weigh()

    def _aside(self, name: Path, error: Exception) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        aside = name.with_suffix(f".damaged-{stamp}{name.suffix}")
        for ending in ("", "-wal"):
            with suppress(FileNotFoundError):
                os.rename(f"{name}{ending}", f"{aside}{ending}")  # noqa: PTH104 - of two endings
        self._set_aside.append(aside)
        log.error(
            "spool file damaged, set aside: run `receiver receive --spool` with it",
            file=str(aside),
            reason=reason(error),
        )

    def _find_set_aside(self) -> None:
        self._set_aside = files(self.path)[1]
        for path in self._set_aside:
            log.error("damaged spool file waits to be taken in", file=str(path))


def _names(path: Path) -> Iterator[Path]:
    for number in range(1, PROCESSES + 1):
        yield path.with_suffix(path.suffix if number == 1 else f".{number}{path.suffix}")


def _code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _size(callback: Callback) -> int:
    return len(callback.body) + len(callback.query)


def _row(callback: Callback) -> tuple[Any, ...]:
    values = {name: getattr(callback, name) for name in COLUMNS}
    values["received_at"] = callback.received_at.astimezone(UTC).isoformat()
    values["redacted"] = int(callback.redacted)
    row = tuple(values.values())
    return (*row, _checksum(row))


def _checksum(row: Sequence[Any]) -> bytes:
    return blake2b(repr(tuple(row)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _callback(checksum: bytes, row: Sequence[Any]) -> Callback:
    """Return a row as the callback it was. Raises ValueError for one that was damaged."""
    if checksum != _checksum(row):
        raise ValueError("a row that is not what was written")
    values = dict(zip(COLUMNS, row, strict=True))
    values["received_at"] = datetime.fromisoformat(values["received_at"])
    values["redacted"] = bool(values["redacted"])
    return Callback(**values)


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
            yield from _salvaged(connection, path)


def files(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the spool files there are, of every process, and those that were set aside."""
    aside = sorted(path.parent.glob(f"{path.stem}.*damaged-*{path.suffix}"))
    return [name for name in _names(path) if name.exists()], aside


def rewrite(path: Path, change: Callable[[Callback], Callback]) -> int | None:
    """Change callbacks in a spool file, and leave nothing of what was; return how many changed.

    None where the file cannot be had: a running receiver has it, or it is damaged.
    """
    try:
        file = _File(path)
    except (_BusyError, _NewerError, _ForeignError, sqlite3.Error):
        return None
    changed = 0
    try:
        positions = file.connection.execute("SELECT position FROM callback").fetchall()
        for (position,) in positions:
            row = file.connection.execute(f"{SELECT} WHERE position = ?", (position,)).fetchone()
            old = _callback(row[1], row[2:])
            new = change(old)
            if new != old:
                file.transaction([(UPDATE, [(*_row(new), position)])], "FULL")
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
            if _code(error) == sqlite3.SQLITE_BUSY:
                raise SpoolError(
                    f"{path} is in use by a running receiver, which brings it in by itself."
                ) from None


def _salvaged(connection: sqlite3.Connection, path: Path) -> Iterator[Callback | None]:
    """Return rows in order; past one that cannot be read, look for each by its position."""
    position, misses, found = 0, 0, 0
    last = _last(connection)
    while misses < MISSES and (last is None or position < last):
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
        misses, position, found = 0, row[0], found + 1
        try:
            yield _callback(row[1], row[2:])
        except ValueError:
            yield None
    if not found and misses:
        raise SpoolError(f"{path}: no callback can be read of it.")


def _last(connection: sqlite3.Connection) -> int | None:
    """Return the last position that was ever given, where that can be read."""
    try:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'callback'")
        found = row.fetchone()
    except sqlite3.Error:
        return None
    return None if found is None else int(found[0])
