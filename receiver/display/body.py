"""Bodies of callbacks for people: text where they are text, else their bytes in hex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver.display.text import printable
from receiver.domain import UnreadableError
from receiver.providers import decode

if TYPE_CHECKING:
    from collections.abc import Iterator


BINARY: Final = 0.3
"""The share of invisible characters, from 0 to 1, above which a body is shown as bytes."""
MAX_SHOWN: Final = 64 * 1024
"""The bytes of a body that are shown at most; `callbacks show --body` writes all."""


def readable_lines(content: bytes, length: int | None = None) -> list[str]:
    """Return a body for reading: its text where it is one, else its bytes in hex.

    `length` is how many bytes it has in all, where `content` is only its head.
    """
    if not content:
        return ["(no body)"]
    shown = content[:MAX_SHOWN]
    try:
        text = decode(shown).text.removeprefix("\ufeff")
        invisible = sum(not (c.isprintable() or c in "\r\n\t") for c in text) / max(1, len(text))
        shown_lines = [printable(line.replace("\t", "    ")) for line in text.splitlines()]
    except UnreadableError:
        invisible = 1.0
    if invisible > BINARY:
        shown_lines = list(_hex(shown))
    length = len(content) if length is None else length
    if length > len(shown):
        shown_lines.append(f"(… {length} bytes in all; --body writes them)")
    return shown_lines


def _hex(content: bytes) -> Iterator[str]:
    for offset in range(0, len(content), 16):
        part = content[offset : offset + 16]
        text = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in part)  # noqa: PLR2004
        yield f"{offset:08x}  {part.hex(' '):<47}  {text}"
