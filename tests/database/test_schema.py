"""The migrations make what the models declare, on both databases."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from receiver.database import schema, views
from receiver.database.tables import base
from receiver.domain.errors import SchemaError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Databases


def shape(engine: Engine) -> set[str]:
    """Return every table, constraint and index of a database, as its own catalogue words them."""
    if engine.dialect.name == "sqlite":
        query = (
            "SELECT name || ': ' || sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'view'"
        )
    else:
        query = """
            SELECT table_name || '.' || column_name || ': ' || data_type || ' '
                || coalesce(datetime_precision::text, '') || is_nullable
                || coalesce(column_default, '') || is_identity
            FROM information_schema.columns WHERE table_schema = 'public'
              AND table_name NOT IN (SELECT table_name FROM information_schema.views)
            UNION SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
            UNION SELECT indexname || ': ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
        """
    with engine.connect() as connection:
        rows = connection.execute(text(query)).scalars().all()
    found = {re.sub(r"[\s\"]+", " ", row).replace("( ", "(") for row in rows}
    # How a CHECK was added to rows that were there is no difference: it holds for all that come.
    found = {row.removesuffix(" NOT VALID") for row in found}
    if engine.dialect.name == "sqlite":  # the order of columns and constraints is no difference
        found = {
            f"{name}: {part.strip(' )')}"
            for name, _, sql in (row.partition(": ") for row in found)
            for part in re.split(r", (?=[a-z_]+ [A-Z]|CONSTRAINT)", sql)
        }
    return {row for row in found if "receiver_version" not in row}


# What Alembic makes of a CHECK that is NOT VALID.
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_migrations_make_what_the_models_declare(databases: Databases, dialect: str) -> None:
    declared = databases.open(databases.empty(dialect))
    base.metadata.create_all(declared)
    migrated = databases.open(databases.make(dialect))
    assert shape(migrated) == shape(declared)
    with migrated.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, base.metadata) == []


def test_numbers_run_from_0001_and_there_is_one_head() -> None:
    script = ScriptDirectory(str(schema.migrations_path()))
    revisions = sorted(r.revision for r in script.walk_revisions())
    assert revisions == [f"{n:04}" for n in range(1, len(revisions) + 1)]
    assert script.get_heads() == [revisions[-1]] == [schema.head()]


def test_a_new_migration_is_as_the_formatter_wants_it(tmp_path: Path) -> None:
    """`alembic revision`, as docs/contributing.md has it, with another folder for the result."""
    config = schema.configuration()
    versions = schema.migrations_path() / "versions"
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", f"{versions}{os.pathsep}{tmp_path}")
    command.revision(config, "add a column", version_path=str(tmp_path), rev_id="9999")
    (file,) = tmp_path.glob("*.py")
    settings = str(schema.migrations_path().parent / "pyproject.toml")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--diff", "--config", settings, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_migration_imports_ours() -> None:
    for path in (schema.migrations_path() / "versions").glob("*.py"):
        assert not re.search(r"^\s*(from|import) receiver", path.read_text(), re.MULTILINE), path


def test_views_are_there_and_come_back(engine: Engine) -> None:
    assert set(inspect(engine).get_view_names()) == set(views.VIEWS)
    with engine.begin() as connection:
        for statement in views.drop():
            connection.execute(text(statement))
    assert schema.upgrade(engine)
    assert set(inspect(engine).get_view_names()) == set(views.VIEWS)
    assert not schema.upgrade(engine)


def test_downgrade_leaves_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        command.downgrade(schema.configuration(connection=connection, views=False), "base")
    assert inspect(engine).get_table_names() == ["receiver_version"]
    assert inspect(engine).get_view_names() == []
    assert schema.upgrade(engine)


def test_printed_sql_makes_the_schema(databases: Databases, engine: Engine) -> None:
    made = databases.open(databases.empty(engine.dialect.name))
    statements = schema.sql(engine.dialect.name)
    if engine.dialect.name == "sqlite":
        raw = sqlite3.connect(str(made.url.database))
        raw.executescript(statements)
        raw.close()
    else:
        body = statements.replace("BEGIN;", "").replace("COMMIT;", "")
        with made.begin() as connection:
            connection.exec_driver_sql(body.replace("%", "%%"))
    with made.connect() as connection:
        assert schema.check(connection) is None
    assert shape(made) == shape(engine)


def test_missing_older_newer_and_breaking_schemas(databases: Databases, engine: Engine) -> None:
    empty = databases.open(databases.empty(engine.dialect.name))
    with empty.connect() as connection, pytest.raises(SchemaError, match="receiver migrate"):
        schema.check(connection)
    with engine.begin() as connection:
        assert schema.check(connection) is None
        connection.execute(text("UPDATE receiver_version SET version_num = '0001'"))
        with pytest.raises(SchemaError, match=f"0001.*{schema.head()}"):
            schema.check(connection)
        connection.execute(text("UPDATE receiver_version SET version_num = '9000'"))
        assert "newer" in (schema.check(connection) or "")
        connection.execute(text("UPDATE receiver_state SET oldest_revision = '8999'"))
        with pytest.raises(SchemaError, match="8999"):
            schema.check(connection)
    assert not schema.upgrade(engine)  # a newer schema is left as it is


def test_ids_are_made_by_the_database_alone_on_postgresql(databases: Databases) -> None:
    """An id given by hand would make a later INSERT of ours fail."""
    engine = databases.open(databases.make("postgresql"))
    with engine.connect() as connection, pytest.raises(ProgrammingError, match="GENERATED ALWAYS"):
        connection.execute(
            text(
                "INSERT INTO sent_message (id, provider, message_id, recipient)"
                " VALUES (1, 'ants', 'm', '66812345678')"
            )
        )


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-21 10:00:00",
        "2026-11-21T10:00:00.000Z",
        "2026-13-01 10:00:00.000Z",
        "2026-02-30 10:00:00.000Z",
        "2026-11-21 24:00:00.000Z",
        "0000-01-01 00:00:00.000Z",
        "2026-11-21 10:00:00.000+",
        "tomorrow",
        "2026-11-21 10:00:00.000Z ",
    ],
)
def test_sqlite_refuses_what_is_no_time(databases: Databases, time: str) -> None:
    engine = databases.open(databases.make("sqlite"))
    insert = text(
        "INSERT INTO sent_message (provider, message_id, recipient, sent_at)"
        " VALUES ('ants', 'm', '66812345678', :time)"
    )
    with engine.connect() as connection:
        with pytest.raises(IntegrityError):
            connection.execute(insert, {"time": time})
        connection.execute(insert, {"time": "2026-02-28 23:59:59.999Z"})


@pytest.mark.parametrize("time", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
def test_postgresql_refuses_times_that_python_cannot_read(databases: Databases, time: str) -> None:
    engine = databases.open(databases.make("postgresql"))
    with engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(
            text(
                "INSERT INTO sent_message (provider, message_id, recipient, sent_at)"
                " VALUES ('ants', 'm', '66812345678', CAST(:time AS timestamptz))"
            ),
            {"time": time},
        )


def test_a_message_without_a_number_is_an_erased_one(databases: Databases, engine: Engine) -> None:
    """Also in a database that had messages before, and beside code that knows nothing of it."""
    old = databases.open(databases.empty(engine.dialect.name))
    send = text(
        "INSERT INTO sent_message (provider, message_id, recipient) VALUES ('ants', :id, :to)"
    )
    found = text("SELECT message_id, recipient FROM sent_message ORDER BY id")
    with old.begin() as connection:
        command.upgrade(schema.configuration(connection=connection, views=False), "0007")
        connection.execute(send, {"id": "a", "to": "66812345678"})
    assert schema.upgrade(old)
    with old.begin() as connection:
        connection.execute(send, {"id": "b", "to": "66812345679"})
        for to in (None, "0812345678"):
            with pytest.raises(IntegrityError), connection.begin_nested():
                connection.execute(send, {"id": "c", "to": to})
        erase = "UPDATE sent_message SET recipient = NULL {} WHERE message_id = 'a'"
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(text(erase.format("")))
        time = "2026-11-21 10:00:00.000Z"
        connection.execute(text(erase.format(f", erased_at = '{time}'")))
        wanted = [("a", None), ("b", "66812345679")]
        assert [tuple(row) for row in connection.execute(found)] == wanted
        if engine.dialect.name == "sqlite":
            assert connection.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]
    with old.begin() as connection:
        command.downgrade(schema.configuration(connection=connection, views=False), "0007")
    with old.connect() as connection:
        assert [row[1] for row in connection.execute(found)] == ["99999999000000001", wanted[1][1]]
    assert schema.upgrade(old)
    assert shape(old) == shape(engine)


LATER_INDEXES = {
    str(index.name)
    for table in base.metadata.sorted_tables
    for index in table.indexes
    if base.LATER in index.info
}


def in_schema(databases: Databases, url: str, name: str) -> Engine:
    """Connect to a schema of its own in a database, which is made."""
    with databases.open(url).begin() as connection:
        connection.execute(text(f'CREATE SCHEMA "{name}"'))
    path = name if name.islower() else f"%22{name}%22"
    return databases.open(f"{url}&options=-csearch_path%3D{path}")


def indexes(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        valid = "SELECT relname FROM pg_class JOIN pg_index ON oid = indexrelid WHERE indisvalid"
        where = (
            " AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
        )
        return set(connection.execute(text(valid + where)).scalars())


def test_two_receivers_in_two_schemas_make_their_own_indexes(databases: Databases) -> None:
    """Also one in whose way stands an index that was cut off; the other's are left alone."""
    url = databases.empty("postgresql")
    first, second = (in_schema(databases, url, name) for name in ("one", "Two%"))
    for engine in (first, second):
        assert schema.upgrade(engine)
    for name in LATER_INDEXES:  # as on tables that were big when they were migrated
        for engine in (first, second):
            with engine.begin() as connection:
                connection.execute(text(f"DROP INDEX {name}"))
    assert set(schema.make_indexes(first)) == LATER_INDEXES <= indexes(first)
    assert not LATER_INDEXES & indexes(second)
    assert set(schema.make_indexes(second)) == LATER_INDEXES <= indexes(second)
    broken = min(LATER_INDEXES)
    with second.begin() as connection:
        connection.execute(
            text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(:name)"),
            {"name": broken},
        )
    assert schema.make_indexes(first) == []
    assert schema.make_indexes(second) == [broken]
    assert indexes(first) & indexes(second) >= LATER_INDEXES
    for engine in (first, second):
        assert not schema.upgrade(engine)
        assert schema.make_indexes(engine) == []
