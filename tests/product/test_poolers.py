"""Behind a pooler that hands connections on: PgBouncer in transaction mode, with its defaults."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, make_url, select, text

from receiver.database import postgresql
from receiver.database.engine import SNAPSHOT
from receiver.database.tables.callbacks import callback
from receiver.database.tables.messages import sent_message
from receiver.database.transactions import DERIVED, transact
from tests.kit.commands import process
from tests.kit.poolers import PGBOUNCER, pgbouncer
from tests.kit.serving import serving
from tests.web.test_app import (
    OPEN,
    SPOOLLESS,
    Place,
    ants,
    dr,
    eventually,
    new,
    silent_about,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Databases


@pytest.fixture(scope="module")
def pooler(postgresql_server: str) -> Iterator[str]:
    """Start PgBouncer; one server connection for all, so that none is anybody's own."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed")
    with pgbouncer(postgresql_server, pool_mode="transaction", default_pool_size=2) as url:
        yield url


def through(pooler: str, url: str) -> str:
    """Return the URL of a database, by way of the pooler."""
    return f"{pooler}{make_url(url).database}"


STATE = ("synchronous_commit", "TimeZone", "DateStyle", "transaction_isolation")


def state(engine: Engine, **options: Any) -> list[str]:
    """Return what one transaction works with."""
    with engine.execution_options(**options).connect() as connection:
        return [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in STATE]


def check_states(engine: Engine) -> None:
    ours = ["on", "UTC", "ISO, MDY", "read committed"]
    for _ in range(3):
        assert state(engine) == ours
        assert state(engine, **DERIVED) == ["off", *ours[1:]]
        assert state(engine, **SNAPSHOT) == [*ours[:3], "repeatable read"]


@pytest.mark.parametrize("way", ["direct", "pooler"])
def test_each_transaction_sets_what_it_relies_on(
    databases: Databases, request: pytest.FixtureRequest, way: str
) -> None:
    """Whatever the database, the role or the machine have by default."""
    url = databases.make("postgresql")
    name = make_url(url).database
    for setting in ("synchronous_commit = off", "timezone = 'Asia/Bangkok'", "datestyle = 'SQL'"):
        databases.sql(f"ALTER DATABASE {name} SET {setting}")
    if way == "pooler":
        url = through(request.getfixturevalue("pooler"), url)
    check_states(databases.open(url))


def test_what_others_left_behind_is_nothing_to_us(databases: Databases, pooler: str) -> None:
    """Another program set up its session, and the pooler hands that connection on to us."""
    url = through(pooler, databases.make("postgresql"))
    strangers = [psycopg.connect(url.replace("+psycopg", ""), autocommit=True) for _ in range(2)]
    for stranger in strangers:
        stranger.execute("SET synchronous_commit = off")
        stranger.execute("SET TimeZone = 'America/New_York'; SET DateStyle = 'German, DMY'")
        stranger.close()
    looking = psycopg.connect(url)
    left = looking.execute("SHOW synchronous_commit").fetchone()
    looking.close()
    assert left == ("off",)  # so it is what the next one gets
    check_states(databases.open(url))


def test_a_pooler_is_seen_and_nothing_is_prepared_behind_it(
    databases: Databases, pooler: str
) -> None:
    url = databases.make("postgresql")
    for way, there in ((url, False), (through(pooler, url), True)):
        engine = databases.open(way)
        with engine.connect() as connection:
            assert postgresql.has_pooler(connection) is there
            for _ in range(9):
                connection.exec_driver_sql("SELECT count(*) FROM callback")
            prepared = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements")
            assert bool(prepared.scalar_one()) is not there


def test_a_pooler_that_is_not_seen_costs_a_repeat(databases: Databases, pooler: str) -> None:
    """Prepared statements are used, are not there or another's, and are used no more."""
    engine = databases.open(through(pooler, databases.make("postgresql")))
    believing = True

    def believe(connection: psycopg.Connection[Any], _record: object) -> None:
        if believing:
            connection.prepare_threshold = 1

    event.listen(engine, "connect", believe)
    states: list[str | None] = []

    @event.listens_for(engine, "handle_error")
    def note(context: Any) -> None:
        nonlocal believing
        states.append(getattr(context.original_exception, "sqlstate", None))
        believing = False

    begun = threading.Barrier(4)

    def work() -> None:
        begun.wait(30)
        for n in range(20):
            statement = text(f"SELECT {n % 3}, pg_sleep(0.001)")
            transact(engine, partial(Connection.execute, statement=statement))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    assert states  # it was not seen
    assert set(states) <= postgresql.UNPREPARED
    with engine.connect() as connection:
        assert postgresql.driver(connection).prepare_threshold is None


def test_a_pooler_that_ends_transactions_itself_is_refused_in_words(
    databases: Databases, tmp_path: Path
) -> None:
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed")
    with pgbouncer(databases.server, pool_mode="statement") as pooler:
        settings = {"RECEIVER_DATABASE_URL": through(pooler, databases.make("postgresql"))}
        done = process(tmp_path, "serve", "--port", "0", settings=OPEN | settings)
    assert done.code == 1
    assert "transaction blocks not allowed in statement pooling mode" in done.sentence


# All of it, through one.


def sent(id_: str) -> dict[str, str]:
    return {"message_id": id_, "recipient": "66812345678"}


@pytest.fixture
def behind(databases: Databases, pooler: str, tmp_path: Path) -> Iterator[Place]:
    """Start a receiver that has nothing but its database, by way of PgBouncer."""
    url = databases.make("postgresql")
    with serving(through(pooler, url), folder=tmp_path, **OPEN, **SPOOLLESS) as server:
        yield Place(server, databases.open(url), server.api_key)
        silent_about(server, "ants-token", "thai-token", "66812345678")


def test_a_receiver_behind_a_pooler_keeps_and_settles_all(behind: Place) -> None:
    ids = [new() for _ in range(300)]
    assert behind.record(messages=[sent(id_) for id_ in ids]).status == 201

    def call(id_: str) -> int:
        return behind.ants(ants(dr(id_))).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(call, ids)) == {200}
        assert set(pool.map(call, ids[:50])) == {200}
    assert behind.count() == (350, 300)
    eventually(lambda: {m.status for m in behind.messages()} == {"delivered"})
    outcomes = behind.rows(select(callback.c.outcome).distinct())
    assert [row.outcome for row in outcomes] == ["read"]
    assert sum(r.repeats for id_ in ids for r in behind.reports(id_)) == 50
    found = behind.shop("GET", f"/messages/ants/{ids[0]}")
    assert [message["status"] for message in found.json["messages"]] == ["delivered"]
    assert behind.is_ready()
    for word in ("failed", "away", "prepared statement", "error"):
        assert word not in behind.server.stderr()


COMMANDS: Final = (
    "migrate",
    "record ants sent.jsonl",
    "receive ants saved.txt",
    "copy --to COPY",
    "check",
    "report",
    "status ID",
    "callbacks show CALLBACK",
    "rebuild",
    "replay",
    "purge --older-than 1d",
    "erase --recipient 66812345678 --yes",
)


@pytest.mark.usefixtures("with_fsync")
def test_every_command_works_behind_a_pooler(
    behind: Place, databases: Databases, pooler: str
) -> None:
    ids = [new() for _ in range(20)]
    for id_ in ids:
        assert behind.ants(ants(dr(id_))).status == 200
    folder = behind.server.folder
    url = through(pooler, behind.engine.url.render_as_string())
    other = through(pooler, databases.empty("postgresql"))
    settings = OPEN | {"RECEIVER_DATABASE_URL": url}
    (folder / "sent.jsonl").write_text("".join(f"{json.dumps(sent(id_))}\n" for id_ in ids))
    (folder / "saved.txt").write_bytes(ants(dr(new())) + b"\n")
    assert (
        process(folder, "migrate", settings=settings | {"RECEIVER_DATABASE_URL": other}).code == 0
    )
    (kept,) = behind.rows(select(callback.c.id).limit(1))
    words = {"COPY": other, "ID": ids[0], "CALLBACK": kept.id}
    for command in COMMANDS:
        arguments = [words.get(word, word) for word in command.split()]
        done = process(folder, *arguments, settings=settings)
        # An alarm may well be raised, of times that are long past: it was looked for all the same.
        assert done.code == 0 or (command, done.err) == ("check", ""), (command, done)
    left = behind.rows(select(sent_message.c.recipient).distinct())
    assert [row.recipient for row in left] == [None]  # the last of them did its work
    doctor = process(folder, "doctor", settings=settings)
    assert "database: behind a pooler, such as PgBouncer" in doctor.out
    assert "not ok  database" not in doctor.out
    direct = settings | {"RECEIVER_DATABASE_URL": str(behind.engine.url)}
    assert "pooler" not in process(folder, "doctor", settings=direct).out


def test_two_receivers_in_two_schemas_behind_one_pooler(
    databases: Databases, pooler: str, tmp_path: Path
) -> None:
    """PgBouncer refuses `options` at the start, so each transaction sets them."""
    url = databases.empty("postgresql")
    owner = databases.open(url)
    for name in ("one", "two"):
        with owner.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        way = f"{through(pooler, url)}?options=-csearch_path%3D{name}"
        (tmp_path / name).mkdir()
        with serving(way, folder=tmp_path / name, **OPEN) as server:
            place = Place(server, databases.open(way), server.api_key)
            assert place.ants(ants(dr(new()))).status == 200
            assert place.count() == (1, 1)
    with owner.connect() as connection:
        found = connection.execute(
            text("SELECT schemaname FROM pg_tables WHERE tablename = 'callback' ORDER BY 1")
        )
        assert list(found.scalars()) == ["one", "two"]
