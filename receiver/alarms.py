"""Whether anything is wrong that somebody should be told of: all alarms, as they stand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from receiver import incoming, outgoing
from receiver.signs import Signs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import Connection

    from receiver.alarm import Alarm
    from receiver.settings import Settings

    Rule = Callable[[Signs, Settings], Iterator[Alarm]]


RULES: Final[tuple[Rule, ...]] = (
    outgoing.provider_silent,
    outgoing.nothing_recorded,
    outgoing.delivery_rate_fallen,
    outgoing.delivery_slower,
    outgoing.credit_low,
    incoming.refused_while_waiting,
    incoming.unmatched_risen,
    incoming.unreadable_callbacks,
    incoming.unreadable_not_whole,
    incoming.unknown_words,
    incoming.unreadable_times,
    incoming.clock_or_zone,
    incoming.settling_behind,
    incoming.spool_not_empty,
)
"""Each is named as its alarms are, and returns one for each provider, or account, it is about."""


def examine(connection: Connection, settings: Settings, now: datetime | None = None) -> list[Alarm]:
    """Return every alarm, raised or not, as a look at the database shows it.

    `now` is aware; the database's clock if it is left out. An alarm that was raised at the last
    look of `serve` keeps the time it had then. Reads only, and little.
    """
    signs = Signs(connection, settings.alarm_days, now)
    found = [alarm for rule in RULES for alarm in rule(signs, settings)]
    return [
        replace(alarm, since=signs.since.get(alarm.key, alarm.since)) if alarm.is_raised else alarm
        for alarm in found
    ]
