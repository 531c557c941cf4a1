"""Ways to hold a server up: each is what one connection does, over and over, until it is cut off.

`python -m tests.slow.attacks NAME PORT PATH CONNECTIONS SECONDS http|https` does it with many at
once, in a process of its own so that nobody who measures has to wait for it, and prints what was
answered.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import resource
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

TRICKLE: Final = 0.5
"""Seconds between two pieces of those who are slow."""
PIECE: Final = 65536
Pieces = AsyncIterator[bytes | memoryview]


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *lines, "", "")).encode()


async def slowly(first: bytes, *then: bytes) -> Pieces:
    """Send something, then a little of it again and again."""
    yield first
    for piece in itertools.cycle(then):
        await asyncio.sleep(TRICKLE)
        yield piece


async def fast(first: bytes, *then: bytes) -> Pieces:
    """Send something, then more of it as fast as it is taken."""
    yield first
    for piece in itertools.cycle(then or (first,)):
        yield piece


async def gone(piece: bytes) -> Pieces:
    """Send something, and go without waiting for an answer."""
    yield piece


async def once(*pieces: bytes) -> Pieces:
    """Send something, and wait."""
    for piece in pieces:
        yield piece
    await asyncio.sleep(3600)


def cut(body: bytes) -> Iterator[memoryview]:
    """Return a body in pieces."""
    return (memoryview(body)[at : at + PIECE] for at in range(0, len(body), PIECE))


async def bodies(path: str, body: bytes) -> Pieces:
    """Send one body after the other, each another by its first bytes, whatever is answered."""
    for number in itertools.count():
        start = b"%d.%d" % (time.monotonic_ns(), number)
        yield head(path, f"Content-Length: {len(start) + len(body)}") + start
        for piece in cut(body):
            yield piece


async def one_body(path: str, body: bytes, *lines: str) -> Pieces:
    """Send a body and wait; with `Connection: close` the next comes after its answer."""
    yield head(path, *lines)
    for piece in cut(body):
        yield piece
    await asyncio.sleep(3600)


@dataclass(frozen=True, slots=True)
class Attack:
    """What each of so many connections does; `path` is a callback URL's.

    Honest callbacks are to be answered within `limit` seconds beside it, 99 of 100.
    """

    name: str
    connections: int
    pieces: Callable[[str], Pieces]
    limit: float = 0.2


CHUNKED: Final = "Transfer-Encoding: chunked"
MEGABYTE: Final = b"10000\r\n" + b"x" * 65536 + b"\r\n"

LONG: Final = b"x" * 7_900_000
TOO_LONG: Final = b"x" * 8_900_000
BATCH: Final = b"x" * 100_000
COSTLY: Final = {
    "XML of elements": cache(lambda: b"<a>" + b"<b/>" * 1_990_000),
    "XML of attributes": cache(
        lambda: b"<a " + b" ".join(b'a%d=""' % n for n in range(650_000)) + b"/>"
    ),
    "JSON of names": cache(lambda: b"{%s}" % b",".join(b'"%d":1' % n for n in range(780_000))),
    "JSON of lists": cache(lambda: b"[" + b"[]," * 2_600_000 + b"[]]"),
    "a form of parameters": cache(lambda: b"a=&" * 2_600_000),
}
"""Bodies of some 8 MB that are made to cost more than others."""


def costly(name: str, path: str) -> Pieces:
    body = COSTLY[name]()
    return one_body(path, body, f"Content-Length: {len(body)}", "Connection: close")


ATTACKS: Final = {
    attack.name: attack
    for attack in (
        Attack("slow heads", 1000, lambda p: slowly(head(p)[:-2], b"X: y\r\n")),
        Attack("slow bodies", 1000, lambda p: slowly(head(p, "Content-Length: 9999"), b"x")),
        Attack(
            "slow bodies, wrong token",
            1000,
            lambda p: slowly(head(p + "x", "Content-Length: 9999"), b"x"),
        ),
        Attack("idle connections", 5000, lambda _: once()),
        Attack("idle after a request", 5000, lambda p: once(head(p, method="HEAD"))),
        Attack(
            "line breaks after a request", 1000, lambda p: slowly(head(p, method="HEAD"), b"\r\n")
        ),
        Attack("pipelined requests", 20, lambda _: fast(b"GET /x HTTP/1.1\r\n\r\n" * 1000)),
        Attack("pipelined, and gone", 20, lambda _: gone(b"GET /x HTTP/1.1\r\n\r\n" * 1000)),
        Attack("endless chunks", 20, lambda p: fast(head(p, CHUNKED), MEGABYTE)),
        Attack("endless small chunks", 20, lambda p: fast(head(p, CHUNKED), b"1\r\nx\r\n" * 1000)),
        Attack(
            "endless trailers", 20, lambda p: fast(head(p, CHUNKED) + b"0\r\n", b"X: y\r\n" * 1000)
        ),
        Attack(
            "Expect: 100-continue",
            1000,
            lambda p: once(head(p, "Content-Length: 9999", "Expect: 100-continue")),
        ),
        Attack(
            "gzip bodies",
            20,
            lambda p: fast(b"", head(p, "Content-Encoding: gzip", "Content-Length: 9") + b"x" * 9),
        ),
        Attack(
            "both length and chunked",
            20,
            lambda p: once(head(p, "Content-Length: 5", CHUNKED) + b"0\r\n\r\n"),
        ),
        Attack("whole bodies of 8 MB", 200, lambda p: bodies(p, LONG), 1),
        Attack(
            "bodies of 8 MB without the last byte",
            400,
            lambda p: one_body(p, LONG, f"Content-Length: {len(LONG) + 1}"),
            1,
        ),
        Attack("chunked bodies without an end", 400, lambda p: fast(head(p, CHUNKED), MEGABYTE), 1),
        Attack("bodies of 100 KB", 400, lambda p: bodies(p, BATCH), 1),
        Attack("refused bodies: wrong token", 400, lambda p: bodies(p + "x", LONG), 1),
        Attack("refused bodies: no such page", 400, lambda _: bodies("/x", LONG), 1),
        Attack("refused bodies: too long", 400, lambda p: bodies(p, TOO_LONG), 1),
        *(Attack(name, 4, partial(costly, name), 1) for name in COSTLY),
    )
}


async def one(
    port: int,
    tls: ssl.SSLContext | None,
    pieces: Callable[[], Pieces],
    until: float,
    said: Counter[str],
) -> None:
    """Do it on one connection after the other."""
    while time.monotonic() < until:
        writer = None
        with suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
            listening = asyncio.create_task(listen(reader, said))
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    sending = asyncio.create_task(send(writer, pieces()))
                    try:
                        await asyncio.wait(
                            {listening, sending}, return_when=asyncio.FIRST_COMPLETED
                        )
                    finally:
                        sending.cancel()
            said["open at the end" if time.monotonic() >= until else "cut off"] += 1
            listening.cancel()
        if writer is not None:
            writer.transport.abort()
        await asyncio.sleep(0.05)


async def send(writer: asyncio.StreamWriter, pieces: Pieces) -> None:
    async for piece in pieces:
        writer.write(piece)
        await writer.drain()


async def listen(reader: asyncio.StreamReader, said: Counter[str]) -> None:
    """Count the answers until the other side closes."""
    with suppress(OSError):
        while data := await reader.read(65536):
            said.update(status.decode() for status in re.findall(rb"HTTP/1\.1 (\d+) ", data))


def trusting() -> ssl.SSLContext:
    """Return what speaks HTTPS to whoever it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def attack(
    make: Callable[[], Pieces],
    port: int,
    tls: ssl.SSLContext | None,
    connections: int,
    seconds: float,
) -> Counter[str]:
    """Do it with so many connections at once, for so long; return the answers, counted."""
    said: Counter[str] = Counter()
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(one(port, tls, make, until, said))
            if number % 50 == 49:  # not all in one moment, or the kernel drops some
                await asyncio.sleep(0.01)
    return said


def main(arguments: list[str]) -> None:
    name, port, path, connections, seconds, scheme = arguments
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    tls = trusting() if scheme == "https" else None
    make = partial(ATTACKS[name].pieces, path)
    said = asyncio.run(attack(make, int(port), tls, int(connections), float(seconds)))
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
