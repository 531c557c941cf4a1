"""The gateways of AIS and NT as the simulator plays them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from receiver.simulator.actors.actor import Actor, json_request, kind_of
from receiver.simulator.script import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.simulator.script import Message, ReportedStatus, Script


def _response(_script: Script, messages: Sequence[Message]) -> object:
    """Answer one send call for each message, with the call's number put in."""
    return [{"STATUS": "OK", "DETAIL": "", "SMID": m.id, "TO": m.recipient} for m in messages]


def _callback(
    script: Script, reports: Sequence[ReportedStatus], index: int, _item_is_bad: bool
) -> Request:
    (message, word, time) = reports[0]
    status, _, detail = word.partition(" ")
    if word == "ERR":
        detail = "34"  # a code of the operator's
    clock = time.astimezone(script.start.tzinfo)
    fields = {
        "CMD": "DLVRREP",
        "NTYPE": "REP",
        "FROM": message.recipient,
        "STATUS": status,
        "DETAIL": detail,
        "SMID": message.id,
        "TIME": f"{clock:%y%m%d%H%M}",
        "CAMPAIGN": "ทดสอบ & simulated",
    }
    if script.is_struck("encodings", index):
        codec = script.random.choice(("utf-8-sig", "utf-16", "utf-16-le"))
        return json_request("encodings", body=json.dumps(fields).encode(codec))
    if script.random.choice(("text", "JSON")) == "JSON":
        return json_request(kind_of(word), fields)
    body = "&".join(f"{name}={value}" for name, value in fields.items())  # nothing is encoded
    return Request(
        kind=kind_of(word), method="POST", path="", body=body.encode(), content_type="text/plain"
    )


def _cut(request: Request) -> Request:
    """Return a request without its id: the half of one would be another id."""
    codec = json.detect_encoding(request.body)
    begin, name, _ = request.body.partition("SMID".encode(codec))
    return replace(request, body=begin if name else request.body[: len(request.body) // 2])


ACTOR: Final = Actor(
    words=("OK DELIVRD", "ERR", "ERR EXPIRED"),
    weights=(90, 7, 3),
    response=_response,
    callback=_callback,
    faults=("repeats", "reorder", "early", "unknown", "truncated", "encodings"),
    cut=_cut,
)
