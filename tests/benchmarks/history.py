"""Makes years of messages, settled: `python -m tests.benchmarks.history --help`.

The rows are computed inside the database, as settling would leave them, from the number of each
message and a seed: two reports a message (mostly on its way, then final), over two years, 60 % of
them in the last 30 days and 2 % in the last 24 hours. Indexes are dropped first and made again
after. Only the reports' digests are not what the receiver would compute, so the same callbacks
sent again would count as new.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg
from sqlalchemy import make_url

from tests.benchmarks.data import migrate, roll_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


TABLES: Final = ("callback", "delivery_report", "sent_message")
CHUNK: Final = 500_000
"""Messages that one statement makes."""
SEED: Final = 1
DAY: Final = 86_400_000
"""Milliseconds."""
DAYS: Final = 730
BULK: Final = 500
"""Messages of one send, which have provider and account in common."""
CAMPAIGN: Final = 50_000
"""Messages of one tag."""
REPORTS_OF_NOBODY: Final = 1000
"""One message in so many has another report that no message is found for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How a database says what the two do not share."""

    numbers: str
    all: str
    least: str
    at: Callable[[str], str]
    local: Callable[[str], str]
    hex: Callable[[str, int], str]
    digits: Callable[[str, int], str]
    bytes: Callable[[str], str]
    key: Callable[[str], str]
    own_ids: str


WORDS: Final = {
    "sqlite": Words(
        numbers="WITH RECURSIVE number(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM number"
        " WHERE n + 1 < {end})",
        all="-1",
        least="min",
        at=lambda ms: f"datetime(({ms}) / 1000, 'unixepoch') || printf('.%03dZ', ({ms}) % 1000)",
        local=lambda ms: (
            f"strftime('%Y-%m-%dT%H:%M:%S', ({ms}) / 1000 + 25200, 'unixepoch')"
            f" || printf('.%03d', ({ms}) % 1000)"
        ),
        hex=lambda value, width: f"printf('%0{width}x', {value})",
        digits=lambda value, width: f"printf('%0{width}d', {value})",
        bytes=lambda value: f"CAST({value} AS BLOB)",
        key=lambda value: value,
        own_ids="",
    ),
    "postgresql": Words(
        numbers="WITH number(n) AS (SELECT n FROM generate_series(CAST({first} AS bigint),"
        " {end} - 1) AS series(n))",
        all="ALL",
        least="least",
        at=lambda ms: f"to_timestamp(0) + ({ms}) * interval '1 millisecond'",
        local=lambda ms: (
            f"to_char(timestamp '1970-01-01 07:00' + ({ms}) * interval '1 millisecond',"
            " 'YYYY-MM-DD\"T\"HH24:MI:SS.MS')"
        ),
        hex=lambda value, width: f"lpad(to_hex({value}), {width}, '0')",
        digits=lambda value, width: f"lpad(CAST({value} AS text), {width}, '0')",
        bytes=lambda value: f"convert_to({value}, 'UTF8')",
        key=lambda value: f"CAST({value} AS uuid)",
        own_ids="OVERRIDING SYSTEM VALUE",
    ),
}


# -- the rows ---------------------------------------------------------------------------------

# What each provider says for our statuses.
SAID: Final = {
    "ants": {
        "enroute": "PENDING",
        "delivered": "DELIVERED",
        "undeliverable": "UNDELIVERED",
        "expired": "EXPIRED",
        "rejected": "REJECTED",
    },
    "thaibulksms": {
        "enroute": "sent",
        "delivered": "delivery",
        "undeliverable": "failed",
        "expired": "expired",
        "rejected": "rejected",
    },
}
# Of a thousand messages: 1 expires and is delivered all the same, 5 have no final report yet, 40
# are undeliverable, 20 expired, 5 rejected.
FIRST: Final = "CASE WHEN k < 1 THEN 'expired' ELSE 'enroute' END"
LAST: Final = (
    "CASE WHEN k < 1 THEN 'delivered' WHEN k < 6 THEN 'enroute' WHEN k < 46 THEN 'undeliverable'"
    " WHEN k < 66 THEN 'expired' WHEN k < 71 THEN 'rejected' ELSE 'delivered' END"
)
# 70 % are there within 10 s, 90 % within a minute, 98 % within an hour, the rest within a day.
TOOK: Final = (
    "CASE WHEN h / 65536 % 1000 < 700 THEN 2000 + h % 8000"
    " WHEN h / 65536 % 1000 < 900 THEN 10000 + h % 50000"
    " WHEN h / 65536 % 1000 < 980 THEN 60000 + h % 3540 * 1000"
    " ELSE 3600000 + h % 82800 * 1000 END"
)


# What is sent: a send of 500 belongs to one of these. Provider, account, sender and tag.
STREAMS: Final = (
    ("'thaibulksms'", "'otp'", "'ACME-OTP'", "'otp'"),
    ("'thaibulksms'", "''", "'ACME'", "NULL"),
    ("'ants'", "'marketing'", "'SHOP'", f"'campaign-' || (n / {CAMPAIGN})"),
    ("'ants'", "'marketing'", "'BANK'", f"'campaign-' || (n / {CAMPAIGN})"),
    ("'ants'", "''", "'ACME'", "NULL"),
)


def streams() -> str:
    """Return provider, account, sender and tag of message `n`, in SQL."""
    columns = []
    for place, name in enumerate(("provider", "account", "sender", "tag")):
        cases = " ".join(f"WHEN {n} THEN {stream[place]}" for n, stream in enumerate(STREAMS))
        columns.append(f"CASE n / {BULK} % {len(STREAMS)} {cases} END AS {name}")
    return ", ".join(columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many, until when (Unix milliseconds), and the seed."""

    messages: int
    now: int
    seed: int = SEED

    def sent(self) -> str:
        """Return when message `n` was sent, in SQL: ever more as time goes by."""
        middle = self.messages - self.messages * 60 // 100
        late = self.messages - self.messages * 2 // 100
        parts = (
            (0, middle, DAYS, (DAYS - 30) * DAY),
            (middle, late, 30, 29 * DAY),
            (late, self.messages, 1, DAY - 10_000),
        )
        cases = " ".join(
            f"WHEN n < {end} THEN {self.now - days * DAY} + (n - {first}) * {span} / {end - first}"
            for first, end, days, span in parts
            if end > first
        )
        return f"CASE {cases} END"


def facts(words: Words, plan: Plan, first: int, end: int) -> str:
    """Return a WITH that ends in `fact`: all about the messages from one number to another.

    `h` is a number from 0 to 2^32 that looks random and is no other message's. OFFSET keeps each
    step from being computed again wherever it is named.
    """
    fence = f"LIMIT {words.all} OFFSET 0"
    people = max(1, plan.messages // 10)
    return f"""{words.numbers.format(first=first, end=end)},
    scattered AS (
        SELECT n, (n * 2654435761 + {plan.seed} * 40503) % 4294967296 AS h FROM number {fence}
    ),
    told AS (
        SELECT n, h, h / 64 % 1000 AS k, {plan.sent()} AS sent, {TOOK} AS took,
            {streams()},
            '668' || {words.digits(f"h % {people}", 8)} AS recipient
        FROM scattered {fence}
    ),
    fact AS (
        SELECT n, h, k, sent, sent + 1000 AS first, {words.least}(sent + took, {plan.now}) AS last,
            provider, account, sender, tag, recipient,
            {FIRST} AS first_status, {LAST} AS last_status,
            CASE provider WHEN 'ants' THEN '27' || {words.digits("h", 10)} || {words.digits("n", 8)}
                ELSE 'h' || {words.hex("h", 8)} || {words.digits("n", 13)} END AS message_id,
            CASE provider WHEN 'ants' THEN 'history-' || (n / {BULK}) END AS transaction_id
        FROM told {fence}
    )"""


def done(ms: str) -> str:
    """Return a report's time as its provider tells it, in milliseconds: ThaiBulkSMS has seconds."""
    return f"CASE provider WHEN 'ants' THEN {ms} ELSE {ms} / 1000 * 1000 END"


def messages_sql(words: Words, with_facts: str) -> str:
    """Return the INSERT of messages, decided by their second report."""
    settled = words.at("CASE WHEN k BETWEEN 1 AND 5 THEN first + 400 ELSE last + 400 END")
    return f"""INSERT INTO sent_message (id, provider, account, transaction_id, message_id,
        recipient, sender, tag, reference, credit, sent_at, recorded_at, status, done_at,
        report_id, conflicting, changed_at, settled_at) {words.own_ids}
    {with_facts}
    SELECT n + 1, provider, account, transaction_id, message_id, recipient, sender,
        tag, 'history-order-' || n, 1, {words.at("sent")},
        {words.at("sent")}, last_status, {words.at(done("last"))}, 2 * n + 2, k < 1, {settled},
        {words.at("last + 400")}
    FROM fact"""


def reports_sql(words: Words, with_facts: str, *, nobodys: int | None = None) -> str:
    """Return the INSERT of the reports: two a message, or those that are nobody's after an id."""
    said = " ".join(
        f"WHEN '{provider}' THEN CASE status"
        + "".join(f" WHEN '{status}' THEN '{word}'" for status, word in table.items())
        + " END"
        for provider, table in SAID.items()
    )
    report = "2 * n + turn" if nobodys is None else f"{nobodys} + n"
    turns = "SELECT 1 AS turn UNION ALL SELECT 2" if nobodys is None else "SELECT 2 AS turn"
    where = "" if nobodys is None else f"WHERE n % {REPORTS_OF_NOBODY} = 0"
    own_id = "message_id" if nobodys is None else "'9' || substr(message_id, 2)"
    message = "n + 1" if nobodys is None else "NULL"
    ants = "CASE provider WHEN 'ants' THEN {} END"
    key = (
        f"{words.hex('at / 65536', 8)} || '-' || {words.hex('at % 65536', 4)} || '-7' ||"
        f" {words.hex('h % 4096', 3)} || '-8000-' || {words.hex('report', 12)}"
    )
    columns = f"""SELECT f.*, turn, {report} AS report,
            CASE turn WHEN 1 THEN first ELSE last END AS at,
            CASE turn WHEN 1 THEN first_status ELSE last_status END AS status, {own_id} AS own_id
        FROM fact AS f CROSS JOIN ({turns}) AS turns {where}"""
    return f"""INSERT INTO delivery_report (id, callback_id, position, provider, account,
        transaction_id, message_id, recipient, sender, provider_status, provider_time,
        provider_sent_time, provider_recipient, credit, received_at, digest, status, done_at,
        sent_at, sent_message_id, settled_at) {words.own_ids}
    {with_facts},
    reported AS ({columns} LIMIT {words.all} OFFSET 0)
    SELECT report, {words.key(key)}, 0, provider, account,
        CASE provider WHEN 'ants' THEN transaction_id ELSE own_id END, {ants.format("own_id")},
        {ants.format("recipient")}, {ants.format("sender")}, CASE provider {said} END,
        CASE provider WHEN 'ants' THEN {words.local("at")} ELSE CAST(at / 1000 AS TEXT) END,
        {ants.format(words.local("sent"))}, {ants.format("recipient")}, {ants.format("1")},
        {words.at("at + 300")}, {words.bytes(f"{words.hex('h', 8)} || {words.hex('report', 8)}")},
        status, {words.at(done("at"))}, {ants.format(words.at("sent"))}, {message},
        {words.at("at + 400")}
    FROM reported"""


def callbacks_sql(words: Words, first: int, end: int) -> str:
    """Return the INSERT of the callbacks of these reports, one for each."""
    body = (
        """'{"details":[{"messageId":"' || message_id || '","to":"' || recipient ||"""
        """ '","status":{"name":"' || provider_status || '"},"doneDate":"' || provider_time ||"""
        """ '"}]}'"""
    )
    return f"""INSERT INTO callback (id, provider, account, received_at, remote_addr, method, query,
        content_type, body, redacted, outcome, report_count)
    SELECT callback_id, provider, account, received_at, '127.0.0.1',
        CASE provider WHEN 'ants' THEN 'POST' ELSE 'GET' END,
        CASE provider WHEN 'ants' THEN '' ELSE 'Transaction=' || transaction_id || '&Status='
            || provider_status || '&Time=' || provider_time END,
        CASE provider WHEN 'ants' THEN 'application/json' ELSE '' END,
        {words.bytes(f"CASE provider WHEN 'ants' THEN {body} ELSE '' END")}, true, 'read', 1
    FROM delivery_report WHERE id >= {first} AND id < {end}"""


# -- the databases ----------------------------------------------------------------------------


class Target(Protocol):
    """A database that is filled."""

    name: str

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement, commit, return its rows."""

    def indexes(self) -> dict[str, str]:
        """Return the statement that makes each index of the tables."""

    def finish(self) -> None:
        """Leave it as the receiver wants it."""

    def close(self) -> None:
        """Disconnect."""


_QUOTED: Final = ", ".join(f"'{table}'" for table in TABLES)


class Sqlite:
    """A file, written without a journal: what is cut off is thrown away."""

    name = "sqlite"

    def __init__(self, url: str) -> None:
        self.connection = sqlite3.connect(str(make_url(url).database), isolation_level=None)
        for pragma in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "cache_size = -400000",
            "ignore_check_constraints = ON",
        ):
            self.run(f"PRAGMA {pragma}")

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement, commit, return its rows."""
        return self.connection.execute(statement).fetchall()

    def indexes(self) -> dict[str, str]:
        """Return the statement that makes each index of the tables."""
        found = self.run(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            f" AND tbl_name IN ({_QUOTED})"
        )
        return dict(found)

    def finish(self) -> None:
        """Write a log from now on."""
        self.run("PRAGMA journal_mode = WAL")

    def close(self) -> None:
        """Disconnect."""
        self.connection.close()


class Postgresql:
    """A database of a server."""

    name = "postgresql"

    def __init__(self, url: str) -> None:
        plain = make_url(url).set(drivername="postgresql")
        self.connection = psycopg.connect(
            plain.render_as_string(hide_password=False), autocommit=True
        )
        for setting in ("synchronous_commit = off", "maintenance_work_mem = '512MB'", "jit = off"):
            self.run(f"SET {setting}")

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement, commit, return its rows."""
        cursor = self.connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []

    def indexes(self) -> dict[str, str]:
        """Return the statement that makes each index of the tables."""
        found = self.run(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
            f" AND tablename IN ({_QUOTED}) AND indexname NOT LIKE 'pk%'"
        )
        return {str(name): str(statement) for name, statement in found}

    def finish(self) -> None:
        """Let new rows have the ids after these, and the planner know what is there."""
        for table in ("sent_message", "delivery_report"):
            self.run(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
                " HAVING count(*) > 0"
            )
        self.run(f"VACUUM (ANALYZE) {', '.join(TABLES)}")

    def close(self) -> None:
        """Disconnect."""
        self.connection.close()


def open_target(url: str) -> Target:
    """Connect to a database; nobody else may have SQLite's file open."""
    return Sqlite(url) if url.startswith("sqlite") else Postgresql(url)


def fill(url: str, plan: Plan, tell: Callable[[str], None] = lambda _: None) -> None:
    """Fill an empty database with the tables. Raises ValueError where it is not empty."""
    with closing(open_target(url)) as target:
        for table in TABLES:
            if target.run(f"SELECT 1 FROM {table} LIMIT 1"):
                raise ValueError(f"{table} is not empty")
        indexes = target.indexes()
        for name in indexes:
            target.run(f"DROP INDEX {name}")
        for sentence, statement in statements(WORDS[target.name], plan):
            target.run(statement)
            tell(sentence)
        for name, statement in indexes.items():
            target.run(statement)
            tell(name)
        target.finish()
    roll_up(url)


def statements(words: Words, plan: Plan) -> Iterator[tuple[str, str]]:
    """Return all INSERTs, and what is done after each."""
    nobodys = 2 * plan.messages + 1
    for first in range(0, plan.messages, CHUNK):
        end = min(first + CHUNK, plan.messages)
        with_facts = facts(words, plan, first, end)
        yield f"{end:,} messages", messages_sql(words, with_facts)
        yield f"{2 * end:,} reports", reports_sql(words, with_facts)
        yield f"{2 * end:,} callbacks", callbacks_sql(words, 2 * first + 1, 2 * end + 1)
    for first in range(0, plan.messages, CHUNK):
        end = min(first + CHUNK, plan.messages)
        with_facts = facts(words, plan, first, end)
        yield "reports of nobody", reports_sql(words, with_facts, nobodys=nobodys)
    last = nobodys + plan.messages
    yield "their callbacks", callbacks_sql(words, nobodys, last)


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.history",
        description="Fill an empty database with years of settled messages, two reports each.",
    )
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--url", required=True, help="as RECEIVER_DATABASE_URL")
    parser.add_argument("--seed", type=int, default=SEED)
    return parser.parse_args(arguments)


def main() -> int:
    """Fill a database, with the time it took beside what was done."""
    chosen = options()
    began = time.monotonic()
    migrate(chosen.url)
    plan = Plan(messages=chosen.messages, now=int(time.time() - 5) * 1000, seed=chosen.seed)

    def tell(sentence: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {sentence}", file=sys.stderr, flush=True)

    try:
        fill(chosen.url, plan, tell)
    except ValueError as error:
        print(f"The database must be empty: {error}.", file=sys.stderr)
        return 1
    tell("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
