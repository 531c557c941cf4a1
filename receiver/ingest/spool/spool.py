"""Spool of callbacks while the database is away: a local SQLite file, one for each process.

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
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from receiver.database import instant_text, is_damage, reason
from receiver.domain import Callback, SettingsError, SpoolError
from receiver.ingest.body_budget import Budget
from receiver.ingest.spool.file import (
    INSERT,
    BusyError,
    ForeignError,
    NewerError,
    Portion,
    SpoolFile,
    error_code,
    row_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


log = structlog.get_logger(__name__)
PROCESSES: Final = 100
"""The processes that may have a spool beside each other, at most."""
MAX_BYTES: Final = 4 * 1024**3
"""Bytes of large bodies that a process's spool holds, unless RECEIVER_SPOOL_MAX_BYTES says another
number; half of what the disk has free, where that is less."""
CHECKED_BYTES: Final = 16 * 1024
"""The bytes that are written to find out whether the spool takes something."""
OFFER: Final = (
    "UPDATE callback SET refused = NULL WHERE position IN"
    " (SELECT position FROM callback WHERE refused IS NOT NULL ORDER BY random() LIMIT ?)"
)


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
        self.left: list[SpoolFile] = []
        self._lock = threading.RLock()
        self._set_aside: list[Path] = []
        self._own: SpoolFile | None = None
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
                except (BusyError, NewerError):
                    continue
                except (SpoolError, SettingsError) as error:
                    log.error("spool file left as it is", file=str(name), reason=str(error))
                    continue
                if file.callbacks or file.refused:
                    self.left.append(file)
                else:  # for the next process: otherwise each start of several makes one more
                    file.close()
        self._weigh()
        if waiting := self.callbacks:
            log.warning(
                "spool found", callbacks=waiting, files=[f.path.name for f in self._files()]
            )

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
            rows = [row_of(callback) for callback in kept]
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
                    portion = file.portion(rows)
                except (sqlite3.Error, ValueError) as error:
                    self._lose(file, error)
                    continue
                if portion.positions:
                    return portion
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

    def _files(self) -> list[SpoolFile]:
        return [*self.left, *([self._own] if self._own is not None else [])]

    def _emptied(self, file: SpoolFile) -> None:
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
            except (BusyError, NewerError):
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

    def _file(self, name: Path) -> SpoolFile:
        """Open a file; one that is damaged is set aside, and begun anew."""
        try:
            return SpoolFile(name)
        except NewerError:
            log.error("spool file of a newer program, left as it is", file=str(name))
            raise
        except ForeignError:
            raise SettingsError(f"RECEIVER_SPOOL_PATH: {name} is another database.") from None
        except OSError as error:
            raise SettingsError(
                f"RECEIVER_SPOOL_PATH: {name} cannot be written: {error.strerror}."
            ) from None
        except sqlite3.Error as error:
            if is_damage(error):
                self._aside(name, error)
                return SpoolFile(name)
            if error_code(error) in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
                raise SettingsError(
                    f"RECEIVER_SPOOL_PATH: {name} cannot be written: {reason(error)}."
                ) from None
            raise SpoolError(reason(error)) from None

    def _lose(self, file: SpoolFile, error: Exception) -> None:
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


def _size(callback: Callback) -> int:
    return len(callback.body) + len(callback.query)


def files(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the spool files there are, of every process, and those that were set aside."""
    aside = sorted(path.parent.glob(f"{path.stem}.*damaged-*{path.suffix}"))
    return [name for name in _names(path) if name.exists()], aside
