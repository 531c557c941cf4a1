"""ANTS as the simulator plays it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

from receiver.simulator.actors.actor import Actor, kind_of
from receiver.simulator.script import PREFIX, SHARE, Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from receiver.simulator.script import Message, ReportedStatus, Script


AT_ONCE: Final = 10
"""Details in one callback, at most."""


def _response(script: Script, messages: Sequence[Message]) -> object:
    accepted = {"code": "0", "name": "ACCEPTED", "description": "accepted by the system"}
    details = [
        {"messageId": m.id, "to": m.recipient, "credit": "1.00", "status": accepted}
        for m in messages
    ]
    return {"bulkId": f"{PREFIX}{script.run}-bulk", "details": details}


def _callback(
    script: Script, reports: Sequence[ReportedStatus], index: int, item_is_bad: bool
) -> Request:
    details: list[dict[str, Any]] = [_detail(script, *one) for one in reports]
    if item_is_bad:
        details.append({"messageId": f"{reports[0][0].id}-bad", "to": reports[0][0].recipient})
    body = {"bulkId": f"{PREFIX}{script.run}-bulk", "details": details}
    kind = "bad items" if item_is_bad else kind_of(*(word for _, word, _ in reports))
    is_xml = script.random.random() < SHARE * 2
    text = _xml(body) if is_xml else json.dumps(body, ensure_ascii=False)
    codec = "utf-8"
    if script.is_struck("encodings", index):
        codec = script.random.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"))
        kind = f"{kind}, encodings" if item_is_bad else "encodings"
    return Request(
        kind=kind,
        method="POST",
        path="",
        body=text.encode(codec),
        content_type=f"application/{'xml' if is_xml else 'json'}",
    )


def _detail(script: Script, message: Message, word: str, time: datetime) -> dict[str, Any]:
    clock = script.start.tzinfo
    return {
        "messageId": message.id,
        "to": message.recipient,
        "from": "SIM",
        "text": "ทดสอบ simulated message",
        "credit": "1.00",
        "sendDate": _time(script.start),
        "doneDate": _time(time.astimezone(clock)),
        "status": {"code": "000", "name": word, "description": "simulated"},
        "callbackData": "",
    }


def _time(time: datetime) -> str:
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


ACTOR: Final = Actor(
    words=("DELIVERED", "UNDELIVERED", "EXPIRED", "REJECTED"),
    weights=(90, 5, 3, 2),
    interim="PENDING",
    interim_share=0.9,
    at_once=AT_ONCE,
    response=_response,
    callback=_callback,
)
