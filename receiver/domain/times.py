"""Times: the years that are believable."""

from __future__ import annotations

from typing import Final

YEARS: Final = range(2000, 2100)
"""Years of a believable time."""
TIME: Final = "expected a time such as 2026-11-21T10:00:00+07:00"
