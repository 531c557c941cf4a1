"""Health of the receiver, for those who watch it: `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from receiver.domain import UnavailableError
from receiver.ingest import can_keep
from receiver.settling import backlog
from receiver.web.problems import RETRY_AFTER, Problem, check_method

if TYPE_CHECKING:
    from starlette.requests import Request

    from receiver.ingest import Writer
    from receiver.ingest.spool import Held, Spool
    from receiver.monitoring.metrics import Monitoring
    from receiver.web.lookups import Lookups


LOOKING = frozenset({"GET", "HEAD"})


class Health:
    """Answers how the receiver is."""

    def __init__(
        self, *, writer: Writer, spool: Spool | None, lookups: Lookups, monitoring: Monitoring
    ) -> None:
        self.writer = writer
        self.spool = spool
        self.lookups = lookups
        self.monitoring = monitoring

    async def healthz(self, request: Request) -> Response:
        """Say that the process is up."""
        check_method(request, LOOKING)
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Say whether callbacks can be kept, and how much waits to be settled or in the spool."""
        check_method(request, LOOKING)
        full = self.full()
        takes = await self.takes()
        waiting = await self.waiting() if takes else None
        if self.spool is not None and not takes:
            await run_in_threadpool(self.spool.check)  # it is all there is
        held = await self.held()
        state = self.writer.state()
        problems = [] if full is None else [full]
        if not takes:
            problems.append(f"The database is away. {state.why}".strip())
        elif waiting is None:
            problems.append("What waits to be settled cannot be read.")
        problems += [] if held is None else spool_problems(held)
        if full is not None or not (takes or (held is not None and not held.trouble)):
            detail = " ".join(problems)
            body: dict[str, Any] = {"status": "unavailable", "detail": detail}
            return JSONResponse(body, 503, headers=RETRY_AFTER)
        body = {
            "status": "degraded" if problems else "ready",
            "problems": problems,
            "queue": {"callbacks": state.callbacks, "bytes": state.bytes},
            "spool": None if held is None else asdict(held),
            "settling": None if waiting is None else asdict(waiting),
        }
        return JSONResponse(body)

    async def metrics(self, request: Request) -> Response:
        """Say everything that is counted, for Prometheus."""
        check_method(request, LOOKING)
        text, kind = await self.monitoring.answer(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": kind})

    async def held(self) -> Held | None:
        """Return what waits in the spool; None where there is none."""
        return None if self.spool is None else await run_in_threadpool(self.spool.held)

    def full(self) -> str | None:
        """Say why no callback is accepted now; None where one is."""
        try:
            self.writer.check()
        except UnavailableError as error:
            return str(error)
        return None

    async def takes(self) -> bool:
        """Say whether the database takes callbacks."""
        try:
            await self.writer.run(can_keep)
        except (UnavailableError, SQLAlchemyError):
            return False
        return True

    async def waiting(self) -> backlog.Waiting | None:
        """Return what waits to be settled; None where that cannot be read."""
        try:
            return await self.lookups.ask(backlog.waiting)
        except Problem:
            return None


def spool_problems(held: Held) -> list[str]:
    """Say what is not as it should be with a spool, and what to do, in sentences."""
    problems = []
    if held.trouble:
        problems.append(f"The spool takes nothing: {held.trouble}.")
    if held.callbacks:
        problems.append(f"{held.callbacks} callbacks wait in the spool.")
    if held.refused:
        problems.append(
            f"The database refuses {held.refused} callbacks in the spool: {held.refusal}"
            " They are tried again every minute."
        )
    problems += [
        f"{name} is damaged: run `receiver receive --spool {name}`, then remove it."
        for name in held.set_aside
    ]
    return problems
