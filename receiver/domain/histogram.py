"""Histograms: counts by how long something took, in steps of whole seconds."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


def step_name(seconds: int) -> str:
    """Return the name of the count of those that took no longer."""
    return f"within_{seconds}s"


@dataclass(frozen=True, slots=True)
class Histogram:
    """The steps of a histogram, in seconds, ascending.

    Each has a count, under its name, of all that took no longer; so has `timed`, of all whose time
    is known. Of steps (1, 60) what took 1.5 s is counted in `within_60s` and in `timed`, what took
    two minutes in `timed` alone.
    """

    seconds: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the steps' counts."""
        return tuple(map(step_name, self.seconds))

    def step(self, milliseconds: int) -> int:
        """Return the place of the first step that is not shorter; one past the last for none."""
        return bisect_left(self.seconds, milliseconds / 1000)

    def percentile(self, counts: Mapping[Any, Any], part: int, whole: int) -> int | None:
        """Return the first step, in seconds, within which `part` of `whole` were.

        The median is `percentile(counts, 1, 2)`. None where no step has so many, or nothing was
        timed.
        """
        timed = int(counts.get("timed") or 0)
        if not timed:
            return None
        steps = zip(self.seconds, self.names, strict=True)
        return next((s for s, name in steps if counts[name] * whole >= timed * part), None)


DELIVERY_TIMES: Final = Histogram((
    1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600, 7200, 14400,
    28800, 43200, 86400, 108000,
))  # fmt: skip
"""From sending to delivery: one second to thirty hours."""
