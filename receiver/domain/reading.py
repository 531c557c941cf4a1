"""Readings: a callback, what was read from it, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.domain.callback import Callback
    from receiver.domain.report import Report, TemplateReview
    from receiver.domain.status import Status

Outcome = Literal["read", "partial", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What we make of a provider's words: our status, times in UTC, the recipient's number."""

    status: Status
    done_at: datetime | None
    sent_at: datetime | None
    recipient: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A body of which only the head is kept: how many bytes it had, and `unreadable_digest`."""

    size: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A callback, and what was read from it."""

    callback: Callback
    outcome: Outcome
    error: str | None = None
    reports: Sequence[tuple[Report, Derived]] = ()
    reviews: Sequence[tuple[TemplateReview, datetime | None]] = ()
    """What was decided about templates, and when."""
    whole: Whole | None = None
    """What the body was, where `callback` has only its head."""

    @property
    def size(self) -> int:
        """Return how many bytes it takes while it waits, about."""
        return len(self.callback.body) + len(self.callback.query)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A callback that is in the database: its id there, and how much of it was there before.

    `id` is another callback's where the same unreadable bytes were kept earlier. `was_there` says
    that this very callback was kept before.
    """

    id: str
    repeats: int = 0
    was_there: bool = False
