"""Counts: by the hour, in memory, since a time."""

from __future__ import annotations

from receiver.statistics import bangkok, delivery_rollup, refusals, totals
from receiver.statistics.activity_rollup import hour_of
from receiver.statistics.bangkok import BANGKOK, EPOCH, HOUR, shown
from receiver.statistics.counters import Counters
from receiver.statistics.delivery_rollup import WITHIN, Contribution, group
from receiver.statistics.instruments import OTHER, Metrics, count_as
from receiver.statistics.overview import COUNTED_MAX, Overview, glance
from receiver.statistics.refusals import REMEDIES
from receiver.statistics.totals import COUNTED, DIMENSIONS

__all__ = [
    "BANGKOK",
    "COUNTED",
    "COUNTED_MAX",
    "DIMENSIONS",
    "EPOCH",
    "HOUR",
    "OTHER",
    "REMEDIES",
    "WITHIN",
    "Contribution",
    "Counters",
    "Metrics",
    "Overview",
    "bangkok",
    "count_as",
    "delivery_rollup",
    "glance",
    "group",
    "hour_of",
    "refusals",
    "shown",
    "totals",
]
