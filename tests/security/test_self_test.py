"""The receiver's question to itself: who has a URL and no key learns nothing by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.security import self_test
from tests.web.test_app import OPEN, Place, placed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Databases

NOW: Final = datetime(2026, 11, 22, 5, tzinfo=UTC)
KEY: Final = "shop-key-0123456789"
ASKED: Final = self_test.question(KEY, "ants", "ants-token", NOW, "abc")
WRITTEN: Final = st.one_of(st.text(), st.from_regex(r"[0-9]{10}\.[a-z]*\.[0-9a-f]{64}"))


def answered(header: str, keys: list[str] | None = None, provider: str = "ants",
             token: str = "ants-token", now: datetime = NOW) -> str | None:  # fmt: skip
    return self_test.answer(keys or ["other", KEY], provider, token, header, now)


def test_a_question_is_answered_with_a_proof() -> None:
    assert answered(ASKED) == self_test.proof(KEY, "ants", "ants-token", ASKED)
    for seconds in (-600, 600):
        assert answered(ASKED, now=NOW + timedelta(seconds=seconds))


def test_an_old_one_and_one_for_something_else_are_not() -> None:
    for seconds in (-601, 601):
        assert not answered(ASKED, now=NOW + timedelta(seconds=seconds))
    assert not answered(ASKED, keys=["ants-token"])
    assert not answered(ASKED, provider="thaibulksms")
    assert not answered(ASKED, token="other")
    assert not answered(ASKED[:-1] + ("0" if ASKED[-1] != "0" else "1"))
    moved = ASKED.replace(".abc.", "0.abc.")
    assert not answered(moved)


@given(WRITTEN)
def test_nothing_else_is(header: str) -> None:
    assert answered(header) is None


@pytest.fixture(scope="module")
def place(databases: Databases) -> Iterator[Place]:
    with placed(databases, "sqlite", OPEN) as made:
        yield made


def asked(key: str, *, age: float = 0, token: str = "ants-token") -> dict[str, str]:
    now = datetime.now(UTC) - timedelta(seconds=age)
    header = self_test.question(key, "ants", token, now, "abc")
    return {self_test.HEADER: header, "X-Forwarded-For": "198.51.100.44"}


def test_it_says_what_it_saw_and_keeps_nothing(place: Place) -> None:
    headers = asked(KEY)
    answer = place.ants(b"", headers)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json
    assert said["proof"] == self_test.proof(KEY, "ants", "ants-token", headers[self_test.HEADER])
    assert (said["peer"], said["address"]) == ("127.0.0.1", "198.51.100.44")
    assert said["forwarded_for"] == ["198.51.100.44"]
    assert place.count() == (0, 0)


@pytest.mark.parametrize(
    "headers",
    [asked("ants-token"), asked("guess"), asked(KEY, age=3600), asked(KEY, token="otp-token"),
     {self_test.HEADER: ""}, {self_test.HEADER: "x" * 10_000}],
)  # fmt: skip
def test_who_has_the_url_alone_is_answered_as_to_any_probe(
    place: Place, headers: dict[str, str]
) -> None:
    plain, with_it = place.ants(b""), place.ants(b"", headers)
    assert (with_it.status, with_it.body) == (plain.status, plain.body) == (200, b"OK")
    assert with_it.headers.keys() == plain.headers.keys()


def test_who_has_no_url_is_refused_as_ever(place: Place) -> None:
    for token in ("wrong", "otp-token"):
        assert place.ants(b"", asked(KEY, token=token), token=token).status == 401
