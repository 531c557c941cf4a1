"""HTTP as strangers speak it: odd requests that are read, and what is no HTTP at all."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
import structlog
from sqlalchemy import select

from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.statistics import refusal
from receiver.security.rate_limit import FailureLimiter
from receiver.server.composition import Receiver, compose
from receiver.server.first_line import encoded
from receiver.server.http_protocol import Protocol
from receiver.settings.settings import Settings
from receiver.statistics.refusals import INVALID_HTTP
from tests.product.test_slow import connected
from tests.web.test_app import ants, dr, eventually, head, new, raw, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Databases

PROVIDERS: Final = {name: {"tokens": "t"} for name in ("ants", "thaibulksms", "engagelab")}


class Place:
    """A receiver in this process."""

    def __init__(self, made: Receiver, url: str) -> None:
        self.made = made
        self.edge = made.edge
        self.url = url

    def rows(self, statement: Any) -> list[Any]:
        with self.made.engine.connect() as connection:
            return list(connection.execute(statement))

    def reports(self, id_: str) -> list[Any]:
        table = delivery_report.c
        same = (table.message_id == id_) | (table.transaction_id == id_)
        return self.rows(select(delivery_report).where(same))

    def refused(self, provider: str) -> float:
        """Return how often somebody was told at this provider's URL that this is no HTTP."""
        registry = self.made.metrics.registry
        labels = {"provider": provider, "reason": INVALID_HTTP}
        return registry.get_sample_value("receiver_refusals_total", labels) or 0


@pytest.fixture(scope="module")
def place(databases: Databases) -> Iterator[Place]:
    """Give one for all: every database is the same to it."""
    engine = databases.open(databases.make("sqlite"))
    made = compose(Settings.model_validate({"providers": PROVIDERS}), engine)
    made.edge.bodies.seconds = 2
    with running(made.edge) as url:
        yield Place(made, url)


def get(target: bytes, *lines: bytes) -> bytes:
    lines = (b"GET %b HTTP/1.1" % target, b"Host: x", b"Connection: close", *lines, b"", b"")
    return b"\r\n".join(lines)


def statuses(data: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", data)]


# --- Queries as they are put together -------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "description"),
    [
        ("ส่งไม่สำเร็จ".encode(), "ส่งไม่สำเร็จ"),
        (b"no credit left", "no credit left"),
        (b"error #5, twice", "error #5, twice"),
        (b"a\tb", "a b"),
        (b'"<{|}>^`', '"<{|}>^`'),
        ("ก".encode() + b"%E0%B8%82+" + "ค ง".encode(), "กข ค ง"),
        (b"100%", "100%"),
        (b"GET / HTTP/1.1", "GET / HTTP/1.1"),
    ],
)
def test_a_query_of_raw_bytes_is_read(place: Place, written: bytes, description: str) -> None:
    id_ = new()
    query = b"Transaction=%b&error_message=%b&Status=not delivered" % (id_.encode(), written)
    for target in (b"/callbacks/thaibulksms/t?%b", b"/callbacks/thaibulksms/t&%b"):
        assert statuses(raw(place.url, get(target % query))) == [200]
    (report,) = place.reports(id_)
    assert report.provider_status == "not delivered"
    assert " ".join(str(report.provider_description).split()) == description


def test_raw_tis_620_costs_no_more_than_its_field(place: Place) -> None:
    id_ = new()
    text = "ไม่สำเร็จ".encode("tis-620")
    query = b"error_message=%b&Transaction=%b&Status=delivery" % (text, id_.encode())
    assert statuses(raw(place.url, get(b"/callbacks/thaibulksms/t?" + query))) == [200]
    (raw_report,) = place.reports(id_)
    id_ = new()
    query = b"error_message=%b&Transaction=%b&Status=delivery" % (
        quote(text).encode(),
        id_.encode(),
    )
    assert statuses(raw(place.url, get(b"/callbacks/thaibulksms/t?" + query))) == [200]
    (report,) = place.reports(id_)
    assert report.status == raw_report.status == "delivered"
    assert report.provider_description == raw_report.provider_description


@pytest.mark.parametrize("provider", ["ants", "engagelab"])
def test_every_provider_may_have_such_a_query(place: Place, provider: str) -> None:
    sent = head(f"/callbacks/{provider}/t?x=a b", "Content-Length: 1", "Connection: close") + b"!"
    assert statuses(raw(place.url, sent)) == [400]


def test_such_queries_come_in_any_pieces_and_one_after_the_other(place: Place) -> None:
    """Also in one packet with the request before it, and torn anywhere."""
    ids = [new() for _ in range(4)]
    query = "/callbacks/thaibulksms/t?Transaction={}&Status=delivery&error_message=ก ข"
    post = head("/callbacks/ants/t", f"Content-Length: {len(ants(dr(ids[0])))}") + ants(dr(ids[0]))
    sent = post + b"".join(
        f"\r\nGET {query.format(id_)} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for id_ in ids[1:]
    )
    whole = sent[:-2] + b"Connection: close\r\n\r\n"
    for step in (len(whole), 1, 7, 100):
        parts = [whole[at : at + step] for at in range(0, len(whole), step)]
        with connected(place.url) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in parts:
                wire.sendall(part)
            found = b""
            while piece := wire.recv(65536):
                found += piece
        assert statuses(found) == [200] * 4, step
    for id_ in ids:
        assert len(place.reports(id_)) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"GET /callbacks/x y HTTP/1.1\r\n",  # a blank in a path
        b"GET /a?b\0c HTTP/1.1\r\n",
        b"GET /a?b\rc HTTP/1.1\r\n",
        b"GET /a?b\r\n",
        b"get /a?b c HTTP/1.1\r\n",
        b"GET /a?b c\r\n",
        b"\r\n",
        b"GET /a?b=c%20d HTTP/1.1\r\n",
        b"GET /a?b=c%20d HTTP/1.1\n",
    ],
)
def test_what_others_may_read_otherwise_is_left_as_it_is(line: bytes) -> None:
    assert encoded(line) == line


# --- What is no HTTP ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "provider", "begins_as"),
    [
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "other", "TLS"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n\r\n", "other", "PROXY"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "other", "HTTP/2"),
        (b"\0\1\2", "other", None),
        (b"hello\r\n", "other", None),
        (b"HELO example.com\r\n", "other", None),
        (b"GET /callbacks/ants/t?a\0b HTTP/1.1\r\n\r\n", "ants", None),
        (b"POST /callbacks/ants/t HTTP/1.1\r\nHost x\r\n\r\n", "ants", None),
        (b"POST /callbacks/engagelab/t HTTP/9.1\r\n\r\n", "engagelab", None),
        (b"GET http://x/callbacks/ants/t HTTP/1.1\r\nA: " + b"x" * 70_000, "ants", None),
        (b"GET /callbacks/ants/" + b"x" * 70_000, "ants", None),
        (b"GET /callbacks/nobody/t HTTP/1.1\r\n" + b"A: b\r\n" * 300, "other", None),
        (head("/callbacks/ants/t", "Transfer-Encoding: chunked") + b"zz\r\n", "ants", None),
    ],
)
def test_what_is_no_http_is_counted_and_logged(
    place: Place, sent: bytes, provider: str, begins_as: str | None
) -> None:
    place.edge.callers.unknown_callers = FailureLimiter()
    before = place.refused(provider)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            assert statuses(raw(place.url, sent)) == [400]
    (line,) = [line for line in lines if line["event"] == "no http"]
    assert (line["provider"], line["address"]) == (provider, "127.0.0.1")
    assert str(begins_as) in str(line["begins_as"])
    assert re.fullmatch(r"[A-Za-z,/ ]+", line["reason"])
    eventually(lambda: place.refused(provider) == before + 3)


def test_a_head_that_never_comes_to_its_end_is_counted_too(databases: Databases) -> None:
    class Impatient(Protocol):
        head_seconds = 0.2

    made = compose(Settings(), databases.open(databases.make("sqlite")))
    with running(made.edge, Impatient) as url:
        assert raw(url, b"") == b""  # somebody who looks whether the port is open
        for sent in (b"GET /callbacks/ants/t", b"GET /callbacks/ants/t HTTP/1.1\r\nHost: x\r\n"):
            assert raw(url, sent) == b""
            assert raw(url, sent, close=True) == b""
        place = Place(made, url)
        table = refusal.c
        told = select(table.provider, table.reason, table.address, table["count"])
        wanted = [("ants", INVALID_HTTP, "127.0.0.1", 4)]
        eventually(lambda: [tuple(row) for row in place.rows(told)] == wanted)


# --- A good callback, and what comes behind it ----------------------------------------------------


@pytest.mark.parametrize(
    "behind", [b"x", b"\0", b"\n", b"\r\n", b"}", b"xyz\r\n\r\n", b"\x16\x03", b"P"]
)
@pytest.mark.parametrize("together", [True, False])
def test_surplus_bytes_do_not_replace_the_answer(
    place: Place, behind: bytes, *, together: bool
) -> None:
    id_ = new()
    body = ants(dr(id_))
    sent = head("/callbacks/ants/t", f"Content-Length: {len(body)}") + body
    with connected(place.url) as wire:
        wire.settimeout(20)
        for part in [sent + behind] if together else [sent, behind]:
            wire.sendall(part)
        wire.shutdown(socket.SHUT_WR)
        found = b""
        while piece := wire.recv(65536):
            found += piece
    assert statuses(found)[0] == 200
    assert len(place.reports(id_)) == 1


def test_whoever_sent_a_surplus_byte_comes_again_on_another_connection(place: Place) -> None:
    body = ants(dr(new()))
    sent = head("/callbacks/ants/t", f"Content-Length: {len(body)}") + body + b"\0"
    before = place.refused("ants")
    found = raw(place.url, sent)  # it is closed, without a word from us
    assert statuses(found) == [200]
    assert b"connection: close" in found
    eventually(lambda: place.refused("ants") == before + 1)


def test_answers_that_are_owed_come_before_what_is_no_http(place: Place) -> None:
    ids = [new() for _ in range(3)]
    sent = b"".join(
        head("/callbacks/ants/t", f"Content-Length: {len(ants(dr(id_)))}") + ants(dr(id_))
        for id_ in ids
    )
    assert statuses(raw(place.url, sent + b"\0\0\0")) == [200] * 3
    broken = head("/callbacks/ants/t", "Transfer-Encoding: chunked") + b"zz\r\n"
    assert statuses(raw(place.url, sent + broken))[:3] == [200] * 3
    assert statuses(raw(place.url, broken)) == [400]
    assert [len(place.reports(id_)) for id_ in ids] == [1, 1, 1]


# --- A caller that half-closes --------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2])
def test_who_half_closes_gets_its_answer(place: Place, parts: int) -> None:
    ids = [new() for _ in range(3)]
    sent = b"".join(
        head("/callbacks/ants/t", f"Content-Length: {len(ants(dr(id_)))}") + ants(dr(id_))
        for id_ in ids
    )
    cut = len(sent) // parts
    assert statuses(raw(place.url, sent[:cut], sent[cut:], close=True)) == [200] * 3
    get_ = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    assert statuses(raw(place.url, get_, close=True)) == [200]
    assert [len(place.reports(id_)) for id_ in ids] == [1, 1, 1]


def test_who_half_closes_before_the_end_is_gone(place: Place) -> None:
    id_ = new()
    body = ants(dr(id_))
    whole = head("/callbacks/ants/t", f"Content-Length: {len(body)}") + body
    begun = head("/callbacks/ants/t", "Content-Length: 100") + b'{"details":['
    assert raw(place.url, begun, close=True) == b""
    assert statuses(raw(place.url, whole + begun, close=True)) == [200]
    assert statuses(raw(place.url, whole + b"POST /callbacks/ants/t HT", close=True)) == [200]
    assert raw(place.url, b"", close=True) == b""
    assert len(place.reports(id_)) == 1
