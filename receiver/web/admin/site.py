"""The library's site with our views, our words and our look, fit for a strict policy.

Its templates hold scripts, styles and handlers in the page itself. As they are read, each script
and style gets the request's nonce, and what no nonce can allow is left to static/page.js.
"""

from __future__ import annotations

import logging
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2.ext import Extension
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse
from starlette_admin import BaseAdmin
from starlette_admin.helpers import list_url
from starlette_admin.i18n import I18nConfig, TimezoneConfig
from starlette_admin.routing import route
from starlette_admin.security.csrf import CSRFMiddleware

from receiver.domain import UnavailableError, UnreadableError
from receiver.web.admin import i18n
from receiver.web.admin.login import ApiKeyLogin
from receiver.web.admin.sessions import COOKIE, Sessions
from receiver.web.admin.views import Callbacks, Messages, OverviewPage, Unmatched

if TYPE_CHECKING:
    from starlette.middleware.base import RequestResponseEndpoint
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from receiver.web.admin.backend import Backend


HERE: Final = Path(__file__).parent
NONCE: Final = ' nonce="{{ request.state.nonce }}"'
REWRITTEN: Final = (
    ("<script", f"<script{NONCE}"),
    ("<style", f"<style{NONCE}"),
    (" style=", " data-style="),
    ('onchange="window.location = this.value"', "data-goes"),
    ('onclick="applyColumnVisibility()"', "data-applies-columns"),
)
"""What a policy without 'unsafe-inline' asks of the library's templates."""


class Strict(Extension):
    """Makes every template one that a strict Content-Security-Policy lets work."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:  # noqa: ARG002
        """Rewrite a template as it is read."""
        for old, new in REWRITTEN:
            source = source.replace(old, new)
        return source


class Forms(CSRFMiddleware):
    """The library's marks against forged forms, each of one session: no other's is any good.

    Who is not logged in has those of no session, which are good for the login alone.
    """

    def __init__(self, app: ASGIApp, secret_key: str, sessions: Sessions) -> None:
        super().__init__(app, secret_key)
        self.sessions = sessions

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Check the mark of this session, or make one."""
        session = self.sessions.read(request.cookies.get(COOKIE, ""))
        own = copy(self)
        own._signer = self.sessions.forms(session)  # noqa: SLF001 - the library has one for all
        return await CSRFMiddleware.dispatch(own, request, call_next)


class Site(BaseAdmin):
    """The library's site; a page past the end leads to the last one."""

    def __init__(self, sessions: Sessions, **more: Any) -> None:
        self.sessions = sessions
        super().__init__(secret_key=sessions.secret, **more)

    def _init_csrf(self) -> None:
        self.middlewares.append(
            Middleware(Forms, secret_key=self.sessions.secret, sessions=self.sessions)
        )

    @route("/{key}/list", methods=["GET"], name="list")
    async def _render_list(self, request: Request) -> Response:
        response: Response = await super()._render_list(request)
        context: dict[str, Any] = getattr(response, "context", {})
        last = context.get("total_pages", 1)
        if context and context["list_params"].page > last:
            return RedirectResponse(list_url(request, page=last), 303)
        return response


def build(backend: Backend) -> BaseAdmin:
    """Return the site, its routes made."""
    # Its log lines name what was searched for.
    logging.getLogger("starlette_admin").propagate = False
    i18n.install()
    sessions = Sessions(backend.settings.api_keys)
    login = ApiKeyLogin(sessions, backend.address, backend.guesses)
    site = Site(
        sessions,
        title="receiver",
        base_url="/",
        templates_dir=str(HERE / "templates"),
        static_dir=str(HERE / "static"),
        index_view=OverviewPage(backend),
        auth_provider=login,
        i18n_config=I18nConfig(language_switcher=list(i18n.LANGUAGES)),
        timezone_config=TimezoneConfig(
            default_timezone=str(backend.settings.timezone),
            timezone_cookie_name=None,
            use_user_locale_timezone=False,
        ),
    )
    login.templates = site.templates
    site.templates.env.add_extension(Strict)
    site.templates.env.globals["zone"] = str(backend.settings.timezone)
    for view in (Messages, Unmatched, Callbacks):
        site.add_view(view(backend))
    site.mount_to(Starlette())
    site.app.add_exception_handler(UnavailableError, partial(_away, site))
    site.app.add_exception_handler(UnreadableError, partial(_not_askable, site))
    return site


async def _away(site: Site, request: Request, error: Exception) -> Response:
    """Say that the database is away, or was too slow, on a page of its own."""
    error_ = HTTPException(503, str(error))
    response = await site._render_error(request, error_)  # noqa: SLF001 - the library's own page
    response.headers["Retry-After"] = "5"
    return response


async def _not_askable(site: Site, request: Request, error: Exception) -> Response:
    """Say that no database can be asked that."""
    return await site._render_error(request, HTTPException(400, str(error)))  # noqa: SLF001
