"""Matcher of one phone number in texts, however it is written, and what replaces it. Pure.

`66812345678`, `0812345678`, `812345678`, `+66 81-234-5678` and `0066 (0)81 …` are one number; so
are digits of other scripts, and what a URL, JSON or XML escapes. Digits before or behind make
another number.
It is replaced by an 18-digit placeholder, which no phone number can be (15 digits at most, E.164);
digits fit wherever a number stood, quoted or not.
"""

from __future__ import annotations

import html
import re
from dataclasses import fields, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from receiver.domain import UnreadableError, loses_zero
from receiver.providers import decoding

if TYPE_CHECKING:
    from receiver.domain import Callback, Report


FILLER: Final = "99999999"
"""The beginning of every placeholder of an erased number; ten more digits follow."""
FILLED: Final = re.compile(rf"(?<!\d){FILLER}[0-9]{{10}}(?!\d)")

# What is escaped right before a number, unless it is another digit.
_ESCAPE: Final = r"%(?!3[0-9])[0-9A-Fa-f]{2}", r"\\u(?!003[0-9])[0-9A-Fa-f]{4}", r"\\[nrt]"
# White space, brackets and dashes, as they are or escaped; no digit can be begun within one.
_GAP: Final = (
    r"(?:[\s+\-.()/\u00a0\u2010-\u2015\u200b-\u200f\u202a-\u202e]"
    r"|%(?:20|2[89BDEFbdef]|0[9ADad])"
    r"|\\u(?:00(?:20|2[89bdefBDEF]|[aA]0)|20[0-2][0-9a-fA-F])"
    r"|&\#?\w{2,6};){0,4}+"
)
_SCRIPTS: Final = (0x0E50, 0xFF10, 0x0660, 0x06F0)  # Thai, full-width and both Arabic digits
_ESCAPED_DIGIT: Final = re.compile(r"%3([0-9])|\\u003([0-9])|&#(?:x3|4(?=[89];)|5(?=[0-7];))(\d);")


def _digits(text: str) -> str:
    """Return a pattern of digits with gaps between them."""
    return _GAP.join(f"[{c}{''.join(chr(zero + int(c)) for zero in _SCRIPTS)}]" for c in text)


class NumberPattern:
    """The pattern of one number, digits with country code; `key` makes its placeholders."""

    def __init__(self, number: str, key: bytes) -> None:
        self.key = key
        thai = number.startswith("66")
        within = number[2:] if thai else number
        abroad = f"(?:{_digits('00')}{_GAP})?"
        home = f"(?:{abroad}{_digits('66')}{_GAP}{_digits('0')}?|{_digits('0')}){_GAP}"
        if loses_zero(number):
            home = f"(?:{home})?"
        before = home if thai else abroad
        ahead = "|".join(f"(?<={escape})" for escape in _ESCAPE)
        self._rough = re.compile(_digits(within))  # quick, and in what the other finds
        self._pattern = re.compile(rf"(?:(?<!\d)|{ahead}){before}{_digits(within)}(?!\d)")

    def names(self, text: str) -> bool:
        """Say whether the number stands in a text, also where the text is escaped."""
        escaped = "%3" in text or "\\u003" in text or "&#" in text
        return self._stands(text) or (escaped and self._stands(_unescaped(text)))

    def _stands(self, text: str) -> bool:
        return bool(self._rough.search(text) and self._pattern.search(text))

    def without(self, text: str, seed: str = "") -> str:
        """Return the text without the number; nothing, where it hides in escapes within escapes.

        What takes its place is the same for the same seed.
        """
        if not self._stands(text):  # its digits are escaped, which means the same
            text = _ESCAPED_DIGIT.sub(_digit, text)
        text = self._pattern.sub(self.filler(seed), text)
        return "" if self._stands(_unescaped(text)) else text

    def filler(self, seed: str) -> str:
        """Return eighteen digits that tell nothing of the number."""
        return f"{FILLER}{int.from_bytes(self._hash(seed)) % 10**10:010}"

    def token(self, id_: str) -> str:
        """Return what takes the place of an id that names the number; the same for the same id."""
        return f"erased-{self._hash(id_).hex()}"

    def _hash(self, text: str) -> bytes:
        return blake2b(text.encode(), digest_size=16, key=self.key).digest()

    def in_body(self, body: bytes) -> bool:
        """Say whether the number stands in a body, in whatever encoding."""
        return self.names(_text(body).text)

    def without_body(self, body: bytes, seed: str) -> bytes:
        """Return the body without the number, and every other byte as it was."""
        read = _text(body)
        return read.encode(self.without(read.text, seed))

    def without_callback(self, callback: Callback) -> Callback:
        """Return the callback without the number."""
        query, type_, body = callback.query, callback.content_type, callback.body
        return replace(
            callback,
            query=self.without(query, callback.id) if self.names(query) else query,
            content_type=self.without(type_, callback.id) if self.names(type_) else type_,
            body=self.without_body(body, callback.id) if self.in_body(body) else body,
        )


def was_erased(report: Report) -> bool:
    """Say whether a report is of a number that was erased from the callback that holds it."""
    values = (getattr(report, field.name) for field in fields(report))
    return any(FILLED.search(value) for value in values if isinstance(value, str))


def _text(body: bytes) -> decoding.Text:
    """Return a body as text; one that is none, byte by byte."""
    try:
        read = decoding.decode(body)
    except UnreadableError:
        return decoding.Text(body.decode("latin-1"), "latin-1", "strict")
    if read.encode(read.text) != body:  # so that every other byte stays
        return decoding.Text(body.decode("latin-1"), "latin-1", "strict")
    return read


def _unescaped(text: str) -> str:
    text = _ESCAPED_DIGIT.sub(_digit, text)
    return html.unescape(unquote_plus(text)) if "%" in text or "&" in text else text


def _digit(match: re.Match[str]) -> str:
    digit = match[1] or match[2]
    return digit if digit is not None else html.unescape(match[0])
