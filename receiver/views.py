"""The views' SQL: the questions people ask, as tables."""

from __future__ import annotations

from typing import Final

VIEWS: Final[dict[str, str]] = {}


def drop() -> list[str]:
    """Return the statements that drop every view, the last made first."""
    return [f"DROP VIEW IF EXISTS {name}" for name in reversed(VIEWS)]


def create(dialect: str) -> list[str]:  # noqa: ARG001
    """Return the statements that make every view, for `sqlite` or `postgresql`."""
    return [f"CREATE VIEW {name} AS {body}" for name, body in VIEWS.items()]
