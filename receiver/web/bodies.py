"""Bodies of requests: how long, how many at once, and how soon they must be here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from receiver.ingest import LONGEST_BODIES, Budget
from receiver.statistics import refusals
from receiver.web.problems import RETRY_AFTER, Problem

if TYPE_CHECKING:
    from starlette.requests import Request

    from receiver.ingest import Body


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
        length = request.headers.get("content-length", "")
        if not length and "transfer-encoding" not in request.headers:
            return b""  # RFC 9112, section 6.3
        chunks: list[bytes] = []
        size = 0
        _check_room(int(length) if length.isdecimal() else 0, limit, share)
        try:
            async with asyncio.timeout(self.seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    _check_room(size, limit, share)
                    chunks.append(chunk)
        except TimeoutError:
            detail = f"Expected the whole body within {self.seconds:g} s."
            raise Problem(408, detail, {"Connection": "close"}) from None
        return b"".join(chunks)


def check_coding(request: Request) -> None:
    """Raise the 415 where one of the Content-Encodings that are named changes the body's bytes."""
    named = ",".join(request.headers.getlist("content-encoding"))
    codings = {coding.partition(";")[0].strip(' \t"').lower() for coding in named.split(",")}
    if codings & CODINGS:
        raise Problem(415, "Expected a body that is not compressed, by its Content-Encoding.")


def _check_room(size: int, limit: int, share: Body) -> None:
    """Raise the 413 or the 503 for a body of so many bytes that must not be taken."""
    if size > limit:
        raise Problem(413, f"Expected at most {limit} bytes.", {"Connection": "close"})
    if not share.cover(size):
        raise Problem(503, NO_ROOM, RETRY_AFTER, why=refusals.NO_ROOM)
