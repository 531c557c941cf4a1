"""What /metrics answers."""

from __future__ import annotations

from receiver.monitoring.metrics.endpoint import Monitoring

__all__ = ["Monitoring"]
