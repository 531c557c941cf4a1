"""Proofs of who calls, and limits for who cannot give one: pure."""

from __future__ import annotations

from receiver.security import addresses, proofs, secrets, self_test
from receiver.security.addresses import is_metadata, within
from receiver.security.proofs import fresh
from receiver.security.rate_limit import FailureLimiter, network
from receiver.security.replay_guard import ReplayGuard
from receiver.security.secrets import Named, find

__all__ = [
    "FailureLimiter",
    "Named",
    "ReplayGuard",
    "addresses",
    "find",
    "fresh",
    "is_metadata",
    "network",
    "proofs",
    "secrets",
    "self_test",
    "within",
]
