"""EngageLab as the simulator plays it: both generations, by the group of proofs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from receiver.providers import engagelab
from receiver.simulator.actors.actor import Actor, json_request, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.simulator.script import Message, ReportedStatus, Request, Script


def _id(base: str, recipient: str, group: int) -> str:
    """Put the recipient into the ids of generation 1, which is the first group."""
    return base if group else f"{base}${recipient}"


def _response(_script: Script, messages: Sequence[Message]) -> object:
    return [_answer(message) for message in messages]


def _answer(message: Message) -> dict[str, Any]:
    base, hooked, _ = message.id.partition("$")
    if hooked:
        return {"message_id": base, "to": [message.recipient]}
    counts = {"total_count": 1, "accepted_count": 1}
    return {"plan_id": f"{base}-plan", **counts, "message_id": base, "to": [message.recipient]}


def _callback(
    script: Script, reports: Sequence[ReportedStatus], index: int, item_is_bad: bool
) -> Request:
    (message, word, time) = reports[0]
    base, hooked, _ = message.id.partition("$")
    event: dict[str, Any] = {
        "message_id": base,
        "to": message.recipient,
        "server": "sms",
        "custom_args": {"note": "ทดสอบ"},
        "status": {"message_status": word, "status_data": {}},
    }
    if hooked:
        body = event | {"from": "SIM", "itime": int(time.timestamp() * 1000)}
        if item_is_bad:
            body["status"] = event["status"] | {"status_data": {"sms_ids": [message.id, {}]}}
    else:
        event |= {"channel": "sms", "itime": int(time.timestamp())}
        rows = [event, {"itime": event["itime"]}] if item_is_bad else [event]
        body = {"total": len(rows), "rows": rows}
    kind, codec = "bad items" if item_is_bad else kind_of(word), "utf-8"
    if script.is_struck("encodings", index):
        kind = f"{kind}, encodings" if item_is_bad else "encodings"
        codec = script.random.choice(("utf-8-sig", "utf-16", "utf-16-le"))
    request = json_request(kind, body=json.dumps(body, ensure_ascii=False).encode(codec))
    return replace(request, schemes=engagelab.PROOFS[0 if hooked else 1])


ACTOR: Final = Actor(
    # Generation 1's words for a failure are unknown; it borrows the other's here.
    words=("delivered", "delivered_failed", "sent_failed"),
    weights=(90, 7, 3),
    interim="sent",
    interim_share=0.5,
    response=_response,
    callback=_callback,
    identify=_id,
)
