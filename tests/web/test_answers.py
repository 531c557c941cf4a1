"""What a provider reads in a 200 is what it says it wants, in every case; a 400 is ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from starlette.testclient import TestClient

from receiver.providers import PROVIDERS, Answer
from receiver.server.composition import compose
from receiver.settings.settings import Settings
from receiver.web import callbacks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

DETAIL: Final = {"messageId": "1", "status": {"name": "DELIVERED"}}
URL: Final = "/callbacks/ants/token"


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    tokens: Any = {name: {"tokens": "token"} for name in PROVIDERS}
    with TestClient(compose(Settings(providers=tokens), engine).edge.app()) as made:
        yield made


def test_each_provider_is_answered_what_it_says(client: TestClient) -> None:
    for name, provider in PROVIDERS.items():
        answer = client.head(f"/callbacks/{name}/token")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].startswith(provider.ANSWER.media_type), name
        assert answer.headers["content-length"] == str(len(provider.ANSWER.body.encode())), name


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "wanted",
    [
        Answer(media_type="application/json", body='{"status":"ACK"}'),
        Answer(media_type="text/xml", body="<result>รับแล้ว</result>"),
        Answer(body="0"),
        Answer(body=""),
    ],
)
def test_every_200_is_the_providers_own(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, wanted: Answer
) -> None:
    monkeypatch.setitem(callbacks.ANSWERS, "ants", callbacks.as_response(wanted))
    bodies = {
        "a probe": b"",
        "kept": json.dumps({"details": [DETAIL]}).encode(),
        "kept before": json.dumps({"details": [DETAIL]}).encode(),
        "some kept": json.dumps({"details": [DETAIL, {}]}).encode(),
    }
    for situation, body in bodies.items():
        answer = client.post(URL, content=body)
        assert answer.status_code == 200, situation
        assert answer.content == wanted.body.encode(), situation
        assert answer.headers["content-type"].startswith(wanted.media_type), situation
    assert client.head(URL).status_code == 200
    refused = client.post(URL, content=b"{")
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert client.get("/callbacks/thaibulksms/token").text == "OK"
