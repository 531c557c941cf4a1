"""Metrics for /metrics: what this process counted, and what the database says."""

from __future__ import annotations

from receiver.monitoring.metrics.endpoint import Monitoring

__all__ = ["Monitoring"]
