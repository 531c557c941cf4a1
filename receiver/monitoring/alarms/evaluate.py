"""Evaluation of all alarm rules against one snapshot of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from receiver.domain import Alarm
from receiver.monitoring.alarms.rules import callbacks, deliveries, outbound
from receiver.monitoring.alarms.snapshot import Snapshot
from receiver.settings import Settings

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


Rule = Callable[[Snapshot, Settings], Iterator[Alarm]]


RULES: Final[tuple[Rule, ...]] = (
    deliveries.provider_silent,
    deliveries.nothing_recorded,
    deliveries.delivery_rate_fallen,
    deliveries.delivery_slower,
    deliveries.credit_low,
    callbacks.refused_while_waiting,
    callbacks.unmatched_risen,
    callbacks.unreadable_callbacks,
    callbacks.unreadable_not_whole,
    callbacks.unknown_words,
    callbacks.unreadable_times,
    callbacks.clock_or_zone,
    callbacks.settling_behind,
    callbacks.spool_not_empty,
    outbound.events_behind,
)
"""Each is named as its alarms are, and returns one for each provider, or account, it is about."""


def evaluate_all(
    connection: Connection, settings: Settings, now: datetime | None = None
) -> list[Alarm]:
    """Return every alarm, raised or not, as a snapshot of the database shows it.

    `now` is aware; the database's clock if it is left out. An alarm that was raised at the last
    evaluation of `serve` keeps the time it had then. Reads only, and little.
    """
    snapshot = Snapshot(connection, settings.alarm_days, now)
    alarms = [alarm for rule in RULES for alarm in rule(snapshot, settings)]
    return [
        replace(alarm, since=snapshot.since.get(alarm.key, alarm.since))
        if alarm.is_raised
        else alarm
        for alarm in alarms
    ]
