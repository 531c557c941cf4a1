"""Alarms: their rules, the figures these use, their state, and who is told."""

from __future__ import annotations

from receiver.monitoring.alarms import evaluate, store
from receiver.monitoring.alarms.evaluate import evaluate_all
from receiver.monitoring.alarms.worker import AlarmWorker

__all__ = ["AlarmWorker", "evaluate", "evaluate_all", "store"]
