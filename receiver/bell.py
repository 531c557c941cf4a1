"""Telling RECEIVER_ALARM_URL of an alarm: one JSON POST, of which nothing takes long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import httpx2

from receiver.phrases import title

if TYPE_CHECKING:
    from receiver.alarm import Alarm

SECONDS: Final = 10.0
"""How long one POST may take, all of it."""


def ring(url: str, alarm: Alarm) -> str | None:
    """POST an alarm; return why it was not taken, or None where it was. The URL is never shown."""
    try:
        status = asyncio.run(_post(url, document(alarm)))
    except TimeoutError:
        return f"no answer within {SECONDS:g} s"
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        return type(error).__name__
    return None if httpx2.codes.is_success(status) else f"answered {status}"


async def _post(url: str, body: dict[str, Any]) -> int:
    """Return the status of the answer, of which no more is read.

    The library limits each step; only a limit of the whole ends an answer that trickles.
    """
    async with (
        asyncio.timeout(SECONDS),
        httpx2.AsyncClient(timeout=SECONDS) as client,
        client.stream("POST", url, json=body) as answer,
    ):
        return answer.status_code


def document(alarm: Alarm) -> dict[str, Any]:
    """Return what is told. `text` is the one line that chat programs show."""
    of = f" ({title(alarm.provider, alarm.account)})" if alarm.provider else ""
    return alarm.as_json() | {"text": f"{alarm.state}: {alarm.name}{of}. {alarm.sentence}"}
