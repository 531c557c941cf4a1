"""The peer: the same work in one async SQLAlchemy transaction per request.

FROZEN. The receiver's speed is told as a multiple of this file's, so it is not changed any more,
neither to make it faster nor slower. Only where the tables or the providers' parsers change so
that it no longer runs may it follow them.

It is what a good engineer would write who does not know of group commit, in good faith: the same
server, event loop, parsers, tables, indexes, pragmas, isolation and durability as the receiver;
statements that are compiled once, as few of them as the work needs, set-based ones for batches;
no rollback where nothing is open; one writing connection on SQLite (it has one writer) and a pool
on PostgreSQL. Every request keeps its callback, keeps each report once, finds and locks the sent
message, moves its status by the rule of ranks, commits, and is answered then.

`python -m tests.benchmarks.peer --port 8000`, with the environment variables of `receiver serve`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import uvicorn
from sqlalchemy import BindParameter, bindparam, event, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from receiver.database import schema
from receiver.database.engine import SQLITE_PRAGMAS, connect, parse_url
from receiver.database.failures import is_transient
from receiver.database.tables.callbacks import callback as callbacks
from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.domain.callback import Callback
from receiver.domain.errors import UnreadableError
from receiver.domain.phone import msisdn
from receiver.domain.report import Report, Unreadable
from receiver.domain.status import FAILED, SHARED_STATUSES, Status
from receiver.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from sqlalchemy import URL, Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from starlette.requests import Request

    from receiver.domain.report import Item

POOL: Final = 16
"""Connections to PostgreSQL; on two cores 8 to 32 made no difference."""
ATTEMPTS: Final = 5
"""How often a transaction is tried that lost a deadlock."""
BANGKOK: Final = ZoneInfo("Asia/Bangkok")
EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
RANK: Final = {
    Status.UNKNOWN: 0,
    Status.ACCEPTED: 1,
    Status.ENROUTE: 2,
    **dict.fromkeys(FAILED, 3),
    Status.DELIVERED: 4,
}
OK: Final = b"OK"


# -- statements, made once --------------------------------------------------------------------


def _insert(dialect: str, table: Any) -> Any:
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)


class Statements:
    """Every statement of the peer, for one kind of database."""

    def __init__(self, dialect: str) -> None:
        message, report = sent_message.c, delivery_report.c
        self.keep_callback = _insert(dialect, callbacks)
        unreadable = _insert(dialect, callbacks)
        self.keep_unreadable = unreadable.on_conflict_do_update(
            index_elements=[callbacks.c.digest],
            index_where=callbacks.c.digest.is_not(None),
            set_={"repeats": callbacks.c.repeats + 1},
        )
        reports = _insert(dialect, delivery_report)
        self.keep_reports = reports.on_conflict_do_update(
            index_elements=[report.digest],
            set_={"repeats": report.repeats + reports.excluded.repeats + 1},
        )
        state = (report.id, report.digest, report.repeats)
        self.keep_report = self.keep_reports.returning(*state)
        find = (
            select(
                message.id,
                message.account,
                message.transaction_id,
                message.message_id,
                message.recipient,
                message.status,
                message.done_at,
                message.report_id,
                message.conflicting,
                message.changed_at,
            )
            .where(message.provider == bindparam("provider"))
            .with_for_update()
        )
        ids: BindParameter[Any] = bindparam("ids", expanding=True)
        self.by_message_id = find.where(message.message_id == bindparam("id"))
        self.kept = select(*state).where(report.digest.in_(ids))
        self.by_message_ids = find.where(message.message_id.in_(ids)).order_by(message.id)
        self.by_transaction_ids = find.where(
            message.transaction_id.in_(ids), message.error.is_(None)
        ).order_by(message.id)
        self.digests = select(report.id, report.digest).where(report.id.in_(ids))
        self.move = (
            update(sent_message)
            .where(message.id == bindparam("message"))
            .values({
                column: bindparam(f"new_{column}")
                for column in (
                    "status", "done_at", "report_id", "conflicting", "changed_at", "settled_at",
                )
            })
        )  # fmt: skip


# -- what a report means ----------------------------------------------------------------------


def moment(said: str | None) -> datetime | None:
    """Return a provider's time: Unix seconds, or ISO 8601, in Bangkok where it has no offset."""
    if said is None:
        return None
    try:
        if said.isdigit() and len(said) == 10:
            return datetime.fromtimestamp(int(said), UTC)
        if len(said) < 12:
            return None
        read = datetime.fromisoformat(said)
    except (ValueError, OverflowError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=BANGKOK)


def status_of(provider: str, word: str) -> Status:
    """Return our word for the provider's."""
    word = word.lower()
    found = PROVIDERS[provider].STATUSES.get(word) or SHARED_STATUSES.get(word)
    return found or Status.UNKNOWN


def row_of(callback: Callback, report: Report, now: datetime) -> dict[str, Any]:
    """Return the row of a report, its message not found yet."""
    return {
        "callback_id": callback.id,
        "position": report.position,
        "provider": callback.provider,
        "account": callback.account,
        "transaction_id": report.transaction_id,
        "message_id": report.message_id,
        "recipient": msisdn(report.provider_recipient),
        "sender": report.sender,
        "provider_status": report.provider_status,
        "provider_code": report.provider_code,
        "provider_description": report.provider_description,
        "provider_time": report.provider_time,
        "provider_sent_time": report.provider_sent_time,
        "provider_recipient": report.provider_recipient,
        "credit": report.credit,
        "callback_data": report.callback_data,
        "received_at": callback.received_at,
        "digest": report.digest(callback.provider),
        "repeats": 0,
        "status": status_of(callback.provider, report.provider_status),
        "done_at": moment(report.provider_time),
        "sent_at": moment(report.provider_sent_time),
        "sent_message_id": None,
        "settled_at": now,
    }


def rows_of(callback: Callback, reports: Iterable[Report], now: datetime) -> list[dict[str, Any]]:
    """Return one row for each different report, in digest order, so that no two deadlock."""
    rows: dict[bytes, dict[str, Any]] = {}
    for report in reports:
        row = row_of(callback, report, now)
        if row["digest"] in rows:
            rows[row["digest"]]["repeats"] += 1
        else:
            rows[row["digest"]] = row
    return [rows[digest] for digest in sorted(rows)]


# -- which message, and which report decides --------------------------------------------------


@dataclass(slots=True)
class Message:
    """A sent message, locked, and what its reports so far made of it."""

    id: int
    account: str
    transaction_id: str | None
    message_id: str | None
    recipient: str
    status: str
    done_at: datetime | None
    report_id: int | None
    conflicting: bool
    changed_at: datetime | None
    digest: bytes = b""
    moved: bool = False
    changed: bool = False

    def hear(self, row: dict[str, Any], report_id: int) -> None:
        """Move the status by the rule of ranks; nothing undoes what ranks higher."""
        new, old = Status(row["status"]), Status(self.status)
        if self.report_id is not None and {RANK[new], RANK[old]} == {3, 4}:
            self.moved = self.moved or not self.conflicting
            self.conflicting = True
        if self.report_id is None or _key(new, row["done_at"], row["digest"]) > _key(
            old, self.done_at, self.digest
        ):
            self.changed = self.changed or new != old
            self.status, self.done_at, self.report_id = new, row["done_at"], report_id
            self.digest, self.moved = row["digest"], True

    def values(self, now: datetime) -> dict[str, Any]:
        """Return what to write."""
        return {
            "message": self.id,
            "new_status": self.status,
            "new_done_at": self.done_at,
            "new_report_id": self.report_id,
            "new_conflicting": self.conflicting,
            "new_changed_at": now if self.changed else self.changed_at,
            "new_settled_at": now,
        }


def _key(status: Status, done_at: datetime | None, digest: bytes) -> tuple[int, datetime, int, int]:
    place = FAILED.index(status) if status in FAILED else 0
    return RANK[status], done_at or EARLIEST, -place, -int.from_bytes(digest)


def choose(row: dict[str, Any], candidates: Iterable[Message]) -> Message | None:
    """Return the only message a report can belong to, one of its own account first; else None."""
    account, recipient = row["account"], row["recipient"]
    fits = [
        message
        for message in candidates
        if (account == "" or message.account in {"", account})
        and (recipient is None or message.recipient == recipient)
    ]
    fits = [message for message in fits if message.account == account] or fits
    return fits[0] if len(fits) == 1 else None


# -- one transaction --------------------------------------------------------------------------


class Store:
    """The database: one transaction for each request."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.statements = Statements(engine.dialect.name)
        # SQLite has one writer; waiting for it here is fairer than its busy handler.
        self.limit = asyncio.Semaphore(1 if engine.dialect.name == "sqlite" else POOL)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Begin (IMMEDIATE on SQLite), and commit or roll back."""
        async with self.limit, self.engine.begin() as connection:
            yield connection

    async def keep(
        self, callback: Callback, found: Sequence[Item], error: str | None = None
    ) -> None:
        """Keep a callback with its reports, and move the status of their messages."""
        reports = [item for item in found if isinstance(item, Report)]
        bad = [item for item in found if isinstance(item, Unreadable)]
        row = {
            "id": callback.id,
            "provider": callback.provider,
            "account": callback.account,
            "received_at": callback.received_at,
            "remote_addr": callback.remote_addr,
            "method": callback.method,
            "query": callback.query,
            "content_type": callback.content_type,
            "body": callback.body,
            "redacted": callback.redacted,
            "outcome": "partial" if bad else "read",
            "error": "; ".join(f"{b.position}: {b.reason}" for b in bad) or None,
            "report_count": len(reports),
        }
        keep = self.statements.keep_callback
        if error is not None:
            said = f"{callback.provider} {callback.account} {callback.query} ".encode()
            row |= {"outcome": "unreadable", "error": error}
            row["digest"] = hashlib.blake2b(said + callback.body, digest_size=16).digest()
            keep = self.statements.keep_unreadable
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self.transaction() as connection:
                    await connection.execute(keep, row)
                    if reports:
                        await self.keep_reports(connection, callback, reports)
            except DBAPIError as failure:
                if attempt == ATTEMPTS or not is_transient(failure):
                    raise
            else:
                return

    async def keep_reports(
        self, connection: AsyncConnection, callback: Callback, reports: list[Report]
    ) -> None:
        """Keep each report once, linked to its message, and move the messages' status."""
        now = datetime.now(UTC)
        rows = rows_of(callback, reports, now)
        messages = await self.find(connection, callback.provider, rows)
        for row, message in zip(rows, messages, strict=True):
            row["sent_message_id"] = message.id if message else None
        if len(rows) == 1:
            kept = await connection.execute(self.statements.keep_report, rows)
        else:  # RETURNING of many is no faster: it writes one statement of 12,000 parameters
            await connection.execute(self.statements.keep_reports, rows)
            digests = [row["digest"] for row in rows]
            kept = await connection.execute(self.statements.kept, {"ids": digests})
        ids = {digest: (id_, repeats) for id_, digest, repeats in kept}

        heard = []
        for row, message in zip(rows, messages, strict=True):
            report_id, repeats = ids[row["digest"]]
            if message is not None and repeats == row["repeats"]:  # otherwise it was here before
                heard.append((row, message, report_id))
        decided = {m.report_id: m for _, m, _ in heard if m.report_id is not None}
        if decided:
            earlier = await connection.execute(self.statements.digests, {"ids": list(decided)})
            for report_id, digest in earlier:
                decided[report_id].digest = digest
        for row, message, report_id in heard:
            message.hear(row, report_id)
        moved = {message.id: message for _, message, _ in heard if message.moved}
        if moved:
            await connection.execute(
                self.statements.move,
                [message.values(now) for message in moved.values()],
            )

    async def find(
        self, connection: AsyncConnection, provider: str, rows: list[dict[str, Any]]
    ) -> list[Message | None]:
        """Find and lock the message of each row: by its message id, else by its transaction id."""
        wanted = [row["message_id"] or row["transaction_id"] for row in rows]
        if len(rows) == 1:
            result = await connection.execute(
                self.statements.by_message_id, {"provider": provider, "id": wanted[0]}
            )
        else:
            result = await connection.execute(
                self.statements.by_message_ids, {"provider": provider, "ids": wanted}
            )
        known: dict[str | None, list[Message]] = {}
        for found in result:
            known.setdefault(found.message_id, []).append(Message(*found))
        messages = [choose(row, known.get(id_, ())) for row, id_ in zip(rows, wanted, strict=True)]
        missing = {
            row["transaction_id"]
            for row, id_ in zip(rows, wanted, strict=True)
            if id_ not in known and row["transaction_id"]
        }
        if not missing:
            return messages
        result = await connection.execute(
            self.statements.by_transaction_ids, {"provider": provider, "ids": sorted(missing)}
        )
        known_ids = {message.id: message for group in known.values() for message in group}
        sent: dict[str | None, list[Message]] = {}
        for found in result:
            message = known_ids.get(found.id) or Message(*found)
            sent.setdefault(found.transaction_id, []).append(message)
        return [
            message
            or choose(
                row,
                [
                    candidate
                    for candidate in sent.get(row["transaction_id"], ())
                    if row["message_id"] is None or candidate.message_id is None
                ],
            )
            for row, message in zip(rows, messages, strict=True)
        ]


# -- the web ----------------------------------------------------------------------------------


def open_engine(url: URL) -> AsyncEngine:
    """Open the database asynchronously, with the receiver's pragmas, isolation and durability.

    The pool need not roll back what is returned to it: every transaction has ended by then.
    """
    if url.drivername.startswith("sqlite"):
        engine = create_async_engine(
            url.set(drivername="sqlite+aiosqlite"),
            connect_args={"isolation_level": None},
            pool_size=1,
            max_overflow=0,
            pool_reset_on_return=None,
        )
        event.listen(engine.sync_engine, "connect", _set_pragmas)
        event.listen(engine.sync_engine, "begin", _begin_immediate)
        return engine
    return create_async_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=POOL,
        max_overflow=0,
        pool_reset_on_return=None,
        connect_args={"options": "-c synchronous_commit=on -c timezone=UTC"},
    )


def _set_pragmas(connection: Any, record: object) -> None:  # noqa: ARG001
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


class Edge:
    """The routes."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.url = parse_url(environment.get("RECEIVER_DATABASE_URL", "sqlite:///receiver.db"))
        self.tokens = {
            name: [
                (secret, account)
                for account, _, secret in (
                    entry.strip().rpartition(":")
                    for entry in environment.get(f"RECEIVER_{name.upper()}_TOKENS", "").split(",")
                )
                if secret
            ]
            for name in PROVIDERS
        }

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:  # noqa: ARG002
        """Bring the schema up to date as the receiver does, and open the database."""
        await asyncio.to_thread(self.upgrade)
        self.store = Store(open_engine(self.url))
        yield
        await self.store.engine.dispose()

    def upgrade(self) -> None:
        """Make the tables where they are missing."""
        engine = connect(self.url)
        schema.upgrade(engine)
        engine.dispose()

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        """Answer 200 where the database answers."""
        async with self.store.transaction() as connection:
            await connection.execute(text("SELECT 1"))
        return PlainTextResponse(OK)

    async def receive(self, request: Request) -> Response:
        """Check the token, read, keep, settle, and say yes."""
        name = request.path_params["provider"]
        provider = PROVIDERS[name]
        token = request.path_params["token"].encode()
        for secret, of_account in self.tokens[name]:
            if hmac.compare_digest(token, secret.encode()):
                account = of_account
                break
        else:
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        callback = Callback(
            provider=name,
            method=request.method,
            body=await request.body(),
            query=request.scope["query_string"].decode("latin-1"),
            content_type=request.headers.get("content-type", ""),
            account=account,
            remote_addr=request.client.host if request.client else "",
            redacted=False,
        )
        if provider.is_probe(callback):
            return PlainTextResponse(OK)
        body = None
        try:
            body = provider.decode(callback)
            found = provider.parse(body)
        except UnreadableError as error:
            await self.store.keep(provider.redact(callback, body), [], str(error))
            return PlainTextResponse(str(error), 400)
        await self.store.keep(provider.redact(callback, body), found)
        return PlainTextResponse(OK)


def create_app(environment: dict[str, str]) -> Starlette:
    """Make the application from environment variables."""
    edge = Edge(environment)
    return Starlette(
        routes=[
            Route("/callbacks/{provider}/{token}", edge.receive, methods=["GET", "POST", "PUT"]),
            Route("/readyz", edge.ready),
        ],
        lifespan=edge.lifespan,
    )


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    uvicorn.run(
        create_app(dict(os.environ)),
        host=options.host,
        port=options.port,
        http="httptools",
        loop="uvloop",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
