"""Counts by group: how many messages were submitted and taken, and the delivery rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.domain import GROUPS

if TYPE_CHECKING:
    from collections.abc import Mapping


def submitted(counts: Mapping[str, int]) -> int:
    """Return how many messages there are, of counts by group."""
    return sum(counts[name] for name in GROUPS)


def taken(counts: Mapping[str, int]) -> int:
    """Return how many of them the provider took: all but the refused."""
    return submitted(counts) - counts["refused"]


def delivery_rate(counts: Mapping[str, int]) -> float | None:
    """Return the delivered of the taken, between 0 and 1; None where nothing was taken.

    `DELIVERY_RATE` in the views' SQL is the same.
    """
    number = taken(counts)
    return counts["delivered"] / number if number else None
