"""`receiver serve`: what is composed, several processes, HTTP as strangers speak it, logs."""

from __future__ import annotations

from receiver.server import running
from receiver.server.logs import configure

__all__ = ["configure", "running"]
