"""The operator's page: what came, what did not, and why, for people who write no SQL.

The tables, searches and forms are starlette-admin's, the charts uPlot's; both are served from
here, and nothing is fetched from anywhere else. It reads; the only thing it does is replay.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Match, Mount, Route, Router

from receiver.domain import location
from receiver.web.admin.backend import Backend
from receiver.web.admin.gate import check
from receiver.web.admin.i18n import preferred
from receiver.web.admin.site import build

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


__all__ = ["Backend", "Page"]

log = structlog.get_logger(__name__)

POLICY: Final = (
    "default-src 'none'; script-src 'self' 'nonce-{0}'; style-src 'self' 'nonce-{0}';"
    " img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}
OFFERED: Final = frozenset(
    {"index", "login", "logout", "static", "list", "detail", "action", "row-action"}
)
"""Of the library's routes, those that are there: nothing is made, changed or brought in here."""


class Page:
    """The page as ASGI, to be asked only for what `methods` knows."""

    def __init__(self, backend: Backend) -> None:
        site = build(backend)
        self._routes = [route for route in site.routes if _name(route) in OFFERED]
        app = site.app
        app.router.routes[:] = self._routes
        app.router.redirect_slashes = False
        files = next(route for route in self._routes if isinstance(route, Mount))
        # Files are the same for everybody: no session is read, and no cookie set.
        self._router = Router([Mount("/static", files.app), Mount("", app, name=site.route_name)])

    def methods(self, scope: Scope) -> frozenset[str]:
        """Return the methods that a path answers to; none where there is no such page."""
        return frozenset(
            method
            for route in self._routes
            if route.matches({**scope})[0] is not Match.NONE
            for method in _methods(route)
        )

    def answer(self, body: bytes, *, https: bool) -> ASGIApp:
        """Return what answers a request that has this body, and came by https or not."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self._answer(scope, receive, send, body, https=https)

        return answer

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, body: bytes, *, https: bool
    ) -> None:
        request, nonce = Request(scope), secrets.token_urlsafe(16)
        begun: list[str] = []
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def received() -> Message:
            if unread:
                return unread.pop()
            while (message := await receive())["type"] == "http.request":
                pass  # the end of a body that was read already
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append("begun")
                message = {**message, "headers": _headers(message["headers"], nonce, scope["path"])}
            await send(message)

        inner = {
            **scope,
            "scheme": "https" if https else "http",
            "router": self._router,
            "state": {**scope.get("state", {}), "nonce": nonce},
            "headers": [*_other_headers(request), _language(request)],
        }
        try:
            await check(request, body)
            await self._router(inner, received, sent)
        except HTTPException as error:  # a file that is not there, or what nobody can ask
            await PlainTextResponse(error.detail, error.status_code)(inner, receive, sent)
        except Exception as error:  # noqa: BLE001 - the last resort: ours, and a 5xx
            log.error("failed", error=location(error))
            if not begun:
                sorry = "Something went wrong here. It is logged."
                await PlainTextResponse(sorry, 500)(inner, receive, sent)


def _name(route: BaseRoute) -> str:
    return (route.name or "") if isinstance(route, Route | Mount) else ""


def _methods(route: BaseRoute) -> Iterable[str]:
    if isinstance(route, Route):
        return route.methods or ()
    return ("GET", "HEAD")  # files


def _language(request: Request) -> tuple[bytes, bytes]:
    """Return the header with the one language that the library then takes."""
    return b"accept-language", preferred(request.headers.get("accept-language", "")).encode()


def _other_headers(request: Request) -> list[tuple[bytes, bytes]]:
    return [pair for pair in request.headers.raw if pair[0] != b"accept-language"]


def _headers(headers: Iterable[tuple[bytes, bytes]], nonce: str, path: str) -> list[Any]:
    """Return the headers with those of ours; only files, which are the same for all, are kept."""
    ours = HEADERS | {"content-security-policy": POLICY.format(nonce)}
    if path.startswith("/static/"):
        ours["cache-control"] = "no-cache"
    added = [(name.encode(), value.encode()) for name, value in ours.items()]
    return [pair for pair in headers if pair[0].decode().lower() not in ours] + added
