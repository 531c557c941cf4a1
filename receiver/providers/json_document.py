"""JSON to values, counted before it is decoded; and where the values of one name stand. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, NamedTuple

from receiver.domain import UnreadableError
from receiver.providers.bounds import MAX_DEPTH, MAX_VALUES

Span = tuple[int, int]
"""Where something begins and ends in a text, in characters."""


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it was written, so that no digit of an id or a credit is lost.

    NaN, Infinity and numbers of any length are such, and cost only the field that holds them.
    """

    text: str


class Repeated(dict[str, Any]):
    """An object in which a name stood twice; the last counts that is not empty."""


class Blank(NamedTuple):
    """A name in lower case whose values are never wanted, and what stands in their place."""

    name: str
    value: object
    filler: str

    def is_named(self, name: str) -> bool:
        """Say whether this is the name, whatever its case and the white space around it."""
        return name.strip().lower() == self.name


class _Objects:
    """Makes objects of their members, without the values of one name; counts those it met."""

    def __init__(self, blank: Blank | None) -> None:
        self.blank = blank
        self.met = 0

    def __call__(self, members: list[tuple[str, Any]]) -> dict[str, Any]:
        if self.blank is not None:
            members = [self._member(*member, self.blank) for member in members]
        made = dict(members)
        return made if len(made) == len(members) else _repeated(members)

    def _member(self, name: str, value: Any, blank: Blank) -> tuple[str, Any]:
        if not blank.is_named(name):
            return name, value
        self.met += 1
        return name, None if value is None else blank.value


def _repeated(members: list[tuple[str, Any]]) -> Repeated:
    made = Repeated()
    for name, value in members:
        if name not in made or not is_empty(value):
            made[name] = value
    return made


def is_empty(value: object) -> bool:
    """Say whether a value is none: null, or text of white space only."""
    return value is None or (isinstance(value, str) and not value.strip())


def _decoder(objects: _Objects | None = None) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=objects,
        parse_int=Number,
        parse_float=Number,
        parse_constant=Number,
        strict=False,  # a raw line break in a text is no reason to lose a report
    )


_ANY: Final = _decoder()


def decode_json(text: str, blank: Blank | None = None) -> tuple[object, list[Span] | None]:
    """Return what JSON holds (dicts, lists, text, Number, True, False, None), decoded once.

    The values under the blank's name are not in it, but where they stand in the text is returned
    beside it; None there means that it is not certain. null is no value. Raises UnreadableError
    where it is no JSON, or holds more or deeper values than any provider sends.
    """
    begins = _outline(text, blank)
    objects = _Objects(blank)
    try:
        # As json.loads; a space before it is skipped by position, so that no copy is made.
        document, end = _decoder(objects).raw_decode(text, _SPACE.match(text).end())  # type: ignore[union-attr]
        end = _BEHIND.match(text, end).end()  # type: ignore[union-attr]
    except json.JSONDecodeError as error:
        raise _no_json(error.pos) from error
    except RecursionError as error:  # which the outline does not let happen
        raise UnreadableError("body: expected JSON, got it nested too deep") from error
    if end < len(text):
        raise _no_json(end)
    return document, _spans(text, begins, blank, objects.met)


def _no_json(offset: int) -> UnreadableError:
    return UnreadableError(f"body: expected JSON, got something else at character {offset}")


_BEHIND: Final = re.compile(r"[ \t\r\n]*+")
_SPACE: Final = re.compile(r"[\ufeff \t\r\n]*+")  # a byte-order mark, too

# Outside a string JSON has no quote, so the strings are found one after the other, and one with a
# colon behind it is a name. One without an end reaches to the end of the text, so that this is
# linear in a body that is no JSON, too: `"\"\"\"…` would be gone through from each quote otherwise.
_STRING: Final = re.compile(r'"([^"\\]*+(?:\\.?[^"\\]*+)*+)(?:"(\s*+:\s*+)?|\Z)', re.DOTALL)
_NO_BRACKET: Final = re.compile(r"[^][{}]++")


def _outline(text: str, blank: Blank | None) -> list[tuple[str, int]]:
    """Count what JSON holds, and refuse too much of it, before any of it is decoded.

    Returns each name that may be the blank's, as it is written, and where its value begins.
    """
    candidates: list[tuple[str, int]] = []
    between: list[str] = []
    offset = 0
    for count, string in enumerate(_STRING.finditer(text)):
        if count > 2 * MAX_VALUES:  # a name and a text for each value
            raise _too_much()
        between.append(text[offset : string.start()])
        offset = string.end()
        if blank is not None and string[2]:
            name = string[1]
            if "\\" in name or blank.is_named(name):
                candidates.append((name, offset))
    between.append(text[offset:])
    structure = "".join(between)
    opened = structure.count("[") + structure.count("{")
    if opened + structure.count(",") > MAX_VALUES:
        raise _too_much()
    if opened > MAX_DEPTH:
        brackets = _NO_BRACKET.sub("", structure)[: 2 * opened]
        if max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets)) > MAX_DEPTH:
            raise UnreadableError(f"body: expected JSON at most {MAX_DEPTH} deep, got it deeper")
    return candidates


def _too_much() -> UnreadableError:
    return UnreadableError(f"body: expected at most {MAX_VALUES} values, got more")


def _spans(
    text: str, begins: list[tuple[str, int]], blank: Blank | None, met: int
) -> list[Span] | None:
    """Return where the values stand, outermost only, in text that is known to be JSON."""
    if blank is None:
        return []
    begins = [(name, begin) for name, begin in begins if blank.is_named(_unescaped(name))]
    if len(begins) != met:  # the decoder met others: one of the two ways errs
        return None
    spans: list[Span] = []
    offset = 0
    for _, begin in begins:
        if begin < offset:  # within the value before
            continue
        value, offset = _ANY.raw_decode(text, begin)
        if value is not None:
            spans.append((begin, offset))
    return spans


def _unescaped(string: str) -> str:
    return str(json.loads(f'"{string}"', strict=False)) if "\\" in string else string


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
