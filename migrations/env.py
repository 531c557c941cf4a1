"""How Alembic runs here: on the caller's connection, one transaction, views made anew after it.

A view of tables that change would stand in the way (SQLite refuses to rebuild a table that a view
names), so all views go before the first migration and come back, as receiver/views.py has them,
after the last. Changing a view is therefore a migration of its own, which may be empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from receiver.database import views
from receiver.database.engine import connect, parse_url
from receiver.database.tables import base

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSION_TABLE = "receiver_version"


def run(connection: Connection | None, dialect: str) -> None:
    """Drop the views, migrate, and make the views again where the revision has them."""
    context.configure(
        connection=connection,
        dialect_name=dialect,
        literal_binds=connection is None,
        target_metadata=base.metadata,
        version_table=VERSION_TABLE,
        compare_type=True,
    )
    with context.begin_transaction():
        if dialect == "postgresql":
            # Everybody else waits behind a change that waits for a long query: not for long.
            context.execute("SET LOCAL lock_timeout = '3s'")
        for statement in views.drop():
            context.execute(statement)
        context.run_migrations()
        if context.config.attributes.get("views", True):
            for statement in views.create(dialect):
                context.execute(statement)


url = parse_url(context.get_x_argument(as_dictionary=True).get("url") or "sqlite:///receiver.db")
if (given := context.config.attributes.get("connection")) is not None:
    run(given, given.dialect.name)
elif context.is_offline_mode():
    run(None, context.config.attributes["dialect"])
else:
    with connect(url).begin() as opened:
        run(opened, opened.dialect.name)
