"""The operator's page, on demand: what it is made of is loaded when somebody asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool

from receiver.security import addresses, proofs
from receiver.web.problems import check_method, no_page

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from receiver.ingest.spool import Held
    from receiver.maintenance import Replayed
    from receiver.settings import Settings
    from receiver.web.admin import Page
    from receiver.web.bodies import Bodies
    from receiver.web.callers import CallerCheck
    from receiver.web.lookups import Lookups


PAGE_BYTES: Final = 64 * 1024
"""What a form of the operator's page may hold."""


class OperatorsPage:
    """Answers what no other route does: the operator's page, or that there is no such."""

    def __init__(
        self,
        *,
        settings: Settings,
        callers: CallerCheck,
        bodies: Bodies,
        lookups: Lookups,
        replay: Callable[[str], Replayed],
        held: Callable[[], Coroutine[Any, Any, Held | None]],
    ) -> None:
        """`replay` reads a kept callback again, by its id; `held` says what is in the spool."""
        self.settings = settings
        self.callers = callers
        self.bodies = bodies
        self.lookups = lookups
        self.replay = replay
        self.held = held
        self.page: Page | None = None

    async def answer(self, request: Request) -> ASGIApp:
        """Return what answers a request to no route of ours."""
        if self.page is None:
            self.page = await run_in_threadpool(self.open)
        allowed = self.page.methods(request.scope)
        if not allowed:
            return await no_page(request)
        check_method(request, allowed)
        with self.bodies.share("page", self.callers.address(request)) as share:
            body = await self.bodies.read(request, share, PAGE_BYTES)
        peer = request.client.host if request.client else ""
        proxied = addresses.within(peer, self.settings.trusted_proxies)
        forwarded = request.headers.getlist("x-forwarded-proto") if proxied else []
        https = proofs.forwarded_https(forwarded) or request.url.scheme == "https"
        return self.page.answer(body, https=https)

    def open(self) -> Page:
        """Make the page."""
        from receiver.web.admin import Backend, Page

        return Page(
            Backend(
                settings=self.settings,
                look=self.lookups.look,
                replay=self.replay_one,
                spooled=self.held,
                address=self.callers.address,
                guesses=self.callers.guesses,
            )
        )

    async def replay_one(self, id_: str) -> Replayed:
        """Read one kept callback again. Raises UnreadableError and UnavailableError."""
        return await self.lookups.run(lambda: self.replay(id_))
