"""What `receiver doctor` examines."""

from __future__ import annotations

from receiver.monitoring.doctor import examine, local, public_url
from receiver.monitoring.doctor.finding import Finding, not_ok

__all__ = ["Finding", "examine", "local", "not_ok", "public_url"]
