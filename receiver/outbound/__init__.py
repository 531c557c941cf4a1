"""Sending what changed to applications: the follower of the feed, and webhooks as its ends."""

from __future__ import annotations

from receiver.outbound import store
from receiver.outbound.follower import Outcome
from receiver.outbound.webhooks import new_secret, send_test
from receiver.outbound.worker import Outbound

__all__ = ["Outbound", "Outcome", "new_secret", "send_test", "store"]
