"""Import of saved callbacks, or of a spool file, through the pipeline."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from receiver.database import passes, reason, transact
from receiver.display import printable, progress
from receiver.domain import Callback, Kept, UnavailableError
from receiver.ingest import Interpreter, interpret, keep_or_refuse
from receiver.ingest.spool import salvage
from receiver.maintenance.callback_files import Bad, Saved, saved
from receiver.messages import open_files
from receiver.providers import PROVIDERS
from receiver.settling import settle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from receiver.domain import Reading
    from receiver.settings import Settings


MAX_BATCH_CALLBACKS: Final = 200
"""The callbacks of one transaction at most."""
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""The bytes that the bodies of one transaction may have together, about."""
METHOD: Final = "import"
MIN_SECRET_LENGTH: Final = 8
"""The characters that a secret must have to be looked for; a shorter one is in lines by chance."""


@dataclass(slots=True)
class ImportCounts:
    """Counts of one import. `callbacks` are those that were new; reports are new or repeated."""

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

    def planned(self) -> str:
        """Return the same of a dry run, which does not look what is known."""
        return (
            f"would receive {self.callbacks} (unreadable {self.unreadable}), reports"
            f" {self.reports} (known ones among them), bad {self.bad}"
        )

    def add(self, reading: Reading, result: Kept | Exception) -> None:
        """Count one callback."""
        if isinstance(result, Exception):
            self.bad += 1
        elif result.was_there:
            self.before += 1
        else:
            self.callbacks += 1
            self.unreadable += reading.outcome == "unreadable"
            self.reports += len(reading.reports)
            self.repeated += result.repeats if reading.outcome != "unreadable" else 0


class Import:
    """Callbacks on their way into the database, a batch in a transaction."""

    def __init__(self, engine: Engine, *, dry_run: bool = False) -> None:
        self.engine = engine
        self.dry_run = dry_run
        self.counts = ImportCounts()
        self._batch: list[Reading] = []
        self._bytes = 0

    def add(self, reading: Reading) -> None:
        """Take a callback; a full batch is kept at once."""
        self._batch.append(reading)
        self._bytes += reading.size
        if len(self._batch) >= MAX_BATCH_CALLBACKS or self._bytes > MAX_BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Keep what waits. Raises UnavailableError where the database is away."""
        batch, self._batch, self._bytes = self._batch, [], 0
        if not batch:
            return
        if self.dry_run:
            for reading in batch:
                self.counts.add(reading, Kept(id=reading.callback.id))
            return
        try:
            done = keep_or_refuse(partial(transact, self.engine), batch)
        except Exception as error:
            if passes(error):
                raise UnavailableError(f"The database cannot be used: {reason(error)}") from error
            raise
        for reading, result in zip(batch, done, strict=True):
            self.counts.add(reading, result)


@contextmanager
def importing(engine: Engine, *, dry_run: bool = False) -> Iterator[Import]:
    """Take callbacks in, then settle them; whatever happens, say what came of it."""
    done = Import(engine, dry_run=dry_run)
    try:
        yield done
        done.flush()
        if not dry_run:
            with progress("Settling", None):
                settle.settle_all(engine)
    finally:
        summary = done.counts.planned() if dry_run else done.counts
        sys.stdout.write(f"{summary}\n")


def receive_files(
    engine: Engine,
    settings: Settings,
    provider: str,
    account: str,
    paths: Sequence[Path],
    *,
    dry_run: bool = False,
) -> int:
    """Take in saved bodies of a provider, and say what came of it; return how many were bad.

    Every file is opened before anything is kept. Each body is a callback that arrived now, or when
    the log says; reports that are known are counted as repeats. Bad lines go to stderr.
    """
    interpreter = Interpreter.from_settings(settings)
    limit = settings.max_body_bytes
    secrets = _secrets(settings)

    def read_item(item: Saved | Bad) -> str | Reading | None:
        """Return what is wrong with an item, else what was read from it; None for a probe."""
        if isinstance(item, Bad):
            return item.reason
        if any(
            secret in form
            for form in (item.body, unquote_to_bytes(item.body))
            for secret in secrets
        ):
            return "holds a token or key of ours, and is not kept"
        callback = Callback(
            provider=provider,
            account=account,
            method=METHOD,
            body=item.body,
            received_at=item.received_at or datetime.now(UTC),
        )
        if PROVIDERS[provider].is_probe(callback):
            return None
        reading = interpret.redact_and_read(callback, interpreter, settings.message_text)
        if item.is_part and reading.outcome == "unreadable":
            return f"no callback of {provider} ({reading.error})"
        return reading

    with (
        open_files(paths) as (files, total),
        importing(engine, dry_run=dry_run) as done,
        progress("Receiving", total) as advance,
    ):
        for name, file in files:
            read = 0
            for item in saved(file, limit, settings.timezone):
                advance(file.tell() - read)
                read = file.tell()
                result = read_item(item)
                if isinstance(result, str):
                    done.counts.bad += 1
                    sys.stderr.write(f"{printable(name)}:{item.line}: {printable(result)}\n")
                elif result is not None:
                    done.add(result)
    return done.counts.bad


def _secrets(settings: Settings) -> frozenset[bytes]:
    """Return the tokens and keys that no line of a log may bring into the database."""
    secrets = [*settings.api_keys]
    for provider in PROVIDERS:
        own = settings.provider(provider)
        secrets += [*own.tokens, *own.basic_auth]
    return frozenset(s.value.encode() for s in secrets if len(s.value) >= MIN_SECRET_LENGTH)


def receive_spool(engine: Engine, settings: Settings, path: Path, *, dry_run: bool = False) -> int:
    """Take in what can be read of a spool file, which stays as it is; return how many were bad.

    Doing it again changes nothing. Raises SpoolError where nothing can be read of it.
    """
    interpreter = Interpreter.from_settings(settings)
    with importing(engine, dry_run=dry_run) as done, progress("Receiving", None) as advance:
        for callback in salvage.salvage(path):
            advance(1)
            if callback is None or callback.provider not in PROVIDERS:
                done.counts.bad += 1
            else:
                done.add(interpret.read(callback, interpreter))
    return done.counts.bad
