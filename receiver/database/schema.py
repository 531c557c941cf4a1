"""The schema's versions: runs Alembic, whose migrations travel inside the wheel."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex

from receiver.database import views
from receiver.database.column_types import SQLITE
from receiver.database.failures import is_away, reason
from receiver.database.tables import LATER, metadata
from receiver.domain import SchemaError, UnavailableError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


VERSION_TABLE: Final = "receiver_version"
ATTEMPTS: Final = 5
"""How often to look again when another receiver is making the same schema."""

SCHEMA: Final = """
    SELECT nspname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    WHERE pg_class.oid = to_regclass(:name)
"""
"""The schema that a table is in, of those that are looked through."""
INDEXES: Final = """
    SELECT relname, indisvalid FROM pg_index
    JOIN pg_class i ON i.oid = indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
    WHERE nspname = :schema
"""


def migrations_path() -> Path:
    """Return where the migrations are: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    inside = here / "migrations"
    return inside if inside.is_dir() else here.parent / "migrations"


def configuration(**attributes: object) -> Config:
    """Return Alembic's configuration; `attributes` reach migrations/env.py."""
    config = Config(stdout=io.StringIO(), output_buffer=io.StringIO())
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    config.attributes.update(attributes)
    return config


def head() -> str:
    """Return the revision this code is written for."""
    revision = ScriptDirectory.from_config(configuration()).get_current_head()
    if revision is None:  # pragma: no cover - a broken installation
        raise SchemaError("No migrations were installed with this program. Install it again.")
    return revision


def current(connection: Connection) -> str | None:
    """Return the database's revision; None where the schema was never made."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def upgrade(engine: Engine) -> bool:
    """Bring the schema up to date; say whether anything changed.

    A schema newer than this code is left as it is (see `check`). Several receivers may start at
    once: whoever comes second finds the work done.
    """
    for attempt in range(ATTEMPTS):
        try:
            with engine.begin() as connection:
                if is_current(connection):
                    return False
                command.upgrade(configuration(connection=connection), "head")
                return True
        except DBAPIError as error:
            # Another receiver made the same tables meanwhile; PostgreSQL says so in many ways.
            alone = engine.dialect.name == SQLITE
            if alone or is_away(error) or attempt == ATTEMPTS - 1:
                raise UnavailableError(f"The database cannot be used: {reason(error)}") from error
            time.sleep(0.2 * (attempt + 1))
    raise AssertionError  # pragma: no cover


def make_indexes(engine: Engine) -> list[str]:
    """Make the indexes that big tables of PostgreSQL were spared; return their names.

    Nobody who writes has to wait for it, and it takes as long as reading the tables twice. One
    that was cut off left an index that is not valid, and is begun anew.
    """
    if engine.dialect.name == SQLITE:
        return []
    with engine.connect() as connection:
        # Of this receiver: another may have tables of the same names in a schema of its own.
        schema = connection.execute(text(SCHEMA), {"name": VERSION_TABLE}).scalar_one()
        rows = connection.execute(text(INDEXES), {"schema": schema})
        is_valid = {str(name): bool(valid) for name, valid in rows}
    indexes = [index for table in metadata.sorted_tables for index in table.indexes]
    missing = [i for i in indexes if LATER in i.info and not is_valid.get(str(i.name))]
    quote = engine.dialect.identifier_preparer.quote
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for index in missing:
            if index.name in is_valid:
                name = f"{quote(schema)}.{quote(str(index.name))}"
                connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {name}")
            # Named in full, since what the URL says of schemas is set by transactions only.
            making = CreateIndex(index).compile(
                engine, schema_translate_map={None: schema}, render_schema_translate=True
            )
            concurrently = str(making).replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
            connection.exec_driver_sql(concurrently)
    return [str(index.name) for index in missing]


def is_current(connection: Connection) -> bool:
    """Say whether nothing is to be done: the head, or newer, with every view there."""
    revision = current(connection)
    if revision is None:
        return False
    if revision not in _revisions():
        return True
    return revision == head() and set(views.VIEWS) <= set(inspect(connection).get_view_names())


def _revisions() -> set[str]:
    return {r.revision for r in ScriptDirectory.from_config(configuration()).walk_revisions()}


def check(connection: Connection) -> str | None:
    """Raise SchemaError where this code cannot work on the schema; return a warning or None.

    A newer schema is accepted unless one of its migrations says, in `receiver_state`, that it
    breaks code as old as this.
    """
    revision, needed = current(connection), head()
    if revision is None:
        raise SchemaError("The database has no tables yet. Run `receiver migrate`.")
    if revision == needed:
        return None
    if revision in _revisions():
        raise SchemaError(
            f"The database is at revision {revision}, this program needs {needed}."
            " Run `receiver migrate`."
        )
    oldest = connection.execute(text("SELECT oldest_revision FROM receiver_state")).scalar_one()
    if needed < oldest:
        raise SchemaError(
            f"The database is at revision {revision}, which needs a program of revision {oldest}"
            f" or later; this one is {needed}. Install a newer version."
        )
    return f"The database is at revision {revision}, newer than this program's {needed}."


def sql(dialect: str) -> str:
    """Return the SQL that makes the whole schema from nothing, for `sqlite` or `postgresql`."""
    config = configuration(dialect="postgresql" if dialect != SQLITE else SQLITE)
    buffer = io.StringIO()
    config.output_buffer = buffer
    command.upgrade(config, "head", sql=True)
    return buffer.getvalue()
