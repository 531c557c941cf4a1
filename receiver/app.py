"""The web edge: routes, proof, body limits, and what each situation is answered.

The order of the answers is the contract's (README, "Answers"): where several fit, the first.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import time
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router

from receiver import pipeline, query, rebuild, receivers, refusals, security, self_test
from receiver.body_budget import LONGEST_BODIES, SMALL, Budget, order
from receiver.callback import Callback
from receiver.database import READ, is_cut, reason
from receiver.errors import (
    BusyError,
    ProviderRefusalError,
    RecordError,
    UnavailableError,
    UnreadableError,
    place,
)
from receiver.failures import is_data
from receiver.limits import Failures
from receiver.metrics import OTHER
from receiver.monitoring import Monitoring
from receiver.nonces import Nonces
from receiver.pipeline import Interpreter
from receiver.probes import Probes
from receiver.providers import PROVIDERS
from receiver.quota import Quota
from receiver.sent import record
from receiver.store import can_keep
from receiver.submission import submission
from receiver.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from sqlalchemy import Connection, Engine
    from starlette.types import ASGIApp, Receive, Scope, Send

    from receiver.admin import Page
    from receiver.body_budget import Body
    from receiver.settings import Settings
    from receiver.spool import Held, Spool
    from receiver.store import Reading

T = TypeVar("T")

log = structlog.get_logger(__name__)

BODY_SECONDS: Final = 10.0
"""How long a body may take to arrive."""
RECORD_SECONDS: Final = 3.0
"""How long recording may take before the database counts as away,"""
RECORDED_A_SECOND: Final = 500
"""and how many messages a slow one records in each second more: callbacks wait meanwhile."""
LOOKUPS: Final = 8
"""How many look-ups the database is asked at once: the writer must find a connection free."""
PAGE_BYTES: Final = 64 * 1024
"""What a form of the operator's page may hold."""
NO_ROOM: Final = "Too many large bodies are under way. Call again later."
TOO_SLOW: Final = f"The database took longer than {query.LOOKUP_SECONDS} s. Ask for less."
CODINGS: Final = frozenset(
    (
        "aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip",
        "x-compress", "x-gzip", "zstd",
    )
)  # fmt: skip
"""Codings that change the bytes (IANA's HTTP Content Coding Registry). Senders also name there what
changes nothing: `identity`, `UTF-8`, `none`, `8bit`."""
BEGINNINGS: Final = (
    (b"\x16\x03", "TLS: https:// where http:// is spoken"),
    (b"PROXY ", "the PROXY protocol"),
    (b"\r\n\r\n\0\r\nQUIT\n", "the PROXY protocol"),
    (b"PRI ", "HTTP/2"),
)
"""How other protocols begin that a proxy may be set up to speak."""
NOT_ASKABLE: Final = "No database can be asked for this: it holds what none could keep."
PEEK_BYTES: Final = 64
"""How much of a body is looked at to tell a probe, where the caller has only half proven itself."""
RETRY_AFTER: Final = {"Retry-After": "5"}
JSON_PROBLEM: Final = "application/problem+json"
BASIC: Final = "Expected `Authorization: Basic` with a user and password we know."

WRONG_HOST: Final = (
    "Host: expected an address, a name inside your network, the name of RECEIVER_PUBLIC_URL or one"
    " of RECEIVER_INTERNAL_HOSTS."
)

TITLES: Final = {
    400: "Unreadable",
    401: "Not authorized",
    404: "Not found",
    405: "Method not allowed",
    408: "Body too slow",
    413: "Body too large",
    415: "Content-Encoding not supported",
    422: "Not recorded",
    429: "Refused too often",
    500: "Our fault",
    503: "Not kept, try again",
}


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """An answer that is an error: RFC 9457 problem details.

    `why` is the word that it is counted by where it turns a callback away.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        *,
        why: str = "",
        **more: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.why = why or refusals.REASONS.get(status, "")
        self.detail = detail
        self.headers = headers
        self.more = more

    def response(self) -> Response:
        """Return it as an HTTP response."""
        body = {"title": TITLES[self.status], "status": self.status, "detail": self.detail}
        return JSONResponse(
            body | self.more, self.status, headers=self.headers, media_type=JSON_PROBLEM
        )


OK: Final = PlainTextResponse("OK")


class Edge:
    """The routes, and what they need: settings, the writer, the database to read from."""

    def __init__(self, settings: Settings, engine: Engine, spool: Spool | None = None) -> None:
        self.settings = settings
        self.engine = engine
        self.reader = engine.execution_options(**READ)
        self.interpreter = Interpreter.from_settings(settings)
        quota = Quota(settings.max_unreadable_bytes, settings.timezone, time.monotonic)
        self.writer = Writer(engine, spool, lambda c: pipeline.read(c, self.interpreter), quota)
        self.monitoring = Monitoring(self.reader, self.writer)
        self.budget = Budget(LONGEST_BODIES * settings.max_body_bytes)
        self.lanes: defaultdict[tuple[str, int], CapacityLimiter] = defaultdict(
            partial(CapacityLimiter, 1)
        )
        self.lookups = CapacityLimiter(LOOKUPS)
        self.body_seconds = BODY_SECONDS
        self.not_kept = 0
        self.said_not_kept = 0.0
        self.nonces = Nonces()
        self.failures = Failures()
        self.strangers = Failures()
        self.guesses = Failures()  # of API keys, here and at the page's login
        self.probes = Probes(self.writer.ledger.metrics)
        self.page: Page | None = None
        self.demands = {
            name: security.demands(provider.PROOFS, partial(getattr, settings.provider(name)))
            for name, provider in PROVIDERS.items()
        }

    def app(self) -> Router:
        """Make the ASGI application.

        A bare Router: what Starlette's middleware would do, each endpoint does for itself.
        """
        internal = self.internal
        return Router(
            routes=[
                Route("/callbacks/{provider}/{token:rest}", _Endpoint(self.callbacks)),
                Route("/callbacks/{provider}", _Endpoint(self.callbacks)),
                Route("/healthz", _Endpoint(self.healthz)),
                Route("/readyz", _Endpoint(self.named(self.readyz))),
                Route("/metrics", _Endpoint(self.named(self.metrics))),
                Route("/messages", _Endpoint(internal(self.messages))),
                Route("/messages/{provider}/{id:rest}", _Endpoint(internal(self.message))),
            ],
            redirect_slashes=False,
            default=_Endpoint(self.named(self.operators)),
            lifespan=self.lifespan,
        )

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Write while the server runs; write what waits before it ends."""
        self.writer.start()
        noting = asyncio.create_task(self.note_settings())
        async with self.monitoring.running():
            yield
        noting.cancel()
        await self.writer.stop()

    async def note_settings(self) -> None:
        """Leave what must be set alike at every receiver in the database, again and again."""
        noted = await run_in_threadpool(receivers.shared, self.settings)
        name = receivers.own_name()
        while True:
            with suppress(UnavailableError, SQLAlchemyError):
                await self.writer.run(
                    lambda connection: receivers.note(connection, name, noted, datetime.now(UTC))
                )
            await asyncio.sleep(receivers.NOTE_EVERY.total_seconds())

    # Who calls.

    def address(self, request: Request) -> str:
        """Return the caller's address, through proxies we trust."""
        peer = request.client.host if request.client else ""
        forwarded = request.headers.getlist("x-forwarded-for")
        return security.client(peer, forwarded, self.settings.trusted_proxies)

    def internal(
        self, endpoint: Callable[[Request], Awaitable[ASGIApp]]
    ) -> Callable[[Request], Awaitable[ASGIApp]]:
        """Hide an endpoint from addresses outside RECEIVER_INTERNAL_IPS."""

        @functools.wraps(endpoint)
        async def guarded(request: Request) -> ASGIApp:
            if not security.within(self.address(request), self.settings.internal_ips):
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
            if not security.is_ours(request.headers.get("host", ""), names):
                raise Problem(400, WRONG_HOST)
            return await endpoint(request)

        return self.internal(guarded)

    def check_key(self, request: Request) -> str:
        """Return the name of the API key that was given. Raises the 401."""
        keys = self.settings.api_keys
        key = security.bearer(keys, request.headers.get("authorization", ""))
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
        if failure.unsaid:
            log.warning("API key refused", address=address, failures=failure.unsaid)
        if failure.retry_after is None:
            return problem
        return Problem(429, problem.detail, {"Retry-After": str(failure.retry_after)})

    # Callbacks.

    async def callbacks(self, request: Request) -> Response:
        """Answer a callback, and count what was answered; answer the receiver's own test."""
        if self_test.HEADER in request.headers and (seen := self.seen(request)):
            return seen
        provider, status = request.path_params["provider"], 500
        try:
            response = await self.admitted(request)
            status = response.status_code
        except ClientDisconnect:
            status = 0  # nobody is left to answer
            raise
        except asyncio.CancelledError:
            status = 503  # see _Endpoint
            raise
        except Problem as problem:
            status = problem.status
            raise
        finally:
            self.writer.ledger.metrics.answered(provider, status)
        return response

    async def admitted(self, request: Request) -> Response:
        """Receive a callback, or turn it away and count that."""
        try:
            return await self.callback(request)
        except Problem as problem:
            name, address = request.path_params["provider"], self.address(request)
            refused = self.refused(problem, name, address)
            if refused.why:
                account = request.scope.get("account", "")
                self.writer.ledger.refuse(name, account, refused.why, address)
            raise refused from None

    def no_http(self, peer: str, url: bytes, line: bytes, why: str) -> None:
        """Count a request that is no HTTP, and log it, at times.

        `peer` is who sent it, `url` the last one that was read on its connection, `line` the odd
        first line behind that, `why` what is wrong, in words of ours.
        """
        path = _CALLBACK.match(line) or _CALLBACK.match(url)
        named = path[1].decode() if path else ""
        name = named if named in PROVIDERS else OTHER
        address = security.client(peer, (), self.settings.trusted_proxies)
        self.writer.ledger.refuse(name, "", refusals.INVALID_HTTP, address)
        failure = self.strangers.add(address, time.monotonic())
        if failure.unsaid:
            log.warning(
                "no http",
                provider=name,
                address=address,
                reason=why,
                begins_as=next((n for begin, n in BEGINNINGS if line.startswith(begin)), None),
                times=failure.unsaid,
            )

    def refused(self, problem: Problem, name: str, address: str) -> Problem:
        """Return a 401 as a 429 where the address fails again and again; log it, at times."""
        if problem.status != 401:  # noqa: PLR2004
            return problem
        failure = self.failures.add(address, time.monotonic())
        if failure.unsaid:
            log.warning(
                "callback refused",
                provider=name,
                address=address,
                reason=problem.why,
                times=failure.unsaid,
            )
        if failure.retry_after is None:
            return problem
        return Problem(429, problem.detail, {"Retry-After": str(failure.retry_after)})

    async def callback(self, request: Request) -> Response:
        """Receive a callback: the answers of the contract, in their order."""
        name = request.path_params["provider"]
        provider = PROVIDERS.get(name)
        if provider is None:
            raise Problem(404, "No such provider.")
        check_method(request, provider.METHODS | {"HEAD"})
        if codings(request) & CODINGS:
            raise Problem(415, "Expected a body that is not compressed, by its Content-Encoding.")
        address = self.address(request)
        account, query_string = self.account(name, request, address)
        request.scope["account"] = account
        if request.method == "HEAD":
            self.probes.count(name, account, request.method)
            return OK

        def arrived(body: bytes) -> Callback:
            return Callback(
                provider=name,
                account=account,
                method=request.method,
                query=query_string,
                content_type=_text(request.headers.get("content-type", "")),
                body=body,
                remote_addr=address,
                headers=request.headers,
            )

        marks = self.marks(name, request)
        proven = marks is not None
        limit = self.settings.max_body_bytes if proven else PEEK_BYTES
        with self.budget.body(name, address) as share:
            try:
                callback = arrived(await read_body(request, limit, self.body_seconds, share))
            except Problem:
                if proven:
                    raise
                raise self.unproven(name, request) from None  # too long or too slow for a probe
            if provider.is_probe(callback):
                self.probes.count(name, account, request.method)
                return OK
            if marks is None:
                raise self.unproven(name, request)
            if marks and not self.nonces.admit(name, marks, callback.body, callback.received_at):
                detail = "The signature or its nonce was used before, with another body."
                raise _unauthorized(detail, refusals.USED_NONCE)
            return await self.keep(callback)

    def seen(self, request: Request) -> Response | None:
        """Answer a self-test with what arrived of it; None where it is none, or not proven."""
        name = request.path_params["provider"]
        known = find_token(self.settings.provider(name).tokens, request)
        if known is None:
            return None
        token, _ = known
        keys = [key.value for key in self.settings.api_keys] or [token.value]
        asked, now = request.headers[self_test.HEADER], datetime.now(UTC)
        proof = self_test.answer(keys, name, token.value, asked, now)
        if proof is None:
            return None
        peer = request.client
        said = {
            "proof": proof,
            "time": now.isoformat(),
            "peer": peer and peer.host,
            "peer_port": peer and peer.port,
            "address": self.address(request),
            "forwarded_for": [h[:1000] for h in request.headers.getlist("x-forwarded-for")][:10],
        }
        return JSONResponse(said, headers={"Cache-Control": "no-store"})

    def account(self, name: str, request: Request, address: str) -> tuple[str, str]:
        """Return the account of the URL's token, and the query that came with it.

        Raises the 401, also for an address not allowed.
        """
        settings = self.settings.provider(name)
        allowed = settings.allowed_ips
        known = find_token(settings.tokens, request)
        if known is None or (allowed and not security.within(address, allowed)):
            detail = "The URL's token is wrong or missing, or the address not allowed."
            why = refusals.WRONG_TOKEN if settings.tokens else refusals.NO_TOKEN
            raise _unauthorized(detail, refusals.WRONG_ADDRESS if known is not None else why)
        token, query_string = known
        return token.name, quote(query_string, safe=_QUERY_SAFE)

    def marks(self, name: str, request: Request) -> tuple[str, ...] | None:
        """Return the marks of the proofs beside token and address; None where one is wrong."""
        pairs = self.settings.provider(name).basic_auth
        if pairs and not security.basic(pairs, request.headers.get("authorization", "")):
            return None
        return security.prove(self.demands[name], request.headers, datetime.now(UTC))

    def unproven(self, name: str, request: Request) -> Problem:
        """Return the 401 that says what is asked for beside token and address."""
        pairs = self.settings.provider(name).basic_auth
        right = not pairs or security.basic(pairs, request.headers.get("authorization", ""))
        wanted = security.expected(self.demands[name])
        detail = " ".join(filter(None, (BASIC if pairs else "", wanted)))
        why = refusals.WRONG_SIGNATURE if right else refusals.WRONG_BASIC
        return _unauthorized(detail, why)

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
            self.say_not_kept(str(error))
            why = refusals.QUEUE_FULL if isinstance(error, BusyError) else ""
            raise Problem(503, str(error), RETRY_AFTER, why=why) from None
        if reading.outcome == "read":
            return OK
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
        return OK

    def say_not_kept(self, why: str) -> None:
        """Count a callback that is not kept, and say once a second how many there were."""
        self.not_kept += 1
        if time.monotonic() - self.said_not_kept >= 1:
            log.error("callbacks not kept", callbacks=self.not_kept, reason=why)
            self.not_kept, self.said_not_kept = 0, time.monotonic()

    def read(self, arrived: Callback) -> Reading:
        """Blank message texts, then read what is left."""
        return pipeline.receive(arrived, self.interpreter, self.settings.message_text)

    # Sent messages.

    async def messages(self, request: Request) -> Response:
        """`/messages`: record what was sent, or look it up."""
        check_method(request, frozenset({"GET", "HEAD", "POST"}))
        name = self.check_key(request)
        if request.method == "POST":
            return await self.record(request, name)
        given = request.query_params
        if "changed_after" in given:
            return await self.feed(given["changed_after"], given.get("limit", ""))
        if given.get("reference"):
            return await self.found(query.by_reference, given["reference"])
        if given.get("recipient"):
            return await self.found(query.by_recipient, given["recipient"])
        raise Problem(422, "Expected one of: ?reference=, ?recipient=, ?changed_after=.")

    async def record(self, request: Request, key: str) -> Response:
        """Record sent messages, all or nothing."""
        limit = self.settings.max_body_bytes
        with self.budget.body("messages", self.address(request)) as share:
            body = await read_body(request, limit, self.body_seconds, share)
            return await self.recorded(body, key)

    async def recorded(self, body: bytes, key: str) -> Response:
        """Record the messages of a body."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise Problem(400, "Expected a body of JSON, in UTF-8.") from None
        try:
            said = submission(document)
            sent = await run_in_threadpool(said.sent_messages, self.settings.timezone)
            recorded = await self.writer.run(
                lambda c: record(c, said.provider, sent),
                RECORD_SECONDS + len(sent) / RECORDED_A_SECOND,
            )
        except RecordError as error:
            raise Problem(422, str(error), problems=error.problems) from None
        except ProviderRefusalError as error:
            raise Problem(422, f"The provider refused to send: {error}") from None
        except UnavailableError as error:
            raise Problem(503, f"{error} Record it again later.", RETRY_AFTER) from None
        new = [r for r in recorded if r.new]
        rejected = sum(r.refused for r in new)
        log.info(
            "recorded",
            provider=said.provider,
            key=key,
            recorded=len(new) - rejected,
            repeated=len(recorded) - len(new),
            rejected=rejected,
        )
        return JSONResponse(
            {
                "recorded": len(new) - rejected,
                "repeated": len(recorded) - len(new),
                "rejected": rejected,
                "messages": [r.as_json() for r in recorded],
            },
            201,
        )

    async def message(self, request: Request) -> Response:
        """Look messages up by the provider's id."""
        check_method(request, frozenset({"GET", "HEAD"}))
        self.check_key(request)
        name = request.path_params["provider"]
        if name not in PROVIDERS:
            raise Problem(404, f"No such provider; expected one of: {', '.join(PROVIDERS)}.")
        return await self.found(query.by_id, name, request.path_params["id"])

    async def found(self, look: Callable[..., query.Found], *given: str) -> Response:
        """Answer what a look-up finds."""
        # No database could keep a NUL, and PostgreSQL does not even look for one.
        found = None if any("\0" in value for value in given) else await self.ask(look, *given)
        if not found:
            raise Problem(404, "No message and no report found.")
        return JSONResponse(found.as_json())

    async def feed(self, cursor: str, limit: str) -> Response:
        """Answer the messages whose status changed after a cursor."""
        count = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 6 else 0  # noqa: PLR2004
        count = query.FEED_LIMIT if not limit else count
        if not 1 <= count <= query.FEED_MAX:
            raise Problem(422, f"limit: expected a number from 1 to {query.FEED_MAX}.")
        messages, after = await self.ask(query.changes, cursor, count)
        return JSONResponse({"messages": messages, "cursor": after})

    async def ask(self, look: Callable[..., Any], *given: Any) -> Any:
        """Read from the database. Raises the 503 and the 422."""
        try:
            return await self.look(lambda connection: look(connection, *given))
        except UnreadableError as error:
            raise Problem(422, str(error)) from None
        except UnavailableError as error:
            raise Problem(503, str(error), RETRY_AFTER) from None

    async def look(self, work: Callable[[Connection], T]) -> T:
        """Read from the database, in a thread. Raises UnavailableError where it is away."""

        def read() -> T:
            with self.reader.connect() as connection, query.limited(connection):
                return work(connection)

        return await self.reading(read)

    async def reading(self, work: Callable[[], T]) -> T:
        """Do what asks the database in a thread.

        Raises UnavailableError where it is away, UnreadableError where it can never be asked that.
        """
        try:
            return await to_thread.run_sync(work, limiter=self.lookups)
        except SQLAlchemyError as error:
            if is_cut(error):
                raise UnavailableError(TOO_SLOW) from None
            if is_data(error):
                raise UnreadableError(NOT_ASKABLE) from None
            log.error("database away", reason=reason(error))
            raise UnavailableError("The database is away.") from None

    # The operator's page.

    async def operators(self, request: Request) -> ASGIApp:
        """Answer what no other route does: the operator's page, or that there is no such."""
        if self.page is None:  # what it is made of is not loaded before somebody asks for it
            self.page = await run_in_threadpool(self.open_page)
        allowed = self.page.methods(request.scope)
        if not allowed:
            return await no_page(request)
        check_method(request, allowed)
        with self.budget.body("page", self.address(request)) as share:
            body = await read_body(request, PAGE_BYTES, self.body_seconds, share)
        peer = request.client.host if request.client else ""
        proxied = security.within(peer, self.settings.trusted_proxies)
        forwarded = request.headers.getlist("x-forwarded-proto") if proxied else []
        https = security.forwarded_https(forwarded) or request.url.scheme == "https"
        return self.page.answer(body, https=https)

    def open_page(self) -> Page:
        """Make the operator's page."""
        from receiver.admin import Desk, Page

        return Page(
            Desk(
                settings=self.settings,
                look=self.look,
                replay=self.replay,
                spooled=self.held,
                address=self.address,
                guesses=self.guesses,
            )
        )

    async def replay(self, id_: str) -> rebuild.Replayed:
        """Read one kept callback again. Raises UnreadableError and UnavailableError."""

        def work() -> rebuild.Replayed:
            ids = query.kept_ids(self.engine, [id_])
            text = self.settings.message_text
            return rebuild.replay(self.engine, self.interpreter, text, ids=ids)

        return await self.reading(work)

    async def held(self) -> Held | None:
        """Return what waits in the spool; None where there is none."""
        spool = self.writer.spool
        return None if spool is None else await run_in_threadpool(spool.held)

    # Health.

    async def healthz(self, request: Request) -> Response:
        """Say that the process is up."""
        check_method(request, frozenset({"GET", "HEAD"}))
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Say whether callbacks can be kept, and how much waits to be settled or in the spool."""
        check_method(request, frozenset({"GET", "HEAD"}))
        full = self.full()
        takes = await self.takes()
        waiting = await self.waiting() if takes else None
        spool = self.writer.spool
        if spool is not None and not takes:
            await run_in_threadpool(spool.check)  # it is all there is
        held = await self.held()
        problems = [] if full is None else [full]
        if not takes:
            problems.append(f"The database is away. {self.writer.outage.why}".strip())
        elif waiting is None:
            problems.append("What waits to be settled cannot be read.")
        problems += [] if held is None else spool_problems(held)
        if full is not None or not (takes or (held is not None and not held.trouble)):
            detail = " ".join(problems)
            body: dict[str, Any] = {"status": "unavailable", "detail": detail}
            return JSONResponse(body, 503, headers=RETRY_AFTER)
        body = {
            "status": "degraded" if problems else "ready",
            "problems": problems,
            "queue": {"callbacks": self.writer.callbacks, "bytes": self.writer.bytes},
            "spool": None if held is None else asdict(held),
            "settling": None if waiting is None else asdict(waiting),
        }
        return JSONResponse(body)

    async def metrics(self, request: Request) -> Response:
        """Say everything that is counted, for Prometheus."""
        check_method(request, frozenset({"GET", "HEAD"}))
        found, kind = await self.monitoring.answer(request.headers.get("accept", ""))
        return Response(found, headers={"Content-Type": kind})

    def full(self) -> str | None:
        """Say why no callback is taken at the door; None where it is."""
        try:
            self.writer.check()
        except UnavailableError as error:
            return str(error)
        return None

    async def takes(self) -> bool:
        """Say whether the database takes callbacks."""
        try:
            await self.writer.run(can_keep)
        except (UnavailableError, SQLAlchemyError):
            return False
        return True

    async def waiting(self) -> query.Waiting | None:
        """Return what waits to be settled; None where that cannot be read."""
        try:
            waiting: query.Waiting = await self.ask(query.waiting)
        except Problem:
            return None
        return waiting


def spool_problems(held: Held) -> list[str]:
    """Say what is not as it should be with a spool, and what to do, in sentences."""
    problems = []
    if held.trouble:
        problems.append(f"The spool takes nothing: {held.trouble}.")
    if held.callbacks:
        problems.append(f"{held.callbacks} callbacks wait in the spool.")
    if held.refused:
        problems.append(
            f"The database refuses {held.refused} callbacks in the spool: {held.refusal}"
            " They are tried again every minute."
        )
    problems += [
        f"{name} is damaged: run `receiver receive --spool {name}`, then remove it."
        for name in held.set_aside
    ]
    return problems


# Characters of a query string that stay; all others are percent-encoded, which means the same.
_QUERY_SAFE: Final = "".join(chr(c) for c in range(0x21, 0x7F))


_CALLBACK: Final = re.compile(rb"(?:[A-Z-]+ +)?(?:https?://[^/ ]*)?/callbacks/([a-z0-9_]+)")


def _text(header: str) -> str:
    """Return a header as text that every database can keep."""
    return header.encode("latin-1", "replace").decode("ascii", "replace").replace("\0", "")[:200]


def _unauthorized(detail: str, why: str) -> Problem:
    return Problem(401, detail, {"WWW-Authenticate": 'Basic realm="receiver"'}, why=why)


def check_method(request: Request, allowed: frozenset[str]) -> None:
    """Raise the 405 for any method that is not allowed."""
    if request.method not in allowed:
        names = ", ".join(sorted(allowed))
        raise Problem(405, f"Expected one of: {names}.", {"Allow": names})


def codings(request: Request) -> set[str]:
    """Return every Content-Encoding that is named, in however many headers, in lower case."""
    named = ",".join(request.headers.getlist("content-encoding"))
    return {coding.partition(";")[0].strip(' \t"').lower() for coding in named.split(",")}


def find_token(
    tokens: Iterable[security.Named], request: Request
) -> tuple[security.Named, bytes] | None:
    """Return the token that a callback's URL holds, and the URL's query; None where none is known.

    The token is what stands behind the provider's name. Where that is none of ours it may be one
    with something around it: a slash or blank at either end, as it was pasted into a console, or
    parameters that were appended to a URL without a `?`, `…/TOKEN&Transaction=1&Status=…`, which
    are its query then.
    """
    query_string: bytes = request.scope["query_string"]
    token = security.find(tokens, request.path_params.get("token", ""))
    if token is not None:
        return token, query_string
    written = b"/".join(request.scope["raw_path"].split(b"/")[3:])  # /callbacks/PROVIDER/…
    registered, _, appended = written.partition(b"&")
    token = security.find(tokens, unquote(registered).strip("/ \t\r\n"))
    if token is None:
        return None
    return token, b"&".join(filter(None, (appended, query_string)))


async def read_body(request: Request, limit: int, seconds: float, share: Body) -> bytes:
    """Return the body, which its share of the budget covers until that is given back.

    Raises the 413 over the limit, the 503 where there is no room for it, and the 408 when it takes
    too long; the first two before it is here. What still comes of it is protocol.py's to drop.
    """
    length = request.headers.get("content-length", "")
    if not length and "transfer-encoding" not in request.headers:
        return b""  # RFC 9112, section 6.3
    chunks: list[bytes] = []
    size = 0
    _check_room(int(length) if length.isdecimal() else 0, limit, share)
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                _check_room(size, limit, share)
                chunks.append(chunk)
    except TimeoutError:
        detail = f"Expected the whole body within {seconds:g} s."
        raise Problem(408, detail, {"Connection": "close"}) from None
    return b"".join(chunks)


def _check_room(size: int, limit: int, share: Body) -> None:
    """Raise the 413 or the 503 for a body of so many bytes that must not be taken."""
    if size > limit:
        raise Problem(413, f"Expected at most {limit} bytes.", {"Connection": "close"})
    if not share.cover(size):
        raise Problem(503, NO_ROOM, RETRY_AFTER, why=refusals.NO_ROOM)


class _Rest(PathConvertor):
    """The rest of a path, line breaks included: they make a wrong token, not another page."""

    regex = "(?s:.*)"


register_url_convertor("rest", _Rest())


class _Endpoint:
    """An ASGI endpoint that turns every exception into an answer, and none into a traceback.

    Starlette's own handler for Exception raises it again after answering.
    """

    def __init__(self, endpoint: Callable[[Request], Awaitable[ASGIApp]]) -> None:
        self.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        response: ASGIApp
        try:
            response = await self.endpoint(request)
        except Problem as problem:
            response = problem.response()
        except ClientDisconnect:
            return  # nobody is left to answer
        except asyncio.CancelledError:  # the server is stopping, and its patience is over
            response = Problem(503, "The receiver is shutting down.", RETRY_AFTER).response()
        except Exception as error:  # noqa: BLE001 - the last resort: ours, and a 5xx
            log.error("failed", error=place(error))
            response = Problem(500, "Something went wrong here. It is logged.").response()
        await response(scope, receive, send)


async def no_page(_request: Request) -> Response:
    """Answer 404 for everything that is not there, or not for this caller."""
    return Problem(404, "No such page.").response()
