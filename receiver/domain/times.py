"""Times: the clocks of Bangkok, how a time is written, and which years are believable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
MILLISECOND: Final = timedelta(milliseconds=1)
BANGKOK_HOURS: Final = 7
"""Hours that Bangkok's clocks are ahead of UTC all year: its hours begin when UTC's do."""
BANGKOK: Final = timezone(BANGKOK_HOURS * HOUR)
"""The zone of the hours and days that messages are counted by."""

YEARS: Final = range(2000, 2100)
"""The years, in any zone, of a believable time."""
TIME: Final = "expected a time such as 2026-11-21T10:00:00+07:00"
"""What an error says where a time cannot be read or believed."""


def utc_text(at: datetime, separator: str = "T") -> str:
    """Return an aware time as `2026-11-21T03:00:00.123Z`: in UTC, cut to whole milliseconds.

    Raises ValueError for a naive one.
    """
    if at.tzinfo is not UTC:
        if at.tzinfo is None:
            raise ValueError("expected an aware time, got a naive one")
        at = at.astimezone(UTC)
    return at.isoformat(separator, "milliseconds")[:23] + "Z"
