"""Finding of a health check: one thing that is in order, or is not, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `receiver doctor`; no secret is in it. `todo` is empty where it is in order."""

    check: str
    ok: bool
    said: str
    todo: str = ""


def ok(check: str, said: str) -> Finding:
    """Return a finding that is in order."""
    return Finding(check=check, ok=True, said=said)


def not_ok(check: str, said: str, todo: str) -> Finding:
    """Return a finding that is not, and what to do."""
    return Finding(check=check, ok=False, said=said, todo=todo)
