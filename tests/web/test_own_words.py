"""The providers that want their own words in a 200, from the record to the status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from receiver.database.tables.callbacks import callback
from receiver.database.tables.messages import sent_message
from receiver.providers import PROVIDERS
from receiver.server.composition import compose
from receiver.settings.settings import Settings
from tests.product.test_docs import OWN_ADDRESS
from tests.web.test_app import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

XML: Final = "<XML><STATUS>OK</STATUS><DETAIL></DETAIL></XML>"
MOVIDER: Final = '{"status":"OK","detail":""}'
AIS: Final = '{"STATUS":"OK","DETAIL":""}'
REPORT: Final = "CMD=DLVRREP&NTYPE=REP&FROM=66935700000&SMID=15020001&STATUS=OK&DETAIL=DELIVRD"
MESSAGE: Final = "CMD=DLVRMSG&FROM=66935700000&TO=4541234&CONTENT=hello"
KEY: Final = {"Authorization": "Bearer key"}


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    known = Settings(api_keys="key", providers={name: {"tokens": "secret"} for name in PROVIDERS})
    with TestClient(
        compose(known, engine).edge.app(), client=("127.0.0.1", 1), base_url=OWN_ADDRESS
    ) as made:
        yield made


@pytest.mark.parametrize(
    ("provider", "body", "wanted", "media_type"),
    [
        ("movider", "status=OK&message_id=1&to=66812345678", MOVIDER, "application/json"),
        ("movider", '{"status":"OK","message_id":"1"}', MOVIDER, "application/json"),
        ("movider", "", MOVIDER, "application/json"),
        ("ais", REPORT, XML, "text/xml"),
        ("ais", MESSAGE, XML, "text/xml"),
        ("ais", "", XML, "text/xml"),
        ("ais", ' {"CMD":"DLVRREP","SMID":"1","STATUS":"OK"}', AIS, "application/json"),
        ("ais", '{"CMD":"DLVRMSG","CONTENT":"hello"}', AIS, "application/json"),
        ("infobip", '{"results":[{"messageId":"1","status":{"groupId":3}}]}', "OK", "text/plain"),
        ("infobip", "", "OK", "text/plain"),
    ],
)
def test_a_provider_is_answered_in_its_words(
    client: TestClient, provider: str, body: str, wanted: str, media_type: str
) -> None:
    for _ in ("new", "repeated"):
        answer = client.post(f"/callbacks/{provider}/secret", content=body)
        assert (answer.status_code, answer.text) == (200, wanted)
        assert answer.headers["content-type"].partition(";")[0] == media_type


def test_json_in_two_bytes_a_character_is_json(client: TestClient) -> None:
    said = '{"CMD":"DLVRREP","SMID":"1","STATUS":"OK"}'
    for codec in ("utf-16", "utf-16-be", "utf-8-sig", "utf-32"):
        answer = client.post("/callbacks/ais/secret", content=said.encode(codec))
        assert (answer.status_code, answer.text) == (200, AIS)


def test_what_cannot_be_read_is_not_answered_in_words_of_success(client: TestClient) -> None:
    for provider, body in (("movider", "status=OK"), ("ais", "CMD=NEW"), ("infobip", "{}")):
        answer = client.post(f"/callbacks/{provider}/secret", content=body)
        assert answer.status_code == 400
        assert answer.json()["callback"]


def test_a_head_and_a_get_are_answered_alike(client: TestClient) -> None:
    assert client.head("/callbacks/ais/secret").headers["content-type"].startswith("text/xml")
    for provider, wanted in (("ais", XML), ("movider", MOVIDER)):
        assert client.get(f"/callbacks/{provider}/secret").text == wanted
    got = client.get(f"/callbacks/ais/secret?{REPORT}")
    assert (got.status_code, got.text) == (200, XML)


@pytest.mark.parametrize(
    ("provider", "response", "report", "status"),
    [
        (
            "movider",
            {"phone_number_list": [{"number": "66935700000", "message_id": "m1", "price": 1}]},
            "status=ERROR&message_id=m1&to=66935700000&detail=%E0%B8%81",
            "undeliverable",
        ),
        (
            "infobip",
            {"messages": [{"messageId": "m1", "to": "66935700000", "status": {"groupId": 1}}]},
            '{"results":[{"messageId":"m1","status":{"groupName":"EXPIRED"}},{}]}',
            "expired",
        ),
        ("ais", {"STATUS": "OK", "SMID": "15020001", "TO": "66935700000"}, REPORT, "delivered"),
    ],
)
def test_recorded_reported_and_settled(
    client: TestClient,
    engine: Engine,
    *,
    provider: str,
    response: object,
    report: str,
    status: str,
) -> None:
    sent = {"provider": provider, "response": response}
    assert client.post("/messages", json=sent, headers=KEY).status_code == 201
    assert client.post(f"/callbacks/{provider}/secret", content=report).status_code == 200

    def settled() -> bool:
        with engine.connect() as connection:
            (found,) = connection.execute(select(sent_message.c.status)).scalars()
        return bool(found == status)

    assert eventually(settled)


def test_the_text_of_an_incoming_message_is_not_kept(client: TestClient, engine: Engine) -> None:
    assert client.post("/callbacks/ais/secret", content=MESSAGE).text == XML
    with engine.connect() as connection:
        (row,) = connection.execute(
            select(callback.c.body, callback.c.redacted, callback.c.outcome)
        )
    assert row == (MESSAGE.removesuffix("hello").encode(), True, "read")
