"""Alarms about what is sent on: whether applications take it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from receiver.display import duration
from receiver.domain import AlarmKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from receiver.domain import Alarm
    from receiver.monitoring.alarms.snapshot import Snapshot
    from receiver.settings import Settings


def events_behind(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where an application is told too late, or not any more."""
    key = AlarmKey("events_behind")
    known = [snapshot.destinations[n] for n in settings.events if n in snapshot.destinations]
    late = [d for d in known if d.row.off_at or d.lag_seconds > settings.alarm_events_seconds]
    if not late:
        yield key.clear("Every application is told in time, or none is set.")
        return
    behind = timedelta(seconds=max(found.lag_seconds for found in late))
    since = min((found.row.off_at for found in late if found.row.off_at), default=snapshot.now)
    parts = [
        f"{found.row.name} {'is off' if found.row.off_at else 'is behind'}"
        f" by {duration(found.lag_seconds)} ({found.row.problem or 'no answer yet'})"
        for found in late
    ]
    yield key.raised(
        min(since, snapshot.now - behind),
        f"Applications are not told of changes: {', '.join(parts)}.",
        "See `receiver events`, whether the application runs, and the log of `receiver serve`."
        " Nothing is lost: it is sent when the application takes it. One that is off since it"
        " answered 410 is sent to again after `receiver events resume`.",
    )
