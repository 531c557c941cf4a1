"""How connections are opened: what waits for the disk, and what need not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.database import DERIVED

if TYPE_CHECKING:
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
