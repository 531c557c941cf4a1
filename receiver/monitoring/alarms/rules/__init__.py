"""The rules: alarms about callbacks, about deliveries, and about what is sent on."""

from __future__ import annotations

from receiver.monitoring.alarms.rules import callbacks, deliveries, outbound

__all__ = ["callbacks", "deliveries", "outbound"]
