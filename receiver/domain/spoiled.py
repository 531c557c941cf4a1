"""Spoiled values: what spreadsheets and data tools make of numbers and ids."""

from __future__ import annotations

import re
from typing import Final

_FLOAT: Final = re.compile(r"(\+?[0-9]{8,})\.([0-9]+)")
_EXPONENT: Final = re.compile(r"\+?([1-9])(?:[.,]([0-9]+))?E\+?([0-9]{1,2})", re.IGNORECASE)


def whole_number(text: str) -> str | None:
    """Return a phone number as it was before a tool took it for one to calculate with.

    None where digits were lost, or where they are of a fraction. Any other text is returned as it
    is.
    """
    if match := _FLOAT.fullmatch(text):
        return None if match[2].strip("0") else match[1]
    if match := _EXPONENT.fullmatch(text):
        fraction = match[2] or ""
        return match[1] + fraction if len(fraction) == int(match[3]) else None
    return text


SPOILED: Final = "a spreadsheet has rounded it; make the column text there"
_ROUNDED_ID: Final = re.compile(r"[0-9]{16,20}")
_PRECISE: Final = 15
"""The digits that a spreadsheet keeps of a number; it makes zeros of the others."""
_NO_CHANCE: Final = 3
"""The zeros at the end of an id from which on they are no chance; fewer may be its own."""


def is_rounded(text: str) -> bool:
    """Say whether an id or a number was rounded: digits of it are lost.

    Such are `2.70715E+19` and `27071450371600000000`: 16 to 20 digits of which those after the
    15th are zeros, and three at least, since the last digits of a good id may be zeros too.
    """
    if _EXPONENT.fullmatch(text):  # with a sign or a point, which no id in hexadecimal has
        return not text.isalnum()
    if not _ROUNDED_ID.fullmatch(text):
        return False
    return len(text) - len(text.rstrip("0")) >= max(_NO_CHANCE, len(text) - _PRECISE)
