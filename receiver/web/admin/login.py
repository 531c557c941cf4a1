"""Login to the operator's page, and logout: the library's form, our names and API keys."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import structlog
from starlette.responses import RedirectResponse
from starlette_admin.auth import AdminUser, AuthProvider
from starlette_admin.helpers import index_url, safe_redirect_url
from starlette_admin.i18n import lazy_gettext as _
from starlette_admin.security.csrf import CSRFMiddleware

from receiver.web.admin.sessions import COOKIE, SECONDS, Session, Sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.templating import Jinja2Templates

    from receiver.security import FailureLimiter


log = structlog.get_logger(__name__)


class ApiKeyLogin(AuthProvider):
    """Asks for the name and the API key, and remembers who gave them in a cookie."""

    def __init__(
        self, sessions: Sessions, address: Callable[[Request], str], failures: FailureLimiter
    ) -> None:
        super().__init__()
        self.sessions = sessions
        self.address = address
        self.failures = failures
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
        cookie = self.sessions.begin(username.strip(), password.strip())
        if cookie is None:
            return self._refuse(request, address)
        log.info("logged in", key=username.strip(), address=address)
        home = index_url(request)
        next_url = safe_redirect_url(request.query_params.get("next") or home, request, home)
        response = RedirectResponse(next_url, 303)
        https = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, cookie, max_age=SECONDS, httponly=True, samesite="strict", secure=https
        )
        form_token = self.sessions.forms(self.sessions.read(cookie)).dumps(secrets.token_hex(32))
        # The page's script reads it, and puts it into the forms it sends.
        response.set_cookie(CSRFMiddleware.cookie_name, form_token, samesite="strict", secure=https)
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

    def _refuse(self, request: Request, address: str) -> Response:
        failure = self.failures.add(address, time.monotonic())
        if failure.unlogged:
            log.warning("login refused", address=address, failures=failure.unlogged)
        if failure.retry_after is None:
            return self._form(request, 401, _("That name and API key do not belong together."))
        response = self._form(request, 429, _("Too many failed attempts. Wait a minute."))
        response.headers["Retry-After"] = str(failure.retry_after)
        return response

    def _form(self, request: Request, status: int, why: object) -> Response:
        assert self.templates is not None  # noqa: S101 - the site gives it before it serves
        return self.templates.TemplateResponse(
            request=request, name="login.html", context={"error": str(why)}, status_code=status
        )
