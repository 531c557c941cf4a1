"""Text from outside: what a database can hold of it, and how long an id may be."""

from __future__ import annotations

import re
from typing import Final

from receiver.domain.errors import UnreadableError

MAX_ID: Final = 200
"""The most characters of an id, a sender, a tag, an account, a reference, a provider's word."""
MAX_TEXT: Final = 2000
"""The most characters that are stored of a description or of callback data."""
MAX_ERROR: Final = 2 * MAX_TEXT
"""The most characters of a provider's error, whose name and code stand before its description."""

# NUL cannot be kept by PostgreSQL, and a lone surrogate cannot be written as UTF-8.
UNKEEPABLE: Final = re.compile("[\x00\ud800-\udfff]")


def keepable(text: str | None, limit: int = MAX_ID) -> str | None:
    """Return optional text without surrounding white space; None where it cannot be stored.

    `limit` is in characters.
    """
    if text is None:
        return None
    text = text.strip()
    if not text or len(text) > limit or UNKEEPABLE.search(text):
        return None
    return text


def shortened(text: str | None) -> str | None:
    """Return the first MAX_TEXT characters of a description; None where it cannot be stored."""
    return None if text is None else keepable(text.strip()[:MAX_TEXT], MAX_TEXT)


def required(text: str, name: str) -> str:
    """Return a text that must be there, checked, without surrounding white space.

    Raises UnreadableError that names the field where it is empty, over MAX_ID characters, or holds
    NUL or a lone surrogate.
    """
    text = text.strip()
    if not bare(text):
        raise UnreadableError(f"{name}: expected text, got nothing")
    check_text(text, name, MAX_ID)
    return text


def check_text(text: str | None, name: str, limit: int) -> None:
    """Raise UnreadableError where a text is there that a database could not hold."""
    if text is None:
        return
    if len(text) > limit:
        raise UnreadableError(f"{name}: expected at most {limit} characters, got {len(text)}")
    if UNKEEPABLE.search(text):
        raise UnreadableError(f"{name}: expected text, got a NUL or half a character")


# What tools leave at the ends of a text: byte-order marks, marks of direction, spaces of no width.
UNSEEN: Final = "\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_ENDS: Final = re.compile(rf"\A[\s{UNSEEN}]+|[\s{UNSEEN}]+\Z")


def bare(text: str) -> str:
    """Return a text, such as an id, without white space and invisible characters at its ends."""
    return text if text.isascii() and text == text.strip() else _ENDS.sub("", text)
