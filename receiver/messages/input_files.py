"""Files that commands read: opened, unpacked, decoded, and cut into lines and JSON documents.

Nothing is held that is longer than the limit which the caller gives: of a longer line the rest is
read past.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import re
import shutil
import sys
import tempfile
import zlib
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, AnyStr, BinaryIO, Final, cast

from receiver.domain import ReceiverError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path


CHUNK_CHARACTERS: Final = 64 * 1024
"""The characters, or bytes, that are read at a time."""
PACKED: Final[dict[bytes, Callable[[BinaryIO], IO[bytes]]]] = {
    b"\x1f\x8b": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
"""The first bytes of files that are unpacked as they are opened, such as rotated logs."""
FOREIGN: Final = b"PK\x03\x04", b"\x28\xb5\x2f\xfd"
"""The first bytes of zip files, which spreadsheets' own are, and of zstd's."""


@contextmanager
def open_files(paths: Sequence[Path]) -> Iterator[tuple[list[tuple[str, BinaryIO]], int]]:
    """Open all files, or none; return each with the name it goes by, and their bytes together.

    What is packed is unpacked first, into a file that has no name. Raises ReceiverError.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(_open(path)) for path in paths]
        total = sum(file.seek(0, io.SEEK_END) for file in files)
        for file in files:
            file.seek(0)
        names = ["stdin" if str(path) == "-" else str(path) for path in paths]
        yield list(zip(names, files, strict=True)), total


def _open(path: Path) -> BinaryIO:
    """Open a file, or stdin for `-`, so that it can be read twice."""
    try:
        if str(path) == "-":
            return _unpacked(path, _copied(sys.stdin.buffer))
        file = path.open("rb")
        if file.seekable():
            return _unpacked(path, file)
        with file:
            return _unpacked(path, _copied(file))
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile):
        raise ReceiverError(
            f"{path}: packed, and cut off or damaged; unpack what can be had by hand."
        ) from None
    except OSError as error:
        raise ReceiverError(f"{path}: {error.strerror or 'packed, and damaged'}.") from None


def _unpacked(path: Path, file: BinaryIO) -> BinaryIO:
    """Return the file, or what is packed in it, which it then is closed for."""
    with ExitStack() as stack:
        stack.callback(file.close)
        head = file.read(8)
        file.seek(0)
        if head.startswith(FOREIGN):
            raise ReceiverError(
                f"{path}: packed, or a spreadsheet of its own format; unpack it, or save it as CSV."
            )
        for magic, unpack in PACKED.items():
            if head.startswith(magic):
                return _copied(stack.enter_context(unpack(file)))
        stack.pop_all()
    return file


def _copied(stream: IO[bytes]) -> BinaryIO:
    """Keep a stream in a nameless file that only we can read."""
    with ExitStack() as stack:
        copy = cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        stack.pop_all()
    return copy


def encoding_of(file: BinaryIO) -> str | None:
    """Return the encoding that all of the file can be read in, told by mark and zeros, else tried.

    UTF-8 goes before windows-874, which Excel writes in Thailand; a Thai text is never both.
    """
    head = file.read(4)
    likely = json.detect_encoding(head) if head else "utf-8"
    candidates = ("utf-8", "cp874") if likely == "utf-8" else (likely,)
    return next((codec for codec in candidates if _decodes(file, codec)), None)


def _decodes(file: BinaryIO, codec: str) -> bool:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        while chunk := file.read(16 * CHUNK_CHARACTERS):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        file.seek(0)
    return True


def numbered_lines(file: IO[AnyStr], limit: int) -> Iterator[tuple[int, AnyStr]]:
    """Return a file's lines, counted from 1; of one longer than `limit`, that many and one more.

    `limit` is in characters of a text file, in bytes of any other.
    """
    number = 1
    while line := file.readline(limit + 1):
        yield number, line
        while len(line) > limit and line[-1:] not in {"\n", "\r", b"\n"}:
            line = file.readline(limit + 1)
        number += 1


_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKET: Final = re.compile(r"[][{}]")
_BLANK: Final = " \t\r\n\ufeff"


def documents(numbered: Iterable[tuple[int, str]], limit: int) -> Iterator[tuple[int, str]]:
    r"""Return lines, those of one JSON document together, each with the number of its first.

    A line that begins or ends with an open bracket goes on up to the line that closes it:
    `{"a": 1}` is a document, and so is `{\n  "a": 1\n}`. One that is cut off ends before the next
    that begins. Of what is longer, `limit` characters and one more are returned.
    """
    first, held, size = 0, list[str](), 0
    open_: list[str] = []
    before = ""
    for number, line in numbered:
        text = line.strip(_BLANK)
        if held and line[0] in "{[" and not _may_follow(open_, before):
            yield first, "".join(held)
            held, open_ = [], []
        if not held:
            first, size = number, 0
        if size <= limit:
            held.append(line)
            size += len(line)
        if open_ or text.startswith(("{", "[")) or text.endswith(("{", "[")):
            _follow(open_, text)
        if not open_ or len(line) > limit:
            if first < number or text:
                yield first, "".join(held)[: limit + 1]
            held, open_ = [], []
        before = text or before
    if held:
        yield first, "".join(held)[: limit + 1]


def _follow(open_: list[str], text: str) -> None:
    """Open and close the brackets of a line that stand in no string."""
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        if bracket in "{[":
            open_.append(bracket)
        elif open_:
            open_.pop()


def _may_follow(open_: Sequence[str], before: str) -> bool:
    """Say whether a line may begin with a bracket within what is open, by the line before it."""
    return before.endswith(("[", ",") if open_[-1:] == ["["] else (":",))
