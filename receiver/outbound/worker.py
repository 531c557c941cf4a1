"""What sends changes while `serve` runs: a follower for each destination that is set."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING

from receiver.outbound.follower import Follower
from receiver.outbound.webhooks import Webhooks

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from receiver.settings import Settings


class Outbound:
    """The followers of one process. Start it once; it ends with `stop`, or with the process."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        holder = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"
        self.followers = [
            Follower(engine, Webhooks(name, own), holder) for name, own in settings.events.items()
        ]

    def start(self) -> None:
        """Begin to send."""
        for follower in self.followers:
            follower.start()

    def stop(self) -> None:
        """Stop sending; a batch under way is sent again by whoever goes on."""
        for follower in self.followers:
            follower.ask_to_stop()
        for follower in self.followers:
            follower.stop()
