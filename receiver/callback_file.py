"""Files of saved callbacks: one body each, or a log with a body a line; told apart by content.

The vendor's own sample script writes such a log: `<time> Data :{"Transaction": …}` (documented).
Nothing here knows a provider: what comes out are bytes, with the line they begin on and the time
that stands before them, if one does.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Final

from receiver.sent_file import encoding_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGGED: Final = re.compile(rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:[+-][0-9:]{5,6}|Z)) Data :")
_CLOSED: Final = {b"{": b"}", b"[": b"]"}
_BLANK: Final = b"\xef\xbb\xbf \t\r\n"


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved body, the line it begins on, and when it arrived (aware), where that is written."""

    line: int
    body: bytes
    received_at: datetime | None = None


def saved(file: BinaryIO, limit: int) -> Iterator[Saved]:
    """Return every body of a file, in order; of one that is longer, `limit` bytes and one more."""
    lines = _lines(file)
    first = next((line for line in lines if line[1].strip(_BLANK)), None)
    file.seek(0)
    if first is None:
        return
    begin = first[1].strip(_BLANK)
    if begin.startswith((b"<", b"--")) or not begin.endswith(_CLOSED.get(begin[:1], b"")):
        yield Saved(first[0], file.read(limit + 1))
        return
    for number, line in _lines(file):
        text = line.strip(_BLANK)
        time = None
        if logged := _LOGGED.match(text):
            text = text[logged.end() :]
            time = _time(logged[1].decode())
        if text:
            yield Saved(number, text.removeprefix(b"?")[: limit + 1], time)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Return the lines of a file, counted from 1, in UTF-8 where they are in UTF-16."""
    codec = encoding_of(file) or "utf-8"
    file.seek(0)
    if codec in {"utf-8", "cp874"}:  # providers' bodies in these are read by what they are
        yield from enumerate(file, 1)
        return
    text = io.TextIOWrapper(file, codec)
    try:
        for number, line in enumerate(text, 1):
            yield number, line.encode("utf-8", "surrogatepass")
    finally:
        text.detach()


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
