"""What a request need not cost: a timer for a body that is whole, a walk for each header field."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request

from receiver.web.bodies import Begun, Bodies
from receiver.web.fields import fields
from receiver.web.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def request(receive: Callable[[], Awaitable[Any]], *more: tuple[bytes, bytes]) -> Request:
    headers = [(b"transfer-encoding", b"chunked"), *more]
    return Request({"type": "http", "headers": headers}, receive)


async def take(made: Bodies, receive: Callable[[], Awaitable[Any]]) -> bytes:
    with made.share("ants", "127.0.0.1") as share:
        return await made.read(request(receive), share)


def message(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_that_lies_there_costs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def receive() -> dict[str, Any]:
        return message(b"whole", more=False)

    monkeypatch.setattr("receiver.web.bodies.asyncio.timeout", pytest.fail)
    assert asyncio.run(take(Bodies(100), receive)) == b"whole"


def test_one_that_has_to_come_comes_in_pieces() -> None:
    pieces = [message(b"a", more=True), message(b"b", more=True), message(b"c", more=False)]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return pieces.pop(0)

    assert asyncio.run(take(Bodies(100), receive)) == b"abc"


def test_one_that_does_not_come_is_given_up_and_its_wait_ended() -> None:
    ended = []

    async def receive() -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        raise AssertionError

    made = Bodies(100)
    made.seconds = 0.01
    with pytest.raises(Problem) as raised:
        asyncio.run(take(made, receive))
    assert raised.value.status == 408
    assert ended == [True]


def test_what_was_begun_raises_what_it_would_have_raised() -> None:
    async def fails(after: int) -> None:
        for _ in range(after):
            await asyncio.sleep(0)
        raise KeyError(after)

    async def begun(after: int) -> None:
        await Begun(fails(after))

    for after in range(3):
        with pytest.raises(KeyError):
            asyncio.run(begun(after))


def test_the_first_of_a_field_counts_and_lists_are_joined() -> None:
    async def receive() -> None: ...

    found = fields(
        request(
            receive,
            (b"authorization", b"one"),
            (b"x-forwarded-for", b"192.0.2.1"),
            (b"authorization", b"two"),
            (b"x-forwarded-for", b"192.0.2.2"),
        )
    )
    assert found[b"authorization"] == b"one"
    assert found[b"x-forwarded-for"] == b"192.0.2.1,192.0.2.2"
