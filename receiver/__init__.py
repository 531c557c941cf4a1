"""Receives SMS delivery reports and keeps them, joined to the messages that were sent."""

from __future__ import annotations
