"""What `receive` does: takes in saved callbacks, or a spool file, through the pipeline."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from receiver import pipeline, settle, spool
from receiver.callback import Callback
from receiver.callback_file import saved
from receiver.database import passes, reason, transact
from receiver.errors import UnavailableError
from receiver.pipeline import Interpreter
from receiver.providers import PROVIDERS
from receiver.sent_file import open_files
from receiver.store import Kept, keep_or_refuse
from receiver.tables import printable, progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from receiver.settings import Settings
    from receiver.store import Reading

BATCH: Final = 200
"""Callbacks of one transaction at most,"""
BATCH_BYTES: Final = 8 * 1024 * 1024
"""and about how long their bodies may be together."""
METHOD: Final = "import"


@dataclass(slots=True)
class Taken:
    """What came of it. `callbacks` are those that were new; reports are new or repeated."""

    callbacks: int = 0
    unreadable: int = 0
    before: int = 0
    reports: int = 0
    repeated: int = 0
    bad: int = 0

    def __str__(self) -> str:
        return (
            f"received {self.callbacks} (unreadable {self.unreadable}), received before"
            f" {self.before}, reports {self.reports} (repeated {self.repeated}), bad {self.bad}"
        )

    def add(self, reading: Reading, kept: Kept | Exception) -> None:
        """Count one callback."""
        if isinstance(kept, Exception):
            self.bad += 1
        elif kept.was_there:
            self.before += 1
        else:
            self.callbacks += 1
            self.unreadable += reading.outcome == "unreadable"
            self.reports += len(reading.reports)
            self.repeated += kept.repeats if reading.outcome != "unreadable" else 0


class Import:
    """Callbacks on their way into the database, a batch in a transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.taken = Taken()
        self._batch: list[Reading] = []
        self._bytes = 0

    def add(self, reading: Reading) -> None:
        """Take a callback; a full batch is kept at once."""
        self._batch.append(reading)
        self._bytes += reading.size
        if len(self._batch) >= BATCH or self._bytes > BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Keep what waits. Raises UnavailableError where the database is away."""
        batch, self._batch, self._bytes = self._batch, [], 0
        if not batch:
            return
        try:
            done = keep_or_refuse(partial(transact, self.engine), batch)
        except Exception as error:
            if passes(error):
                raise UnavailableError(f"The database cannot be used: {reason(error)}") from error
            raise
        for reading, kept in zip(batch, done, strict=True):
            self.taken.add(reading, kept)


@contextmanager
def taking(engine: Engine) -> Iterator[Import]:
    """Take callbacks in, then settle them; whatever happens, say what came of it."""
    done = Import(engine)
    try:
        yield done
        done.flush()
        with progress("Settling", None):
            settle.settle_all(engine)
    finally:
        sys.stdout.write(f"{done.taken}\n")


def receive_files(
    engine: Engine, settings: Settings, provider: str, account: str, paths: Sequence[Path]
) -> int:
    """Take in saved bodies of a provider, and say what came of it; return how many were bad.

    Every file is opened before anything is kept. Each body is a callback that arrived now, or when
    the log says; reports that are known are counted as repeats.
    """
    interpreter = Interpreter.from_settings(settings)
    limit = settings.max_body_bytes
    with (
        open_files(paths) as (files, total),
        taking(engine) as done,
        progress("Receiving", total) as advance,
    ):
        for name, file in files:
            read = 0
            for item in saved(file, limit):
                advance(file.tell() - read)
                read = file.tell()
                if len(item.body) > limit:
                    done.taken.bad += 1
                    sys.stderr.write(f"{printable(name)}:{item.line}: over {limit} bytes\n")
                    continue
                callback = Callback(
                    provider=provider,
                    account=account,
                    method=METHOD,
                    body=item.body,
                    received_at=item.received_at or datetime.now(UTC),
                )
                if not PROVIDERS[provider].is_probe(callback):
                    done.add(pipeline.receive(callback, interpreter, settings.message_text))
    return done.taken.bad


def receive_spool(engine: Engine, settings: Settings, path: Path) -> int:
    """Take in what can be read of a spool file, which stays as it is; return how many were bad.

    Doing it again changes nothing. Raises SpoolError where nothing can be read of it.
    """
    interpreter = Interpreter.from_settings(settings)
    with taking(engine) as done, progress("Receiving", None) as advance:
        for callback in spool.salvage(path):
            advance(1)
            if callback is None or callback.provider not in PROVIDERS:
                done.taken.bad += 1
            else:
                done.add(pipeline.read(callback, interpreter))
    return done.taken.bad
