"""Settling: matching reports to messages, and deriving each message's status."""

from __future__ import annotations

from receiver.settling import backlog, settle
from receiver.settling.candidates import Diagnosis, Nearness, nearest
from receiver.settling.worker import (
    CHECK_SECONDS,
    LAST_SETTLING_SECONDS,
    SETTLE_AFTER_SECONDS,
    Settler,
)

__all__ = [
    "CHECK_SECONDS",
    "LAST_SETTLING_SECONDS",
    "SETTLE_AFTER_SECONDS",
    "Diagnosis",
    "Nearness",
    "Settler",
    "backlog",
    "nearest",
    "settle",
]
