"""XML to values in one pass, counted while it is read; and where one element's contents are. Pure.

What spoils a single field of other people's XML (a character that XML forbids, half an emoji, an
`&` or `<` that nobody escaped) is made good beforehand, character for character, so that it costs
that field and not the batch.
"""

from __future__ import annotations

import html.entities
import re
import sys
from typing import Any, Final
from xml.parsers import expat

from receiver.domain import UnreadableError
from receiver.providers.bounds import (
    MAX_ELEMENTS_DEEP,
    MAX_FORBIDDEN,
    MAX_REPAIRS,
    MAX_TAG,
    MAX_VALUES,
)

Span = tuple[int, int]
"""Where something begins and ends in a text, in characters."""


def decode_xml(text: str, blank: str | None = None) -> tuple[object, list[Span] | None]:
    """Return the root element: dicts, lists where a name is repeated, text, None for xsi:nil.

    Prefixes and attributes are dropped; an empty element is empty text. The contents of elements
    of the lower-case name `blank` are not in it, but where they stand in the text is returned
    beside it; None there means that it is not certain. A DOCTYPE, and with it every entity, and
    more or deeper elements than any provider sends are UnreadableErrors.
    """
    plain = _repaired(text)
    reader = _Reader(plain.encode(), blank, repaired=plain != text)
    reader.read()
    if not reader.is_certain:
        return reader.root, None
    return reader.root, _in_characters(reader.spans, reader.data, len(text) - len(plain))


# One element: its local name, its members, its texts, whether it is xsi:nil.
_Open = tuple[str, dict[str, Any], list[str], bool]


class _Reader:
    """Goes through XML in UTF-8 once: makes the values and finds what is to be blank."""

    def __init__(self, data: bytes, blank: str | None, *, repaired: bool) -> None:
        self.data = data
        self.blank = blank
        self.repaired = repaired
        self.root: Any = ""
        self.spans: list[Span] = []  # in bytes
        self.is_certain = True
        self._open: list[_Open] = []
        self._counted = 0
        self._blank_begin, self._blank_depth = 0, 0  # of the element whose contents we are in
        self._parser = expat.ParserCreate("utf-8")  # whatever the prolog says
        self._parser.buffer_text = True
        self._parser.ordered_attributes = True
        self._parser.StartElementHandler = self._down
        self._parser.EndElementHandler = self._up
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = _refuse_doctype

    def read(self) -> None:
        """Read it bit by bit, since expat holds a tag whole before it says that one is there."""
        try:
            for begin in range(0, len(self.data), MAX_TAG):
                end = begin + MAX_TAG
                self._parser.Parse(self.data[begin:end], end >= len(self.data))
                if min(end, len(self.data)) - self._parser.CurrentByteIndex > MAX_TAG:
                    raise UnreadableError(
                        f"body: expected XML with tags of at most {MAX_TAG} bytes, got a longer one"
                    )
        except expat.ExpatError as error:
            expected = expat.ErrorString(error.code)
            at = f"line {error.lineno}, column {error.offset}"
            raise UnreadableError(f"body: expected XML, got {expected} at {at}") from error

    def _down(self, tag: str, attributes: list[str]) -> None:
        self._counted += 1 + len(attributes) // 2
        if self._counted > MAX_VALUES:
            raise UnreadableError(
                f"body: expected at most {MAX_VALUES} elements and attributes, got more"
            )
        if len(self._open) == MAX_ELEMENTS_DEEP:
            raise UnreadableError(
                f"body: expected XML at most {MAX_ELEMENTS_DEEP} deep, got it deeper"
            )
        name = _local(tag)
        self._open.append((name, {}, [], bool(attributes) and self._attributes(attributes)))
        if not self._blank_depth and self.blank and name.lower() == self.blank:
            self._blank_depth = len(self._open)
            self._blank_begin = self._tag_end(self._parser.CurrentByteIndex)

    def _attributes(self, attributes: list[str]) -> bool:
        """Say whether the element is xsi:nil, which is all that its attributes are read for."""
        is_nil = False
        for name, value in zip(attributes[::2], attributes[1::2], strict=True):
            local = _local(name)
            if local == "nil" and value in {"true", "1"}:
                is_nil = True
            elif local.lower() == self.blank:  # what is to be blank is no element alone
                self.is_certain = False
        return is_nil

    def _text(self, text: str) -> None:
        if not self._blank_depth:
            self._open[-1][2].append(text)

    def _up(self, _tag: str) -> None:
        if len(self._open) == self._blank_depth:
            # A tag that closes itself has no contents, wherever its end is.
            end = max(self._blank_begin, self._parser.CurrentByteIndex)
            self._blank(self._blank_begin, end)
            self._blank_depth = 0
        name, members, texts, is_nil = self._open.pop()
        value: Any = None if is_nil else members or self._restored("".join(texts))
        if not self._open:
            self.root = value
            return
        siblings = self._open[-1][1]
        if self._blank_depth:
            return
        if name not in siblings:
            siblings[name] = value
        elif isinstance(siblings[name], list):
            siblings[name].append(value)
        else:
            siblings[name] = [siblings[name], value]

    def _restored(self, text: str) -> str:
        return (text.translate(_RESTORED) if self.repaired else text).strip()

    def _tag_end(self, start: int) -> int:
        tag = _TAG.match(self.data, start)
        return tag.end() if tag else -1

    def _blank(self, begin: int, end: int) -> None:
        """Remember contents, which are certain where a tag ends before and one begins behind."""
        before, behind = self.data[max(0, begin - 2) : max(0, begin)], self.data[end : end + 2]
        if not (before == b"/>" if begin == end and behind != b"</" else before.endswith(b">")):
            self.is_certain = False
        if begin < end and behind != b"</":
            self.is_certain = False
        self.spans.append((begin, end))


_TAG: Final = re.compile(rb"""<[^"'>]*+(?:"[^"]*+"[^"'>]*+|'[^']*+'[^"'>]*+)*+>""")


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _refuse_doctype(*_: object) -> None:
    raise UnreadableError("body: expected XML without a DOCTYPE, got one")


def _in_characters(spans: list[Span], data: bytes, index: int) -> list[Span]:
    """Turn spans in bytes of UTF-8, of which the first is at `index`, into those of the text."""
    places: list[Span] = []
    byte = 0
    for begin, end in spans:
        start = index + _characters(data, byte, begin)
        byte, index = end, start + _characters(data, begin, end)
        places.append((start, index))
    return places


_CONTINUING: Final = bytes(range(0x80, 0xC0))  # the bytes of UTF-8 that begin no character
_PORTION: Final = 2**18


def _characters(data: bytes, begin: int, end: int) -> int:
    """Count the characters between two bytes, in portions, so that no copy of them is made."""
    return sum(
        len(data[start : min(start + _PORTION, end)].translate(None, _CONTINUING))
        for start in range(begin, end, _PORTION)
    )


# What XML forbids, made good

FORBIDDEN: Final = "\udc00"
"""What a character that XML forbids is read as: half a character, which no body can hold alone."""

# Each stands for one character in what expat reads, and is put back afterwards. They are
# noncharacters, which XML allows and nobody may send. Half a character
# has the meaning "this field cannot be kept", so an id that held a forbidden character is an error.
_STAND_IN: Final = "\ufdd0"  # for a character that XML forbids
_FILLER: Final = "\ufdd1"  # for nothing, so that places stay as they are: `&nbsp;` is six long
_AMPERSAND: Final = "\ufdd2"
_LESS: Final = "\ufdd3"
_HALF: Final = "\ufdd4"  # for half a character, such as a byte that is no UTF-8
_RESTORED: Final = str.maketrans(
    {_STAND_IN: FORBIDDEN, _HALF: "\udcff", _FILLER: "", _AMPERSAND: "&", _LESS: "<"}
)
_MARKUP: Final = str.maketrans({"&": _AMPERSAND, "<": _LESS})

_FORBIDDEN: Final = re.compile(
    f"[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff{_STAND_IN}-{_HALF}]"
)
# An `&` that begins no reference which XML knows; a `<` that begins no tag (`<3`, `a < b`).
# Sections and comments are passed over, to the end where they have none.
_SPOILED: Final = re.compile(
    r"""
    (?P<verbatim> <!\[CDATA\[ (?:(?!\]\]>).)*+ | <!-- (?:(?!-->).)*+ )
    | &\#[xX] 0*+ (?P<high>[dD][89abAB][0-9a-fA-F]{2}) ;
      &\#[xX] 0*+ (?P<low>[dD][c-fC-F][0-9a-fA-F]{2}) ;
    | &\# 0*+ (?P<high10>5[56][0-9]{3}) ; &\# 0*+ (?P<low10>5[67][0-9]{3}) ;
    | & (?! (?:amp|lt|gt|quot|apos
            |\#(?:9|10|13|3[2-9]|[4-9][0-9]|[1-9][0-9]{2,3}|[1-4][0-9]{4}|1[0-9]{5})
            |\#x(?:[2-9a-fA-F]|0?[1-9a-fA-F][0-9a-fA-F]|[1-9a-cA-CeE][0-9a-fA-F]{2})[0-9a-fA-F]) ; )
        (?: (?: \#[xX] (?P<hex>[0-9a-fA-F]++) | \# (?P<decimal>[0-9]++)
            | (?P<entity>[A-Za-z][A-Za-z0-9]{1,31}) ) ; )?
    | < (?! [A-Za-z_:/!?\x80-\U0010ffff] )
    """,
    re.VERBOSE | re.DOTALL,
)


def _repaired(text: str) -> str:
    """Return text without what stands before it, and what XML forbids made good in its place."""
    plain = text.lstrip("\ufeff \t\r\n")
    plain, forbidden = _FORBIDDEN.subn(_stand_in, plain, count=MAX_FORBIDDEN + 1)
    plain, spoiled = _SPOILED.subn(_repair, plain, count=MAX_REPAIRS + 1)
    if forbidden > MAX_FORBIDDEN or spoiled > MAX_REPAIRS:
        raise UnreadableError(
            "body: expected XML, got more characters that it forbids than texts have"
        )
    return plain


def _stand_in(forbidden: re.Match[str]) -> str:
    return _HALF if "\ud800" <= forbidden[0] <= "\udfff" else _STAND_IN


def _repair(spoiled: re.Match[str]) -> str:
    """Return as many characters as there were: what was meant, and nothing behind it."""
    if spoiled["verbatim"]:
        return spoiled[0]
    if spoiled[0] == "<":
        return _LESS
    return _meant(spoiled).ljust(len(spoiled[0]), _FILLER)


def _meant(spoiled: re.Match[str]) -> str:
    high, low = spoiled["high"] or spoiled["high10"], spoiled["low"] or spoiled["low10"]
    if high:
        base = 16 if spoiled["high"] else 10
        pair = chr(int(high, base)) + chr(int(low, base))
        joined = pair.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return joined if len(joined) == 1 and joined != "\ufffd" else _STAND_IN * 2
    if spoiled["hex"] or spoiled["decimal"]:
        number = spoiled["hex"] or spoiled["decimal"]
        number = number.lstrip("0")[:8] or "0"  # whatever is longer is beyond Unicode, too
        code = int(number, 16 if spoiled["hex"] else 10)
        is_allowed = code <= sys.maxunicode and not _FORBIDDEN.match(chr(code))
        return chr(code).translate(_MARKUP) if is_allowed else _STAND_IN
    character = html.entities.html5.get(f"{spoiled['entity']};") if spoiled["entity"] else None
    if character is not None:
        return character.translate(_MARKUP)
    return spoiled[0].translate(_MARKUP)  # an `&`, and what stands behind it, as it is written
