"""Wording for people: counts, times and durations, as alarms and findings put them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.display.text import local

if TYPE_CHECKING:
    from datetime import datetime, tzinfo


def title(provider: str, account: str = "") -> str:
    """Return a provider, and its account in brackets where there is one."""
    return f"{provider} ({account})" if account else provider


def shown(at: datetime, zone: tzinfo) -> str:
    """Return an aware time to the minute, `2026-11-21 10:00`, as clocks in the zone show it."""
    return local(at, zone)[:16]


def count(number: int, noun: str) -> str:
    """Return a number with its English noun, `1 message` or `2 messages`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Return a duration in the largest unit of which there are two: `3 hours`, `90 minutes`."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
