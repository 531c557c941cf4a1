"""The commands, one module a topic, and what they print."""

from __future__ import annotations

from receiver.cli.run import main

__all__ = ["main"]
