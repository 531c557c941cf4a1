"""Spool of callbacks while the database is away: a local SQLite file."""

from __future__ import annotations

from receiver.ingest.spool import salvage, spool
from receiver.ingest.spool.file import Portion
from receiver.ingest.spool.spool import Held, Spool

__all__ = ["Held", "Portion", "Spool", "salvage", "spool"]
