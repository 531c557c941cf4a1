"""A receiver that answers before it commits: the kit must find that it loses callbacks.

`python -m tests.chaos.hasty serve` is ours but for that: a report that comes in a query is answered
200 at once and given to the real receiver a moment later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from starlette.responses import PlainTextResponse

from receiver.cli import run

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

DELAY_SECONDS: Final = 0.5


class Hasty:
    """An application that promises what it has not done yet."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once where that is easily done."""
        if scope["type"] != "http" or b"Status=" not in scope["query_string"]:
            await self.app(scope, receive, send)
            return
        await PlainTextResponse("OK")(scope, receive, send)
        task = asyncio.create_task(self._later(scope))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _later(self, scope: Scope) -> None:
        await asyncio.sleep(DELAY_SECONDS)
        await self.app(scope, _nothing_more, _to_nobody)


async def _nothing_more() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _to_nobody(_message: Message) -> None:
    """Answer nobody."""


class Config(uvicorn.Config):
    """The server's configuration, with the application inside another."""

    def __init__(self, app: ASGIApp, **named: Any) -> None:
        super().__init__(Hasty(app), **named)


def main() -> None:
    """Serve as ours does, but for that."""
    uvicorn.Config = Config  # type: ignore[assignment, misc]
    run.main()


if __name__ == "__main__":
    main()
