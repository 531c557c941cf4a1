"""Webhooks: batches of changes as signed POSTs, after Standard Webhooks 1.0.0.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import json
import secrets
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpx2
from standardwebhooks.webhooks import Webhook

from receiver.database import message_status
from receiver.display import json_values, row_as_json
from receiver.domain import Status
from receiver.http_client import HttpClient, explain
from receiver.outbound.follower import Answer, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import RowMapping

    from receiver.outbound.follower import Batch
    from receiver.settings import EventSettings


SECONDS: Final = 10.0
"""How long one POST may take, all of it."""
LONGEST_WAIT: Final = 3600.0
"""Seconds that a destination may ask to be left alone for, at most."""
TYPE: Final = "message.status"
SECRET_BYTES: Final = 32
TRANSIENT: Final = frozenset({408, 425, 429})
"""Statuses of the class 4xx that are not about what was sent: too slow, too early, too much."""


class Webhooks:
    """A destination that is a URL. For one thread."""

    def __init__(self, name: str, settings: EventSettings) -> None:
        self.name = name
        self.max_batch = settings.max_batch
        self._settings = settings
        self._signers = [Webhook(secret) for secret in settings.secrets]
        self._client: HttpClient | None = None

    def wants(self, row: RowMapping) -> bool:
        """Say whether a message passes the filters."""
        filters = (
            (self._settings.accounts, row["account"]),
            (self._settings.tags, row["tag"]),
            (self._settings.statuses, row["status"]),
        )
        return all(not allowed or value in allowed for allowed, value in filters)

    def send(self, batch: Batch) -> Answer:
        """POST a batch."""
        messages = [row_as_json(row) for row in batch.rows]
        return self.post(batch.key, document(batch.at, messages))

    def post(self, key: str, content: bytes) -> Answer:
        """POST a signed body and return what came of it. Redirects are not followed."""
        if self._client is None:
            self._client = HttpClient(SECONDS, guarded=True)
        try:
            answer = self._client.exchange(
                "POST", self._settings.url, content=content, headers=self._headers(key, content)
            )
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return Answer(Outcome.AGAIN, explain(error))
        return judge(answer.status, answer.headers)

    def _headers(self, key: str, content: bytes) -> dict[str, str]:
        now, text = datetime.now(UTC), content.decode()
        return {
            "Content-Type": "application/json",
            "User-Agent": "receiver",
            "webhook-id": key,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                signer.sign(msg_id=key, timestamp=now, data=text) for signer in self._signers
            ),
        }

    def close(self) -> None:
        """Close the connection; the next POST makes another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def judge(status: int, headers: Mapping[str, str]) -> Answer:
    """Return what an answer means. Of its body nothing is read."""
    problem = f"answered {status}"
    if httpx2.codes.is_success(status):
        return Answer(Outcome.TAKEN)
    if status == httpx2.codes.GONE:
        return Answer(Outcome.OFF, problem, status=status)
    if httpx2.codes.is_client_error(status) and status not in TRANSIENT:
        return Answer(Outcome.REFUSED, problem, status=status)
    after = None
    if status in {httpx2.codes.TOO_MANY_REQUESTS, httpx2.codes.SERVICE_UNAVAILABLE}:
        after = retry_after(headers.get("retry-after", ""), datetime.now(UTC))
    return Answer(Outcome.AGAIN, problem, after)


def retry_after(text: str, now: datetime) -> float | None:
    """Return the seconds that `Retry-After` asks for, at most an hour; None where it is none."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(text)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return min(max((at - now).total_seconds(), 0.0), LONGEST_WAIT)
    except (ValueError, TypeError, OverflowError):
        return None


def document(at: datetime, messages: list[dict[str, Any]], **data: Any) -> bytes:
    """Return the body; `at` is when the last of it happened, so that the same stays the same."""
    body = {
        "type": TYPE,
        "timestamp": json_values.jsonable(at),
        "data": {**data, "messages": messages},
    }
    return json.dumps(body, separators=(",", ":")).encode()


def new_secret() -> str:
    """Return a new secret, as `_SECRETS` takes it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def send_test(name: str, settings: EventSettings) -> Answer:
    """POST an example that says of itself that it is one: `data.test` is true."""
    now = datetime.now(UTC)
    webhooks = Webhooks(name, settings)
    try:
        return webhooks.post(
            f"msg_test{secrets.token_hex(14)}", document(now, [_example(now)], test=True)
        )
    finally:
        webhooks.close()


def _example(now: datetime) -> dict[str, Any]:
    """Return a message as the feed has it, of nobody: no message has the id 0."""
    at = json_values.jsonable(now)
    values = {
        "id": 0, "provider": "ants", "account": "", "transaction_id": "example",
        "message_id": "example", "recipient": "66812345678", "reference": "example",
        "sent_at": at, "recorded_at": at, "changed_at": at, "settled_at": at, "done_at": at,
        "status": Status.DELIVERED.value, "final": True, "conflicting": False, "report_count": 1,
    }  # fmt: skip
    return dict.fromkeys(message_status.c.keys()) | values
