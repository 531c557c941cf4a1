"""Message templates as the provider has them."""

from __future__ import annotations

from receiver.messages.templates import mirror, synchronise
from receiver.messages.templates.client import APPROVALS, TYPES, Client, Draft
from receiver.messages.templates.mirror import Template

__all__ = ["APPROVALS", "TYPES", "Client", "Draft", "Template", "mirror", "synchronise"]
