"""A database that answers "no": nothing is lost, nothing is called unreadable, all heals by itself.

Every harm is done to a running receiver, and undone without a restart.
"""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import make_url, select

from receiver.database.tables.callbacks import callback, delivery_report
from tests.chaos.databases import programs
from tests.conftest import DIALECTS
from tests.ingest.test_failover import limit_files, look, ready
from tests.kit.serving import ROOT, serving
from tests.product.test_docs import read_blocks
from tests.web.test_app import (
    OPEN,
    SPOOLLESS,
    Place,
    ants,
    dr,
    eventually,
    new,
    placed,
    silent_about,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.conftest import Databases


@pytest.fixture(params=DIALECTS)
def spoolless(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    with placed(databases, request.param, OPEN | SPOOLLESS) as place:
        yield place


GUIDE: Final = 'docs/operations.md, "A database that says no"'


@dataclass(frozen=True)
class Harm:
    """What is done to a database, what undoes it, and the words by which it is known."""

    doing: str
    undoing: str
    words: str


SQLITE: Final = {
    "table renamed": Harm(
        "ALTER TABLE callback RENAME TO kept_aside",
        "ALTER TABLE kept_aside RENAME TO callback",
        "no such table: callback. Bring the table back",
    ),
    "column renamed": Harm(
        "ALTER TABLE delivery_report RENAME COLUMN position TO place",
        "ALTER TABLE delivery_report RENAME COLUMN place TO position",
        "has no column named position. Bring the column back",
    ),
    "trigger": Harm(
        "CREATE TRIGGER no BEFORE INSERT ON delivery_report"
        " BEGIN SELECT raise(ABORT, 'secret 66812345678'); END",
        "DROP TRIGGER no",
        "raised by a trigger. Mend or drop the trigger",
    ),
    "trigger on callback": Harm(
        "CREATE TRIGGER no BEFORE INSERT ON callback"
        " BEGIN SELECT raise(ABORT, 'secret 66812345678'); END",
        "DROP TRIGGER no",
        "raised by a trigger. Mend or drop the trigger",
    ),
}
NO: Final = (
    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'secret 66812345678'{}; END $$;"
    " CREATE {}TRIGGER no {} INSERT ON delivery_report {}FOR EACH ROW EXECUTE FUNCTION no()"
)
GONE: Final = "DROP TRIGGER no ON delivery_report; DROP FUNCTION no()"
POSTGRESQL: Final = {
    "table renamed": Harm(
        "ALTER TABLE callback RENAME TO kept_aside",
        "ALTER TABLE kept_aside RENAME TO callback",
        'relation "callback" does not exist. Bring the table back',
    ),
    "column renamed": Harm(
        "ALTER TABLE delivery_report RENAME COLUMN position TO place",
        "ALTER TABLE delivery_report RENAME COLUMN place TO position",
        'column "position" of relation "delivery_report" does not exist',
    ),
    "trigger": Harm(
        NO.format("", "", "BEFORE", ""),
        GONE,
        "raised by PL/pgSQL function no() line 1 at RAISE. Mend or drop the trigger",
    ),
    "trigger at the end": Harm(
        NO.format("", "CONSTRAINT ", "AFTER", "DEFERRABLE INITIALLY DEFERRED "),
        GONE,
        "raised by PL/pgSQL function no() line 1 at RAISE",
    ),
    "trigger that looks like data": Harm(
        NO.format(" USING ERRCODE = 'check_violation', CONSTRAINT = 'mine'", "", "BEFORE", ""),
        GONE,
        "raised by PL/pgSQL function no() line 1 at RAISE",
    ),
    "schema renamed": Harm(
        "ALTER SCHEMA public RENAME TO kept_aside",
        "ALTER SCHEMA kept_aside RENAME TO public",
        "does not exist",
    ),
    "sequence set back": Harm(
        "INSERT INTO delivery_report (callback_id, position, provider, message_id, provider_status,"
        " digest, status) SELECT gen_random_uuid(), 0, 'ants', 'older' || n, 'DELIVRD',"
        " decode(md5(CAST(n AS text)), 'hex'), 'delivered' FROM generate_series(1, 2000) n;"
        " SELECT setval('delivery_report_id_seq', (SELECT max(id) - 1900 FROM delivery_report))",
        "SELECT setval('delivery_report_id_seq', (SELECT max(id) FROM delivery_report))",
        'violates unique constraint "pk_delivery_report". See that no sequence is behind',
    ),
    "identity dropped": Harm(
        "ALTER TABLE delivery_report ALTER COLUMN id DROP IDENTITY",
        "ALTER TABLE delivery_report ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY"
        " (START WITH 1000000)",
        'null value in column "id"',
    ),
    "column added": Harm(
        "ALTER TABLE callback ADD COLUMN mine text NOT NULL DEFAULT '';"
        " ALTER TABLE callback ALTER COLUMN mine DROP DEFAULT",
        "ALTER TABLE callback DROP COLUMN mine",
        'null value in column "mine"',
    ),
    "right revoked": Harm(
        "REVOKE INSERT ON callback FROM clerk",
        "GRANT INSERT ON callback TO clerk",
        "permission denied for table callback. Give our user the right",
    ),
    "sequence refused": Harm(
        "ALTER TABLE delivery_report ALTER COLUMN id DROP IDENTITY;"
        " CREATE SEQUENCE other OWNED BY delivery_report.id START WITH 2000000;"
        " ALTER TABLE delivery_report ALTER COLUMN id SET DEFAULT nextval('other')",
        "GRANT USAGE ON SEQUENCE other TO clerk",
        "permission denied for sequence other",
    ),
    "owner changed": Harm(
        "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM clerk",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk",
        "permission denied for table callback. Give our user the right",
    ),
}


@pytest.fixture(scope="module")
def sqlite(databases: Databases) -> Iterator[Place]:
    with placed(databases, "sqlite", OPEN) as place:
        yield place


@pytest.fixture(scope="module")
def clerk(databases: Databases) -> Iterator[Place]:
    """Give a receiver on PostgreSQL whose user owns nothing, and may do what it has to."""
    url = make_url(databases.make("postgresql"))
    owner = databases.open(url.render_as_string(hide_password=False))
    databases.sql("CREATE ROLE clerk LOGIN PASSWORD 'clerk'")
    given = url.set(username="clerk", password="clerk")
    for kind in ("TABLES", "SEQUENCES"):
        execute(owner, f"GRANT ALL ON ALL {kind} IN SCHEMA public TO clerk")
    with serving(given.render_as_string(hide_password=False), **OPEN) as server:
        yield Place(server, owner, server.api_key)
        silent_about(server, "ants-token", "66812345678")
    databases.drop(url.render_as_string(hide_password=False))
    databases.sql("DROP ROLE clerk")


def execute(engine: Engine, statements: str) -> None:
    """Run statements, on PostgreSQL several at once."""
    with engine.execution_options(no_parameters=True).begin() as connection:
        connection.exec_driver_sql(statements)


def play(place: Place, harm: Harm) -> None:
    """Do harm while callbacks come, undo it, and see that all is there, without a restart."""
    ids = [new() for _ in range(12)]
    unread = b"{" + new().encode()
    for one in ids[:4]:
        assert place.ants(ants(dr(one))).status == 200
    written = len(place.server.stderr())
    execute(place.engine, harm.doing)
    for one in ids[4:]:
        assert place.ants(ants(dr(one))).status == 200
    assert place.ants(ants(dr(ids[0]))).status == 200  # a repeat
    assert place.ants(unread).status == 400
    answer = place("GET", "/readyz")
    assert (answer.status, answer.json["status"]) == (200, "degraded")
    assert answer.json["spool"]["callbacks"] == 10
    recorded = place.record(messages=[{"message_id": ids[4], "recipient": "66812345678"}])
    assert (recorded.status, recorded.headers["retry-after"]) == (503, "5")
    for words in (" ".join(answer.json["problems"]), place.server.stderr()[written:]):
        unquoted = words.replace('\\"', '"').replace("\\'", "'")
        assert "It refuses `" in unquoted
        assert harm.words in unquoted
        assert GUIDE in unquoted
        assert "66812345678" not in unquoted
    execute(place.engine, harm.undoing)
    eventually(lambda: ready(place))
    for one in ids:
        assert [row.repeats for row in place.reports(one)] == [int(one == ids[0])]
    bad = place.rows(select(callback.c.body).where(callback.c.outcome != "read"))
    assert [row.body for row in bad].count(unread) == 1
    assert {row.body[:1] for row in bad} == {b"{"}
    assert all(len(row.body) < 100 for row in bad)  # what could be read is not among them


@pytest.mark.parametrize("name", SQLITE)
def test_a_harm_to_sqlite_is_outlived(sqlite: Place, name: str) -> None:
    play(sqlite, SQLITE[name])


@pytest.mark.parametrize("name", POSTGRESQL)
def test_a_harm_to_postgresql_is_outlived(clerk: Place, name: str) -> None:
    play(clerk, POSTGRESQL[name])


@pytest.mark.parametrize("harm", ["table renamed", "trigger"])
def test_without_a_spool_it_is_not_ready_and_says_why(spoolless: Place, harm: str) -> None:
    """Also before the first callback finds out."""
    given = (SQLITE if spoolless.engine.dialect.name == "sqlite" else POSTGRESQL)[harm]
    assert ready(spoolless)
    execute(spoolless.engine, given.doing)
    answer = spoolless("GET", "/readyz")
    assert (answer.status, answer.json["status"]) == (503, "unavailable")
    assert given.words in answer.json["detail"]
    refused = spoolless.ants(ants(dr(new())))
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    execute(spoolless.engine, given.undoing)
    eventually(lambda: spoolless("GET", "/readyz").status == 200)
    assert spoolless.ants(ants(dr(new()))).status == 200
    assert spoolless.count() == (1, 1)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_database_that_says_no_while_the_spools_disk_is_full(
    databases: Databases, dialect: str
) -> None:
    """503, nothing half-kept, and all well again without a restart, whichever heals first."""
    harm = (SQLITE if dialect == "sqlite" else POSTGRESQL)["column renamed"]
    with placed(databases, dialect, OPEN) as place:
        ids = [new() for _ in range(5)]
        assert place.ants(ants(dr(ids[0]))).status == 200
        execute(place.engine, harm.doing)
        assert place.ants(ants(dr(ids[1]))).status == 200  # in the spool
        limit_files(place, 4096)
        said = place("GET", "/readyz")
        assert (said.status, said.json["status"]) == (503, "unavailable")
        for id_ in ids[2:4]:
            answer = place.ants(ants(dr(id_)))
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert place.ants(b"{" + ids[4].encode()).status == 503
        execute(place.engine, harm.undoing)  # on PostgreSQL it is back although the spool is full
        if dialect == "postgresql":
            eventually(lambda: place.ants(ants(dr(ids[2]))).status == 200)
            assert place("GET", "/readyz").json["status"] == "degraded"
        limit_files(place, 2**40)
        eventually(lambda: ready(place))
        assert place.ants(ants(dr(ids[2]))).status == 200
        assert [len(place.reports(one)) for one in ids[:4]] == [1, 1, 1, 0]


POISON: Final = {
    "sqlite": (
        (
            "CREATE TRIGGER no BEFORE INSERT ON delivery_report WHEN new.message_id LIKE 'poison%'"
            " BEGIN SELECT raise(ABORT, 'not this one'); END"
        ),
        "DROP TRIGGER no",
    ),
    "postgresql": (
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF left(NEW.message_id, 6) = 'poison' THEN RAISE EXCEPTION 'not this one'; END IF;"
            " RETURN NEW; END $$;"
            " CREATE TRIGGER no BEFORE INSERT ON delivery_report FOR EACH ROW EXECUTE FUNCTION no()"
        ),
        GONE,
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_that_a_working_database_refuses_holds_up_nobody(
    databases: Databases, dialect: str
) -> None:
    """It stays in the spool and is seen; the others are brought in; it is tried again."""
    doing, undoing = POISON[dialect]
    with placed(databases, dialect, OPEN) as place:
        execute(place.engine, doing)
        poison = [f"poison-{new()}" for _ in range(3)]
        ids = [new() for _ in range(40)]
        with ThreadPoolExecutor(8) as threads:
            mixed = [*ids[:20], poison[0], *ids[20:30], poison[1], *ids[30:], poison[2]]
            answers = list(threads.map(lambda one: place.ants(ants(dr(one))).status, mixed))
        assert set(answers) == {200}
        eventually(lambda: look(place)["spool"]["refused"] == 3)
        eventually(lambda: look(place)["spool"]["callbacks"] == 0)
        assert {len(place.reports(one)) for one in ids} == {1}
        answer = place("GET", "/readyz")
        assert (answer.status, answer.json["status"]) == (200, "degraded")
        (problem,) = answer.json["problems"]
        assert problem.startswith("The database refuses 3 callbacks in the spool: It refuses `")
        assert "Mend or drop the trigger" in problem
        assert "database away" not in place.server.stderr()
        assert (
            place.record(messages=[{"message_id": "m", "recipient": "66812345678"}]).status == 201
        )
        log = place.server.stderr()
        assert log.count("callback refused by the database, held in the spool") == 3
        assert "not this one" not in log
        page = place("GET", "/metrics").body
        assert b"receiver_spool_refused 3.0" in page
        execute(place.engine, undoing)
        place.server.stop()
        settings = OPEN | {"RECEIVER_SPOOL_PATH": str(place.server.folder / "receiver-spool.db")}
        with serving(str(place.engine.url), **settings) as server:  # tries them again at once
            again = Place(server, place.engine, server.api_key)
            eventually(lambda: ready(again))
            assert {len(again.reports(one)) for one in poison} == {1}
            assert again.rows(select(callback.c.id).where(callback.c.outcome != "read")) == []


DOCUMENTED: Final = (ROOT / "docs" / "operations.md").read_text("utf-8")


def test_a_restore_by_a_superuser_under_load_loses_nothing(
    databases: Databases, tmp_path: Path
) -> None:
    """`pg_restore --clean` as somebody else: every callback is kept, and the page's words heal it.

    What comes from the moment of the backup on is in the spool, since nobody may log in meanwhile;
    then everything is there again, and belongs to somebody else.
    """
    url = make_url(databases.make("postgresql"))
    superuser = url.render_as_string(hide_password=False)
    owner = databases.open(superuser)
    healing, sequences = read_sql("A database that says no", 2)
    databases.sql("CREATE ROLE receiver LOGIN PASSWORD 'receiver'")
    execute(owner, f"GRANT ALL ON SCHEMA public TO receiver; {healing}")
    given = url.set(username="receiver", password="receiver")
    with serving(given.render_as_string(hide_password=False), **OPEN) as server:
        place = Place(server, owner, server.api_key)
        with loaded(place) as (kept, statuses):
            eventually(lambda: len(kept) > 40)
            databases.sql("ALTER ROLE receiver NOLOGIN")
            databases.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'receiver'"
            )
            dump = tmp_path / "receiver.dump"
            plain = superuser.replace("+psycopg", "")
            tool("pg_dump", "--format=custom", f"--file={dump}", plain)
            eventually(lambda: look(place)["spool"]["callbacks"] > 20)
            tool(
                "pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction",
                f"--dbname={plain}", str(dump),
            )  # fmt: skip
            databases.sql("ALTER ROLE receiver LOGIN")
            eventually(lambda: "permission denied" in " ".join(look(place)["problems"]))
            before = len(kept)
            eventually(lambda: len(kept) > before + 20)
            assert place("GET", "/readyz").status == 200
            refused = place.record(messages=[{"message_id": "m", "recipient": "66812345678"}])
            assert refused.status == 503
            execute(owner, healing)
            execute(owner, sequences)
            eventually(lambda: ready(place))
        eventually(lambda: ready(place))
        assert statuses == {200}
        table = delivery_report.c
        there = [row.message_id for row in place.rows(select(table.message_id))]
        assert sorted(there) == sorted(kept)
        assert place.rows(select(callback.c.id).where(callback.c.outcome != "read")) == []
        assert server.stderr().count("Traceback") == 0
    databases.drop(superuser)
    databases.sql("DROP ROLE receiver")


@contextmanager
def loaded(place: Place) -> Iterator[tuple[list[str], set[int]]]:
    """Let callbacks come; give the ids that were answered 200, and all statuses there were."""
    kept: list[str] = []
    statuses: set[int] = set()
    stop = threading.Event()

    def provide(_: int) -> None:
        while not stop.is_set():
            one = new()
            status = place.ants(ants(dr(one))).status
            statuses.add(status)
            if status == 200:
                kept.append(one)
            stop.wait(0.01)

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(provide, n) for n in range(4)]
        try:
            yield kept, statuses
        finally:
            stop.set()
        for one in asked:
            one.result()


def read_sql(heading: str, count: int) -> list[str]:
    """Return the statements under a heading of docs/operations.md."""
    blocks = read_blocks(DOCUMENTED)
    found = [b.text for b in blocks if b.language == "sql" and b.heading == heading]
    assert len(found) == count
    return found


def tool(name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs."""
    done = subprocess.run(
        [programs() / name, *arguments], check=False, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
