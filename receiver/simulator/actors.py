"""Providers as the simulator plays them: their send answers and their callbacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from receiver.providers import PROVIDERS
from receiver.simulator.script import (
    DETAILS_AT_ONCE,
    PREFIX,
    SHARE,
    STRANGE,
    Message,
    Request,
    Said,
    Script,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def _as_it_is(base: str, _recipient: str, _group: int) -> str:
    return base


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """How a provider speaks."""

    words: Sequence[str]
    weights: Sequence[int]
    interim: str
    interim_share: float
    at_once: int
    response: Callable[[Script, Sequence[Message]], object]
    callback: Callable[[Script, Sequence[Said], int, bool], Request]
    identify: Callable[[str, str, int], str] = _as_it_is
    """Makes a message's id of what is to be in it, its recipient and its group of proofs."""

    def cut(self, request: Request) -> Request:
        """Return a request that lost its second half."""
        if not request.body:
            half = request.path[: request.path.index("&Status")]
            return replace(request, kind="truncated", path=half, expected=400)
        half_body = request.body[: len(request.body) // 2]
        return replace(request, kind="truncated", body=half_body, expected=400)


def _thaibulksms_response(_script: Script, messages: Sequence[Message]) -> object:
    good = [{"number": m.recipient, "message_id": m.id, "used_credit": 1} for m in messages]
    # `remaining_credit` is left out: it would be taken for what a real account has.
    return {
        "total_use_credit": len(good),
        "phone_number_list": good,
        "bad_phone_number_list": [],
    }


def _thaibulksms_callback(
    script: Script, said: Sequence[Said], place: int, item_is_bad: bool
) -> Request:
    (message, word, time) = said[0]
    values = {"Transaction": message.id, "Status": word, "Time": str(int(time.timestamp()))}
    if item_is_bad:
        return _json_request("bad items", [values, {"Transaction": f"{message.id}-bad"}])
    if script.strikes("encodings", place):
        text = json.dumps(values | {"error_message": "ทดสอบ"}, ensure_ascii=False)
        codec = script.random.choice(("utf-8-sig", "utf-16", "utf-16-le"))
        return _json_request("encodings", body=text.encode(codec))
    form = urlencode(values)
    method = script.random.choice(("GET", "POST", "PUT"))
    if method == "GET":
        return Request(kind=_kind(word), method=method, path=f"?{form}")
    return Request(
        kind=_kind(word),
        method=method,
        path="",
        body=form.encode(),
        content_type="application/x-www-form-urlencoded",
    )


def _ants_response(script: Script, messages: Sequence[Message]) -> object:
    accepted = {"code": "0", "name": "ACCEPTED", "description": "accepted by the system"}
    details = [
        {"messageId": m.id, "to": m.recipient, "credit": "1.00", "status": accepted}
        for m in messages
    ]
    return {"bulkId": f"{PREFIX}{script.run}-bulk", "details": details}


def _ants_callback(script: Script, said: Sequence[Said], place: int, item_is_bad: bool) -> Request:
    details: list[dict[str, Any]] = [_ants_detail(script, *one) for one in said]
    if item_is_bad:
        details.append({"messageId": f"{said[0][0].id}-bad", "to": said[0][0].recipient})
    body = {"bulkId": f"{PREFIX}{script.run}-bulk", "details": details}
    kind = "bad items" if item_is_bad else _kind(*(word for _, word, _ in said))
    is_xml = script.random.random() < SHARE * 2
    text = _xml(body) if is_xml else json.dumps(body, ensure_ascii=False)
    codec = "utf-8"
    if script.strikes("encodings", place):
        codec = script.random.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"))
        kind = f"{kind}, encodings" if item_is_bad else "encodings"
    return Request(
        kind=kind,
        method="POST",
        path="",
        body=text.encode(codec),
        content_type=f"application/{'xml' if is_xml else 'json'}",
    )


def _ants_detail(script: Script, message: Message, word: str, time: datetime) -> dict[str, Any]:
    clock = script.start.tzinfo
    return {
        "messageId": message.id,
        "to": message.recipient,
        "from": "SIM",
        "text": "ทดสอบ simulated message",
        "credit": "1.00",
        "sendDate": _ants_time(script.start),
        "doneDate": _ants_time(time.astimezone(clock)),
        "status": {"code": "000", "name": word, "description": "simulated"},
        "callbackData": "",
    }


def _ants_time(time: datetime) -> str:
    """Return a time as ANTS writes it: no offset, two digits of a second (documented)."""
    return time.replace(tzinfo=None).isoformat(timespec="milliseconds")[:-1]


def _xml(body: Mapping[str, Any]) -> str:
    """Write a callback as the document has it; its prolog says utf-16, whatever it is sent in."""
    details = "".join(f"<detail>{_elements(detail)}</detail>" for detail in body["details"])
    return (
        '<?xml version="1.0" encoding="utf-16"?><CALLBACK'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        ' xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
        f"<bulkId>{body['bulkId']}</bulkId><details>{details}</details></CALLBACK>"
    )


def _elements(values: Mapping[str, Any]) -> str:
    return "".join(
        f"<{name}>{_elements(value) if isinstance(value, dict) else escape(value)}</{name}>"
        for name, value in values.items()
    )


def _engagelab_id(base: str, recipient: str, group: int) -> str:
    """Put the recipient into the ids of generation 1, which is the first group."""
    return base if group else f"{base}${recipient}"


def _engagelab_response(_script: Script, messages: Sequence[Message]) -> object:
    return [_engagelab_answer(message) for message in messages]


def _engagelab_answer(message: Message) -> dict[str, Any]:
    base, hooked, _ = message.id.partition("$")
    if hooked:
        return {"message_id": base, "to": [message.recipient]}
    counts = {"total_count": 1, "accepted_count": 1}
    return {"plan_id": f"{base}-plan", **counts, "message_id": base, "to": [message.recipient]}


def _engagelab_callback(
    script: Script, said: Sequence[Said], place: int, item_is_bad: bool
) -> Request:
    (message, word, time) = said[0]
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
    kind, codec = "bad items" if item_is_bad else _kind(word), "utf-8"
    if script.strikes("encodings", place):
        kind = f"{kind}, encodings" if item_is_bad else "encodings"
        codec = script.random.choice(("utf-8-sig", "utf-16", "utf-16-le"))
    request = _json_request(kind, body=json.dumps(body, ensure_ascii=False).encode(codec))
    return replace(request, schemes=PROVIDERS["engagelab"].PROOFS[0 if hooked else 1])


def _kind(*words: str) -> str:
    return "unknown words" if STRANGE in words else "reports"


def _json_request(kind: str, document: object = None, body: bytes = b"") -> Request:
    body = body or json.dumps(document).encode()
    return Request(kind=kind, method="POST", path="", body=body, content_type="application/json")


ACTORS: Final[Mapping[str, Actor]] = {
    "thaibulksms": Actor(
        words=("delivery", "failed", "expired"),
        weights=(90, 7, 3),
        interim="sent",
        interim_share=0.3,
        at_once=1,
        response=_thaibulksms_response,
        callback=_thaibulksms_callback,
    ),
    "ants": Actor(
        words=("DELIVERED", "UNDELIVERED", "EXPIRED", "REJECTED"),
        weights=(90, 5, 3, 2),
        interim="PENDING",
        interim_share=0.9,
        at_once=DETAILS_AT_ONCE,
        response=_ants_response,
        callback=_ants_callback,
    ),
    # Generation 1's words for a failure are unknown; it borrows the other's here.
    "engagelab": Actor(
        words=("delivered", "delivered_failed", "sent_failed"),
        weights=(90, 7, 3),
        interim="sent",
        interim_share=0.5,
        at_once=1,
        response=_engagelab_response,
        callback=_engagelab_callback,
        identify=_engagelab_id,
    ),
}
