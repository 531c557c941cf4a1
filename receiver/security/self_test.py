"""The receiver's question to its own public URL, and the proof that the receiver answered it.

Pure. Both are signed with an API key, or where none is set with the token of the URL, over the
provider, the token, the time and a nonce. Whoever knows a URL and no API key, as a provider does,
is answered as to any probe, and so is whoever brings an old signature.
"""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


HEADER: Final = "X-Receiver-Self-Test"
FRESH: Final = timedelta(minutes=10)
"""How far the time of a question may be from ours."""
FORGED: Final = "192.0.2.1"
"""What the question says of itself in X-Forwarded-For: a documentation address (RFC 5737), which
nobody has."""


def question(key: str, provider: str, token: str, now: datetime, nonce: str) -> str:
    """Return the header's value, at an aware time."""
    timestamp = str(int(now.timestamp()))
    return f"{timestamp}.{nonce}.{_sign(key, 'question', provider, token, timestamp, nonce)}"


def proof(key: str, provider: str, token: str, asked: str) -> str:
    """Return what the answer to a question is proven by."""
    return _sign(key, "answer", provider, token, asked)


def answer(keys: Iterable[str], provider: str, token: str, asked: str, now: datetime) -> str | None:
    """Return the proof to answer a header with; None where nobody who knows a key wrote it now."""
    timestamp, _, rest = asked.partition(".")
    nonce, _, signature = rest.partition(".")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= len("9999999999")):
        return None
    if abs(now - datetime.fromtimestamp(int(timestamp), UTC)) > FRESH:
        return None
    found = None
    for key in keys:
        right = _sign(key, "question", provider, token, timestamp, nonce)
        if hmac.compare_digest(right.encode(), signature.encode("utf-8", "surrogatepass")):
            found = key
    return None if found is None else proof(found, provider, token, asked)


def _sign(key: str, *said: str) -> str:
    text = json.dumps(["receiver self-test", *said])  # nothing can be moved from one to the next
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()
