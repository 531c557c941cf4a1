"""Settling: matching reports to messages, and deriving each message's status."""

from __future__ import annotations

from receiver.settling import backlog, settle
from receiver.settling.candidates import Diagnosis, Nearness, nearest
from receiver.settling.worker import LAST_SETTLING, LOOK_EVERY, SETTLE_AFTER, Settler

__all__ = [
    "LAST_SETTLING",
    "LOOK_EVERY",
    "SETTLE_AFTER",
    "Diagnosis",
    "Nearness",
    "Settler",
    "backlog",
    "nearest",
    "settle",
]
