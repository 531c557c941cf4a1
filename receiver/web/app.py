"""The web edge: routes, proof, body limits, and what each situation is answered.

The order of the answers is the contract's (README, "Answers"): where several fit, the first.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from receiver.database import READ, is_cut, is_data, reason, retry, time_limit
from receiver.domain import (
    BusyError,
    Callback,
    ProviderRefusalError,
    RecordError,
    UnavailableError,
    UnreadableError,
    location,
)
from receiver.ingest import (
    LONGEST_BODIES,
    SMALL,
    Budget,
    Interpreter,
    Quota,
    Writer,
    can_keep,
    interpret,
    kept_ids,
    order,
)
from receiver.maintenance import replay as rebuild
from receiver.messages import lookup, record, submission
from receiver.monitoring import peers
from receiver.monitoring.metrics import Monitoring
from receiver.providers import PROVIDERS
from receiver.security import addresses, proofs, self_test
from receiver.settling import backlog
from receiver.statistics import Counters, refusals
from receiver.web.callers import CallerCheck
from receiver.web.probes import Probes
from receiver.web.problems import RETRY_AFTER, Problem, check_method, no_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy import Connection, Engine
    from starlette.types import ASGIApp, Receive, Scope, Send

    from receiver.domain import Reading
    from receiver.ingest import Body
    from receiver.ingest.spool import Held, Spool
    from receiver.settings import Settings
    from receiver.web.admin import Page
    from receiver.web.callers import Caller


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
TOO_SLOW: Final = f"The database took longer than {time_limit.LOOKUP_SECONDS} s. Ask for less."
CODINGS: Final = frozenset(
    (
        "aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip",
        "x-compress", "x-gzip", "zstd",
    )
)  # fmt: skip
"""Codings that change the bytes (IANA's HTTP Content Coding Registry). Senders also name there what
changes nothing: `identity`, `UTF-8`, `none`, `8bit`."""
NOT_ASKABLE: Final = "No database can be asked for this: it holds what none could keep."
PEEK_BYTES: Final = 64
"""How much of a body is looked at to tell a probe, where the caller has only half proven itself."""

ANSWERS: Final = {
    name: Response(provider.ANSWER.body, media_type=provider.ANSWER.media_type)
    for name, provider in PROVIDERS.items()
}
"""What each provider is answered where all is well."""


class Edge:
    """The routes, and what they need: settings, the writer, the database to read from."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        spool: Spool | None = None,
        *,
        counters: Counters | None = None,
        prepare: Callable[[], object] | None = None,
        away: str | None = None,
    ) -> None:
        """Make one that serves nothing yet; all counts go into `ledger`.

        `prepare` and `away` are the writer's, see there.
        """
        self.settings = settings
        self.engine = engine
        self.reader = engine.execution_options(**READ)
        self.interpreter = Interpreter.from_settings(settings)
        quota = Quota(settings.max_unreadable_bytes, settings.timezone, time.monotonic)
        self.counters = counters or Counters()
        self.writer = Writer(
            engine,
            spool,
            lambda c: interpret.read(c, self.interpreter),
            quota,
            counters=self.counters,
            prepare=prepare,
            away=away,
        )
        self.monitoring = Monitoring(self.reader, self.writer, self.counters.metrics)
        self.budget = Budget(LONGEST_BODIES * settings.max_body_bytes)
        self.lanes: defaultdict[tuple[str, int], CapacityLimiter] = defaultdict(
            partial(CapacityLimiter, 1)
        )
        self.lookups = CapacityLimiter(LOOKUPS)
        self.body_seconds = BODY_SECONDS
        self.not_kept = 0
        self.said_not_kept = 0.0
        self.callers = CallerCheck(settings)
        self.probes = Probes(self.counters.metrics)
        self.page: Page | None = None

    def app(self) -> Router:
        """Make the ASGI application.

        A bare Router: what Starlette's middleware would do, each endpoint does for itself.
        """
        internal = self.callers.internal
        return Router(
            routes=[
                Route("/callbacks/{provider}/{token:rest}", _Endpoint(self.callbacks)),
                Route("/callbacks/{provider}", _Endpoint(self.callbacks)),
                Route("/healthz", _Endpoint(self.healthz)),
                Route("/readyz", _Endpoint(self.callers.named(self.readyz))),
                Route("/metrics", _Endpoint(self.callers.named(self.metrics))),
                Route("/messages", _Endpoint(internal(self.messages))),
                Route("/messages/{provider}/{id:rest}", _Endpoint(internal(self.message))),
            ],
            redirect_slashes=False,
            default=_Endpoint(self.callers.named(self.operators)),
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
        noted = await run_in_threadpool(peers.shared, self.settings)
        name = peers.own_name()
        while True:
            with suppress(UnavailableError, SQLAlchemyError):
                await self.writer.run(
                    lambda connection: peers.note(connection, name, noted, datetime.now(UTC))
                )
            await asyncio.sleep(peers.NOTE_EVERY.total_seconds())

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
            self.counters.metrics.answered(provider, status)
        return response

    async def admitted(self, request: Request) -> Response:
        """Receive a callback, or turn it away and count that: the contract's answers in order."""
        name, account = request.path_params["provider"], ""
        if name not in PROVIDERS:
            raise Problem(404, "No such provider.")
        try:
            check_method(request, PROVIDERS[name].METHODS | {"HEAD"})
            check_coding(request)
            caller = self.callers.identify(request, name)
            account = caller.account
            return await self.callback(request, name, caller)
        except Problem as problem:
            address = self.callers.address(request)
            refused = self.callers.refused(problem, name, address)
            if refused.why:
                self.counters.refuse(name, account, refused.why, address)
            raise refused from None

    def no_http(self, peer: str, url: bytes, line: bytes, why: str) -> None:
        """Count what is no HTTP; see `CallerCheck.no_http`."""
        name, address = self.callers.no_http(peer, url, line, why)
        self.counters.refuse(name, "", refusals.INVALID_HTTP, address)

    async def callback(self, request: Request, name: str, caller: Caller) -> Response:
        """Receive a callback of somebody with a right token, of a provider of ours."""
        provider = PROVIDERS[name]
        if request.method == "HEAD":
            self.probes.count(name, caller.account, request.method)
            return ANSWERS[name]
        proven = caller.unproven is None
        limit = self.settings.max_body_bytes if proven else PEEK_BYTES
        with self.budget.body(name, caller.address) as share:
            try:
                body = await read_body(request, limit, self.body_seconds, share)
            except Problem as problem:  # too long or too slow for a probe
                raise caller.unproven or problem from None
            arrived = Callback(
                provider=name,
                account=caller.account,
                method=request.method,
                query=caller.query,
                content_type=_text(request.headers.get("content-type", "")),
                body=body,
                remote_addr=caller.address,
                headers=request.headers,
            )
            if provider.is_probe(arrived):
                self.probes.count(name, caller.account, request.method)
                return ANSWERS[name]
            self.callers.admit(caller, arrived)
            return await self.keep(arrived)

    def seen(self, request: Request) -> Response | None:
        """Answer a self-test with what arrived of it; None where it is none, or not proven."""
        name = request.path_params["provider"]
        token = self.callers.token(request, name)
        if token is None:
            return None
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
            "address": self.callers.address(request),
            "forwarded_for": [h[:1000] for h in request.headers.getlist("x-forwarded-for")][:10],
        }
        return JSONResponse(said, headers={"Cache-Control": "no-store"})

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
            return ANSWERS[arrived.provider]
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
        return ANSWERS[arrived.provider]

    def say_not_kept(self, why: str) -> None:
        """Count a callback that is not kept, and say once a second how many there were."""
        self.not_kept += 1
        if time.monotonic() - self.said_not_kept >= 1:
            log.error("callbacks not kept", callbacks=self.not_kept, reason=why)
            self.not_kept, self.said_not_kept = 0, time.monotonic()

    def read(self, arrived: Callback) -> Reading:
        """Blank message texts, then read what is left."""
        return interpret.redact_and_read(arrived, self.interpreter, self.settings.message_text)

    # Sent messages.

    async def messages(self, request: Request) -> Response:
        """`/messages`: record what was sent, or look it up."""
        check_method(request, frozenset({"GET", "HEAD", "POST"}))
        name = self.callers.check_key(request)
        if request.method == "POST":
            return await self.record(request, name)
        given = request.query_params
        if "changed_after" in given:
            return await self.feed(given["changed_after"], given.get("limit", ""))
        if given.get("reference"):
            return await self.found(lookup.by_reference, given["reference"])
        if given.get("recipient"):
            return await self.found(lookup.by_recipient, given["recipient"])
        raise Problem(422, "Expected one of: ?reference=, ?recipient=, ?changed_after=.")

    async def record(self, request: Request, key: str) -> Response:
        """Record sent messages, all or nothing."""
        limit = self.settings.max_body_bytes
        with self.budget.body("messages", self.callers.address(request)) as share:
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
        self.callers.check_key(request)
        name = request.path_params["provider"]
        if name not in PROVIDERS:
            raise Problem(404, f"No such provider; expected one of: {', '.join(PROVIDERS)}.")
        return await self.found(lookup.by_id, name, request.path_params["id"])

    async def found(self, look: Callable[..., lookup.Found], *given: str) -> Response:
        """Answer what a look-up finds."""

        def answer(connection: Connection) -> Response | None:
            found = look(connection, *given)
            return JSONResponse(found.as_json()) if found else None  # megabytes, off the loop

        # No database could keep a NUL, and PostgreSQL does not even look for one.
        asked = not any("\0" in value for value in given)
        response: Response | None = await self.ask(answer) if asked else None
        if response is None:
            raise Problem(404, "No message and no report found.")
        return response

    async def feed(self, cursor: str, limit: str) -> Response:
        """Answer the messages whose status changed after a cursor."""
        count = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 6 else 0  # noqa: PLR2004
        count = lookup.FEED_LIMIT if not limit else count
        if not 1 <= count <= lookup.FEED_MAX:
            raise Problem(422, f"limit: expected a number from 1 to {lookup.FEED_MAX}.")

        def answer(connection: Connection) -> Response:
            messages, after = lookup.changes(connection, cursor, count)
            return JSONResponse({"messages": messages, "cursor": after})

        response: Response = await self.ask(answer)
        return response

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
            with self.reader.connect() as connection, time_limit.limited(connection):
                return work(connection)

        return await self.reading(read)

    async def reading(self, work: Callable[[], T]) -> T:
        """Do what asks the database in a thread.

        Raises UnavailableError where it is away, UnreadableError where it can never be asked that.
        """
        try:
            return await to_thread.run_sync(retry, work, limiter=self.lookups)
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
        with self.budget.body("page", self.callers.address(request)) as share:
            body = await read_body(request, PAGE_BYTES, self.body_seconds, share)
        peer = request.client.host if request.client else ""
        proxied = addresses.within(peer, self.settings.trusted_proxies)
        forwarded = request.headers.getlist("x-forwarded-proto") if proxied else []
        https = proofs.forwarded_https(forwarded) or request.url.scheme == "https"
        return self.page.answer(body, https=https)

    def open_page(self) -> Page:
        """Make the operator's page."""
        from receiver.web.admin import Backend, Page

        return Page(
            Backend(
                settings=self.settings,
                look=self.look,
                replay=self.replay,
                spooled=self.held,
                address=self.callers.address,
                guesses=self.callers.guesses,
            )
        )

    async def replay(self, id_: str) -> rebuild.Replayed:
        """Read one kept callback again. Raises UnreadableError and UnavailableError."""

        def work() -> rebuild.Replayed:
            ids = kept_ids(self.engine, [id_])
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
        state = self.writer.state()
        problems = [] if full is None else [full]
        if not takes:
            problems.append(f"The database is away. {state.why}".strip())
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
            "queue": {"callbacks": state.callbacks, "bytes": state.bytes},
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

    async def waiting(self) -> backlog.Waiting | None:
        """Return what waits to be settled; None where that cannot be read."""
        try:
            waiting: backlog.Waiting = await self.ask(backlog.waiting)
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


def _text(header: str) -> str:
    """Return a header as text that every database can keep."""
    return header.encode("latin-1", "replace").decode("ascii", "replace").replace("\0", "")[:200]


def check_coding(request: Request) -> None:
    """Raise the 415 where one of the Content-Encodings that are named changes the body's bytes."""
    named = ",".join(request.headers.getlist("content-encoding"))
    codings = {coding.partition(";")[0].strip(' \t"').lower() for coding in named.split(",")}
    if codings & CODINGS:
        raise Problem(415, "Expected a body that is not compressed, by its Content-Encoding.")


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
            log.error("failed", error=location(error))
            response = Problem(500, "Something went wrong here. It is logged.").response()
        await response(scope, receive, send)
