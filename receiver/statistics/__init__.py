"""Counts: by the hour, in memory, since a time."""

from __future__ import annotations

from receiver.statistics import bangkok, delivery_rollup, refusals, totals
from receiver.statistics.bangkok import hour_begins, hour_of, read_hour
from receiver.statistics.counters import Counters
from receiver.statistics.delivery_rollup import Contribution
from receiver.statistics.groups import delivery_rate, taken
from receiver.statistics.instruments import OTHER, Metrics, count_as
from receiver.statistics.overview import COUNTED_MAX, Overview, glance
from receiver.statistics.refusals import REMEDIES
from receiver.statistics.totals import COUNTED, DIMENSIONS

__all__ = [
    "COUNTED",
    "COUNTED_MAX",
    "DIMENSIONS",
    "OTHER",
    "REMEDIES",
    "Contribution",
    "Counters",
    "Metrics",
    "Overview",
    "bangkok",
    "count_as",
    "delivery_rate",
    "delivery_rollup",
    "glance",
    "hour_begins",
    "hour_of",
    "read_hour",
    "refusals",
    "taken",
    "totals",
]
