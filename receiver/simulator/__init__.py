"""Plays a provider: what it would send, and the client that sends it."""

from __future__ import annotations

from receiver.simulator import run
from receiver.simulator.plan import known_faults

__all__ = ["known_faults", "run"]
