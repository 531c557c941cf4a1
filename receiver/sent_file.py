"""Files of what was sent: send responses, JSON Lines, CSV; told apart by content, read in a stream.

What comes out are items with the line they begin on. Nothing here knows a provider: an item is a
record (it names our columns) or a provider's answer to a send call.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, TextIO, cast

from receiver.errors import ReceiverError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COLUMNS: Final = (
    "provider",
    "account",
    "message_id",
    "transaction_id",
    "recipient",
    "sender",
    "tag",
    "reference",
    "template_id",
    "credit",
    "sent_at",
    "error",
)
"""The columns of `sent_message` that a record may give."""
IDS: Final = ("message_id", "transaction_id")
MAX_DOCUMENT: Final = 64 * 1024 * 1024
"""Characters of one response or record; a list may hold any number of them."""
CHUNK: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Record:
    """What was sent, in our columns."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Response:
    """A provider's answer to a send call: a decoded object or list, or text that holds one."""

    line: int
    document: object


@dataclass(frozen=True, slots=True)
class Bad:
    """What is neither, and why; no value is in the reason."""

    line: int
    reason: str


Item = Record | Response | Bad


def _open(path: Path) -> BinaryIO:
    """Open a file, or stdin for `-`, so that it can be read twice."""
    try:
        if str(path) == "-":
            return _copied(sys.stdin.buffer)
        file = path.open("rb")
    except OSError as error:
        raise ReceiverError(f"{path}: {error.strerror}.") from None
    return file if file.seekable() else _copied(file)


@contextmanager
def open_files(paths: Sequence[Path]) -> Iterator[tuple[list[tuple[str, BinaryIO]], int]]:
    """Open all files, or none; return each with the name it goes by, and their bytes together.

    Raises ReceiverError.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(_open(path)) for path in paths]
        total = sum(file.seek(0, io.SEEK_END) for file in files)
        for file in files:
            file.seek(0)
        names = ["stdin" if str(path) == "-" else str(path) for path in paths]
        yield list(zip(names, files, strict=True)), total


def _copied(stream: IO[bytes]) -> BinaryIO:
    """Keep a stream in a nameless file that only we can read."""
    copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return copy


def items(file: BinaryIO) -> Iterator[Item]:
    """Return everything a file holds, in order, holding little of it at a time."""
    encoding = encoding_of(file)
    if encoding is None:
        yield Bad(1, "expected text in UTF-8, UTF-16 or windows-874")
        return
    text = io.TextIOWrapper(file, encoding, newline="")
    try:
        begin = _first_character(text)
        text.seek(0)
        if begin == "<":
            yield _xml(text)
        elif begin in {"{", "["}:
            yield from _Json(text).items()
        elif begin:
            yield from _csv(text)
    finally:
        if not file.closed:  # whoever gives up early has closed it
            text.detach()


def encoding_of(file: BinaryIO) -> str | None:
    """Return the encoding that all of the file can be read in, told by mark and zeros, else tried.

    UTF-8 goes before windows-874, which Excel writes in Thailand; a Thai text is never both.
    """
    head = file.read(4)
    told = json.detect_encoding(head) if head else "utf-8"
    candidates = ("utf-8", "cp874") if told == "utf-8" else (told,)
    return next((codec for codec in candidates if _decodes(file, codec)), None)


def _decodes(file: BinaryIO, codec: str) -> bool:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        while chunk := file.read(16 * CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        file.seek(0)
    return True


def _first_character(text: TextIO) -> str:
    while chunk := text.read(CHUNK):
        if begin := chunk.lstrip("\ufeff \t\r\n")[:1]:
            return begin
    return ""


# XML: one response.


def _xml(text: TextIO) -> Item:
    document = text.read(MAX_DOCUMENT + 1)
    if len(document) > MAX_DOCUMENT:
        return Bad(1, f"expected XML of at most {MAX_DOCUMENT} characters")
    return Response(1, document)


# JSON: values one after the other, each on a line or over many; of a list, its items.

_GAP: Final = re.compile("[\ufeff \t\r\n]*")


class _Json:
    """Reads JSON from a stream. A value that is broken costs itself and not what comes after it.

    `text` is what was read and is still needed; `at` is how far it is done with, on line `line`.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.decoder = json.JSONDecoder()
        self.text = ""
        self.at = 0
        self.line = 1
        self.ended = False

    def items(self) -> Iterator[Item]:
        """Return the values, and the items of those that are lists."""
        lost = False
        while begin := self._next():
            line = self.line
            if lost and (begin not in "{[" or not self._at_line_start()):
                self._skip_line()  # still inside what was broken
                continue
            lost = False
            try:
                if begin == "[":
                    yield from self._list()
                else:
                    yield item(line, self._value())
                if self._next() == ",":
                    self.at += 1
            except _BrokenError as error:
                more = "; what follows in this list was not read" if begin == "[" else ""
                yield Bad(error.line, error.reason + more)
                lost = error.line != line
                self._skip_line()

    def _list(self) -> Iterator[Item]:
        self.at += 1
        begin = self._next()
        while begin != "]":
            line = self.line
            yield item(line, self._value())
            begin = self._next()
            if begin not in {",", "]"}:
                raise _BrokenError(self.line, "expected a comma or the end of the list")
            if begin == ",":
                self.at += 1
                begin = self._next()
        self.at += 1

    def _value(self) -> object:
        """Decode the value that begins here, reading on until all of it is there."""
        wanted = CHUNK
        while True:
            end, problem, value = self.at, self.at, None
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                problem = error.pos
            except (ValueError, RecursionError):  # a number too long, lists too deep
                raise _BrokenError(self.line, "expected JSON that can be read") from None
            if end > self.at and self._is_whole(value, end):
                self._advance(end)
                return value
            if end == self.at and self._is_broken_at(problem):
                line = self.line + self.text.count("\n", self.at, problem)
                raise _BrokenError(line, "expected JSON, got something else")
            if len(self.text) - self.at > MAX_DOCUMENT:
                raise _BrokenError(self.line, f"expected at most {MAX_DOCUMENT} characters")
            self._read(wanted)
            wanted = len(self.text) - self.at

    def _is_whole(self, value: object, end: int) -> bool:
        """Say whether a value ends here: of a line that is there in part, a number may go on."""
        if self.ended or self.text.endswith(("\n", "\r")) or isinstance(value, dict | list | str):
            return True
        return end < len(self.text) and self.text[end] in " \t,]}"

    def _is_broken_at(self, problem: int) -> bool:
        """Say whether more text would not help: lines are whole, and it fails within them."""
        if self.ended:
            return True
        gap = _GAP.match(self.text, problem)
        fails_at_end = gap is not None and gap.end() == len(self.text)
        return self.text.endswith(("\n", "\r")) and not fails_at_end

    def _next(self) -> str:
        """Go to the next character that is not blank, and return it; empty at the end."""
        while True:
            gap = _GAP.match(self.text, self.at)
            self._advance(gap.end() if gap else self.at)
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self._read(1)

    def _at_line_start(self) -> bool:
        return self.at == 0 or self.text[self.at - 1] in "\r\n"

    def _skip_line(self) -> None:
        while (end := self.text.find("\n", self.at)) < 0:
            if self.ended:
                self._advance(len(self.text))
                return
            self._read(1)
        self._advance(end + 1)

    def _advance(self, to: int) -> None:
        self.line += self.text.count("\n", self.at, to)
        self.at = to

    def _read(self, characters: int) -> None:
        """Read whole lines until there are so many characters more; a long line in parts."""
        start = max(0, self.at - 1)  # what tells the start of a line
        parts = [self.text[start:]]
        while characters > 0 and not self.ended:
            part = self.stream.readline(CHUNK)
            parts.append(part)
            characters -= len(part)
            self.ended = not part
        self.text, self.at = "".join(parts), self.at - start


class _BrokenError(Exception):
    """JSON is not JSON here."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


def item(line: int, value: object) -> Item:
    """Tell a record from a response: a record names a recipient, or an id and only our columns."""
    if isinstance(value, dict):
        is_ours = value.keys() <= set(COLUMNS) and not value.keys().isdisjoint(IDS)
        if "recipient" in value or is_ours:
            return Record(line, value)
        return Response(line, value)
    if isinstance(value, str | list):
        return Response(line, value)
    return Bad(line, "expected an object")


# CSV: a header row, then records.

_SEPARATOR: Final = re.compile(r"sep=([,;\t])\s*", re.IGNORECASE)
_NAME: Final = re.compile(r"[A-Za-z_][\w .-]{0,39}")
# 27071450371600000001 becomes 2.70715E+19 when Excel takes it for a number.
_ROUNDED: Final = re.compile(r"[0-9](?:[.,][0-9]+)?E\+[0-9]+")


def _csv(text: TextIO) -> Iterator[Item]:
    separator, skipped = _dialect(text)
    reader = csv.reader(text, delimiter=separator, strict=True)
    columns: Sequence[str] | None = None
    while True:
        line = skipped + reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error:
            yield Bad(line, f"expected CSV; look for a quote too many or too few, {_to(reader)}")
            continue
        if row is None:
            return
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if columns is not None:
            yield _row(line, columns, cells)
            continue
        columns = [cell.lstrip("\ufeff").lower() for cell in cells]
        if problem := _header_problem(columns):
            yield Bad(line, problem)
            return


def _to(reader: Any) -> str:
    return f"up to line {reader.line_num}"


def _dialect(text: TextIO) -> tuple[str, int]:
    """Return the separator and the lines before the header; Excel may say `sep=;` in the first."""
    skipped = 0
    while True:
        place = text.tell()
        line = text.readline(CHUNK)
        said = _SEPARATOR.fullmatch(line.lstrip("\ufeff"))
        if said:
            return said[1], skipped + 1
        if not line or line.strip():
            text.seek(place)
            return max(",;\t", key=line.count), skipped
        skipped += 1


def _header_problem(columns: Sequence[str]) -> str | None:
    """Say what is wrong with a header row; what could be a row of values is not repeated."""
    known = [name for name in columns if name in COLUMNS]
    if not known:
        return f"expected a header row with some of: {', '.join(COLUMNS)}"
    unknown = [name for name in columns if name and name not in COLUMNS]
    if unknown:
        names = ", ".join(n if _NAME.fullmatch(n) else "(no name)" for n in unknown)
        return f"unknown columns: {names}; expected some of: {', '.join(COLUMNS)}"
    if len(set(known)) < len(known):
        return "expected each column once"
    if "recipient" not in known:
        return "expected a column recipient"
    if not {"error", *IDS} & set(known):
        return "expected a column message_id or transaction_id"
    return None


def _row(line: int, columns: Sequence[str], cells: list[str]) -> Item:
    while len(cells) > len(columns) and not cells[-1]:
        del cells[-1]
    if len(cells) != len(columns):
        return Bad(line, f"expected {len(columns)} cells, got {len(cells)}")
    values = {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
    if "" in values:
        return Bad(line, "expected nothing in a column without a name")
    for name, value in values.items():
        if "\n" in value or "\r" in value:
            return Bad(line, f"{name}: expected one line; is a quote missing?")
    for name in IDS:
        if _ROUNDED.fullmatch(values.get(name, "")):
            return Bad(line, f"{name}: a spreadsheet has rounded it; make the column text there")
    return Record(line, values)
