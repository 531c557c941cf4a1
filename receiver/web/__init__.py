"""Routes, who calls, limits of bodies, and which answer."""

from __future__ import annotations

from receiver.web.app import Edge

__all__ = ["Edge"]
