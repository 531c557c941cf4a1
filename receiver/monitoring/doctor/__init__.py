"""Health checks of `receiver doctor`."""

from __future__ import annotations

from receiver.monitoring.doctor import examine, local, public_url
from receiver.monitoring.doctor.finding import Finding

__all__ = ["Finding", "examine", "local", "public_url"]
