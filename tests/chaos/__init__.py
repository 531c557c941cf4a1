"""Does harm to a running receiver, and compares what it promised with what the database has."""

from __future__ import annotations
