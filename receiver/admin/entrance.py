"""The way in and out of the operator's page: the library's login form, our names and API keys."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

import structlog
from starlette.responses import RedirectResponse
from starlette_admin.auth import AdminUser, AuthProvider
from starlette_admin.helpers import index_url, safe_redirect_url
from starlette_admin.i18n import lazy_gettext as _

from receiver.admin.sessions import COOKIE, SECONDS, Session, Sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.templating import Jinja2Templates

log = structlog.get_logger(__name__)

FAILURES: Final = 10
"""Failed logins of one address within a minute; those after are not looked at."""
MINUTE: Final = 60.0
ADDRESSES: Final = 1000
"""Addresses whose failures are remembered."""


class Failures:
    """Counts failed logins by address, the last minute's only."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def too_many(self, address: str) -> bool:
        """Say whether an address has failed too often of late."""
        times = self._times.get(address, deque())
        while times and time.monotonic() - times[0] > MINUTE:
            times.popleft()
        return len(times) >= FAILURES

    def note(self, address: str) -> None:
        """Count a failure."""
        times = self._times.setdefault(address, deque(maxlen=FAILURES))
        times.append(time.monotonic())
        self._times.move_to_end(address)
        if len(self._times) > ADDRESSES:
            self._times.popitem(last=False)


class Entrance(AuthProvider):
    """Asks for the name and the API key, and remembers who gave them in a cookie."""

    def __init__(self, sessions: Sessions, address: Callable[[Request], str]) -> None:
        super().__init__()
        self.sessions = sessions
        self.address = address
        self.failures = Failures()
        self.templates: Jinja2Templates | None = None

    async def authenticate(self, request: Request) -> AdminUser | None:
        """Return who is logged in, with the session on the request; None for nobody."""
        session = self.sessions.read(request.cookies.get(COOKIE, ""))
        request.state.session = session
        return None if session is None else AdminUser(username=session.name or "API key")

    async def login(
        self,
        username: str,
        password: str,
        remember_me: bool,  # noqa: ARG002 - the library's own signature
        request: Request,
    ) -> Response:
        """Let in who gives a name and the API key of that name; tell everybody else the same."""
        address = self.address(request)
        if self.failures.too_many(address):
            log.warning("login refused", address=address, reason="too many failures")
            refused = self._refuse(request, 429, _("Too many failed attempts. Wait a minute."))
            refused.headers["Retry-After"] = str(int(MINUTE))
            return refused
        cookie = self.sessions.begin(username.strip(), password.strip())
        if cookie is None:
            self.failures.note(address)
            log.warning("login refused", address=address, reason="name or key")
            return self._refuse(request, 401, _("That name and API key do not belong together."))
        log.info("logged in", key=username.strip(), address=address)
        home = index_url(request)
        asked = safe_redirect_url(request.query_params.get("next") or home, request, home)
        response = RedirectResponse(asked, 303)
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def logout(self, request: Request) -> Response:
        """End the session, and take its cookie back."""
        session: Session | None = request.state.session
        if session is not None:
            self.sessions.end(session)
            log.info("logged out", key=session.name, address=self.address(request))
        response = RedirectResponse(request.url_for("admin:login"), 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    def _refuse(self, request: Request, status: int, why: object) -> Response:
        assert self.templates is not None  # noqa: S101 - the site gives it before it serves
        return self.templates.TemplateResponse(
            request=request, name="login.html", context={"error": str(why)}, status_code=status
        )
