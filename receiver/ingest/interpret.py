"""A callback arrives, proves who sent it, is read, and is kept; then we say yes.

What it means for our messages is settled right after. Who sent it is proven at the edge (app.py),
before anything of it is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Final

import structlog

from receiver.domain import (
    SHARED_STATUSES,
    Derived,
    Reading,
    Report,
    Status,
    TemplateReview,
    Unreadable,
    UnreadableError,
    bare,
    location,
    msisdn,
)
from receiver.providers import PROVIDERS, Body, parse_time

if TYPE_CHECKING:
    from receiver.domain import Callback
    from receiver.settings import Settings


log = structlog.get_logger(__name__)

MAX_ERROR: Final = 2000
"""Characters kept of what was wrong with a callback."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What we make of a provider's words, under today's tables: statuses, times, numbers."""

    zone: tzinfo
    statuses: Mapping[str, Mapping[str, Status]]

    @classmethod
    def from_settings(cls, settings: Settings) -> Interpreter:
        """Lay the user's status map over each provider's own table and the shared one."""
        return cls(
            settings.timezone,
            {
                name: {**SHARED_STATUSES, **provider.STATUSES, **settings.status_map.get(name, {})}
                for name, provider in PROVIDERS.items()
            },
        )

    def derive(
        self,
        provider: str,
        status: str,
        time: str | None,
        sent_time: str | None,
        number: str | None,
        *,
        arrived: datetime,
    ) -> Derived:
        """Derive from the words as kept. Without an offset a time is in the zone; UTC comes out.

        `arrived` is when the callback came, aware: it tells which of several readings of a time is
        meant. A word that is in no table is unknown; a time or number that cannot be read is None.
        """
        return Derived(
            status=self.statuses.get(provider, {}).get(bare(status).lower(), Status.UNKNOWN),
            done_at=parse_time(time, self.zone, arrived),
            sent_at=parse_time(sent_time, self.zone, arrived),
            recipient=msisdn(number),
        )

    def report(self, provider: str, report: Report, arrived: datetime) -> tuple[Report, Derived]:
        """Return a report with what we make of it; `arrived` is aware."""
        return report, self.derive(
            provider,
            report.provider_status,
            report.provider_time,
            report.provider_sent_time,
            report.provider_recipient,
            arrived=arrived,
        )

    def review(
        self, review: TemplateReview, arrived: datetime
    ) -> tuple[TemplateReview, datetime | None]:
        """Return a template's review with the time of it in UTC; None where that is none."""
        return review, parse_time(review.provider_time, self.zone, arrived)


def redact_and_read(callback: Callback, interpreter: Interpreter, message_text: str) -> Reading:
    """Blank message texts unless they are to be kept, and secrets always; read what is left.

    The body is decoded once, for both.
    """
    provider = PROVIDERS[callback.provider]
    body = _decoded(callback)
    if message_text == "keep" and not provider.SECRETS:
        return _read(replace(callback, redacted=False), body, interpreter)
    try:
        callback = provider.redact(callback, body if isinstance(body, Body) else None)
    except Exception as error:  # noqa: BLE001 - losing the callback would be worse
        log.error("redaction failed", callback=callback.id, error=location(error))
        callback = replace(callback, redacted=False)
    return _read(callback, body, interpreter)


def read(callback: Callback, interpreter: Interpreter) -> Reading:
    """Read a callback; whatever its bytes are, it comes out as read, partial or unreadable.

    Nothing escapes: a parser that fails has said something about the bytes, and they are kept.
    """
    return _read(callback, _decoded(callback), interpreter)


def _decoded(callback: Callback) -> Body | str:
    """Return the decoded body, or the reason why there is none."""
    try:
        return PROVIDERS[callback.provider].decode(callback)
    except Exception as error:  # noqa: BLE001 - as in _read
        return _reason(callback, error)


def _reason(callback: Callback, error: Exception) -> str:
    if isinstance(error, UnreadableError):
        return str(error)
    log.error("parser failed", callback=callback.id, error=location(error))
    return f"The body could not be read ({type(error).__name__})."


def _read(callback: Callback, body: Body | str, interpreter: Interpreter) -> Reading:
    if isinstance(body, str):
        return unreadable(callback, body)
    try:
        items = PROVIDERS[callback.provider].parse(body)
    except Exception as error:  # noqa: BLE001 - a parser that fails says something of the bytes
        return unreadable(callback, _reason(callback, error))
    reports = [item for item in items if isinstance(item, Report)]
    errors = "\n".join(item.reason for item in items if isinstance(item, Unreadable))[:MAX_ERROR]
    arrived = callback.received_at
    reviews = [
        interpreter.review(item, arrived) for item in items if isinstance(item, TemplateReview)
    ]
    if errors and not (reports or reviews):
        return unreadable(callback, errors)
    return Reading(
        callback=callback,
        outcome="partial" if errors else "read",
        error=errors or None,
        reports=[interpreter.report(callback.provider, report, arrived) for report in reports],
        reviews=reviews,
    )


def unreadable(callback: Callback, reason: str) -> Reading:
    """Return a callback that is kept although no report could be read from it."""
    return Reading(callback=callback, outcome="unreadable", error=reason[:MAX_ERROR])
