"""HTTP client for requests of ours, each bounded as a whole in seconds and bytes."""

from __future__ import annotations

from receiver.http_client.exchange import HttpClient, explain

__all__ = ["HttpClient", "explain"]
