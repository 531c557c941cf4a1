"""The receiver put together: who is made of what, in one place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from receiver.database import READ
from receiver.ingest import Interpreter, Quota, Writer, interpret, kept_ids
from receiver.maintenance import replay
from receiver.monitoring.metrics import Monitoring
from receiver.statistics import Counters, Metrics
from receiver.web import Edge

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from receiver.domain import Callback, Reading
    from receiver.ingest.spool import Spool
    from receiver.maintenance import Replayed
    from receiver.settings import Settings


class Receiver(NamedTuple):
    """A receiver that does nothing yet."""

    engine: Engine
    metrics: Metrics
    writer: Writer
    edge: Edge


def compose(
    settings: Settings,
    engine: Engine,
    spool: Spool | None = None,
    *,
    prepare: Callable[[], object] | None = None,
    away: str | None = None,
) -> Receiver:
    """Put a receiver together on a database; `prepare` and `away` are the writer's, see there."""
    interpreter = Interpreter.from_settings(settings)
    reader = engine.execution_options(**READ)
    metrics = Metrics()
    counters = Counters(metrics)

    def read(arrived: Callback) -> Reading:
        return interpret.redact_and_read(arrived, interpreter, settings.message_text)

    def replay_one(id_: str) -> Replayed:
        return replay.replay(
            engine, interpreter, settings.message_text, ids=kept_ids(engine, [id_])
        )

    writer = Writer(
        engine,
        spool,
        Quota(settings.max_unreadable_bytes, settings.timezone, time.monotonic),
        read=lambda callback: interpret.read(callback, interpreter),
        counters=counters,
        prepare=prepare,
        away=away,
    )
    edge = Edge(
        settings,
        reader=reader,
        writer=writer,
        spool=spool,
        counters=counters,
        monitoring=Monitoring(reader, writer, metrics),
        read=read,
        replay=replay_one,
    )
    return Receiver(engine, metrics, writer, edge)
