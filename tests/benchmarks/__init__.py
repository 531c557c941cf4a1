"""How fast the receiver is, beside a peer that commits every request by itself."""

from __future__ import annotations
