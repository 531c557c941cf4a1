"""Infobip as the simulator plays it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from receiver.providers import PROVIDERS
from receiver.simulator.actors.actor import Actor, json_request, kind_of
from receiver.simulator.script import PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from receiver.simulator.script import Message, ReportedStatus, Request, Script


AT_ONCE: Final = 20
"""Results in one callback, at most; a hundred are documented."""


def _response(script: Script, messages: Sequence[Message]) -> object:
    status = {"groupId": 1, "groupName": "PENDING", "id": 26, "name": "PENDING_ACCEPTED"}
    sent = [{"messageId": m.id, "to": m.recipient, "status": status} for m in messages]
    return {"bulkId": f"{PREFIX}{script.run}-bulk", "messages": sent}


def _callback(
    script: Script, reports: Sequence[ReportedStatus], index: int, item_is_bad: bool
) -> Request:
    results: list[dict[str, Any]] = [_result(script, *one) for one in reports]
    if item_is_bad:
        results.append({"messageId": f"{reports[0][0].id}-bad", "to": reports[0][0].recipient})
    kind = "bad items" if item_is_bad else kind_of(*(word for _, word, _ in reports))
    codec = "utf-8"
    if script.is_struck("encodings", index):
        codec = script.random.choice(("utf-8-sig", "utf-16", "utf-16-le"))
        kind = f"{kind}, encodings" if item_is_bad else "encodings"
    body = json.dumps({"results": results}, ensure_ascii=False).encode(codec)
    return replace(json_request(kind, body=body), schemes=PROVIDERS["infobip"].PROOFS[0])


def _result(script: Script, message: Message, word: str, time: datetime) -> dict[str, Any]:
    return {
        "bulkId": f"{PREFIX}{script.run}-bulk",
        "messageId": message.id,
        "to": message.recipient,
        "from": "SIM",
        "sentAt": _time(script.start),
        "doneAt": _time(time),
        "smsCount": 1,
        "callbackData": "ทดสอบ",
        "price": {"pricePerMessage": 0.01, "currency": "EUR"},
        "status": {"groupName": word, "name": f"{word}_SIMULATED", "description": "simulated"},
        "error": {"groupId": 0, "groupName": "Ok", "id": 0, "name": "NO_ERROR"},
    }


def _time(time: datetime) -> str:
    """Return an aware time as Infobip writes it: milliseconds, no colon in the offset."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}{time:%z}"


ACTOR: Final = Actor(
    words=("DELIVERED", "UNDELIVERABLE", "EXPIRED", "REJECTED"),
    weights=(90, 5, 3, 2),
    interim="PENDING",
    interim_share=0.5,
    at_once=AT_ONCE,
    response=_response,
    callback=_callback,
)
