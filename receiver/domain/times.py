"""Times: which years are believable, and how a person writes one."""

from __future__ import annotations

from typing import Final

YEARS: Final = range(2000, 2100)
"""The years, in any zone, of a believable time."""
TIME: Final = "expected a time such as 2026-11-21T10:00:00+07:00"
"""What an error says where a time cannot be read or believed."""
