"""EngageLab at a running receiver: who gets in, and what becomes of what it brings."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.conftest import DIALECTS
from tests.product.test_docs import blocks
from tests.web.test_app import (
    ALLOWED,
    CASES,
    LIMIT,
    Answer,
    Ask,
    Place,
    Step,
    check_the_first_is_given,
    name,
    placed,
    stranger,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Databases

Headers = dict[str, str]

HOOK: Final = {
    "RECEIVER_ENGAGELAB_SMSHOOK_KEY": "hook-app-key-0123",
    "RECEIVER_ENGAGELAB_SMSHOOK_SECRET": "hook-secret-0123456789",
}
CONSOLE: Final = {
    "RECEIVER_ENGAGELAB_CALLBACK_USERNAME": "console-user-0123",
    "RECEIVER_ENGAGELAB_CALLBACK_SECRET": "console-secret-0123456789",
}
FIXED: Final = {"RECEIVER_ENGAGELAB_AUTHORIZATION": "Token fixed-0123456789"}
COMMON: Final = {"RECEIVER_ENGAGELAB_TOKENS": "engagelab-token", "RECEIVER_MESSAGE_TEXT": "keep"}
PATH: Final = "/callbacks/engagelab/engagelab-token"


def hooked(age: float = 0) -> Headers:
    """Return SMSHook's headers, signed so many seconds ago."""
    timestamp = str(int((time.time() - age) * 1000))
    text = timestamp + "".join(HOOK.values())
    return {
        "X-SMSHook-Timestamp": timestamp,
        "X-SMSHook-AppKey": HOOK["RECEIVER_ENGAGELAB_SMSHOOK_KEY"],
        "X-SMSHook-Signature": hashlib.md5(text.encode()).hexdigest(),
        "X-SMSHook-Version": "1.0",
    }


def signed(age: float = 0, nonce: str = "") -> Headers:
    """Return the header of a console callback, signed so many seconds ago."""
    username, secret = CONSOLE.values()
    timestamp, nonce = str(int(time.time() - age)), nonce or secrets.token_hex(8)
    text = f"{timestamp}{nonce}{username}".encode()
    signature = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    said = f"timestamp={timestamp};nonce={nonce};username={username};signature={signature}"
    return {"X-CALLBACK-ID": said}


AUTHORIZATION: Final = {"Authorization": FIXED["RECEIVER_ENGAGELAB_AUTHORIZATION"]}


def row(id_: str = "", word: str = "delivered", **more: Any) -> dict[str, Any]:
    """Return a status row of a console callback."""
    said = {"message_id": id_ or secrets.token_hex(8), "to": "66812345678", "itime": 1763694003}
    return said | {"status": {"message_status": word}} | more


def console(*rows: Any) -> bytes:
    return json.dumps({"total": len(rows), "rows": rows}).encode()


def hook(word: str = "sent", **more: Any) -> bytes:
    """Return an SMSHook event."""
    said = row(word=word) | {"server": "sms", "itime": 1763694003123} | more
    return json.dumps(said).encode()


def post(place: Place, body: bytes, headers: Headers | None = None) -> Answer:
    return place("POST", PATH, body, headers)


def placed_with(databases: Databases, dialect: str, *settings: Headers) -> Iterator[Place]:
    environment = dict(COMMON)
    for some in settings:
        environment |= some
    with placed(databases, dialect, environment) as place:
        yield place
        written = place.server.stdout() + place.server.stderr()
        assert not any(value in written for some in settings for value in some.values())


@pytest.fixture(scope="module", params=DIALECTS)
def both(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    """Give a receiver of which both generations are proven."""
    yield from placed_with(databases, request.param, HOOK, CONSOLE, FIXED)


@pytest.fixture(scope="module")
def first(databases: Databases) -> Iterator[Place]:
    """Give a receiver of which the first generation is proven."""
    yield from placed_with(databases, "sqlite", HOOK)


@pytest.fixture(scope="module")
def second(databases: Databases) -> Iterator[Place]:
    """Give a receiver of which the second generation is proven, without `Authorization`."""
    yield from placed_with(databases, "sqlite", CONSOLE)


@pytest.fixture(scope="module")
def open_(databases: Databases) -> Iterator[Place]:
    """Give a receiver with nothing but a token."""
    yield from placed_with(databases, "sqlite")


@pytest.fixture(scope="module", params=DIALECTS)
def strict(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    """Give a receiver with everything that can be asked of EngageLab."""
    asked = {
        "RECEIVER_ENGAGELAB_ALLOWED_IPS": "203.0.113.0/24",
        "RECEIVER_MAX_BODY_BYTES": str(LIMIT),
    }
    yield from placed_with(databases, request.param, HOOK, CONSOLE, FIXED | asked)


# The table of answers, in its order


@dataclass
class Called(Ask):
    """A console callback that is in order, until something is done to it."""

    provider: str = "engagelab"
    token: str = "engagelab-token"
    body: bytes = field(default_factory=lambda: console(row()))
    headers: Headers = field(default_factory=lambda: signed() | AUTHORIZATION | ALLOWED)

    def nobody(self) -> None:
        self.provider = "unheard-of"

    def wrong_basic(self) -> None:
        """Break the proof this provider has instead."""
        self.headers["X-CALLBACK-ID"] = self.headers["X-CALLBACK-ID"][:-4]

    def empty(self) -> None:
        self.body = b"{}"

    def partial(self) -> None:
        self.body = console(row(), {"itime": 1})


@pytest.mark.parametrize("done", CASES, ids=name)
def test_where_several_answers_fit_the_first_is_given(
    strict: Place, done: tuple[Step, ...]
) -> None:
    check_the_first_is_given(strict, Called(), done)


# Who gets in


def test_either_generation_gets_in_where_both_are_set(both: Place) -> None:
    for body, headers in (
        (hook(), hooked()),
        (console(row()), signed() | AUTHORIZATION),
        (hook(), hooked(age=3590)),
        (console(row()), signed(age=3590) | AUTHORIZATION),
    ):
        before = both.count()
        answer = post(both, body, headers)
        assert (answer.status, answer.body) == (200, b"OK")
        assert both.count() == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(),
        AUTHORIZATION,
        hooked(age=3610),
        hooked() | {"X-SMSHook-AppKey": "other"},
        hooked() | {"X-SMSHook-Signature": "0" * 32},
        signed(age=3610) | AUTHORIZATION,
        signed() | {"Authorization": "Token other"},
        {"X-CALLBACK-ID": signed()["X-CALLBACK-ID"][:-1]} | AUTHORIZATION,
    ],
)
def test_who_does_not_get_in_leaves_nothing(both: Place, headers: Headers) -> None:
    before = both.count()
    for body in (hook(), console(row()), b"[", b"x" * 1000):
        answer = post(both, body, headers | stranger())
        assert answer.status == 401
        assert "www-authenticate" in answer.headers
        assert answer.detail.startswith("Expected `X-SMSHook-Signature`")
    assert both.count() == before


def test_the_token_stays_required(both: Place) -> None:
    for path in ("/callbacks/engagelab", "/callbacks/engagelab/wrong"):
        assert both("POST", path, hook(), hooked() | stranger()).status == 401
        assert both("POST", path, b"{}", stranger()).status == 401


def test_a_probe_needs_no_signature(both: Place) -> None:
    before = both.count()
    for body in (b"{}", b" { } ", b""):
        assert post(both, body).status == 200
    assert both("HEAD", PATH).status == 200
    assert both.count() == before


def test_the_other_generation_is_refused_where_only_one_is_set(first: Place, second: Place) -> None:
    assert post(first, hook(), hooked()).status == 200
    assert post(first, console(row()), signed()).status == 401
    assert post(second, console(row()), signed()).status == 200
    assert post(second, hook(), hooked()).status == 401


def test_the_parts_of_the_signature_in_another_order(second: Place) -> None:
    parts = signed()["X-CALLBACK-ID"].split(";")
    headers = {"X-CALLBACK-ID": "; ".join(reversed(parts))}
    assert post(second, console(row()), headers).status == 200


def test_a_nonce_is_good_for_one_body(second: Place) -> None:
    headers, body = signed(nonce="77ab"), console(row())
    before = second.count()
    assert post(second, body, headers).status == 200
    assert post(second, body, headers).status == 200  # a repeat
    assert post(second, body, signed(age=1, nonce="77ab")).status == 200  # signed again
    answer = post(second, console(row()), headers)
    assert answer.status == 401
    assert answer.detail == "The signature or its nonce was used before, with another body."
    assert post(second, b"[", headers).status == 401
    assert second.count() == (before[0] + 3, before[1] + 1)
    assert post(second, b"{}", headers).status == 200  # a probe is a probe


def test_an_overheard_signature_of_smshook_is_good_for_its_body(first: Place) -> None:
    headers, body = hooked(), hook()
    before = first.count()
    assert post(first, body, headers).status == 200
    for forged in (hook("delivered"), b"[", console(row())):
        answer = post(first, forged, headers)
        assert answer.status == 401
        assert answer.detail == "The signature or its nonce was used before, with another body."
    assert post(first, body, headers).status == 200  # a repeat
    assert post(first, hook(), hooked(age=1)).status == 200
    assert post(first, hook(), hooked(age=-290)).status == 200  # two clocks are never the same
    assert post(first, hook(), hooked(age=-310)).status == 401
    assert first.count() == (before[0] + 4, before[1] + 3)


# What becomes of it


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"bulkId": "b", "details": []}', "body: expected `rows` (a callback) or `status`"),
        (b'{"total": 1, "rows": {}}', "rows[0]: expected one of status, notification"),
        (b'{"total": 1, "rows": "x"}', "rows: expected a list, got text"),
        (console(row(notification={"a": 1})), "rows[0]: expected one of status, notification"),
        (b'{"total": 1, "rows": [', "body: expected JSON"),
        (b"Transaction=1&Status=delivery", "body: expected JSON"),
    ],
)
def test_what_cannot_be_read_is_kept(open_: Place, body: bytes, said: str) -> None:
    answer = post(open_, body)
    assert answer.status == 400
    assert answer.detail.startswith(said)
    kept = open_.callback(answer.json["callback"])
    assert (bytes(kept.body), kept.outcome) == (body, "unreadable")


def test_a_row_with_two_kinds_costs_only_itself(open_: Place) -> None:
    before = open_.count()
    assert post(open_, console(row(), row(response={"event": "x"}))).status == 200
    assert open_.count() == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize(
    "rows",
    [
        [{"notification": {"event": "insufficient_balance"}}],
        [{"response": {"event": "uplink_message", "response_data": {"content": "STOP"}}}],
        [{"system_event": {"event": "key_manage", "data": {"api_key": "k", "email": "e"}}}],
        [],
    ],
)
def test_what_is_no_report_is_kept_and_answered(open_: Place, rows: list[Any]) -> None:
    before = open_.count()
    assert post(open_, console(*rows)).status == 200
    assert open_.count() == (before[0] + 1, before[1])


def test_a_key_and_an_address_are_stored_nowhere(open_: Place) -> None:
    key, address = "key-739124-secret", "owner-739124@example.com"
    event = {"event": "key_manage", "data": {"api_key": key, "email": address}}
    whole = console({"itime": 1, "system_event": event})
    assert post(open_, whole).status == 200
    cut = post(open_, whole[:-20])
    assert cut.status == 400
    kept = bytes(open_.callback(cut.json["callback"]).body)
    assert kept == whole[: whole.index(b"system_event")]
    database = Path(open_.engine.url.database or "")
    for file in (database, database.with_name(f"{database.name}-wal")):
        assert b"739124" not in file.read_bytes()
    assert "739124" not in open_.server.stderr() + open_.server.stdout()


def test_the_readmes_records_are_recorded_and_found(open_: Place) -> None:
    single, several = (json.loads(text) for text in blocks("json", "EngageLab"))
    assert open_.shop("POST", "/messages", single).status == 201
    assert open_.shop("POST", "/messages", several).status == 201
    transaction = several["transaction_id"]
    own = {"transaction_id": transaction}
    rows = [row(single["response"]["message_id"], to=single["recipients"][0])]
    rows += [row(to=f"+{m['recipient']}", custom_args=own) for m in several["messages"]]
    assert post(open_, console(*rows)).status == 200
    open_.wait_for("delivered", message_id=single["response"]["message_id"])
    for message in several["messages"]:
        open_.wait_for("delivered", transaction_id=transaction, **message)


def test_reports_find_the_messages_of_both_generations(open_: Place) -> None:
    plan, transaction, base = (secrets.token_hex(8) for _ in range(3))
    answers: list[dict[str, Any]] = [
        {"plan_id": plan, "message_id": f"{plan}-1", "to": ["66812345671"]},
        {"message_id": base, "to": ["66812345672"]},
        {"plan_id": plan, "to": ["66812345673", "66812345674"],
         "custom_args": {"transaction_id": transaction}},
    ]  # fmt: skip
    assert open_.record("engagelab", response=answers).status == 201
    own = {"transaction_id": transaction}
    body = console(
        row(f"{plan}-1", to="+66812345671"),
        row(to="66812345673", custom_args=own),
        row(to="66812345674", word="delivered_failed", custom_args=own),
    )
    assert post(open_, body).status == 200
    assert post(open_, hook("delivered", message_id=base, to="66812345672")).status == 200
    for recipient, status in (
        ("66812345671", "delivered"),
        ("66812345672", "delivered"),
        ("66812345673", "delivered"),
        ("66812345674", "undeliverable"),
    ):
        open_.wait_for(status, recipient=recipient)
