"""Self-test: the receiver's question to its own public URL, and the proof that it answered.

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
MAX_CLOCK_DIFFERENCE: Final = timedelta(minutes=10)
"""How far the time of a question may be from this clock's."""
FORGED_ADDRESS: Final = "192.0.2.1"
"""The address that the question pretends to come from in X-Forwarded-For: one of documentation
(RFC 5737), which nobody has."""


def question(key: str, provider: str, token: str, now: datetime, nonce: str) -> str:
    """Return the header's value, at an aware time."""
    timestamp = str(int(now.timestamp()))
    return f"{timestamp}.{nonce}.{_sign(key, 'question', provider, token, timestamp, nonce)}"


def proof(key: str, provider: str, token: str, header: str) -> str:
    """Return the proof that answers a question, which is given as its header's value."""
    return _sign(key, "answer", provider, token, header)


def answer(
    keys: Iterable[str], provider: str, token: str, header: str, now: datetime
) -> str | None:
    """Return the proof to answer a header with; None where nobody who knows a key wrote it now."""
    timestamp, _, remainder = header.partition(".")
    nonce, _, signature = remainder.partition(".")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= len("9999999999")):
        return None
    if abs(now - datetime.fromtimestamp(int(timestamp), UTC)) > MAX_CLOCK_DIFFERENCE:
        return None
    signing_key = None
    for key in keys:
        right = _sign(key, "question", provider, token, timestamp, nonce)
        if hmac.compare_digest(right.encode(), signature.encode("utf-8", "surrogatepass")):
            signing_key = key
    return None if signing_key is None else proof(signing_key, provider, token, header)


def _sign(key: str, *parts: str) -> str:
    text = json.dumps(["receiver self-test", *parts])  # nothing can be moved from one to the next
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()
