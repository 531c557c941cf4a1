"""Callers: the address, the account of a URL's token, and every other proof that is asked for.

All that the headers can tell is found out once, by `identify`; what needs the body, too, is asked
by `admit`. Each refusal is a Problem, ready to be answered.
"""

from __future__ import annotations

import functools
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

import structlog

from receiver.providers import PROVIDERS, demands, expected, prove
from receiver.security import FailureLimiter, ReplayGuard, addresses, proofs, secrets
from receiver.statistics import OTHER, refusals
from receiver.web.fields import fields, text
from receiver.web.problems import Problem, no_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from receiver.domain import Callback
    from receiver.settings import Settings


log = structlog.get_logger(__name__)

BASIC: Final = "Expected `Authorization: Basic` with a user and password we know."
WRONG_HOST: Final = (
    "Host: expected an address, a name inside your network, the name of RECEIVER_PUBLIC_URL or one"
    " of RECEIVER_INTERNAL_HOSTS."
)
BEGINNINGS: Final = (
    (b"\x16\x03", "TLS: https:// where http:// is spoken"),
    (b"PROXY ", "the PROXY protocol"),
    (b"\r\n\r\n\0\r\nQUIT\n", "the PROXY protocol"),
    (b"PRI ", "HTTP/2"),
)
"""How other protocols begin that a proxy may be set up to speak."""

# Characters of a query string that stay; all others are percent-encoded, which means the same.
_QUERY_SAFE: Final = "".join(chr(c) for c in range(0x21, 0x7F))
_ODD: Final = re.compile(rb"[^!-~]")
_CALLBACK: Final = re.compile(rb"(?:[A-Z-]+ +)?(?:https?://[^/ ]*)?/callbacks/([a-z0-9_]+)")


@dataclass(slots=True, kw_only=True)
class Caller:
    """Somebody with the token of a provider's URL, from an address that may call."""

    provider: str
    account: str
    """The token's; empty where it has no name."""
    address: str
    """In text; "unknown" where it is none."""
    query: str
    """The URL's query, in ASCII, percent-encoded."""
    unproven: Problem | None
    """The 401 that it gets for anything but a probe: what is asked for beside token and address is
    missing or wrong. None where all is right."""
    replay_keys: tuple[str, ...]
    """What may come again with the same body only."""


class CallerCheck:
    """Asks every caller for what the settings demand; for the event loop only."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.replay_guard = ReplayGuard()
        self.failures = FailureLimiter()
        self.unknown_callers = FailureLimiter()
        self.guesses = FailureLimiter()
        """Of API keys, at `/messages` and at the login of the operator's page."""
        self.demands = {
            name: demands(provider.PROOFS, settings.provider(name).own)
            for name, provider in PROVIDERS.items()
        }

    # Callbacks.

    def identify(self, request: Request, provider: str) -> Caller:
        """Return who calls a provider's URL, by what the headers say.

        `provider` is one of ours. Raises the 401 where the token is wrong or missing, or the
        address not allowed.
        """
        settings = self.settings.provider(provider)
        address = self.address(request)
        known = find_token(settings.tokens, request)
        allowed = settings.allowed_ips
        if known is None or (allowed and not addresses.within(address, allowed)):
            detail = "The URL's token is wrong or missing, or the address not allowed."
            why = refusals.WRONG_TOKEN if settings.tokens else refusals.NO_TOKEN
            raise _unauthorized(detail, refusals.WRONG_ADDRESS if known is not None else why)
        token, query = known
        pairs, demanded = settings.basic_auth, self.demands[provider]
        basic = not pairs or proofs.basic(pairs, text(fields(request).get(b"authorization", b"")))
        replay_keys: tuple[str, ...] | None = ()
        if demanded or not basic:
            replay_keys = prove(demanded, request.headers, datetime.now(UTC)) if basic else None
        unproven = None
        if replay_keys is None:
            wanted = (BASIC if pairs else "", expected(demanded))
            why = refusals.WRONG_SIGNATURE if basic else refusals.WRONG_BASIC
            unproven = _unauthorized(" ".join(filter(None, wanted)), why)
        return Caller(
            provider=provider,
            account=token.name,
            address=address,
            query=_encoded(query),
            unproven=unproven,
            replay_keys=replay_keys or (),
        )

    def admit(self, caller: Caller, callback: Callback) -> None:
        """Raise the 401 where the caller may not bring this callback.

        It has not proven itself, or its signature or nonce has come with another body before.
        """
        if caller.unproven is not None:
            raise caller.unproven
        replay_keys, at = caller.replay_keys, callback.received_at
        if replay_keys and not self.replay_guard.admit(
            caller.provider, replay_keys, callback.body, at
        ):
            detail = "The signature or its nonce was used before, with another body."
            raise _unauthorized(detail, refusals.USED_NONCE)

    def token(self, request: Request, provider: str) -> secrets.Named | None:
        """Return the token in the URL of a provider of ours; None where it is wrong or missing."""
        token = find_token(self.settings.provider(provider).tokens, request)
        return None if token is None else token[0]

    # Everybody.

    def address(self, request: Request) -> str:
        """Return the caller's address, through proxies we trust."""
        peer = request.client.host if request.client else ""
        forwarded = fields(request).get(b"x-forwarded-for")
        hops = [] if forwarded is None else [text(forwarded)]
        return addresses.client(peer, hops, self.settings.trusted_proxies)

    def internal(
        self, endpoint: Callable[[Request], Awaitable[ASGIApp]]
    ) -> Callable[[Request], Awaitable[ASGIApp]]:
        """Hide an endpoint from addresses outside RECEIVER_INTERNAL_IPS."""

        @functools.wraps(endpoint)
        async def guarded(request: Request) -> ASGIApp:
            if not addresses.within(self.address(request), self.settings.internal_ips):
                return await no_page(request)
            return await endpoint(request)

        return guarded

    def named(
        self, endpoint: Callable[[Request], Awaitable[ASGIApp]]
    ) -> Callable[[Request], Awaitable[ASGIApp]]:
        """Hide an endpoint also from the pages of strangers: what a browser may read unasked."""
        public = urlsplit(self.settings.public_url or "").hostname
        names = (*self.settings.internal_hosts, *([public] if public else []))

        @functools.wraps(endpoint)
        async def guarded(request: Request) -> ASGIApp:
            if not proofs.is_ours(request.headers.get("host", ""), names):
                raise Problem(400, WRONG_HOST)
            return await endpoint(request)

        return self.internal(guarded)

    def check_key(self, request: Request) -> str:
        """Return the name of the API key that was given. Raises the 401."""
        keys = self.settings.api_keys
        key = proofs.bearer(keys, request.headers.get("authorization", ""))
        if key is None:
            detail = (
                "Expected `Authorization: Bearer <one of RECEIVER_API_KEYS>`."
                if keys
                else "No API key is configured: set RECEIVER_API_KEYS."
            )
            headers = {"WWW-Authenticate": 'Bearer realm="receiver"'}
            raise self.guessed(Problem(401, detail, headers), request)
        return key.name

    def guessed(self, problem: Problem, request: Request) -> Problem:
        """Return a wrong key's 401, or the 429 where the address fails again and again; log it."""
        address = self.address(request)
        failure = self.guesses.add(address, time.monotonic())
        if failure.unlogged:
            log.warning("API key refused", address=address, failures=failure.unlogged)
        if failure.retry_after is None:
            return problem
        return Problem(429, problem.detail, {"Retry-After": str(failure.retry_after)})

    # Who is refused.

    def refused(self, problem: Problem, name: str, address: str) -> Problem:
        """Return a 401 as a 429 where the address fails again and again; log it, at times."""
        if problem.status != 401:  # noqa: PLR2004
            return problem
        failure = self.failures.add(address, time.monotonic())
        if failure.unlogged:
            log.warning(
                "callback refused",
                provider=name,
                address=address,
                reason=problem.why,
                times=failure.unlogged,
            )
        if failure.retry_after is None:
            return problem
        return Problem(429, problem.detail, {"Retry-After": str(failure.retry_after)})

    def no_http(self, peer: str, url: bytes, line: bytes, why: str) -> tuple[str, str]:
        """Log a request that is no HTTP, at times; return the provider and the address.

        `peer` is who sent it, `url` the last one that was read on its connection, `line` the odd
        first line behind that, `why` what is wrong, in words of ours.
        """
        path = _CALLBACK.match(line) or _CALLBACK.match(url)
        named = path[1].decode() if path else ""
        name = named if named in PROVIDERS else OTHER
        address = addresses.client(peer, (), self.settings.trusted_proxies)
        failure = self.unknown_callers.add(address, time.monotonic())
        if failure.unlogged:
            log.warning(
                "no http",
                provider=name,
                address=address,
                reason=why,
                begins_as=next((n for begin, n in BEGINNINGS if line.startswith(begin)), None),
                times=failure.unlogged,
            )
        return name, address


def find_token(
    tokens: Iterable[secrets.Named], request: Request
) -> tuple[secrets.Named, bytes] | None:
    """Return the token that a callback's URL holds, and the URL's query; None where none is known.

    The token is what stands behind the provider's name. Where that is none of ours it may be one
    with something around it: a slash or blank at either end, as it was pasted into a console, or
    parameters that were appended to a URL without a `?`, `…/TOKEN&Transaction=1&Status=…`, which
    are its query then.
    """
    query_string: bytes = request.scope["query_string"]
    token = secrets.find(tokens, request.path_params.get("token", ""))
    if token is not None:
        return token, query_string
    written = b"/".join(request.scope["raw_path"].split(b"/")[3:])  # /callbacks/PROVIDER/…
    registered, _, appended = written.partition(b"&")
    token = secrets.find(tokens, unquote(registered).strip("/ \t\r\n"))
    if token is None:
        return None
    return token, b"&".join(filter(None, (appended, query_string)))


def _encoded(query: bytes) -> str:
    """Return a query in ASCII: what else is in it is percent-encoded, which means the same."""
    if _ODD.search(query) is None:
        return query.decode("ascii")
    return quote(query, safe=_QUERY_SAFE)


def _unauthorized(detail: str, why: str) -> Problem:
    return Problem(401, detail, {"WWW-Authenticate": 'Basic realm="receiver"'}, why=why)
