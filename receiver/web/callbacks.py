"""Callbacks of providers: proven, read, kept, and only then answered 200.

The order of the answers is the contract's (README, "Answers"): where several fit, the first.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from receiver.domain import BusyError, Callback, UnavailableError
from receiver.ingest import SMALL, order
from receiver.providers import PROVIDERS
from receiver.security import self_test
from receiver.statistics import refusals
from receiver.web.bodies import check_coding
from receiver.web.fields import fields
from receiver.web.probes import Probes
from receiver.web.problems import RETRY_AFTER, Problem, check_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from receiver.domain import Reading
    from receiver.ingest import Writer
    from receiver.providers import Answer
    from receiver.statistics import Counters
    from receiver.web.bodies import Bodies
    from receiver.web.callers import Caller, CallerCheck
    from receiver.web.self_test import SelfTest


log = structlog.get_logger(__name__)

PEEK_BYTES: Final = 64
"""How much of a body is looked at to tell a probe, where the caller has only half proven itself."""

SELF_TEST: Final = self_test.HEADER.lower().encode()
METHODS: Final = {name: provider.METHODS | {"HEAD"} for name, provider in PROVIDERS.items()}


def as_response(answer: Answer) -> Response:
    """Return what a provider wants to read as it is sent, which may be more than once."""
    return Response(answer.body, media_type=answer.media_type)


ANSWERS: Final = {name: as_response(provider.ANSWER) for name, provider in PROVIDERS.items()}
"""What each provider is answered where all is well,"""
JSON_ANSWERS: Final = {
    name: as_response(provider.ANSWER.to_json)
    for name, provider in PROVIDERS.items()
    if provider.ANSWER.to_json is not None
}
"""and to a callback of JSON, where that is something else."""


class Callbacks:
    """What answers at the URLs that are registered with providers."""

    def __init__(
        self,
        *,
        callers: CallerCheck,
        bodies: Bodies,
        read: Callable[[Callback], Reading],
        writer: Writer,
        counters: Counters,
        self_test: SelfTest,
    ) -> None:
        """`read` makes of a callback what is kept of it, from any thread."""
        self.callers = callers
        self.bodies = bodies
        self.read = read
        self.writer = writer
        self.counters = counters
        self.self_test = self_test
        self.probes = Probes(counters)
        self.lanes: defaultdict[tuple[str, int], CapacityLimiter] = defaultdict(
            partial(CapacityLimiter, 1)
        )
        self.not_kept = 0
        self.told_not_kept = 0.0

    async def answer(self, request: Request) -> Response:
        """Answer a callback, and count what was answered; answer the receiver's own test."""
        if SELF_TEST in fields(request) and (seen := self.self_test.answer(request)):
            return seen
        provider, status = request.path_params["provider"], 500
        try:
            response = await self.admit(request, provider)
            status = response.status_code
        except ClientDisconnect:
            status = 0  # nobody is left to answer
            raise
        except asyncio.CancelledError:
            status = 503  # see Endpoint
            raise
        except Problem as problem:
            status = problem.status
            raise
        finally:
            self.counters.answered(provider, status)
        return response

    async def admit(self, request: Request, name: str) -> Response:
        """Receive a callback, or turn it away and count that: the contract's answers in order."""
        account = ""
        if name not in PROVIDERS:
            raise Problem(404, "No such provider.")
        try:
            check_method(request, METHODS[name])
            check_coding(request)
            caller = self.callers.identify(request, name)
            account = caller.account
            return await self.receive(request, caller)
        except Problem as problem:
            address = self.callers.address(request)
            refused = self.callers.refused(problem, name, address)
            if refused.why:
                self.counters.refuse(name, account, refused.why, address)
            raise refused from None

    async def receive(self, request: Request, caller: Caller) -> Response:
        """Receive a callback of somebody with a right token, of a provider of ours."""
        name = caller.provider
        if request.method == "HEAD":
            self.probes.count(name, caller.account, request.method)
            return ANSWERS[name]
        limit = None if caller.unproven is None else PEEK_BYTES
        with self.bodies.share(name, caller.address) as share:
            try:
                body = await self.bodies.read(request, share, limit)
            except Problem as problem:  # too long or too slow for a probe
                raise caller.unproven or problem from None
            arrived = Callback(
                provider=name,
                account=caller.account,
                method=request.method,
                query=caller.query,
                content_type=_kept(fields(request).get(b"content-type", b"")),
                body=body,
                remote_addr=caller.address,
            )
            if PROVIDERS[name].is_probe(arrived):
                self.probes.count(name, caller.account, request.method)
                return well(arrived)
            self.callers.admit(caller, arrived)
            return await self.keep(arrived)

    async def keep(self, arrived: Callback) -> Response:
        """Read a callback, keep it, and say so.

        One that is not small is read in a thread, and waits only for those of its provider that are
        of its order of size: not for another provider's, and no batch for one of megabytes.
        """
        if len(arrived.body) > SMALL:
            lane = self.lanes[arrived.provider, order(len(arrived.body))]
            reading = await to_thread.run_sync(self.read, arrived, limiter=lane)
        else:
            reading = self.read(arrived)
        try:
            kept = await self.writer.keep(reading)
        except UnavailableError as error:
            self.tell_not_kept(str(error))
            why = refusals.QUEUE_FULL if isinstance(error, BusyError) else ""
            raise Problem(503, str(error), RETRY_AFTER, why=why) from None
        if reading.outcome == "read":
            return well(arrived)
        log.warning(
            "callback kept",
            provider=arrived.provider,
            account=arrived.account,
            callback=kept.id,
            outcome=reading.outcome,
            error=reading.error,
        )
        if reading.outcome == "unreadable":
            raise Problem(400, reading.error or "", callback=kept.id)
        return well(arrived)

    def tell_not_kept(self, why: str) -> None:
        """Count a callback that is not kept, and log once a second how many there were."""
        self.not_kept += 1
        if time.monotonic() - self.told_not_kept >= 1:
            log.error("callbacks not kept", callbacks=self.not_kept, reason=why)
            self.not_kept, self.told_not_kept = 0, time.monotonic()

    def no_http(self, peer: str, url: bytes, line: bytes, why: str) -> None:
        """Count what is no HTTP; see `CallerCheck.no_http`."""
        name, address = self.callers.no_http(peer, url, line, why)
        self.counters.refuse(name, "", refusals.INVALID_HTTP, address)


# Whatever stands before it: white space, a byte-order mark, the zeros of UTF-16 and UTF-32.
_JSON: Final = re.compile(rb"[\0\s\xef\xbb\xbf\xff\xfe]{0,64}+[{\[]")


def well(callback: Callback) -> Response:
    """Return what a provider is answered where all is well with its callback."""
    name = callback.provider
    if name in JSON_ANSWERS and _JSON.match(callback.body):
        return JSON_ANSWERS[name]
    return ANSWERS[name]


def _kept(value: bytes) -> str:
    """Return a header's value as text that every database can keep."""
    return value.decode("ascii", "replace").replace("\0", "")[:200]
