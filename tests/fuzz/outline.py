"""What a body holds, read a second time, simply and with nothing of ours: the oracle.

Every object is a list of its members, so that a name that stands twice is seen.
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET
from xml.parsers import expat

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
BLANK: Final = "\ufeff \t\r\n"


class Members(list[tuple[str, object]]):
    """An object's members, in their order."""

    def of(self, *names: str) -> list[object]:
        """Return every value that stands under one of these lower-case names."""
        return [value for name, value in self if name.strip().lower() in names]

    @property
    def is_plain(self) -> bool:
        """Say whether every name stands here once, as it is written."""
        return len({name for name, _ in self}) == len(self)


def text(body: bytes) -> str | None:
    """Return a body as text, half characters in place of what is none; None where it is broken."""
    codec = next((codec for mark, codec in MARKS if body.startswith(mark)), None)
    codec = codec or json.detect_encoding(body)
    try:
        return body.decode(codec, "surrogateescape" if codec == "utf-8" else "surrogatepass")
    except UnicodeDecodeError:
        return None


def document(body: bytes) -> object:
    """Return what JSON holds; raises ValueError or RecursionError."""
    said = text(body)
    if said is None:
        raise ValueError("no text")
    decoder = json.JSONDecoder(
        object_pairs_hook=Members, parse_int=str, parse_float=str, parse_constant=str, strict=False
    )
    found: object = decoder.decode(said.lstrip(BLANK))
    return found


def root(body: bytes) -> ET.Element | None:
    """Return the root element of XML, whatever its prolog says; None where there is none."""
    said = text(body)
    if said is None or not said.lstrip(BLANK).startswith("<"):
        return None
    plain = "".join("?" if "\ud800" <= c <= "\udfff" else c for c in said.lstrip(BLANK))
    tree, parser = ET.TreeBuilder(), expat.ParserCreate("utf-8")  # which knows no namespaces
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.data
    try:
        parser.Parse(plain.encode(), True)
    except expat.ExpatError:
        return None
    return tree.close()


def local(tag: str) -> str:
    """Return an element's lower-case name without its prefix."""
    return tag.rpartition(":")[2].lower()


def members(value: object) -> Iterator[tuple[str, object]]:
    """Go through every member of every object, however deep."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, Members):
            yield from one
            todo += [member for _, member in one]
        elif isinstance(one, list):
            todo += one


def objects(value: object) -> Iterator[Members]:
    """Go through every object, however deep."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, Members):
            yield one
            todo += [member for _, member in one]
        elif isinstance(one, list):
            todo += one


def length(value: object) -> int:
    """Return how many items stand at a place: those of a list, or the one that stands alone."""
    if isinstance(value, list) and not isinstance(value, Members):
        return len(value)
    return 0 if value in (None, "") else 1
