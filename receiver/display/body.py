"""Bodies of callbacks for people: text where they are text, else their bytes in hex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver.display.text import printable
from receiver.domain import UnreadableError
from receiver.providers import decode

if TYPE_CHECKING:
    from collections.abc import Iterator


BINARY: Final = 0.3
"""A body with a larger share of invisible characters than this is shown as bytes."""
MAX_SHOWN: Final = 64 * 1024
"""Bytes of a body that are shown; `callbacks show --body` gives all."""


def lines(content: bytes, length: int | None = None) -> list[str]:
    """Return a body for reading: its text where it is one, else its bytes in hex.

    `length` is how many bytes it has in all, where `content` is only its head.
    """
    if not content:
        return ["(no body)"]
    shown = content[:MAX_SHOWN]
    try:
        text = decode(shown).text.removeprefix("\ufeff")
        invisible = sum(not (c.isprintable() or c in "\r\n\t") for c in text) / max(1, len(text))
        said = [printable(line.replace("\t", "    ")) for line in text.splitlines()]
    except UnreadableError:
        invisible = 1.0
    if invisible > BINARY:
        said = list(_hex(shown))
    length = len(content) if length is None else length
    if length > len(shown):
        said.append(f"(… {length} bytes in all; --body writes them)")
    return said


def _hex(content: bytes) -> Iterator[str]:
    for place in range(0, len(content), 16):
        part = content[place : place + 16]
        text = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in part)  # noqa: PLR2004
        yield f"{place:08x}  {part.hex(' '):<47}  {text}"
