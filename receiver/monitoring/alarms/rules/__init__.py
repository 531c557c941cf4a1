"""The rules: alarms about callbacks, and about deliveries."""

from __future__ import annotations

from receiver.monitoring.alarms.rules import callbacks, deliveries

__all__ = ["callbacks", "deliveries"]
