"""Movider as the simulator plays it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from receiver.simulator.actors.actor import Actor, kind_of
from receiver.simulator.script import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.simulator.script import Message, ReportedStatus, Script


def _response(_script: Script, messages: Sequence[Message]) -> object:
    good = [{"number": m.recipient, "message_id": m.id, "price": 0.0081} for m in messages]
    # `remaining_balance` is left out: it would be taken for what a real account has.
    return {"total_sms": len(good), "phone_number_list": good, "bad_phone_number_list": []}


def _callback(
    script: Script, reports: Sequence[ReportedStatus], index: int, _item_is_bad: bool
) -> Request:
    (message, word, time) = reports[0]
    form = urlencode(
        {
            "status": word,
            "detail": "",
            "to": message.recipient,
            "sent_date": str(int(time.timestamp())),
            "message_price": "0.0081",
            "message_id": message.id,
        }
    )
    if script.is_struck("encodings", index):
        thai = quote("ทดสอบ".encode("cp874"))
        return _post("encodings", form.replace("detail=", f"detail={thai}"), "; charset=tis-620")
    if script.random.choice(("GET", "POST")) == "GET":
        return Request(kind=kind_of(word), method="GET", path=f"?{form}")
    return _post(kind_of(word), form)


def _post(kind: str, form: str, charset: str = "") -> Request:
    return Request(
        kind=kind,
        method="POST",
        path="",
        body=form.encode(),
        content_type=f"application/x-www-form-urlencoded{charset}",
    )


def _cut(request: Request) -> Request:
    """Return a request without its id: the half of one would be another id."""
    path = request.path.partition("message_id")[0]
    return replace(request, path=path, body=request.body.partition(b"message_id")[0])


ACTOR: Final = Actor(
    words=("OK", "ERROR", "EXPIRED"),
    weights=(90, 7, 3),
    response=_response,
    callback=_callback,
    faults=("repeats", "reorder", "early", "unknown", "truncated", "encodings"),
    cut=_cut,
)
