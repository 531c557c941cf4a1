"""Endpoint /metrics: this process's counts (all workers'), and what the database says.

The database is asked once in a few seconds, in a thread. Where it is away or slow its gauges are
left out, and nobody waits.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog
from anyio import CapacityLimiter, to_thread
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from sqlalchemy.exc import SQLAlchemyError

from receiver.database import reason, retry
from receiver.monitoring.metrics import database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric
    from sqlalchemy import Engine

    from receiver.ingest import Writer
    from receiver.monitoring.metrics.database import Figure
    from receiver.statistics import Metrics


log = structlog.get_logger(__name__)

CACHED_SECONDS: Final = 5.0
"""The seconds that the database's figures may be old."""
FIGURES_WAIT_SECONDS: Final = 1.0
"""The seconds that a response waits for the database's figures."""
REFRESH_SECONDS: Final = 1.0
"""The seconds between refreshes of the queue's and the spool's gauges, which other workers show."""


class Monitoring:
    """Shows the gauges of one process's writer, and of the database."""

    def __init__(self, reader: Engine, writer: Writer, metrics: Metrics) -> None:
        self.reader = reader
        self.writer = writer
        self.metrics = metrics
        self._limiter = CapacityLimiter(1)
        self._reading: asyncio.Task[None] | None = None
        self._figures: Sequence[Figure] = ()
        self._read_at = -CACHED_SECONDS

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Refresh the gauges of queue and spool once a second for as long as this is open."""
        watching = asyncio.create_task(self._refresh_forever())
        try:
            yield
        finally:
            for task in (watching, self._reading):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    async def _refresh_forever(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Show what waits in the queue and in the spool."""
        state, spool = self.writer.state(), self.writer.spool
        shown: dict[str, float] = {
            "receiver_queue_callbacks": state.callbacks,
            "receiver_queue_bytes": state.bytes,
            "receiver_database_away": state.is_away,
        }
        if spool is not None:
            held = await to_thread.run_sync(spool.held)
            shown |= {
                "receiver_spool_callbacks": held.callbacks,
                "receiver_spool_bytes": held.bytes,
                "receiver_spool_oldest_seconds": held.oldest_seconds or 0,
                "receiver_spool_refused": held.refused,
                "receiver_spool_unusable": held.trouble is not None,
            }
        self.metrics.show(shown)

    async def answer(self, accept: str) -> tuple[bytes, str]:
        """Return everything in the format a scraper accepts, and the format's name."""
        await self.refresh()
        figures = await self._fresh()
        encode, content_type = choose_encoder(accept)
        exposition = _Exposition(self.metrics.registry.collect(), figures)
        return await to_thread.run_sync(encode, exposition), content_type

    async def _fresh(self) -> Sequence[Figure]:
        """Return the database's figures, read now or lately; none where it does not answer."""
        if self.writer.state().is_away:
            return ()
        if time.monotonic() - self._read_at >= CACHED_SECONDS:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read())
            await asyncio.wait([self._reading], timeout=FIGURES_WAIT_SECONDS)
        return self._figures if time.monotonic() - self._read_at < CACHED_SECONDS else ()

    async def _read(self) -> None:
        def work() -> Sequence[Figure]:
            with self.reader.connect() as connection:
                return database.read(connection)

        try:
            self._figures = await to_thread.run_sync(
                retry, work, limiter=self._limiter, abandon_on_cancel=True
            )
        except SQLAlchemyError as error:
            log.debug("no figures for the metrics", reason=reason(error))
        else:
            self._read_at = time.monotonic()


class _Exposition:
    """One answer's metrics."""

    def __init__(self, counted: Iterable[Metric], figures: Sequence[Figure]) -> None:
        self.counted = counted
        self.figures = figures

    def collect(self) -> Iterator[Metric]:
        """Return what was counted, and what the database says."""
        yield from self.counted
        for name, (about, labels) in database.GAUGES.items():
            family = GaugeMetricFamily(name, about, labels=labels)
            for figure in self.figures:
                if figure.name == name:
                    family.add_metric(figure.labels, figure.value)
            if family.samples:
                yield family
