"""Bodies of requests: how long, how many at once, and how soon they must be here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from starlette.requests import ClientDisconnect

from receiver.ingest import LONGEST_BODIES, Budget
from receiver.statistics import refusals
from receiver.web.fields import fields, text
from receiver.web.problems import RETRY_AFTER, Problem

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Message, Receive

    from receiver.ingest import Body


T = TypeVar("T")

BODY_SECONDS: Final = 10.0
"""How long a body may take to arrive."""
NO_ROOM: Final = "Too many large bodies are under way. Call again later."
CODINGS: Final = frozenset(
    (
        "aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip",
        "x-compress", "x-gzip", "zstd",
    )
)  # fmt: skip
"""Codings that change the bytes (IANA's HTTP Content Coding Registry). Senders also name there what
changes nothing: `identity`, `UTF-8`, `none`, `8bit`."""


class Bodies:
    """What all bodies under way may hold together, and how each is read; for the event loop."""

    def __init__(self, longest: int) -> None:
        """`longest` is RECEIVER_MAX_BODY_BYTES."""
        self.longest = longest
        self.budget = Budget(LONGEST_BODIES * longest)
        self.seconds = BODY_SECONDS

    def share(self, whose: str, address: str) -> Body:
        """Return a body of somebody at an address, to be held for as long as its bytes are."""
        return self.budget.body(whose, address)

    async def read(self, request: Request, share: Body, limit: int | None = None) -> bytes:
        """Return the body, which its share of the budget covers until that is given back.

        Raises the 413 over the limit, or else the longest there may be, the 503 where there is no
        room for it, and the 408 when it takes too long; the first two before it is here. What
        still comes of it is http_protocol.py's to drop.
        """
        limit = self.longest if limit is None else limit
        given = fields(request)
        length = given.get(b"content-length", b"")
        if not length and b"transfer-encoding" not in given:
            return b""  # RFC 9112, section 6.3
        _check_room(int(length) if length.isdigit() else 0, limit, share)
        first = Begun(request.receive())
        if first.is_done:
            body, more = _piece(first.result)
            if not more:
                _check_room(len(body), limit, share)
                return body
        try:
            async with asyncio.timeout(self.seconds):
                return await _whole(await first, request.receive, limit, share)
        except TimeoutError:
            detail = f"Expected the whole body within {self.seconds:g} s."
            raise Problem(408, detail, {"Connection": "close"}) from None


class Begun(Generic[T]):
    """An awaitable as far as it comes by itself: most bodies lie there, and need no timer.

    What is not done can be awaited, in the same task, and goes on where it waits.
    """

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self._steps = awaitable.__await__()
        self.is_done = False
        self._waits_for: Any = None
        try:
            self._waits_for = next(self._steps)
        except StopIteration as end:
            self._end(end)

    def _end(self, end: StopIteration) -> None:
        self.is_done = True
        self.result: T = end.value

    def __await__(self) -> Generator[Any, Any, T]:
        while not self.is_done:
            try:
                try:
                    came = yield self._waits_for
                except BaseException as error:  # noqa: BLE001 - a cancellation too is its own
                    self._waits_for = self._steps.throw(error)
                else:
                    self._waits_for = self._steps.send(came)
            except StopIteration as end:
                self._end(end)
        return self.result


async def _whole(message: Message, receive: Receive, limit: int, share: Body) -> bytes:
    """Return a body that begins with one message, and comes by further ones."""
    chunk, more = _piece(message)
    chunks, size = [chunk], len(chunk)
    _check_room(size, limit, share)
    while more:
        chunk, more = _piece(await receive())
        size += len(chunk)
        _check_room(size, limit, share)
        chunks.append(chunk)
    return b"".join(chunks)


def _piece(message: Message) -> tuple[bytes, bool]:
    """Return the bytes of a message of ASGI, and whether more come. Raises ClientDisconnect."""
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def check_coding(request: Request) -> None:
    """Raise the 415 where one of the Content-Encodings that are named changes the body's bytes."""
    named = text(fields(request).get(b"content-encoding", b""))
    if not named:
        return
    codings = {coding.partition(";")[0].strip(' \t"').lower() for coding in named.split(",")}
    if codings & CODINGS:
        raise Problem(415, "Expected a body that is not compressed, by its Content-Encoding.")


def _check_room(size: int, limit: int, share: Body) -> None:
    """Raise the 413 or the 503 for a body of so many bytes that must not be taken."""
    if size > limit:
        raise Problem(413, f"Expected at most {limit} bytes.", {"Connection": "close"})
    if not share.cover(size):
        raise Problem(503, NO_ROOM, RETRY_AFTER, why=refusals.NO_ROOM)
