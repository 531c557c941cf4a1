"""ASGI endpoints: each request gets one answer, whatever happens, and nobody a traceback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request

from receiver.domain import location
from receiver.web.problems import RETRY_AFTER, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send


log = structlog.get_logger(__name__)


class Endpoint:
    """An ASGI endpoint that turns every exception into an answer, and none into a traceback.

    Starlette's own handler for Exception raises it again after answering.
    """

    def __init__(self, answer: Callable[[Request], Awaitable[ASGIApp]]) -> None:
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response: ASGIApp
        try:
            response = await self.answer(Request(scope, receive))
        except Problem as problem:
            response = problem.response()
        except ClientDisconnect:
            return  # nobody is left to answer
        except asyncio.CancelledError:  # the server is stopping, and its patience is over
            response = Problem(503, "The receiver is shutting down.", RETRY_AFTER).response()
        except Exception as error:  # noqa: BLE001 - the last resort: ours, and a 5xx
            log.error("failed", error=location(error))
            response = Problem(500, "Something went wrong here. It is logged.").response()
        await response(scope, receive, send)


class _Rest(PathConvertor):
    """The rest of a path, line breaks included: they make a wrong token, not another page."""

    regex = "(?s:.*)"


register_url_convertor("rest", _Rest())
