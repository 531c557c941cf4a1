"""Monitoring: alarms, metrics, doctor, and settings that receivers must share."""

from __future__ import annotations

from receiver.monitoring import peers

__all__ = ["peers"]
