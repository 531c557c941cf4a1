"""The ceiling: the receiver's server that does nothing but read a body and answer `OK`.

Protocol, event loop, Router and options are the receiver's own, so no receiver on them can answer
more. `python -m tests.benchmarks.ceiling --port 8000`; it needs no database.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import uvicorn
from starlette.requests import Request
from starlette.routing import Route, Router

import receiver.web.endpoint  # noqa: F401 - gives routes the convertor `rest`
from receiver.server.http_protocol import Protocol
from receiver.web.callbacks import ANSWERS

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class Answer:
    """An ASGI endpoint, shaped like the receiver's."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, answer."""
        await Request(scope, receive).body()
        await ANSWERS["ants"](scope, receive, send)


def create_app() -> Router:
    """Make the application."""
    answer = Answer()
    return Router(
        routes=[Route("/callbacks/{provider}/{token:rest}", answer), Route("/readyz", answer)],
        redirect_slashes=False,
    )


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=8000)
    uvicorn.run(
        create_app(),
        port=parser.parse_args().port,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
