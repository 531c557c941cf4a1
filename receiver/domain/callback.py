"""Callbacks: one HTTP request of a provider each, as a frozen value that checks itself."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


# Seeded by the operating system once: asking it for every id is a twentieth of the whole work.
_random = random.Random()  # noqa: S311 - an id has to be new, not secret


def new_id() -> str:
    """Make a UUID version 7 (RFC 9562): milliseconds since 1970, then 74 random bits."""
    return _id(time.time_ns() // 1_000_000, _random.getrandbits(80))


def first_id(at: datetime) -> str:
    """Return the lowest id that could have been made at a time, which is aware."""
    return _id(int(at.timestamp() * 1000), 0)


def _id(milliseconds: int, low: int) -> str:
    value = (milliseconds << 80) | low
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


COLUMNS: Final = (
    "id",
    "provider",
    "account",
    "received_at",
    "remote_addr",
    "method",
    "query",
    "content_type",
    "body",
    "redacted",
)
"""What is stored of a callback, in the order that spool files have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One authentic request.

    `received_at` is aware. `query` is the query string as it came, without the question mark, in
    ASCII. `redacted` says that no message text is left in `body`. Raises ValueError for a naive
    `received_at`.
    """

    provider: str
    method: str
    body: bytes = field(default=b"", repr=False)
    query: str = field(default="", repr=False)
    content_type: str = ""
    account: str = ""
    remote_addr: str = ""
    redacted: bool = True
    id: str = field(default_factory=new_id)
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        if self.received_at.tzinfo is None:
            raise ValueError("received_at: expected an aware time, got a naive one")

    def as_row(self) -> dict[str, Any]:
        """Return what is stored of it, by the names of the columns."""
        return {name: getattr(self, name) for name in COLUMNS}

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Callback:
        """Return the callback that a row was stored of; it may have more columns."""
        return cls(**{name: row[name] for name in COLUMNS})
