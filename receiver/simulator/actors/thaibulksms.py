"""ThaiBulkSMS as the simulator plays it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from receiver.simulator.actors.actor import Actor, json_request, kind_of
from receiver.simulator.script import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.simulator.script import Message, ReportedStatus, Script


def _response(_script: Script, messages: Sequence[Message]) -> object:
    good = [{"number": m.recipient, "message_id": m.id, "used_credit": 1} for m in messages]
    # `remaining_credit` is left out: it would be taken for what a real account has.
    return {
        "total_use_credit": len(good),
        "phone_number_list": good,
        "bad_phone_number_list": [],
    }


def _callback(
    script: Script, reports: Sequence[ReportedStatus], index: int, item_is_bad: bool
) -> Request:
    (message, word, time) = reports[0]
    values = {"Transaction": message.id, "Status": word, "Time": str(int(time.timestamp()))}
    if item_is_bad:
        return json_request("bad items", [values, {"Transaction": f"{message.id}-bad"}])
    if script.is_struck("encodings", index):
        text = json.dumps(values | {"error_message": "ทดสอบ"}, ensure_ascii=False)
        codec = script.random.choice(("utf-8-sig", "utf-16", "utf-16-le"))
        return json_request("encodings", body=text.encode(codec))
    form = urlencode(values)
    method = script.random.choice(("GET", "POST", "PUT"))
    if method == "GET":
        return Request(kind=kind_of(word), method=method, path=f"?{form}")
    return Request(
        kind=kind_of(word),
        method=method,
        path="",
        body=form.encode(),
        content_type="application/x-www-form-urlencoded",
    )


ACTOR: Final = Actor(
    words=("delivery", "failed", "expired"),
    weights=(90, 7, 3),
    interim="sent",
    interim_share=0.3,
    response=_response,
    callback=_callback,
)
