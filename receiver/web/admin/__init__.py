"""The operator's page: what came, what did not, and why, for people who write no SQL."""

from __future__ import annotations

from receiver.web.admin.asgi import Page
from receiver.web.admin.backend import Backend

__all__ = ["Backend", "Page"]
