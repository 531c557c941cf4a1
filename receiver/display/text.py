"""Text for a terminal: what may be printed, and times in a zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import tzinfo


def printable(value: object) -> str:
    """Return one line of text in which nothing but visible characters is left; None is empty."""
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8, as Python holds it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def local(time: object, zone: tzinfo) -> str:
    """Return a time, or its ISO 8601, as a clock in `zone` shows it, to the millisecond.

    A naive time is taken as UTC, and anything that is no time is empty.
    """
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    if not isinstance(time, datetime):
        return ""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return aware.astimezone(zone).isoformat(" ", "milliseconds")[:23]
