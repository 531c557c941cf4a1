"""How alarms say things: numbers, times and lengths of time, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.display.text import local

if TYPE_CHECKING:
    from datetime import datetime, tzinfo


def title(provider: str, account: str = "") -> str:
    """Return which account of which provider."""
    return f"{provider} ({account})" if account else provider


def shown(at: datetime, zone: tzinfo) -> str:
    """Return a time to the minute, as clocks in the zone show it."""
    return local(at, zone)[:16]


def count(number: int, what: str) -> str:
    """Return a number of things; `what` is one of them."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(seconds: float) -> str:
    """Return a length of time in the unit people would say it in."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
