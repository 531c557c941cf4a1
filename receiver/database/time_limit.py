"""Time limit of a look-up, on both databases."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from receiver.database.column_types import SQLITE

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_LOOKUP_SECONDS: Final = 3
"""How long one statement of a look-up may take; on SQLite, all of them."""
STEPS_BETWEEN_CHECKS: Final = 1_000_000
"""Steps of SQLite's, some 20 ms of them, after which it asks whether to go on."""


@contextmanager
def limited(connection: Connection) -> Iterator[None]:
    """Let no statement outlast MAX_LOOKUP_SECONDS, waiting for locks included.

    On SQLite, where nobody waits for locks to read, the statements together.
    """
    if connection.dialect.name != SQLITE:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{MAX_LOOKUP_SECONDS}s'")
        yield
        return
    driver, until = connection.connection.driver_connection, time.monotonic() + MAX_LOOKUP_SECONDS
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - what the dialect says
    driver.set_progress_handler(lambda: time.monotonic() > until, STEPS_BETWEEN_CHECKS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)
