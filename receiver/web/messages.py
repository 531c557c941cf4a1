"""Sent messages over HTTP: they are recorded, looked up, and followed in the feed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import structlog
from anyio import CapacityLimiter, to_thread
from starlette.responses import JSONResponse

from receiver.domain import ProviderRefusalError, RecordError, UnavailableError
from receiver.ingest import SMALL
from receiver.messages import lookup, record, submission
from receiver.providers import PROVIDERS
from receiver.web.problems import RETRY_AFTER, Problem, check_method

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from sqlalchemy import Connection
    from starlette.requests import Request
    from starlette.responses import Response

    from receiver.domain import SentMessage
    from receiver.ingest import Writer
    from receiver.web.bodies import Bodies
    from receiver.web.callers import CallerCheck
    from receiver.web.lookups import Lookups


log = structlog.get_logger(__name__)

RECORD_SECONDS: Final = 3.0
"""The seconds that recording may take before the database counts as unavailable, at least."""
RECORDED_A_SECOND: Final = 500
"""The messages for which recording may take one second more: callbacks wait meanwhile."""
READ_AT_ONCE: Final = 2
"""The bodies that are not small that are read at once: each is held as a document of several times
its size meanwhile."""
FEED_DIGITS: Final = 5


class Messages:
    """What answers at `/messages`, to who has an API key."""

    def __init__(
        self,
        *,
        callers: CallerCheck,
        bodies: Bodies,
        writer: Writer,
        lookups: Lookups,
        timezone: tzinfo,
    ) -> None:
        """`timezone` is that of times that are recorded without an offset."""
        self.callers = callers
        self.bodies = bodies
        self.writer = writer
        self.lookups = lookups
        self.timezone = timezone
        self.readers = CapacityLimiter(READ_AT_ONCE)

    async def answer(self, request: Request) -> Response:
        """`/messages`: record what was sent, or look it up."""
        check_method(request, frozenset({"GET", "HEAD", "POST"}))
        key = self.callers.check_key(request)
        if request.method == "POST":
            with self.bodies.share("messages", self.callers.address(request)) as share:
                return await self.record(await self.bodies.read(request, share), key)
        query = request.query_params
        if "changed_after" in query:
            return await self.feed(query["changed_after"], query.get("limit", ""))
        if query.get("reference"):
            return await self.find(lookup.by_reference, query["reference"])
        if query.get("recipient"):
            return await self.find(lookup.by_recipient, query["recipient"])
        raise Problem(422, "Expected one of: ?reference=, ?recipient=, ?changed_after=.")

    async def answer_one(self, request: Request) -> Response:
        """`/messages/PROVIDER/ID`: look messages up by the provider's id."""
        check_method(request, frozenset({"GET", "HEAD"}))
        self.callers.check_key(request)
        name = request.path_params["provider"]
        if name not in PROVIDERS:
            raise Problem(404, f"No such provider; expected one of: {', '.join(PROVIDERS)}.")
        return await self.find(lookup.by_id, name, request.path_params["id"])

    async def record(self, body: bytes, key: str) -> Response:
        """Record the messages of a body, all or none; `key` is the name of who asks."""
        limiter = self.readers if len(body) > SMALL else None  # None is everybody's
        try:
            provider, sent = await to_thread.run_sync(self.read, body, limiter=limiter)
            recorded = await self.writer.run(
                lambda c: record(c, provider, sent), RECORD_SECONDS + len(sent) / RECORDED_A_SECOND
            )
        except RecordError as error:
            raise Problem(422, str(error), problems=error.problems) from None
        except ProviderRefusalError as error:
            raise Problem(422, f"The provider refused to send: {error}") from None
        except UnavailableError as error:
            raise Problem(503, f"{error} Record it again later.", RETRY_AFTER) from None
        new = [r for r in recorded if r.new]
        rejected = sum(r.refused for r in new)
        counts = {
            "recorded": len(new) - rejected,
            "repeated": len(recorded) - len(new),
            "rejected": rejected,
        }
        log.info("recorded", provider=provider, key=key, **counts)

        def answer() -> Response:
            return JSONResponse({**counts, "messages": [r.as_json() for r in recorded]}, 201)

        return await to_thread.run_sync(answer, limiter=limiter)

    def read(self, body: bytes) -> tuple[str, list[SentMessage]]:
        """Return the provider and the messages that a body says were sent.

        Raises the 400, RecordError and ProviderRefusalError.
        """
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise Problem(400, "Expected a body of JSON, in UTF-8.") from None
        submitted = submission(document)
        return submitted.provider, submitted.sent_messages(self.timezone)

    async def find(self, find_: Callable[..., lookup.Found], *query: str) -> Response:
        """Answer what a look-up finds."""

        def answer(connection: Connection) -> Response | None:
            matches = find_(connection, *query)
            return JSONResponse(matches.as_json()) if matches else None  # megabytes, off the loop

        # No database could keep a NUL, and PostgreSQL does not even look for one.
        askable = not any("\0" in value for value in query)
        response = await self.lookups.ask(answer) if askable else None
        if response is None:
            raise Problem(404, "No message and no report found.")
        return response

    async def feed(self, cursor: str, limit: str) -> Response:
        """Answer the messages whose status changed after a cursor."""
        is_number = limit.isascii() and limit.isdigit() and len(limit) <= FEED_DIGITS
        count = int(limit) if is_number else 0 if limit else lookup.FEED_LIMIT
        if not 1 <= count <= lookup.FEED_MAX:
            raise Problem(422, f"limit: expected a number from 1 to {lookup.FEED_MAX}.")

        def answer(connection: Connection) -> Response:
            messages, after = lookup.changes(connection, cursor, count)
            return JSONResponse({"messages": messages, "cursor": after})

        return await self.lookups.ask(answer)
