"""The web edge: its routes, and the endpoints behind them, each given what it needs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route, Router

from receiver.domain import UnavailableError
from receiver.monitoring import peers
from receiver.web.bodies import Bodies
from receiver.web.callbacks import Callbacks
from receiver.web.callers import CallerCheck
from receiver.web.endpoint import Endpoint
from receiver.web.health import Health
from receiver.web.lookups import Lookups
from receiver.web.messages import Messages
from receiver.web.page import OperatorsPage
from receiver.web.self_test import SelfTest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy import Engine

    from receiver.domain import Callback, Reading
    from receiver.ingest import Writer
    from receiver.ingest.spool import Spool
    from receiver.maintenance import Replayed
    from receiver.monitoring.metrics import Monitoring
    from receiver.settings import Settings
    from receiver.statistics import Counters


class Edge:
    """What strangers, providers and operators reach of the receiver."""

    def __init__(
        self,
        settings: Settings,
        *,
        reader: Engine,
        writer: Writer,
        spool: Spool | None,
        counters: Counters,
        monitoring: Monitoring,
        read: Callable[[Callback], Reading],
        replay: Callable[[str], Replayed],
    ) -> None:
        """Make one that serves nothing yet.

        `reader` is the database to be asked; `read` makes of a callback what is kept of it, and
        `replay` reads a kept one again, by its id: both in threads.
        """
        self.settings = settings
        self.writer = writer
        self.counters = counters
        self.monitoring = monitoring
        self.callers = CallerCheck(settings)
        self.bodies = Bodies(settings.max_body_bytes)
        lookups = Lookups(reader)
        self.callbacks = Callbacks(
            callers=self.callers,
            bodies=self.bodies,
            read=read,
            writer=writer,
            counters=counters,
            self_test=SelfTest(settings, self.callers),
        )
        self.no_http = self.callbacks.no_http
        self.messages = Messages(
            callers=self.callers,
            bodies=self.bodies,
            writer=writer,
            lookups=lookups,
            timezone=settings.timezone,
        )
        self.health = Health(writer=writer, spool=spool, lookups=lookups, monitoring=monitoring)
        self.page = OperatorsPage(
            settings=settings,
            callers=self.callers,
            bodies=self.bodies,
            lookups=lookups,
            replay=replay,
            held=self.health.held,
        )

    def app(self) -> Router:
        """Make the ASGI application.

        A bare Router: what Starlette's middleware would do, each endpoint does for itself.
        """
        callbacks, health, messages = Endpoint(self.callbacks.answer), self.health, self.messages
        internal, named = self.callers.internal, self.callers.named
        return Router(
            routes=[
                Route("/callbacks/{provider}/{token:rest}", callbacks),
                Route("/callbacks/{provider}", callbacks),
                Route("/healthz", Endpoint(health.healthz)),
                Route("/readyz", Endpoint(named(health.readyz))),
                Route("/metrics", Endpoint(named(health.metrics))),
                Route("/messages", Endpoint(internal(messages.answer))),
                Route("/messages/{provider}/{id:rest}", Endpoint(internal(messages.answer_one))),
            ],
            redirect_slashes=False,
            default=Endpoint(named(self.page.answer)),
            lifespan=self.lifespan,
        )

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Write while the server runs; write what waits before it ends."""
        self.writer.start()
        noting = asyncio.create_task(self.note_settings())
        async with self.monitoring.running():
            yield
        noting.cancel()
        await self.writer.stop()

    async def note_settings(self) -> None:
        """Leave what must be set alike at every receiver in the database, again and again."""
        values = await run_in_threadpool(peers.shared, self.settings)
        name = peers.own_name()
        while True:
            with suppress(UnavailableError, SQLAlchemyError):
                await self.writer.run(
                    lambda connection: peers.note(connection, name, values, datetime.now(UTC))
                )
            await asyncio.sleep(peers.NOTE_EVERY.total_seconds())
