"""Secrets, compared in constant time."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


class Named(Protocol):
    """A secret and the name it goes by."""

    @property
    def name(self) -> str:
        """Account, user or key name; empty where it has none."""

    @property
    def value(self) -> str:
        """The secret."""


def find(secrets: Iterable[Named], text: str) -> Named | None:
    """Return the secret that equals a text, or None; every one is compared, in constant time."""
    offered = text.encode("utf-8", "surrogatepass")
    right = None
    for secret in secrets:
        if hmac.compare_digest(secret.value.encode(), offered):
            right = secret
    return right
