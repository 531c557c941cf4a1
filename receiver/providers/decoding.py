"""Decoding that the providers share: bytes to text, text to decoded rows. Pure.

Whatever cannot mean what it must mean raises UnreadableError. A message says where, what was
expected and what kind of thing was there; it never holds a value, since a value may be a phone
number or a message text.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl
from xml.parsers import expat

import xmltodict
from python_multipart import FormParser
from python_multipart.exceptions import FormParserError

from receiver.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from python_multipart.multipart import Field

MAX_DEPTH: Final = 50
"""How deep the elements of an XML body may be nested."""
MAX_FIELDS: Final = 1000
"""How many parameters a form or a query may hold."""
MAX_FORM: Final = 2**20
"""How many characters an urlencoded form may have: unquoting takes 250 times the memory."""
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


class Text(NamedTuple):
    """A body as text, its byte-order mark included, and what makes the same bytes of it again."""

    text: str
    codec: str
    errors: str

    def encode(self, text: str) -> bytes:
        """Return other text in this body's encoding."""
        return text.encode(self.codec, self.errors)


def decode(body: bytes) -> Text:
    """Return UTF-8, UTF-16 or UTF-32 as text, told by its mark or by where the zeros are.

    No header and no XML prolog is asked: ANTS's says utf-16 over UTF-8 (documented). Bytes that
    are no UTF-8 become lone surrogates, which only cost the field that holds them.
    """
    marked = (codec for mark, codec in _MARKS if body.startswith(mark))
    codec = next(marked, None) or json.detect_encoding(body)
    try:
        return Text(body.decode(codec), codec, "strict")
    except UnicodeDecodeError:
        errors = "surrogateescape" if codec == "utf-8" else "surrogatepass"
    try:
        return Text(body.decode(codec, errors), codec, errors)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"body: expected text, got broken {codec}") from error


def is_xml(text: str) -> bool:
    """Say whether this is XML rather than JSON, by the first character."""
    return text.lstrip(BLANK).startswith("<")


def read_document(text: str) -> object:
    """Return what JSON holds, or the root element of XML."""
    return read_xml(text) if is_xml(text) else read_json(text)


# JSON


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it was written, so that no digit of an id or a credit is lost.

    NaN, Infinity and numbers of any length are such, and cost only the field that holds them.
    """

    text: str


def json_decoder(object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Make a decoder that keeps numbers as they were written."""
    return json.JSONDecoder(
        object_pairs_hook=object_pairs_hook,
        parse_int=Number,
        parse_float=Number,
        parse_constant=Number,
        strict=False,  # a raw line break in a text is no reason to lose a report
    )


class Repeated(dict[str, Any]):
    """An object in which a name stood twice; the last counts."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    return found if len(found) == len(members) else Repeated(found)


JSON: Final = json_decoder(_object)


def read_json(text: str, decoder: json.JSONDecoder = JSON) -> object:
    """Return what JSON holds: dicts, lists, text, Number, True, False, None."""
    try:
        return decoder.decode(text.lstrip(BLANK))
    except json.JSONDecodeError as error:
        raise UnreadableError(
            f"body: expected JSON, got something else at character {error.pos}"
        ) from error
    except RecursionError as error:
        raise UnreadableError("body: expected JSON, got it nested too deep") from error


# Outside a string JSON has no quote, so in a body that can be read the strings are found one
# after the other, and one with a colon behind it is a name.
_STRING: Final = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:\s*+)?', re.DOTALL)


def json_values(text: str, name: str) -> list[tuple[int, int]]:
    """Return where each value of this lower-case name begins and ends in JSON; no null is one."""
    read_json(text)
    spans: list[tuple[int, int]] = []
    place = 0
    while string := _STRING.search(text, place):
        begin = place = string.end()
        if string[2] and _unescaped(string[1]).lower() == name:
            value, place = JSON.raw_decode(text, begin)
            if value is not None:
                spans.append((begin, place))
    return spans


def _unescaped(string: str) -> str:
    return str(json.loads(f'"{string}"', strict=False)) if "\\" in string else string


def cut(text: str, spans: list[tuple[int, int]], filler: str) -> str:
    """Return the text with the filler in place of each span."""
    ends = [0, *(end for _, end in spans)]
    begins = [*(begin for begin, _ in spans), len(text)]
    return filler.join(text[end:begin] for end, begin in zip(ends, begins, strict=True))


def write_json(value: object) -> str:
    """Return a decoded value as JSON again, its numbers as they were written."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, dict):
        members = (f"{_quoted(name)}: {write_json(member)}" for name, member in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(write_json, value))}]"
    return _quoted(value)


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


# XML

_STRAY: Final = re.compile("[\ud800-\udfff]")
_STAND_IN: Final = "\U0010fffd"  # one character for one, and one that XML allows
_TAG: Final = re.compile(rb"""<[^"'>]*+(?:"[^"]*+"[^"'>]*+|'[^']*+'[^"'>]*+)*+>""")


def read_xml(text: str) -> object:
    """Return the root element: dicts, lists where a name is repeated, text, None for xsi:nil.

    Prefixes and attributes are dropped; an empty element is empty text. A DOCTYPE, and with it
    every entity, and elements nested deeper than 50 are UnreadableErrors.
    """
    plain = _for_expat(text)
    _scan(plain.encode())
    (root,) = xmltodict.parse(plain, postprocessor=_entry).values()
    return _restored(root) if _STAND_IN in plain else root


def xml_contents(text: str, name: str) -> list[tuple[int, int]]:
    """Return where the contents of each element of this lower-case name begin and end.

    Prefix and case of the element's name are nothing; one that closes itself has no contents.
    """
    plain = _for_expat(text)
    data = plain.encode()
    spans: list[tuple[int, int]] = []
    byte, place = 0, len(text) - len(plain)
    for begin, end in _scan(data, name):
        start = place + len(data[byte:begin].decode())
        byte, place = end, start + len(data[begin:end].decode())
        spans.append((start, place))
    return spans


def _for_expat(text: str) -> str:
    """Return text without what stands before it, a stand-in for each half character."""
    return _STRAY.sub(_STAND_IN, text.lstrip(BLANK))


def _scan(data: bytes, name: str | None = None) -> list[tuple[int, int]]:
    """Go through XML in UTF-8, refusing its traps; find the contents of outermost `name`s."""
    parser = expat.ParserCreate("utf-8")  # whatever the prolog says
    spans: list[tuple[int, int]] = []
    depth, begin, begun = 0, 0, 0

    def down(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, begin, begun
        depth += 1
        if depth > MAX_DEPTH:
            raise UnreadableError(f"body: expected XML at most {MAX_DEPTH} deep, got it deeper")
        if name and any(_local(attribute) == name for attribute in attributes):
            raise UnreadableError(f"body: expected {name} as an element, got an attribute")
        if name and not begun and _local(tag) == name:
            begin, begun = _tag_end(data, parser.CurrentByteIndex), depth

    def up(_tag: str) -> None:
        nonlocal depth, begun
        if depth == begun:  # a tag that closes itself has no contents, wherever its end is
            spans.append((begin, max(begin, parser.CurrentByteIndex)))
            begun = 0
        depth -= 1

    parser.StartElementHandler = down
    parser.EndElementHandler = up
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        said = expat.ErrorString(error.code)
        at = f"line {error.lineno}, column {error.offset}"
        raise UnreadableError(f"body: expected XML, got {said} at {at}") from error
    return spans


def _refuse_doctype(*_: object) -> None:
    raise UnreadableError("body: expected XML without a DOCTYPE, got one")


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()


def _tag_end(data: bytes, start: int) -> int:
    tag = _TAG.match(data, start)
    if tag is None:  # which expat would not have let through
        raise UnreadableError("body: expected XML, got a tag without an end")
    return tag.end()


def _entry(_path: object, name: str, value: Any) -> tuple[str, Any] | None:
    """Rename an element or attribute for xmltodict; None leaves it out."""
    local = name.rpartition(":")[2]
    if name.startswith("@"):
        nil = local.lstrip("@") == "nil" and value in {"true", "1"}
        return ("@nil", value) if nil else None
    if isinstance(value, dict) and "@nil" in value:
        return local, None
    return local, "" if value is None else value


def _restored(value: Any) -> Any:
    """Put half a character back wherever its stand-in is, so that no field is kept with it."""
    if isinstance(value, dict):
        return {name: _restored(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_restored(v) for v in value]
    return value.replace(_STAND_IN, "\udcff") if isinstance(value, str) else value


# Forms


def read_query(text: str) -> dict[str, str]:
    """Return the parameters of a query or an urlencoded form by lower-case name, the last counts.

    Bytes that are no UTF-8 become lone surrogates.
    """
    if len(text) > MAX_FORM:
        raise UnreadableError(f"form: expected at most {MAX_FORM} characters, got {len(text)}")
    try:
        pairs = parse_qsl(text, True, errors="surrogateescape", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise UnreadableError(
            f"form: expected at most {MAX_FIELDS} parameters, got more"
        ) from error
    return {name.lower(): value for name, value in pairs}


def read_multipart(body: bytes) -> dict[str, str]:
    """Return the fields of multipart/form-data by lower-case name, the last counts; no files.

    The boundary is read off the first line, so a Content-Type without it does no harm.
    """
    fields: dict[str, str] = {}

    def keep(field: Field) -> None:
        name, value = (_lenient(part or b"") for part in (field.field_name, field.value))
        fields[name.lower()] = value
        if len(fields) > MAX_FIELDS:
            raise FormParserError

    boundary = body.lstrip()[:300].partition(b"\n")[0].strip().removeprefix(b"--")
    try:
        parser = FormParser(
            "multipart/form-data",
            keep,
            None,
            boundary=boundary,
            config={"MAX_MEMORY_FILE_SIZE": math.inf},  # nothing is written to the disk
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise UnreadableError("body: expected a multipart form, got something else") from error
    return fields


def _lenient(part: bytes) -> str:
    return part.decode("utf-8", "surrogateescape")
