"""What `receiver simulate` plays: every request a provider would send, made before any is sent.

A play is a plain value: the same provider, run, count, faults and start are the same requests.
Nothing of it concerns a real phone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from receiver.errors import UnreadableError
from receiver.providers import PROVIDERS
from receiver.report import SHARED_STATUSES, Status
from receiver.settle import RANK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FAULTS: Final = ("repeats", "reorder", "early", "unknown", "bad-item", "truncated", "encodings")
SHARE: Final = 0.2
"""How many of the requests or messages that may have a fault have it; the first has it always."""
RECORDED_AT_ONCE: Final = 100
DETAILS_AT_ONCE: Final = 10
STRANGE: Final = "SIM-STRANGE"
PREFIX: Final = "sim-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a play; `kind` is its row in the table of what was sent."""

    kind: str
    method: str
    path: str
    """`/messages`, or what follows the token in a callback URL."""
    body: bytes = b""
    content_type: str = ""
    expected: int = 200
    schemes: Sequence[str] = ()
    """How its provider proves it, where that is set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that was never sent, and the words its provider will have for it, in order."""

    id: str
    recipient: str
    words: tuple[tuple[str, datetime], ...]
    early: bool

    def status(self, provider: str) -> Status:
        """Return what a receiver makes of it in the end."""
        known = {**SHARED_STATUSES, **PROVIDERS[provider].STATUSES}
        statuses = (known.get(word.lower(), Status.UNKNOWN) for word, _ in self.words)
        return min(statuses, key=lambda status: RANK[status])


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Everything one provider does, in order, and the statuses it leads to."""

    provider: str
    requests: Sequence[Request]
    statuses: Mapping[str, Status]
    """By message id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a play is made of."""

    provider: str
    account: str
    run: str
    count: int
    faults: frozenset[str]
    start: datetime
    random: Random
    groups: Sequence[int]
    """The provider's groups of proofs that may be played, by turns."""

    def strikes(self, fault: str, place: int) -> bool:
        """Say whether a fault befalls the request or message at a place."""
        return fault in self.faults and (self.random.random() < SHARE or place == 0)


def known_faults(said: str) -> frozenset[str]:
    """Read `--faults`. Raises UnreadableError."""
    names = {name.strip().lower() for name in said.split(",") if name.strip()}
    if not names <= {*FAULTS, "all"}:
        raise UnreadableError(f"--faults: expected some of: {', '.join(FAULTS)}, all")
    return frozenset(FAULTS if "all" in names else names)


def plan(
    provider: str,
    *,
    account: str,
    run: str,
    count: int,
    faults: Iterable[str],
    start: datetime,
    groups: Sequence[int] = (),
) -> Play:
    """Write the play of one provider; `run` tells one play's ids from another's.

    `groups` are the provider's groups of proofs that get in; none means all there are.
    """
    script = Script(
        provider=provider,
        account=account,
        run=run,
        count=count,
        faults=frozenset(faults),
        start=start,
        random=Random(f"{provider} {run}"),  # noqa: S311 - nobody is to be kept from guessing it
        groups=groups or range(max(1, len(PROVIDERS[provider].PROOFS))),
    )
    actor = ACTORS[provider]
    messages = list(_messages(script, actor))
    early = [message for message in messages if message.early]
    others = [message for message in messages if not message.early]
    scenes = [
        *_troubled(script, _reports(script, actor, early)),
        *_records(script, actor, messages),
        *_troubled(script, _reports(script, actor, others)),
    ]
    statuses = {message.id: message.status(provider) for message in messages}
    return Play(provider=provider, requests=scenes, statuses=statuses)


def _messages(script: Script, actor: Actor) -> Iterator[Message]:
    for number in range(script.count):
        last = script.random.choices(actor.words, actor.weights)[0]
        if script.strikes("unknown", number):
            last = STRANGE
        words = [(last, script.start + timedelta(seconds=script.random.randint(2, 60)))]
        if actor.interim and script.random.random() < actor.interim_share:
            words.insert(0, (actor.interim, script.start + timedelta(seconds=1)))
        recipient = f"66800{number:06d}"
        yield Message(
            id=actor.identify(
                f"{PREFIX}{script.run}-{number:06d}",
                recipient,
                script.groups[number % len(script.groups)],
            ),
            recipient=recipient,
            words=tuple(words),
            early=script.strikes("early", number),
        )


def _records(script: Script, actor: Actor, messages: Sequence[Message]) -> Iterator[Request]:
    """Record the messages by what the provider would have answered to the send calls."""
    for part in _parts(messages, RECORDED_AT_ONCE):
        document = {
            "provider": script.provider,
            "response": actor.response(script, part),
            "sender": "SIM",
            "tag": "simulate",
            "sent_at": script.start.isoformat(timespec="milliseconds"),
        } | ({"account": script.account} if script.account else {})
        yield Request(
            kind="records",
            method="POST",
            path="/messages",
            body=json.dumps(document).encode(),
            content_type="application/json",
            expected=201,
        )


def _reports(script: Script, actor: Actor, messages: Sequence[Message]) -> list[Request]:
    """Report the messages, in the order of time or, with that fault, in none."""
    statements = sorted(
        ((time, number, word) for number, m in enumerate(messages) for word, time in m.words),
    )
    if "reorder" in script.faults:
        script.random.shuffle(statements)
    scenes: list[Request] = []
    for part in _parts(statements, actor.at_once):
        said = [(messages[number], word, time) for time, number, word in part]
        item_is_bad = script.strikes("bad-item", len(scenes))
        scenes.append(actor.callback(script, said, len(scenes), item_is_bad))
    return scenes


def _troubled(script: Script, requests: Sequence[Request]) -> Iterator[Request]:
    """Let a connection break off before the whole is sent again, and a provider repeat itself."""
    for place, request in enumerate(requests):
        if script.strikes("truncated", place):
            yield ACTORS[script.provider].cut(request)
        yield request
        if script.strikes("repeats", place):
            yield replace(request, kind="repeats")


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


# The actors: what each provider's requests look like.

Said = tuple[Message, str, datetime]


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
