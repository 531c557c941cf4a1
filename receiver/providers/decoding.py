"""Decoding that the providers share: bytes to text, text to values, once for all uses. Pure.

Whatever cannot mean what it must mean raises UnreadableError. A message says where, what was
expected and what kind of thing was there; it never holds a value, since a value may be a phone
number or a message text.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from receiver.domain import UnreadableError
from receiver.providers.json_document import Blank, Span, decode_json
from receiver.providers.xml_document import decode_xml

BLANK: Final = "\ufeff \t\r\n"
"""What may stand before a body: a byte-order mark and white space."""


# Text

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Charsets of one byte a character that are believed where they are declared and the bytes are no
# UTF-8. Python's cp874 is the largest of the Thai ones.
_DECLARED: Final = {
    "windows-874": "cp874", "cp874": "cp874", "ms874": "cp874", "x-windows-874": "cp874",
    "tis-620": "cp874", "tis620": "cp874", "tis620.2533": "cp874", "iso-8859-11": "cp874",
    "windows-1252": "cp1252", "cp1252": "cp1252", "iso-8859-1": "latin-1", "latin1": "latin-1",
}  # fmt: skip
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE | re.ASCII)
_PROLOG: Final = re.compile(rb"\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']([\w.:-]+)")


class Text(NamedTuple):
    """A body as text, its byte-order mark included, and what makes the same bytes of it again."""

    text: str
    codec: str
    errors: str

    def encode(self, text: str) -> bytes:
        """Return other text in this body's encoding."""
        return text.encode(self.codec, self.errors)


def declared_charset(body: bytes, content_type: str = "") -> str | None:
    """Return the codec of a charset of one byte a character that header or prolog declare."""
    prolog = _PROLOG.match(body)
    names = [
        *(name[1] for name in [_CHARSET.search(content_type)] if name),
        *(prolog[1].decode() for _ in [prolog] if prolog),
    ]
    return next((_DECLARED[name.lower()] for name in names if name.lower() in _DECLARED), None)


def decode(body: bytes, content_type: str = "") -> Text:
    """Return UTF-8, UTF-16 or UTF-32 as text, told by its mark or by where the zeros are.

    Only where the bytes are no UTF-8 a header or an XML prolog is asked, since ANTS's says utf-16
    over UTF-8 (documented). What nobody declares becomes lone surrogates, which only cost the
    field that holds them.
    """
    marked = (codec for mark, codec in _MARKS if body.startswith(mark))
    codec = next(marked, None) or json.detect_encoding(body)
    try:
        return Text(body.decode(codec), codec, "strict")
    except UnicodeDecodeError:
        errors = "surrogateescape" if codec == "utf-8" else "surrogatepass"
    if codec == "utf-8":
        codec = declared_charset(body, content_type) or codec
    try:
        return Text(body.decode(codec, errors), codec, errors)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"body: expected text, got broken {codec}") from error


def is_xml(text: str) -> bool:
    """Say whether this is XML rather than JSON, by the first character."""
    return text.lstrip(BLANK).startswith("<")


# Bodies


@dataclass(frozen=True, slots=True)
class Body:
    """A callback's body, decoded once: for what is blanked in it, and for what is read from it.

    `document` holds what JSON, XML or a form says, without the values that are to be blank;
    `spans` is where those stand in the text, in characters, None where that is not certain.
    """

    kind: Literal["json", "xml", "form"]
    document: object
    text: Text | None = None
    spans: list[Span] | None = None
    filler: str = ""

    def blanked(self) -> bytes:
        """Return the body with its spans blank, every other byte as it was.

        Raises UnreadableError where it is not certain what is to be blank.
        """
        if self.text is None or self.spans is None:
            raise UnreadableError("body: expected texts that can be blanked for certain")
        return self.text.encode(cut(self.text.text, self.spans, self.filler))


def read_body(text: Text, blank: Blank) -> Body:
    """Return what JSON or XML holds, whichever the first character says it is."""
    return xml_body(text, blank) if is_xml(text.text) else json_body(text, blank)


def json_body(text: Text, blank: Blank) -> Body:
    """Return what JSON holds."""
    document, spans = decode_json(text.text, blank)
    return Body("json", document, text, spans, blank.filler)


def xml_body(text: Text, blank: Blank) -> Body:
    """Return what XML holds."""
    document, spans = decode_xml(text.text, blank.name)
    return Body("xml", document, text, spans)


def read_document(text: str) -> object:
    """Return what JSON holds, or the root element of XML."""
    return read_xml(text) if is_xml(text) else read_json(text)


def read_json(text: str) -> object:
    """Return what JSON holds, whole: as `decode_json`."""
    document, _ = decode_json(text)
    return document


def read_xml(text: str) -> object:
    """Return what XML holds, whole: as `decode_xml`."""
    document, _ = decode_xml(text)
    return document


def cut(text: str, spans: list[Span], filler: str) -> str:
    """Return the text with the filler in place of each span."""
    ends = [0, *(end for _, end in spans)]
    begins = [*(begin for begin, _ in spans), len(text)]
    return filler.join(text[end:begin] for end, begin in zip(ends, begins, strict=True))
