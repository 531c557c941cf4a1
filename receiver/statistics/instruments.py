"""Instruments of a process for Prometheus: cheap numbers, labels of few values.

Callbacks are counted where they are answered, reports where they are kept, deliveries where they
are settled. Several workers count in files of one folder, by their numbers (prometheus_client's
multiprocess mode), so that any of them tells of all, and a worker that is started again goes on
where the one before it ended. Counters begin at 0 when `serve` does, as Prometheus expects.
"""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections import defaultdict
from typing import TYPE_CHECKING, Final, Literal

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from receiver.domain import DELIVERY_TIMES
from receiver.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


# Otherwise each has a line more that says when it began.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The library's own variable: where it is set, several processes count together."""
OTHER: Final = "other"
"""The provider of callbacks to a URL of none of ours."""

COUNTERS: Final = {
    "receiver_callbacks": ("Callbacks, by what they were answered.", ("provider", "answer")),
    "receiver_probes": ("Requests that say nothing, answered 200.", ("provider", "method")),
    "receiver_refusals": ("Callbacks that were turned away.", ("provider", "reason")),
    "receiver_reports": ("Reports kept, repeats included.", ("provider", "status")),
    "receiver_report_repeats": ("Reports that had come before.", ("provider",)),
}
HISTOGRAMS: Final[Mapping[str, tuple[str, str, tuple[float, ...]]]] = {
    "receiver_batch_callbacks": (
        "Callbacks that one commit kept.",
        "store",
        (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000),
    ),
    "receiver_commit_seconds": (
        "Time that a commit of callbacks took.",
        "store",
        (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
    ),
    "receiver_delivery_seconds": (
        "Time from sending to delivery.",
        "provider",
        DELIVERY_TIMES.seconds,
    ),
}
GAUGES: Final[Mapping[str, tuple[str, Literal["livesum", "livemax"]]]] = {
    "receiver_queue_callbacks": ("Callbacks that wait to be written.", "livesum"),
    "receiver_queue_bytes": ("Bytes of the callbacks that wait to be written.", "livesum"),
    "receiver_spool_callbacks": ("Callbacks that wait in the spool.", "livesum"),
    "receiver_spool_bytes": ("Bytes of the callbacks in the spool.", "livesum"),
    "receiver_spool_oldest_seconds": ("Age of the oldest callback in the spool.", "livemax"),
    "receiver_spool_refused": ("Callbacks in the spool that the database refuses.", "livesum"),
    "receiver_spool_unusable": ("Processes whose spool takes nothing.", "livesum"),
    "receiver_database_away": ("Processes that cannot write to the database.", "livesum"),
}


def count_as(worker: int) -> None:
    """Count as one of several workers; to be called before there are any metrics."""
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


class Metrics:
    """The instruments of one process; any thread may use them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        several = FOLDER in os.environ
        if several:
            MultiProcessCollector(self.registry)  # type: ignore[no-untyped-call]
        registry = None if several else self.registry
        self._counters = {
            name: Counter(name, about, labels, registry=registry)
            for name, (about, labels) in COUNTERS.items()
        }
        self._histograms = {
            name: _Histogram(name, about, [label], buckets=buckets, registry=registry)
            for name, (about, label, buckets) in HISTOGRAMS.items()
        }
        self._gauges = {
            name: Gauge(name, about, registry=registry, multiprocess_mode=mode)
            for name, (about, mode) in GAUGES.items()
        }
        self._stores = {
            spooled: [
                self._histograms[name].labels("spool" if spooled else "database")
                for name in ("receiver_batch_callbacks", "receiver_commit_seconds")
            ]
            for spooled in (False, True)
        }
        self._children: dict[tuple[str, ...], Counter] = {}
        self._answers: Tally[tuple[str, int]] = Tally()

    def _add(self, often: int, *key: str) -> None:
        """Add to a counter, by its name and labels; looking a child up anew takes longer."""
        child = self._children.get(key)
        if child is None:
            name, *labels = key
            child = self._children[key] = self._counters[name].labels(*labels)
        child.inc(often)

    def answered(self, provider: str, status: int) -> None:
        """Count an answer to a callback, whoever it was meant for; 0 is none: the caller left.

        For the event loop only, as is `show`, which hands on what was counted here.
        """
        self._answers[provider if provider in PROVIDERS else OTHER, status] += 1

    def probed(self, provider: str, method: str) -> None:
        """Count a request to a provider of ours that says nothing; the method is an allowed one."""
        self._add(1, "receiver_probes", provider, method)

    def refused(self, provider: str, why: str) -> None:
        """Count a callback that was turned away; provider (ours or OTHER) and why are few."""
        self._add(1, "receiver_refusals", provider, why)

    def reported(self, statuses: Mapping[tuple[str, str], int], repeats: Mapping[str, int]) -> None:
        """Count reports by provider and status, and each provider's repeats."""
        for (provider, status), often in statuses.items():
            self._add(often, "receiver_reports", provider, status)
        for provider, often in repeats.items():
            self._add(often, "receiver_report_repeats", provider)

    def committed(self, callbacks: int, seconds: float, *, spooled: bool) -> None:
        """Note a commit of callbacks."""
        batches, times = self._stores[spooled]
        batches.observe(callbacks)
        times.observe(seconds)

    def delivered(self, took: Iterable[tuple[str, int]]) -> None:
        """Note deliveries: the provider, and the milliseconds each took."""
        steps: dict[str, Tally[int]] = defaultdict(Tally)
        sums: Tally[str] = Tally()
        for provider, milliseconds in took:
            known = provider if provider in PROVIDERS else OTHER
            steps[known][DELIVERY_TIMES.step(milliseconds)] += 1
            sums[known] += milliseconds
        for known, counts in steps.items():
            child = self._histograms["receiver_delivery_seconds"].labels(known)
            child.observe_all(counts, sums[known] / 1000)

    def show(self, gauges: Mapping[str, float]) -> None:
        """Set gauges, by their names, and add the answers since the last time."""
        for name, value in gauges.items():
            self._gauges[name].set(value)
        answers, self._answers = self._answers, Tally()
        for (provider, status), often in answers.items():
            self._add(often, "receiver_callbacks", provider, str(status or "none"))


class _Histogram(Histogram):
    """A histogram that takes many values at once: one by one they cost ten times as much."""

    def observe_all(self, counts: Mapping[int, int], total: float) -> None:
        """Add values: how many are in each step, the first that is not less, and their sum."""
        self._sum.inc(total)
        for step, count in counts.items():
            self._buckets[step].inc(count)
