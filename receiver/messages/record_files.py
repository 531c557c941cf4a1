"""Recording of sent messages from files: items into batches, batches into the database.

A bad item costs only itself. Recording is safe to repeat, so whoever is cut off begins again.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from sqlalchemy.exc import DBAPIError

from receiver.database import RaceError, halve, is_away, is_transient, reason, transact
from receiver.display import printable, progress
from receiver.domain import ProviderRefusalError, RecordError, UnavailableError, UnreadableError
from receiver.messages.files import Bad, Item, Record, items
from receiver.messages.input_files import open_files
from receiver.messages.recording import record
from receiver.messages.submitted import submission
from receiver.settling import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import tzinfo
    from pathlib import Path

    from sqlalchemy import Engine

    from receiver.domain import SentMessage
    from receiver.messages.recording import Recorded
    from receiver.settings import Settings


MAX_BATCH_MESSAGES: Final = 500
"""The messages of one transaction, about."""

_OPTION: Final = re.compile(r"^\w+")
_FIRST_ITEM: Final = re.compile(r"^messages\[0\](?:\.|: )")
_NUMBER: Final = re.compile(r"\+?[0-9](?:[ ().-]?[0-9]){7,}")

Placed = tuple[int, "SentMessage"]
"""A message, and the line it came from."""


def problem(provider: str, common: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the options that are for all messages."""
    try:
        submission({"provider": provider, "messages": [], **common})
    except RecordError as error:
        return "; ".join(f"--{_OPTION.sub(_option, message)}" for message in error.problems)
    return None


def _option(field: re.Match[str]) -> str:
    return field[0].replace("_", "-")


def record_files(
    engine: Engine,
    settings: Settings,
    provider: str,
    common: Mapping[str, Any],
    paths: Sequence[Path],
) -> int:
    """Record what the files hold, settle it, say what came of it; return how many were bad.

    Every file is opened before anything is recorded. Bad lines go to stderr.
    """
    name = ""

    def report_bad(line: int, reason: str) -> None:
        sys.stderr.write(f"{printable(name)}:{line}: {printable(reason)}\n")

    recording = Recording(engine, provider, common, settings.timezone, report_bad)
    with open_files(paths) as (files, total):
        try:
            with progress("Recording", total) as advance:
                for name, file in files:  # noqa: B007 - `report_bad` names it
                    recording.add_all(_watched(file, advance))
            with progress("Settling", None):
                settle.settle_all(engine)
        finally:
            sys.stdout.write(f"{recording.summary()}\n")
    return recording.bad


def _watched(file: BinaryIO, advance: Callable[[int], None]) -> Iterator[Item]:
    """Return a file's items, and say how far it is read."""
    before = 0
    for number, item in enumerate(items(file)):
        if number % MAX_BATCH_MESSAGES == 0:
            position = file.tell()
            advance(position - before)
            before = position
        yield item


@dataclass(slots=True)
class Recording:
    """One provider's messages on their way into the database, and what came of them.

    `report_bad` is called with each bad line and why; no phone number is in either.
    """

    engine: Engine
    provider: str
    given: Mapping[str, Any]
    zone: tzinfo
    report_bad: Callable[[int, str], None]
    recorded: int = 0
    repeated: int = 0
    rejected: int = 0
    bad: int = 0
    _batch: list[Placed] = field(default_factory=list)

    def add_all(self, items: Iterable[Item]) -> None:
        """Record every item."""
        for item in items:
            self.add(item)
        self.flush()

    def add(self, item: Item) -> None:
        """Take an item; a full batch is recorded at once."""
        if isinstance(item, Bad):
            self._refuse(item.line, item.reason)
            return
        try:
            sent = self._messages(item)
        except ProviderRefusalError as error:
            words = _NUMBER.sub("…", str(error))
            self._refuse(item.line, f"the provider refused to send: {words}")
        except RecordError as error:
            self._refuse(
                item.line, "; ".join(_FIRST_ITEM.sub("", problem_) for problem_ in error.problems)
            )
        except UnreadableError as error:
            self._refuse(item.line, str(error))
        except Exception as error:  # noqa: BLE001 - a mistake of ours costs no other item
            self._refuse(item.line, f"could not be read ({type(error).__name__})")
        else:
            self._batch += [(item.line, message) for message in sent]
            if len(self._batch) >= MAX_BATCH_MESSAGES:
                self.flush()

    def _messages(self, item: Item) -> list[SentMessage]:
        if not isinstance(item, Record):
            return self._read({"response": item.document})  # type: ignore[union-attr]
        values = dict(item.values)
        if values.pop("provider", self.provider) != self.provider:
            raise UnreadableError(f"provider: expected {self.provider}")
        return self._read({"messages": [values]})

    def _read(self, document: Mapping[str, Any]) -> list[SentMessage]:
        submitted = {"provider": self.provider, **self.given, **document}
        return submission(submitted).sent_messages(self.zone)

    def _refuse(self, line: int, reason: str) -> None:
        self.bad += 1
        self.report_bad(line, reason)

    def flush(self) -> None:
        """Record what waits."""
        batch, self._batch = self._batch, []
        self._record(batch)

    def _record(self, batch: Sequence[Placed]) -> None:
        """Record a batch; where the database refuses its data, find what it refuses."""
        if not batch:
            return
        try:
            halve(batch, self._write, _is_data, self._refuse_alone)
        except (DBAPIError, RaceError) as error:
            raise UnavailableError(f"The database cannot be used: {reason(error)}") from error

    def _refuse_alone(self, placed: Placed, _error: Exception) -> None:
        self._refuse(placed[0], "the database refuses it")

    def _count(self, message: Recorded) -> None:
        if not message.new:
            self.repeated += 1
        elif message.refused:
            self.rejected += 1
        else:
            self.recorded += 1

    def _write(self, batch: Sequence[Placed]) -> Sequence[None]:
        messages = [message for _, message in batch]
        for recorded in transact(self.engine, lambda c: record(c, self.provider, messages)):
            self._count(recorded)
        return ()

    def summary(self) -> str:
        """Return the four counts in one line; they do not overlap."""
        return (
            f"recorded {self.recorded}, repeated {self.repeated}, rejected {self.rejected},"
            f" bad {self.bad}"
        )


def _is_data(error: Exception) -> bool:
    """Say whether the database refuses the data: it is there, and nobody was in the way."""
    is_refusal = isinstance(error, DBAPIError | RaceError)
    return is_refusal and not (is_away(error) or is_transient(error))
