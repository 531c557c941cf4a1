"""Notifier of alarms: one JSON POST to RECEIVER_ALARM_URL, at most 10 s in all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import httpx2

from receiver.display import title
from receiver.http_client import HttpClient

if TYPE_CHECKING:
    from receiver.domain import Alarm


MAX_SECONDS: Final = 10.0
"""The seconds that one POST may take, from the name's look-up to the status."""
JSON: Final = {"Content-Type": "application/json"}


def notify(url: str, alarm: Alarm) -> str | None:
    """POST an alarm; return why that failed, or None where it was accepted. No URL is in it."""
    content = json.dumps(document(alarm)).encode()
    try:
        with HttpClient(MAX_SECONDS) as client:
            response = client.exchange("POST", url, content=content, headers=JSON)
    except httpx2.TimeoutException:
        return f"no answer within {MAX_SECONDS:g} s"
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        return type(error).__name__
    return None if httpx2.codes.is_success(response.status) else f"answered {response.status}"


def document(alarm: Alarm) -> dict[str, Any]:
    """Return the JSON object that is posted. `text` is the one line that chat programs show."""
    of = f" ({title(alarm.provider, alarm.account)})" if alarm.provider else ""
    return alarm.as_json() | {"text": f"{alarm.state}: {alarm.name}{of}. {alarm.sentence}"}
