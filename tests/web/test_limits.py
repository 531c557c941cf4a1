"""Who fails again and again is told to wait, and costs next to nothing; who is right never is."""

from __future__ import annotations

import re
import secrets
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from receiver.database.tables.statistics import refusal
from receiver.security.rate_limit import (
    MAX_ADDRESSES,
    MAX_FAILURES,
    MAX_LOG_LINES,
    FailureLimiter,
    network,
)
from receiver.statistics import refusals
from tests.web.test_app import BASIC, OPEN, STRICT, Place, ants, dr, eventually, new, placed

if TYPE_CHECKING:
    from tests.conftest import Databases


def waits(failures: FailureLimiter, address: str, *times: float) -> list[int | None]:
    return [failures.add(address, time).retry_after for time in times]


def test_from_the_twentieth_within_a_minute_on_it_is_told_to_wait() -> None:
    failures = FailureLimiter()
    assert waits(failures, "192.0.2.1", *range(19)) == [None] * 19
    assert waits(failures, "192.0.2.1", 19) == [42]
    assert waits(failures, "192.0.2.2", 19) == [None]
    assert waits(failures, "192.0.2.1", 61) == [None]  # those at 2 … 19 and this one are nineteen
    assert waits(failures, "192.0.2.1", 61.5) == [2]


def test_one_a_minute_may_be_wrong_for_ever() -> None:
    assert set(waits(FailureLimiter(), "192.0.2.1", *range(0, 6000, 4))) == {None}


def test_who_does_not_stop_is_told_so_for_ever() -> None:
    answers = waits(FailureLimiter(), "192.0.2.1", *range(600))
    assert answers.index(42) == MAX_FAILURES - 1
    assert None not in answers[MAX_FAILURES - 1 :]


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_what_an_address_is_counted_as(address: str, counted_as: str) -> None:
    assert network(address) == counted_as


def test_whoever_has_a_network_is_one() -> None:
    failures = FailureLimiter()
    answers = [failures.add(f"2001:db8:1:2::{n:x}", 0).retry_after for n in range(25)]
    assert answers == [None] * 19 + [60] * 6


def test_its_memory_is_bounded() -> None:
    limit = MAX_ADDRESSES // 10
    failures = FailureLimiter(limit)
    tracemalloc.start()
    for number in range(limit):
        for turn in range(MAX_FAILURES):
            failures.add(f"2001:db8:{number:x}::1", turn / 1000)
    for number in range(limit * 2):
        failures.add(f"2001:db9:{number:x}::1", 1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(failures) == limit
    assert most < 2_000_000
    # The oldest went first: it begins anew, and whoever failed last does not.
    assert waits(failures, "2001:db8:1::1", 1) == [None]
    assert waits(failures, f"2001:db9:{2 * limit - 1:x}::1", *[1] * 19)[-1] is not None


def test_a_log_line_a_minute_about_an_address() -> None:
    failures = FailureLimiter()
    said = [failures.add("192.0.2.1", time / 10).unlogged for time in range(1810)]
    assert [(n, count) for n, count in enumerate(said) if count] == [
        (0, 1), (600, 600), (1200, 600), (1800, 600),
    ]  # fmt: skip


def test_and_not_too_many_about_all() -> None:
    failures = FailureLimiter()
    said = [failures.add(f"192.0.2.{n}", 0).unlogged for n in range(255)]
    assert said == [1] * MAX_LOG_LINES + [0] * (255 - MAX_LOG_LINES)
    assert failures.add("192.0.2.254", 30).unlogged == 0
    assert failures.add("192.0.2.254", 60).unlogged == 3  # those that were not told of


# At a running receiver.


def refused(place: Place) -> list[dict[str, str]]:
    """Return the log's lines about refusals."""
    lines = [line for line in place.server.stderr().splitlines() if "callback refused" in line]
    return [
        {name: value.strip('"') for name, value in re.findall(r"(\w+)=(\".*?\"|\S+)", line)}
        for line in lines
    ]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_its_failures_are_429_and_right_calls_are_not(databases: Databases, dialect: str) -> None:
    elsewhere = {"X-Forwarded-For": "198.51.100.7"}
    same = {"X-Forwarded-For": "198.51.100.8"}
    with placed(databases, dialect, OPEN) as place:
        for number in range(MAX_FAILURES + 30):
            answer = place.ants(ants(dr(new())), same, token=secrets.token_hex(9))
            late = number >= MAX_FAILURES - 1
            assert answer.status == (429 if late else 401)
            assert ("retry-after" in answer.headers) == late
            assert ("www-authenticate" in answer.headers) != late
            assert answer.detail.startswith("The URL's token is wrong")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert place.count() == (0, 0)
        for _ in range(3):
            assert place.ants(ants(dr(new())), same).status == 200
            assert place("HEAD", "/callbacks/ants/ants-token", b"", same).status == 200
            assert place("HEAD", "/callbacks/ants/wrong", b"", same).status == 429
            assert place("PUT", "/callbacks/ants/wrong", b"", same).status == 405
            assert place("GET", "/callbacks/nobody/wrong", b"", same).status == 404
        assert place.ants(b"{", elsewhere, token="wrong").status == 401
        assert place.count() == (3, 3)
        eventually(lambda: len(refused(place)) > 1)  # the log is written by a thread of its own
        lines = refused(place)
        assert [(line["address"], line["times"]) for line in lines] == [
            ("198.51.100.8", "1"), ("198.51.100.7", "1"),
        ]  # fmt: skip
        assert lines[0]["provider"] == "ants"


@pytest.mark.parametrize(
    ("address", "reason"),
    [("203.0.113.9", refusals.WRONG_BASIC), ("192.0.2.9", refusals.WRONG_ADDRESS)],
)
def test_every_way_to_fail_counts(databases: Databases, address: str, reason: str) -> None:
    headers = {"X-Forwarded-For": address}
    with placed(databases, "sqlite", STRICT) as place:
        body = ants(dr(new()))
        answers = [place.ants(body, headers).status for _ in range(MAX_FAILURES + 1)]
        assert answers == [401] * (MAX_FAILURES - 1) + [429] * 2
        if reason == refusals.WRONG_BASIC:
            assert place.ants(body, headers | {"Authorization": BASIC}).status == 200
        assert refused(place)[0]["reason"] == reason
        found = select(refusal.c.reason, refusal.c["count"]).order_by("count")
        eventually(lambda: [tuple(row) for row in place.rows(found)] == [
            (refusals.REASONS[429], 2), (reason, MAX_FAILURES - 1),
        ])  # fmt: skip


@pytest.mark.parametrize(
    "forwarded",
    [
        ", ".join(f"198.51.100.{n % 250}" for n in range(1000)) + ", 192.0.2.66",
        "fe80::1%eth0, 192.0.2.66:4711",
        '"192.0.2.66"',
        "::ffff:192.0.2.66",
    ],
)
def test_who_it_is_stands_at_the_right(databases: Databases, forwarded: str) -> None:
    with placed(databases, "sqlite", OPEN) as place:
        headers = {"X-Forwarded-For": "192.0.2.66"}
        for _ in range(MAX_FAILURES):
            place.ants(b"{", headers, token="wrong")
        headers = {"X-Forwarded-For": forwarded}
        assert place.ants(b"{", headers, token="wrong").status == 429
        assert place.ants(ants(dr(new())), headers).status == 200
