"""Files of what was sent: send responses, JSON Lines, CSV; told apart by content, read in a stream.

What comes out are items with the line they begin on. Nothing here knows a provider: an item is a
record (it names our columns) or a provider's answer to a send call.
"""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TextIO

from receiver.messages.input_files import CHUNK_CHARACTERS, documents, encoding_of, numbered_lines
from receiver.messages.recording import GIVEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


IDS: Final = ("message_id", "transaction_id")
MAX_DOCUMENT: Final = 64 * 1024 * 1024
"""The characters of one response or record, at most; a list may hold any number of them."""


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
            yield from _json(text)
        elif begin:
            yield from _csv(text)
    finally:
        if not file.closed:  # whoever gives up early has closed it
            text.detach()


def _first_character(text: TextIO) -> str:
    while chunk := text.read(CHUNK_CHARACTERS):
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
_COMMAS: Final = re.compile("[\ufeff \t\r\n,]*")
_UNREAD_REST: Final = "; what follows in this list was not read"


def _json(text: TextIO) -> Iterator[Item]:
    for line, document in documents(numbered_lines(text, MAX_DOCUMENT), MAX_DOCUMENT):
        if len(document) > MAX_DOCUMENT:
            yield Bad(
                line, f"expected at most {MAX_DOCUMENT} characters; put one message on a line"
            )
        else:
            yield from _values(line, document)


def _values(line: int, text: str) -> Iterator[Item]:
    """Return the values in a text, and of a list its items, up to the first that is broken.

    `line` is the number of its first line.
    """
    decode = json.JSONDecoder().raw_decode
    at, counted, in_list = _end(_COMMAS, text, 0), 0, False
    while at < len(text):
        line, counted = line + text.count("\n", counted, at), at
        if not in_list and text[at] == "[":
            in_list, at = True, _end(_GAP, text, at + 1)
            if text[at : at + 1] != "]":
                continue
        if in_list and text[at] == "]":
            in_list, at = False, _end(_COMMAS, text, at + 1)
            continue
        try:
            value, end = decode(text, at)
        except json.JSONDecodeError as error:
            line += text.count("\n", at, error.pos)
            yield Bad(line, f"expected JSON, got something else{_UNREAD_REST if in_list else ''}")
            return
        except (ValueError, RecursionError):  # a number too long, lists too deep
            yield Bad(line, f"expected JSON that can be read{_UNREAD_REST if in_list else ''}")
            return
        yield item(line, value)
        at = _end(_GAP if in_list else _COMMAS, text, end)
        if in_list and text[at : at + 1] == ",":
            at = _end(_GAP, text, at + 1)
        elif in_list and text[at : at + 1] != "]":
            line += text.count("\n", counted, at)
            yield Bad(line, f"expected a comma or the end of the list{_UNREAD_REST}")
            return
    if in_list:
        line += text.count("\n", counted, at)
        yield Bad(line, f"expected the end of the list{_UNREAD_REST}")


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where what matches here ends."""
    match = pattern.match(text, at)
    return match.end() if match else at


def item(line: int, value: object) -> Item:
    """Tell a record from a response: a record names a recipient, or an id and only our columns."""
    if isinstance(value, dict):
        is_ours = value.keys() <= set(GIVEN) and not value.keys().isdisjoint(IDS)
        if "recipient" in value or is_ours:
            return Record(line, value)
        return Response(line, value)
    if isinstance(value, str | list):
        return Response(line, value)
    return Bad(line, "expected an object")


# CSV: a header row, then records.

_SEPARATOR: Final = re.compile(r"sep=([,;\t])\s*", re.IGNORECASE)
_NAME: Final = re.compile(r"[A-Za-z_][\w .-]{0,39}")
_FORMULA: Final = re.compile(r'="([^"]*)"')  # how a cell is kept from becoming a number


def _csv(text: TextIO) -> Iterator[Item]:
    separator, skipped = _dialect(text)
    rows = _Rows(text)
    reader = csv.reader(rows, delimiter=separator, strict=True)
    columns: Sequence[str] | None = None
    while True:
        line = skipped + rows.number + 1
        try:
            row = next(reader, None)
        except csv.Error:
            last = skipped + rows.number
            yield Bad(
                line, f"expected CSV; look for a quote too many or too few, up to line {last}"
            )
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


class _Rows:
    """A file's lines for the csv module, which holds each whole: a longer one is an error."""

    def __init__(self, text: TextIO) -> None:
        self.number = 0
        self._numbered = numbered_lines(text, MAX_DOCUMENT)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = next(self._numbered)
        self.number = number
        if len(line) > MAX_DOCUMENT:
            raise csv.Error("line too long")
        return line


def _dialect(text: TextIO) -> tuple[str, int]:
    """Return the separator and the lines before the header; Excel may say `sep=;` in the first."""
    skipped = 0
    while True:
        position = text.tell()
        line = text.readline(CHUNK_CHARACTERS)
        match = _SEPARATOR.fullmatch(line.lstrip("\ufeff"))
        if match:
            return match[1], skipped + 1
        if not line or line.strip():
            text.seek(position)
            return max(",;\t", key=line.count), skipped
        skipped += 1


def _header_problem(columns: Sequence[str]) -> str | None:
    """Say what is wrong with a header row; what could be a row of values is not repeated."""
    known = [name for name in columns if name in GIVEN]
    if not known:
        return f"expected a header row with some of: {', '.join(GIVEN)}"
    unknown = [name for name in columns if name and name not in GIVEN]
    if unknown:
        names = ", ".join(n if _NAME.fullmatch(n) else "(no name)" for n in unknown)
        return f"unknown columns: {names}; expected some of: {', '.join(GIVEN)}"
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
    plain = (_FORMULA.sub(r"\1", cell) if cell.startswith("=") else cell for cell in cells)
    values = {name: cell for name, cell in zip(columns, plain, strict=True) if cell}
    if "" in values:
        return Bad(line, "expected nothing in a column without a name")
    for name, value in values.items():
        if "\n" in value or "\r" in value:
            return Bad(line, f"{name}: expected one line; is a quote missing?")
    return Record(line, values)
