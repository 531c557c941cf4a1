"""The web edge: the contract's table of answers row for row, asked by strangers from outside."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import re
import secrets
import socket
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import pytest
import structlog
import uvicorn
from sqlalchemy import Engine, func, insert, make_url, select
from starlette.routing import Route

from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.database.transactions import READ
from receiver.domain.errors import UnavailableError
from receiver.providers import PROVIDERS
from receiver.server.composition import compose
from receiver.server.http_protocol import Protocol
from receiver.settings.settings import Settings
from receiver.statistics.counters import Counters
from receiver.statistics.instruments import Metrics
from receiver.web.probes import Probes
from tests.conftest import DIALECTS
from tests.kit.serving import Server, serving

if TYPE_CHECKING:
    from receiver.web.app import Edge
    from tests.conftest import Databases

Headers = dict[str, str]
Json = Any

SLASHED: Final = "with/slash 50%ก"
TOKENS: Final = {
    "thaibulksms": "thai-token",
    "ants": "ants-token",
    "engagelab": "engagelab-token",
    "movider": "movider-token",
    "infobip": "infobip-token",
    "ais": "ais-token",
}
PROBLEM: Final = "application/problem+json"
LIMIT: Final = 20_000
"""RECEIVER_MAX_BODY_BYTES of the strict receiver."""
BASIC: Final = "Basic " + b64encode(b"ants:pa,ss:word").decode()
ALLOWED: Final = {"X-Forwarded-For": "203.0.113.7"}
SHOP: Final = {"X-Forwarded-For": "10.1.2.3"}
_NUMBERS: Final = itertools.count()


# --- Asking --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Json:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """Return an error's own words; it is a problem document and nothing else."""
        assert self.headers["content-type"] == PROBLEM, self
        problem = self.json
        assert problem["title"]
        assert problem["status"] == self.status
        assert isinstance(problem["detail"], str)
        return problem["detail"]


def call(
    url: str, method: str, path: str, body: Any = b"", headers: Headers | None = None
) -> Answer:
    """Ask once, on a connection of its own."""
    parts = make_url(url)
    connection = http.client.HTTPConnection(str(parts.host), parts.port, timeout=30)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def raw(url: str, *parts: bytes, close: bool = False) -> bytes:
    """Send bytes as they are; return what comes until the other side closes."""
    address = make_url(url)
    with socket.create_connection((str(address.host), address.port or 0), timeout=20) as wire:
        for part in parts:
            wire.sendall(part)
        if close:
            wire.shutdown(socket.SHUT_WR)
        found = b""
        with suppress(ConnectionResetError):
            while piece := wire.recv(65536):
                found += piece
    return found


def stranger(network: str = "198.51.100") -> Headers:
    """Return the header of one who did not call lately, so that no failure is one too many."""
    return {"X-Forwarded-For": f"{network}.{next(_NUMBERS) % 250 + 1}"}


def new() -> str:
    """Return an id that no other test uses."""
    return secrets.token_hex(10)


def dr(message_id: str, status: Any = "DELIVERED", **more: Any) -> dict[str, Any]:
    """Return one detail of an ANTS report."""
    return {
        "messageId": message_id,
        "to": "66812345678",
        "doneDate": "2026-11-21T10:00:00.00",
        "status": {"name": status} if isinstance(status, str) else status,
        **more,
    }


def ants(*details: Any) -> bytes:
    """Return the body of an ANTS callback."""
    return json.dumps({"details": details}).encode()


@dataclass
class Place:
    """A receiver, its database, and short ways to ask."""

    server: Server
    engine: Engine
    api_key: str = ""

    def __call__(
        self, method: str, path: str, body: Any = b"", headers: Headers | None = None
    ) -> Answer:
        return call(self.server.url, method, path, body, headers)

    def ants(self, body: Any, headers: Headers | None = None, token: str = "ants-token") -> Answer:
        """Post an ANTS callback."""
        return self("POST", f"/callbacks/ants/{token}", body, headers)

    def thai(self, method: str = "GET", body: Any = b"", **parameters: str) -> Answer:
        """Make a ThaiBulkSMS callback, its parameters in the query."""
        path = "/callbacks/thaibulksms/thai-token"
        return self(method, f"{path}?{urlencode(parameters)}" if parameters else path, body)

    def shop(self, method: str, path: str, document: Any = None) -> Answer:
        """Ask as the sending application."""
        body = b"" if document is None else json.dumps(document).encode()
        return self(method, path, body, {"Authorization": f"Bearer {self.api_key}"} | SHOP)

    def record(self, provider: str = "ants", **said: Any) -> Answer:
        """Record sent messages."""
        return self.shop("POST", "/messages", {"provider": provider, **said})

    def rows(self, statement: Any) -> list[Any]:
        """Read from the database, which on SQLite takes no lock."""
        with self.engine.execution_options(**READ).connect() as connection:
            return list(connection.execute(statement).all())

    def count(self) -> tuple[int, int]:
        """Return how many callbacks came (repeats included), and how many reports."""
        (came,) = self.rows(select(func.count() + func.coalesce(func.sum(callback.c.repeats), 0)))
        (reports,) = self.rows(select(func.count()).select_from(delivery_report))
        return int(came[0]), int(reports[0])

    def callback(self, id_: str) -> Any:
        """Return a kept callback."""
        (row,) = self.rows(select(callback).where(callback.c.id == id_))
        return row

    def reports(self, message_id: str) -> list[Any]:
        """Return the reports of a message id or a transaction."""
        table = delivery_report.c
        same = (table.message_id == message_id) | (table.transaction_id == message_id)
        return self.rows(select(delivery_report).where(same).order_by(table.id))

    def messages(self, **where: Any) -> list[Any]:
        """Return sent messages."""
        same = [sent_message.c[name] == value for name, value in where.items()]
        return self.rows(select(sent_message).where(*same).order_by(sent_message.c.id))

    def is_ready(self, status: int = 200) -> bool:
        """Say whether /readyz answers this."""
        return self("GET", "/readyz").status == status

    def wait_for(self, status: str, **where: Any) -> None:
        """Wait until the one message there is has been settled."""
        eventually(lambda: [m.status for m in self.messages(**where)] == [status])


PATIENCE: Final = 300
"""Seconds after which what is waited for never comes, on the busiest machine."""


def eventually(look: Callable[[], Any]) -> Any:
    """Look until there is something; fail when it never comes."""
    until = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)
    return found


OPEN: Final = {
    "RECEIVER_THAIBULKSMS_TOKENS": f"thai-token,otp:otp-token,{quote(SLASHED, safe='')}",
    "RECEIVER_ANTS_TOKENS": "ants-token,sales:old-token,sales:new-token",
    "RECEIVER_ENGAGELAB_TOKENS": "engagelab-token",
    "RECEIVER_MOVIDER_TOKENS": "movider-token",
    "RECEIVER_INFOBIP_TOKENS": "infobip-token",
    "RECEIVER_AIS_TOKENS": "ais-token",
    "RECEIVER_API_KEYS": "shop:shop-key-0123456789,other-key-0123456789",
}
STRICT: Final = {
    "RECEIVER_THAIBULKSMS_TOKENS": "",
    "RECEIVER_ANTS_TOKENS": "ants-token",
    "RECEIVER_ANTS_BASIC_AUTH": "other:x,ants:pa%2Css%3Aword",
    "RECEIVER_ANTS_ALLOWED_IPS": "203.0.113.0/24,2001:db8::/32",
    "RECEIVER_INTERNAL_IPS": "10.1.0.0/16",
    "RECEIVER_TRUSTED_PROXIES": "127.0.0.1,10.9.0.0/16",
    "RECEIVER_MAX_BODY_BYTES": str(LIMIT),
    "RECEIVER_API_KEYS": "",
}


SPOOLLESS: Final = {"RECEIVER_SPOOL_PATH": ""}


def silent_about(server: Server, *secrets_: str) -> None:
    """Check that it wrote no traceback and none of the secrets."""
    written = server.stdout() + server.stderr()
    assert "Traceback" not in written, written
    for secret in secrets_:
        assert secret not in written, secret


@contextmanager
def placed(databases: Databases, dialect: str, environment: Headers) -> Iterator[Place]:
    url = databases.make(dialect)
    with serving(url, **environment) as server:
        yield Place(server, databases.open(url), server.api_key)
        words = re.split(r"[,:]", ",".join(environment[n] for n in environment if "KEYS" in n))
        silent_about(server, *filter(lambda word: len(word) > 8, words))
        silent_about(server, "ants-token", "otp-token", "thai-token", "66812345678")


@pytest.fixture(scope="module", params=DIALECTS)
def open_(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    """Give a receiver as most people run it."""
    with placed(databases, request.param, OPEN) as place:
        yield place


@pytest.fixture(scope="module", params=DIALECTS)
def strict(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    """Give a receiver with everything that can be asked of a caller."""
    with placed(databases, request.param, STRICT) as place:
        yield place


@pytest.fixture(params=DIALECTS)
def spoolless(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    """Give a receiver that has nothing but its database."""
    with placed(databases, request.param, OPEN | SPOOLLESS) as place:
        yield place


@pytest.fixture(params=DIALECTS)
def alone(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    """Give a receiver whose database may be taken away from it."""
    with placed(databases, request.param, OPEN) as place:
        yield place


# --- The table of answers, in its order ----------------------------------------------------------


@dataclass
class Ask:
    """A request to ANTS's URL that is in order, until something is done to it."""

    provider: str = "ants"
    token: str = "ants-token"
    method: str = "POST"
    body: bytes = field(default_factory=lambda: ants(dr(new())))
    headers: Headers = field(
        default_factory=lambda: {"Authorization": BASIC} | stranger("203.0.113")
    )

    def nobody(self) -> None:
        self.provider = "unheard-of"

    def wrong_method(self) -> None:
        self.method = "DELETE"

    def encoded(self) -> None:
        self.headers["Content-Encoding"] = "gzip"

    def elsewhere(self) -> None:
        self.headers |= stranger()

    def wrong_token(self) -> None:
        self.token = "wrong"

    def wrong_basic(self) -> None:
        self.headers["Authorization"] = "Basic " + b64encode(b"ants:wrong").decode()

    def head(self) -> None:
        self.method = "HEAD"

    def empty(self) -> None:
        self.body = b""

    def too_large(self) -> None:
        self.body = b"x" * (LIMIT + 1)

    def unreadable(self) -> None:
        self.body = b"{" + new().encode()

    def partial(self) -> None:
        self.body = ants(dr(new()), {"to": "66812345678"})


Step = Callable[[Ask], None]
# What is done to a request, what is answered, and what comes to be there (callbacks, reports).
TABLE: Final[dict[Step, tuple[int, int, int]]] = {
    Ask.nobody: (404, 0, 0),
    Ask.wrong_method: (405, 0, 0),
    Ask.encoded: (415, 0, 0),
    Ask.elsewhere: (401, 0, 0),
    Ask.wrong_token: (401, 0, 0),
    Ask.wrong_basic: (401, 0, 0),
    Ask.head: (200, 0, 0),
    Ask.empty: (200, 0, 0),
    Ask.too_large: (413, 0, 0),
    Ask.unreadable: (400, 1, 0),
    Ask.partial: (200, 1, 1),
}
# A probe needs the right token and address, no further proof.
PROBES: Final[set[tuple[Step, ...]]] = {(Ask.wrong_basic, Ask.head), (Ask.wrong_basic, Ask.empty)}
IMPOSSIBLE: Final = [
    {Ask.wrong_method, Ask.head},
    *map(set, itertools.combinations([Ask.empty, Ask.too_large, Ask.unreadable, Ask.partial], 2)),
]


def name(done: Any) -> str:
    return "-".join(one.__name__ for one in done)


CASES: Final[list[tuple[Step, ...]]] = [
    (),
    *((one,) for one in TABLE),
    *(p for p in itertools.combinations(TABLE, 2) if set(p) not in IMPOSSIBLE),
]


def check_the_first_is_given(strict: Place, ask: Ask, done: tuple[Step, ...]) -> None:
    """Do all of it to a request, and see that the table's first answer comes, and what it says."""
    for one in done:
        getattr(ask, one.__name__)()
    status, callbacks, reports = TABLE.get(done[0], (0, 0, 0)) if done else (200, 1, 1)
    if done in PROBES:
        status, callbacks, reports = (200, 0, 0)
    before = strict.count()
    answer = strict(ask.method, f"/callbacks/{ask.provider}/{ask.token}", ask.body, ask.headers)
    assert answer.status == status
    assert strict.count() == (before[0] + callbacks, before[1] + reports)
    if status == 200:
        assert answer.body == (b"" if ask.method == "HEAD" else b"OK")
    elif ask.method != "HEAD":
        assert answer.detail
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("done", CASES, ids=name)
def test_where_several_answers_fit_the_first_is_given(
    strict: Place, done: tuple[Step, ...]
) -> None:
    check_the_first_is_given(strict, Ask(), done)


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/callbacks/ants/ants-token", "GET", "HEAD, POST"),
        ("/callbacks/ants/ants-token", "OPTIONS", "HEAD, POST"),
        ("/callbacks/ants/wrong", "PUT", "HEAD, POST"),
        ("/callbacks/ants", "GET", "HEAD, POST"),
        ("/callbacks/thaibulksms/x", "DELETE", "GET, HEAD, POST, PUT"),
        ("/callbacks/thaibulksms/x", "OPTIONS", "GET, HEAD, POST, PUT"),
        ("/callbacks/thaibulksms/x", "PATCH", "GET, HEAD, POST, PUT"),
        ("/messages", "PUT", "GET, HEAD, POST"),
        ("/messages/ants/x", "POST", "GET, HEAD"),
        ("/healthz", "POST", "GET, HEAD"),
        ("/readyz", "OPTIONS", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    open_: Place, path: str, method: str, allowed: str
) -> None:
    answer = open_(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allowed
    assert allowed in answer.detail


@pytest.mark.parametrize(
    "path",
    ["/callbacks", "/callbacks/", "/callbacks//x", "/callbacks/unheard-of/x",
     "/callbacks/ANTS/ants-token", "/healthz/", "/messages/", "/docs", "/../etc/passwd",
     "/callbacks/ants%0A/ants-token", "/%00", "//healthz"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_what_is_not_there(open_: Place, path: str, method: str) -> None:
    answer = open_(method, path)
    assert answer.status == 404
    assert answer.detail


def test_every_route_refuses_an_anonymous_caller_or_is_open_on_purpose(open_: Place) -> None:
    on_purpose = {"/healthz", "/readyz", "/metrics"}
    app = compose(Settings(), open_.engine).edge.app()
    for route in app.routes:
        assert isinstance(route, Route)
        for provider in (*PROVIDERS, "nobody"):
            path = re.sub(r"{(?!provider)\w+(:\w+)?}", "x", route.path)
            path = path.replace("{provider}", provider)
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                body = b"{}" if method == "POST" else b""
                status = open_(method, path, body, stranger("10.7.7")).status
                if route.path in on_purpose:
                    assert status == (200 if method in {"GET", "HEAD"} else 405)
                else:
                    assert status in {401, 404, 405}, (method, path)


# --- Probes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("HEAD", "/callbacks/ants/ants-token", b""),
        ("HEAD", "/callbacks/thaibulksms/thai-token", b""),
        ("HEAD", "/callbacks/thaibulksms/thai-token?Transaction=T&Status=delivery", b""),
        ("POST", "/callbacks/ants/ants-token", b""),
        ("POST", "/callbacks/ants/ants-token?hello=1", b""),
        ("GET", "/callbacks/thaibulksms/thai-token", b""),
        ("POST", "/callbacks/thaibulksms/thai-token?", b""),
        ("PUT", "/callbacks/thaibulksms/thai-token", b""),
        ("POST", "/callbacks/ants/ants-token", iter([b""])),  # chunked
        ("POST", "/callbacks/engagelab/engagelab-token", b"{}"),
        ("POST", "/callbacks/engagelab/engagelab-token", b" {\n}\n"),
        ("POST", "/callbacks/engagelab/engagelab-token", b""),
    ],
)
def test_a_probe_is_answered_and_nothing_is_stored(
    open_: Place, method: str, path: str, body: Any
) -> None:
    before = open_.count()
    answer = open_(method, path, body)
    assert answer.status == 200
    assert answer.body == (b"" if method == "HEAD" else b"OK")
    assert open_.count() == before


def test_a_probe_needs_the_right_token(open_: Place) -> None:
    for path in ("/callbacks/ants/x", "/callbacks/thaibulksms/x", "/callbacks/thaibulksms"):
        assert open_("HEAD", path).status == 401


@pytest.mark.parametrize("body", [b" ", b"\n", b"{}", b"[]", b"null", b"0", b"<a/>", b"\0"])
def test_little_is_no_probe(open_: Place, body: bytes) -> None:
    answer = open_.ants(body)
    assert answer.status == 400
    assert open_.callback(answer.json["callback"]).outcome == "unreadable"


# --- Proof ---------------------------------------------------------------------------------------


def test_the_token_names_the_account(open_: Place) -> None:
    for token, account in (("ants-token", ""), ("old-token", "sales"), ("new-token", "sales")):
        id_ = new()
        assert open_.ants(ants(dr(id_)), token=token).status == 200
        (report,) = open_.reports(id_)
        assert report.account == account
        assert open_.callback(report.callback_id).account == account


@pytest.mark.parametrize("token", [quote(SLASHED), quote(SLASHED, safe=""), "with%2fslash 50%25ก"])
def test_a_token_in_any_way_of_writing_it(open_: Place, token: str) -> None:
    id_ = new()
    written = quote(token, safe="%/")
    path = f"/callbacks/thaibulksms/{written}?Transaction={id_}&Status=delivery"
    assert open_("GET", path).status == 200
    assert len(open_.reports(id_)) == 1


@pytest.mark.parametrize(
    "path",
    ["/callbacks/thaibulksms", "/callbacks/thaibulksms/", "/callbacks/thaibulksms/thai-token/x",
     "/callbacks/thaibulksms/x/thai-token", "/callbacks/thaibulksms/thai-toke",
     "/callbacks/thaibulksms/thai-token%00", "/callbacks/thaibulksms/thai-token%0Ax",
     "/callbacks/thaibulksms/thai-token%00/", "/callbacks/thaibulksms/%FF",
     "/callbacks/thaibulksms/ants-token", "/callbacks/thaibulksms/otp:otp-token",
     "/callbacks/thaibulksms/THAI-TOKEN", f"/callbacks/thaibulksms/{'x' * 50_000}",
     "/callbacks/thaibulksms/thai%252Dtoken", "/callbacks/thaibulksms?token=thai-token"],
)  # fmt: skip
def test_a_wrong_token(open_: Place, path: str) -> None:
    before = open_.count()
    join = "&" if "?" in path else "?"
    answer = open_("GET", f"{path}{join}Transaction={new()}&Status=delivery")
    assert answer.status == 401
    assert answer.headers["www-authenticate"]
    assert "token" in answer.detail
    assert open_.count() == before


def test_no_token_is_configured(strict: Place) -> None:
    for path in ("/callbacks/thaibulksms/x", "/callbacks/thaibulksms/", "/callbacks/thaibulksms"):
        assert strict("GET", f"{path}?Transaction={new()}&Status=delivery").status == 401


@pytest.mark.parametrize(
    "header",
    [None, "", "Basic", "Basic ", "Basic !", BASIC[:-4], BASIC.replace("Basic", "Bearer"),
     "Basic " + b64encode(b"ants").decode(), "Basic " + b64encode(b"ants:pa").decode(),
     "Basic " + b64encode(b"other:pa,ss:word").decode(), "Basic " + b64encode(b":").decode()],
)  # fmt: skip
def test_basic_is_wrong_or_missing(strict: Place, header: str | None) -> None:
    given = ALLOWED | ({} if header is None else {"Authorization": header})
    before = strict.count()
    answer = strict.ants(ants(dr(new())), given)
    assert answer.status == 401
    assert "Basic" in answer.headers["www-authenticate"]
    assert strict.count() == before


def test_basic_is_right(strict: Place) -> None:
    for header in (BASIC, BASIC.replace("Basic ", "BASIC  "), "basic b3RoZXI6eA=="):
        assert strict.ants(ants(dr(new())), ALLOWED | {"Authorization": header}).status == 200


# --- Where a caller is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forwarded", "allowed"),
    [
        ("203.0.113.7", True),
        ("203.0.113.7:4711", True),
        ("2001:db8::1", True),
        ("[2001:db8::1]:4711", True),
        ("2001:DB8:0::0001%eth0", True),
        ("::ffff:203.0.113.9", True),
        ("198.51.100.1, 203.0.113.7", True),  # what is left of a stranger is not believed
        ("garbage, 203.0.113.7", True),
        ("203.0.113.7, 10.9.0.1, 10.9.200.200", True),  # two proxies of ours
        (", 203.0.113.7 , ", True),
        (", ".join(["198.51.100.1"] * 1000 + ["203.0.113.7"]), True),
        (", ".join(["203.0.113.7"] + ["10.9.0.1"] * 1000), True),
        ("203.0.113.7, 198.51.100.1", False),
        ("203.0.113.7, 10.8.0.1", False),
        (", ".join(["203.0.113.7"] * 1000 + ["198.51.100.1"]), False),
        ("203.0.113.7, unknown", False),
        ("203.0.113.7 198.51.100.1", False),
        ("203.0.113.777", False),
        ("2001:db9::1", False),
        ("unix:", False),
        ("", False),
        ("ก", False),
        (None, False),
    ],
)
def test_the_address_is_read_through_proxies_of_ours(
    strict: Place, forwarded: str | None, *, allowed: bool
) -> None:
    headers = {"Authorization": BASIC}
    if forwarded is not None:
        headers["X-Forwarded-For"] = forwarded.encode().decode("latin-1")
    before = strict.count()
    answer = strict.ants(ants(dr(new())), headers)
    assert answer.status == (200 if allowed else 401)
    assert strict.count() == (before[0] + allowed, before[1] + allowed)


def test_the_address_is_kept(strict: Place) -> None:
    id_ = new()
    headers = {"Authorization": BASIC, "X-Forwarded-For": "9.9.9.9, 203.0.113.8:99"}
    assert strict.ants(ants(dr(id_)), headers).status == 200
    (report,) = strict.reports(id_)
    assert strict.callback(report.callback_id).remote_addr == "203.0.113.8"


@pytest.mark.parametrize("path", ["/messages", "/messages/ants/x", "/readyz"])
def test_internal_pages_are_not_there_for_strangers(strict: Place, path: str) -> None:
    elsewhere = strict("GET", "/nowhere")
    for stranger in ("198.51.100.1", "127.0.0.1", "10.2.0.1", "garbage", "unknown", "", None):
        headers: Headers = {} if stranger is None else {"X-Forwarded-For": stranger}
        for method in ("GET", "POST", "HEAD", "DELETE"):
            answer = strict(method, path, b"", headers)
            assert answer.status == 404, (stranger, method)
            if method == "GET":
                assert answer.body == elsewhere.body
    assert strict("GET", path, b"", SHOP).status != 404
    assert strict("GET", "/healthz").status == 200
    assert strict("HEAD", "/callbacks/ants/ants-token", b"", ALLOWED).status == 200


def test_a_forged_address_does_not_help(databases: Databases) -> None:
    """The peer is no proxy of ours: what it says of others is nothing."""
    given = {"RECEIVER_TRUSTED_PROXIES": "10.9.9.9", "RECEIVER_ANTS_ALLOWED_IPS": "203.0.113.7"}
    environment = OPEN | given | {"RECEIVER_INTERNAL_IPS": "10.0.0.0/8"}
    with placed(databases, "sqlite", environment) as place:
        for forged in ("203.0.113.7", "10.1.1.1", "10.9.9.9"):
            header = {"X-Forwarded-For": forged}
            assert place.ants(ants(dr(new())), header).status == 401
            assert place("GET", "/readyz", b"", header).status == 404
        assert place.count() == (0, 0)


# --- Bodies: too large, too slow, in pieces ------------------------------------------------------


def pieces(body: bytes, size: int = 65536) -> Iterator[bytes]:
    return (body[i : i + size] for i in range(0, len(body), size))


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["keep", "close"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_ten_megabytes_are_refused_and_the_caller_hears_it(
    open_: Place, headers: Headers, *, chunked: bool
) -> None:
    before = open_.count()
    body = b"x" * 10_000_000
    answer = open_.ants(pieces(body) if chunked else body, headers)
    assert answer.status == 413
    assert "8388608" in answer.detail
    assert open_.count() == before


def test_up_to_the_limit_a_body_is_kept_whole(strict: Place) -> None:
    body = ants(dr(new()))
    body += b" " * (LIMIT - len(body))
    for chunked in (False, True):
        given = pieces(body, 999) if chunked else body
        assert strict.ants(given, {"Authorization": BASIC} | ALLOWED).status == 200
    (kept,) = strict.rows(select(callback.c.body).order_by(callback.c.id.desc()).limit(1))
    assert len(kept.body) == LIMIT


def head(path: str, *more: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", *more, "", "")
    return "\r\n".join(lines).encode("latin-1")


def test_expect_100_continue(open_: Place) -> None:
    body = ants(dr(new()))
    close, expect = "Connection: close", "Expect: 100-continue"
    length = f"Content-Length: {len(body)}"
    right = head("/callbacks/ants/ants-token", length, expect, close)
    found = raw(open_.server.url, right, body)
    assert found.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    # Whoever is refused need not send the body at all.
    wrong = head("/callbacks/ants/wrong", length, expect, close)
    assert raw(open_.server.url, wrong).startswith(b"HTTP/1.1 401 ")
    large = head("/callbacks/ants/ants-token", "Content-Length: 99999999", expect, close)
    assert raw(open_.server.url, large).startswith(b"HTTP/1.1 413 ")


@contextmanager
def running(edge: Edge, protocol: type[Protocol] = Protocol) -> Iterator[str]:
    """Serve an edge in this process, as `serve` does; yield its URL."""

    class Spoken(protocol):  # type: ignore[valid-type,misc]
        turned_away = staticmethod(edge.no_http)

    config = uvicorn.Config(
        edge.app(), port=0, log_config=None, access_log=False, proxy_headers=False,
        http=Spoken, ws="none", lifespan="on", timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            eventually(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def unused(databases: Databases) -> Edge:
    """Return an edge for questions that no database is asked for."""
    return compose(Settings(), databases.open(databases.make("sqlite"))).edge


def test_a_body_that_is_not_all_there_in_time(engine: Engine) -> None:
    settings = Settings.model_validate(
        {
            "max_body_bytes": 1000,
            "providers": {"ants": {"tokens": "t"}, "thaibulksms": {"tokens": "t"}},
            "api_keys": "key",
        }
    )
    edge = compose(settings, engine).edge
    edge.bodies.seconds = 0.3
    begun, trickle = b'{"details":[', [b"1\r\n \r\n"] * 5
    chunked = "Transfer-Encoding: chunked"
    key = "Authorization: Bearer key"
    with running(edge) as url:
        for path, headers, status in (
            ("/callbacks/ants/t", ["Content-Length: 100"], b"408"),
            ("/callbacks/thaibulksms/t?Status=x", ["Content-Length: 100"], b"408"),
            ("/messages", ["Content-Length: 100", key], b"408"),
            ("/callbacks/ants/t", ["Content-Length: 2000"], b"413"),  # which comes first
        ):
            found = raw(url, head(path, *headers), begun)
            assert found.startswith(b"HTTP/1.1 " + status), found
            assert PROBLEM.encode() in found
        # The time is the whole body's: a piece now and then does not lengthen it.
        with socket.create_connection(("127.0.0.1", make_url(url).port or 0), timeout=10) as wire:
            wire.sendall(head("/callbacks/ants/t", chunked))
            began = time.monotonic()
            wire.settimeout(0.1)
            found = b""
            while not found:  # were it each piece's, this would not end
                with suppress(BrokenPipeError, ConnectionResetError):
                    wire.sendall(trickle[0])
                with suppress(TimeoutError):
                    found = wire.recv(65536)
                assert time.monotonic() - began < PATIENCE
            assert found.startswith(b"HTTP/1.1 408 ")
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(callback)).scalar() == 0


def test_who_proved_nothing_is_not_waited_for(engine: Engine) -> None:
    providers = {"ants": {"tokens": "t", "basic_auth": "a:b"}}
    edge = compose(Settings.model_validate({"providers": providers}), engine).edge
    edge.bodies.seconds = 0.3
    with running(edge) as url:
        for path in ("/callbacks/ants/wrong", "/callbacks/ants/t"):  # the second may be a probe
            found = raw(url, head(path, "Content-Length: 50", "Connection: close"), b"{")
            assert found.startswith(b"HTTP/1.1 401 "), found
        large = head("/callbacks/ants/t", "Content-Length: 90000000", "Connection: close")
        assert raw(url, large, b"x" * 100_000).startswith(b"HTTP/1.1 401 ")


def test_a_caller_who_goes_away_leaves_nothing(open_: Place) -> None:
    before = open_.count()
    for part in (b"", b'{"details":['):
        sent = head("/callbacks/ants/ants-token", "Content-Length: 100") + part
        assert raw(open_.server.url, sent, close=True) == b""
    assert open_("GET", "/healthz").status == 200
    assert open_.count() == before


# --- Content-Encoding ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Content-Encoding: identity"], 200),
        (["Content-Encoding: Identity "], 200),
        (["Content-Encoding:"], 200),
        (["Content-Encoding: identity, identity"], 200),
        (["Content-Encoding: gzip"], 415),
        (["Content-Encoding: br"], 415),
        (["Content-Encoding: identity, gzip"], 415),
        (["Content-Encoding: identity", "Content-Encoding: gzip"], 415),
        # Habits: a charset or a transfer encoding, which changes no bytes.
        (["Content-Encoding: UTF-8"], 200),
        (["Content-Encoding: none"], 200),
        (["Content-Encoding: 8bit"], 200),
        (["Content-Encoding: binary"], 200),
        (["Content-Encoding: application/json; charset=utf-8"], 200),
        (["Content-Encoding: utf-8, identity"], 200),
        (["Content-Encoding: null"], 200),
        (["Content-Encoding: x"], 400),  # bytes of whatever kind that nobody can read, but kept
        *(
            ([f"Content-Encoding: {coding}"], 415)
            for coding in ("GZip", "x-gzip", "deflate", "zstd", "compress", "x-compress")
        ),
        (["Content-Encoding: UTF-8, gzip"], 415),
        (["Content-Encoding: gzip;q=1.0"], 415),
        (['Content-Encoding: "gzip"'], 415),
    ],
)
def test_content_encoding(open_: Place, lines: list[str], status: int) -> None:
    body = ants(dr(new()))
    body = body if status == 200 else zlib.compress(body)
    length = f"Content-Length: {len(body)}"
    sent = head("/callbacks/ants/ants-token", length, "Connection: close", *lines)
    assert raw(open_.server.url, sent, body).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_charset_as_content_encoding_is_read_at_every_provider(
    open_: Place, provider: str
) -> None:
    callbacks, id_ = (
        {
            "thaibulksms": "Transaction={}&Status=delivery",
            "ants": '{{"details": [{{"messageId": "{}", "status": {{"name": "DELIVERED"}}}}]}}',
            "engagelab": '{{"total": 1, "rows": [{{"message_id": "{}", "to": "+66812345678",'
            ' "status": {{"message_status": "delivered"}}}}]}}',
            "movider": "status=OK&message_id={}",
            "infobip": '{{"results": [{{"messageId": "{}", "status": {{"groupId": 3}}}}]}}',
            "ais": "CMD=DLVRREP&SMID={}&STATUS=OK&DETAIL=DELIVRD",
        },
        new(),
    )
    said = open_(
        "POST",
        f"/callbacks/{provider}/{TOKENS[provider]}",
        callbacks[provider].format(id_).encode(),
        {"Content-Encoding": "UTF-8"},
    )
    assert (said.status, len(open_.reports(id_))) == (200, 1)


# --- URLs as they are registered, and probes ------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "thai-token/?{}",
        "thai-token//?{}",
        "/thai-token?{}",
        "thai-token%20?{}",
        "thai-token%0A/?{}",
        "thai-token&{}",
        "thai-token/&{}",
        "thai-token&a=1?{}",
        "thai-token&{}&redirect=http://x/y&z=/",
        f"{quote(SLASHED, safe='')}/?{{}}",
        f"{quote(SLASHED, safe='')}&{{}}",
        f"{quote(SLASHED, safe='/')}/&{{}}",
    ],
)
def test_a_url_with_something_at_its_end_is_the_url(open_: Place, path: str) -> None:
    id_ = new()
    asked = path.format(urlencode({"Transaction": id_, "Status": "delivery", "Time": "1795000000"}))
    assert open_("GET", f"/callbacks/thaibulksms/{asked}").status == 200
    (report,) = open_.reports(id_)
    assert (report.status, report.provider_time) == ("delivered", "1795000000")


def test_the_account_of_a_url_with_something_at_its_end(open_: Place) -> None:
    id_ = new()
    appended = urlencode({"Transaction": id_, "Status": "delivery"})
    assert open_("GET", f"/callbacks/thaibulksms/otp-token/&{appended}").status == 200
    assert [report.account for report in open_.reports(id_)] == ["otp"]


@pytest.mark.parametrize("provider", ["ants", "engagelab"])
@pytest.mark.parametrize("end", ["/", "&x=1", "/&x=1?y=2", "%20"])
def test_every_provider_may_write_its_url_so(open_: Place, provider: str, end: str) -> None:
    path = f"/callbacks/{provider}/{TOKENS[provider]}{end}"
    assert open_("HEAD", path).status == 200
    assert open_("POST", path, b"!").status == 400  # kept


@pytest.mark.parametrize(
    "path", ["thai-token&", "x/thai-token", "thai-token/x", "thai-token;x", "&thai-token", "/", "&"]
)
def test_what_is_no_token_with_something_at_its_end(open_: Place, path: str) -> None:
    said = open_("HEAD", f"/callbacks/thaibulksms/{path}", headers=stranger())
    assert said.status == (200 if path == "thai-token&" else 401)


def test_probes_are_counted_and_reports_that_a_redirect_took_are_suspected(
    databases: Databases,
) -> None:
    with placed(databases, "sqlite", OPEN) as place:
        path = "/callbacks/thaibulksms/otp-token"
        for method in ("HEAD", "POST", "PUT", "GET"):
            assert place(method, path).status == 200
        assert place("GET", f"{path}?Transaction={new()}&Status=delivery").status == 200
        said = "calls by GET say nothing"
        assert said not in place.server.stderr()  # somebody looked whether the URL is there
        for _ in range(3):
            assert place("GET", f"{path}/").status == 200
        (line,) = [line for line in place.server.stderr().splitlines() if said in line]
        assert "provider=thaibulksms" in line
        assert "account=otp" in line
        assert "redirect" in line
        metrics = place("GET", "/metrics").body.decode()
        for method, often in (("HEAD", 1), ("POST", 1), ("PUT", 1), ("GET", 4)):
            counted = f'receiver_probes_total{{method="{method}",provider="thaibulksms"}} {often}.0'
            assert counted in metrics


def test_a_call_by_get_that_says_nothing_is_logged_again_an_hour_later() -> None:
    probes = Probes(Counters(Metrics()))
    with structlog.testing.capture_logs() as lines:
        for at, logged in ((0, 0), (1, 1), (2, 1), (3600, 1), (7199, 2), (7200, 2), (9000, 3)):
            probes.count("thaibulksms", "", "GET", float(at))
            assert len(lines) == logged, at
        probes.count("thaibulksms", "other", "GET", 9001.0)
        probes.count("thaibulksms", "", "POST", 9002.0)
    assert len(lines) == 3


UPGRADES: Final = (
    ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
    ["Connection: keep-alive, upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"],
    ["Upgrade: h2c"],
    ["Connection: upgrade"],  # nginx, set up for WebSockets and asked for something else
)


def exchange(url: str, *requests: Sequence[bytes]) -> list[bytes]:
    """Send requests on one connection, each in packets; return the first lines of the answers."""
    answers = []
    with socket.create_connection(("127.0.0.1", make_url(url).port or 0), timeout=10) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packets in requests:
            for packet in packets:
                wire.sendall(packet)
            answers.append(wire.recv(65536).partition(b"\r\n")[0])
    return answers


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("together", [True, False])
def test_an_upgrade_never_costs_a_body(open_: Place, upgrade: list[str], *, together: bool) -> None:
    id_ = new()
    body = ants(dr(id_))
    begin = head("/callbacks/ants/ants-token", f"Content-Length: {len(body)}", *upgrade)
    (status,) = exchange(open_.server.url, [begin + body] if together else [begin, body])
    assert status == b"HTTP/1.1 200 OK"
    assert len(open_.reports(id_)) == 1


def test_an_upgrade_is_passed_over(engine: Engine) -> None:
    """The JDK's HttpClient offers h2c with every first request, and uses the connection again."""
    path = "/callbacks/ants/t"
    settings = Settings.model_validate({"providers": {"ants": {"tokens": "t"}}})
    with running(compose(settings, engine).edge) as url:
        for upgrade in UPGRADES:
            one, two, three = (ants(dr(new())) for _ in range(3))
            length = head(path, f"Content-Length: {len(one)}", *upgrade)
            chunked = head(path, "Transfer-Encoding: chunked", *upgrade) + b"%x\r\n" % len(two)
            last = head(path, f"Content-Length: {len(three)}")
            answers = exchange(
                url,
                [length, one],
                [chunked, two[:9], two[9:] + b"\r\n0\r\n\r", b"\n"],
                [last + three],
            )
            assert answers == [b"HTTP/1.1 200 OK"] * 3
        many = b"".join(head(path, *upgrade) for upgrade in UPGRADES * 500)
        end = head(path, *UPGRADES[0], "Connection: close")
        assert raw(url, many, end).count(b"HTTP/1.1 200 OK") == 2001
        assert raw(url, b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(delivery_report)).scalar() == 12


def test_a_head_without_end_is_refused(databases: Databases) -> None:
    with running(unused(databases)) as url:
        for begin, more in (
            (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", b"x" * 60_000),
            (b"GET /healthz HTTP/1.1\r\n", b"Name: value\r\n" * 5000),
            (b"GET /", b"x" * 60_000),
        ):
            with socket.create_connection(("127.0.0.1", make_url(url).port or 0)) as wire:
                wire.sendall(begin)
                with suppress(ConnectionError):
                    for _ in range(100):
                        wire.sendall(more)
                    pytest.fail("six megabytes of head were taken")
        long = head("/healthz", "X: " + "x" * 30_000).replace(b"POST", b"GET")
        assert exchange(url, [long[:20_000], long[20_000:]]) == [b"HTTP/1.1 200 OK"]


def test_a_head_that_does_not_come_is_not_waited_for(databases: Databases) -> None:
    class Impatient(Protocol):
        head_seconds = 0.3

    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    begun = whole[:-2]
    with running(unused(databases), Impatient) as url:
        port = make_url(url).port or 0
        for first, trickle in (
            (b"", b""),
            (b"GET", b""),
            (begun, b"X: y\r\n"),
            (whole + begun, b""),
        ):
            began = time.monotonic()
            with (
                socket.create_connection(("127.0.0.1", port), timeout=0.1) as wire,
                suppress(ConnectionError),
            ):
                wire.sendall(first)
                while time.monotonic() < began + PATIENCE:
                    with suppress(TimeoutError):
                        wire.sendall(trickle)
                        if not wire.recv(65536):
                            break
            assert time.monotonic() < began + PATIENCE
            assert call(url, "GET", "/healthz").status == 200


# --- Bodies that are not what they should be -----------------------------------------------------

LAUGHS: Final = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]><CALLBACK><details><detail><messageId>&d;</messageId>
<status><name>DELIVERED</name></status></detail></details></CALLBACK>"""

# Bodies without one readable report.
JUNK: Final = {
    "truncated": ants(dr("a"))[:-3],
    "binary": bytes(range(256)) * 40,
    "zeros": b"\0" * 5000,
    "half utf-16": "\ufeff{".encode("utf-16-le")[:-1],
    "broken utf-16": b"\xff\xfe\x00\xd8",
    "latin": '{"détails": []}'.encode("latin-1"),
    "deep list": b"[" * 200_000,
    "deep object": b'{"details":' * 100_000,
    "deep xml": b"<a>" * 100_000,
    "closed deep xml": b"<a>" * 60 + b"</a>" * 60,
    "laughs": LAUGHS,
    "external entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "form": b"Transaction=1&Status=delivery",
    "number": b"1" * 10_000,
    "infinity": b"Infinity",
    "no details": b'{"details": []}',
    "a text": b'"details"',
    "id of 10,000": ants(dr("x" * 10_000)),
    "id of 201": ants(dr("x" * 201)),
    "id with NUL": ants(dr("a\0b")),
    "id half a character": b'{"details":[{"messageId":"\\ud800","status":{"name":"DELIVERED"}}]}',
    "id true": b'{"details":[{"messageId":true,"status":{"name":"DELIVERED"}}]}',
    "id of objects": b'{"details":[{"messageId":{"a":1},"status":{"name":"DELIVERED"}}]}',
    "id 1.5": b'{"details":[{"messageId":1.5,"status":{"name":"DELIVERED"}}]}',
    "no status": b'{"details":[{"messageId":"a"}]}',
    "status null": b'{"details":[{"messageId":"a","status":{"name":null}}]}',
    "status of 10,000": ants(dr("a", "x" * 10_000)),
}


@pytest.mark.parametrize("body", JUNK.values(), ids=JUNK)
def test_what_cannot_be_read_is_kept_and_its_repeats_are_counted(open_: Place, body: bytes) -> None:
    # The same bytes under another query are another request, and each test has its own.
    path = f"/callbacks/ants/ants-token?{new()}"
    before = open_.count()
    answers = [open_("POST", path, body) for _ in range(3)]
    for answer in answers:
        assert answer.status == 400
        assert re.search(r"body|details|messageId|status", answer.detail), answer.detail
    (id_,) = {answer.json["callback"] for answer in answers}
    kept = open_.callback(id_)
    assert (kept.outcome, kept.error, kept.repeats) == ("unreadable", answers[0].detail, 2)
    assert (kept.body, kept.report_count, kept.provider) == (body, 0, "ants")
    assert open_.count() == (before[0] + 3, before[1])
    assert open_("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("Transaction=1", "Status"),
        ("Status=delivery", "Transaction"),
        ("Status=delivery&Transaction=%00", "Transaction"),
        ("Status=delivery&Transaction=%FF", "Transaction"),
        ("Status=delivery&Transaction=" + "x" * 10_000, "Transaction"),
        ("Status=&Transaction=1", "Status"),
        ("x=1", "Status"),
        ("&".join(["a=1"] * 2000), "parameters"),
        ("%", "Status"),
    ],
)
def test_an_unreadable_query_is_kept_as_it_came(open_: Place, query: str, field: str) -> None:
    query = f"{query}&test={new()}"
    path = f"/callbacks/thaibulksms/otp-token?{query}"
    first, second = open_("GET", path), open_("PUT", path)
    assert (first.status, second.status) == (400, 400)
    assert field in first.detail
    assert first.json["callback"] == second.json["callback"]
    kept = open_.callback(first.json["callback"])
    assert (kept.query, kept.repeats, kept.account, kept.method) == (query, 1, "otp", "GET")


def test_the_detail_names_the_field(open_: Place) -> None:
    good = [dr(new()) for _ in range(3)]
    answer = open_.ants(ants({"messageId": {"a": 1}, "status": {"name": "DELIVERED"}}))
    assert answer.detail == "details[0].messageId: expected text, got an object"
    assert open_.ants(ants(*good, {"messageId": [], "status": {"name": "DELIVERED"}})).status == 200
    (report,) = open_.reports(good[0]["messageId"])
    kept = open_.callback(report.callback_id)
    assert (kept.outcome, kept.report_count) == ("partial", 3)
    assert kept.error == "details[3].messageId: expected text, got a list"


def test_neighbours_of_bad_items_are_kept(open_: Place) -> None:
    good = [new() for _ in range(4)]
    bad: list[Any] = [None, 1, "x", [], {}, {"messageId": "a"}, {"messageId": "\0", "status": {}}]
    items = [item for id_ in good[:3] for item in (dr(id_), *bad)] + [dr(good[3])]
    assert open_.ants(ants(*items)).status == 200
    found = [open_.reports(id_) for id_ in good]
    assert [report.position for (report,) in found] == [0, 8, 16, 24]
    (kept,) = {open_.callback(report.callback_id) for (report,) in found}
    assert kept.outcome == "partial"
    assert [int(n) for n in re.findall(r"^details\[(\d+)\]", kept.error, re.MULTILINE)] == [
        n for n in range(24) if n % 8
    ]


@pytest.mark.parametrize(
    ("more", "column", "value"),
    [
        ({"to": "no number"}, "recipient", None),
        ({"to": "x" * 10_000}, "recipient", None),
        ({"to": "0812345678"}, "recipient", "66812345678"),
        ({"to": "\0"}, "provider_recipient", None),
        ({"doneDate": "99999-01-01T00:00:00"}, "done_at", None),
        ({"doneDate": "0001-01-01T00:00:00"}, "done_at", None),
        ({"doneDate": "0001-01-01T00:00:00"}, "provider_time", "0001-01-01T00:00:00"),
        ({"doneDate": {"a": 1}}, "provider_time", None),
        ({"sendDate": "2026-02-31T00:00:00"}, "sent_at", None),
        ({"credit": "NaN"}, "credit", None),
        ({"credit": "1e999999"}, "credit", None),
        ({"credit": "1e999999999"}, "credit", None),
        ({"credit": "abc"}, "credit", None),
        ({"to": "66812345678.0"}, "recipient", "66812345678"),
        ({"to": "66812345678.0"}, "provider_recipient", "66812345678.0"),
        ({"to": 812345678}, "recipient", "66812345678"),
        ({"to": "6.68123E+10"}, "recipient", None),
        ({"credit": "9" * 5000}, "credit", None),
        ({"credit": 100_000_000}, "credit", None),
        ({"credit": "1.25"}, "credit", Decimal("1.2500")),
        ({"callbackData": "\ud800"}, "callback_data", "\ufffd"),
        ({"callbackData": "ก" * 10_000}, "callback_data", "ก" * 2000),
        ({"from": "\0"}, "sender", None),
        ({"status": {"name": "DELIVERED", "description": "a\0b"}}, "provider_description", None),
        ({"status": {"name": "WHAT IS THIS"}}, "status", "unknown"),
        ({"status": {"name": "delivered"}}, "status", "delivered"),
    ],
)
def test_an_optional_field_that_cannot_be_read_costs_only_itself(
    open_: Place, more: dict[str, Any], column: str, value: Any
) -> None:
    id_ = new()
    assert open_.ants(ants(dr(id_, **more))).status == 200
    (report,) = open_.reports(id_)
    assert getattr(report, column) == value


@pytest.mark.parametrize(
    "credit", [b"NaN", b"-Infinity", b"1e400", b"1e999999999", b"9" * 6000, b"1" + b"0" * 300]
)
def test_a_number_json_cannot_hold(open_: Place, credit: bytes) -> None:
    id_ = new()
    body = b'{"details":[{"messageId":"%s","credit":%s,"status":{"name":"PENDING"}}]}'
    assert open_.ants(body % (id_.encode(), credit)).status == 200
    (report,) = open_.reports(id_)
    assert (report.credit, report.status) == (None, "enroute")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_bodies_in_any_unicode(open_: Place, encoding: str) -> None:
    id_ = new()
    assert open_.ants(ants(dr(id_, callbackData="สวัสดี")).decode().encode(encoding)).status == 200
    (report,) = open_.reports(id_)
    assert report.callback_data == "สวัสดี"


def test_words_that_are_no_report_of_an_sms(open_: Place) -> None:
    before = open_.count()
    answer = open_.thai(message_id=new(), recipient="a@b.example", status="delivered")
    assert (answer.status, answer.body) == (200, b"OK")
    assert open_.count() == (before[0] + 1, before[1])


def test_raw_strangers(open_: Place) -> None:
    """Whatever bytes come, something is answered or the line is cut, and others are served."""
    path = "/callbacks/ants/ants-token"
    for sent in (
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET\r\n\r\n",
        b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /callbacks/ants/\xe0\xb8\x81 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        head(path, "Content-Length: 1", "Content-Length: 2") + b"xx",
        head(path, "Content-Length: " + "9" * 5000),
        head(path, "Content-Length: -1"),
        head(path, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head(path, "Transfer-Encoding: chunked") + b"zz\r\n",
        head(path, "Transfer-Encoding: chunked") + b"FFFFFFFFFFFFFFFFF\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        found = raw(open_.server.url, sent, close=True)
        assert not found or found[:13] in {b"HTTP/1.1 400 ", b"HTTP/1.1 405 "}, (sent, found)
    assert open_("GET", "/healthz").json == {"status": "ok"}


def test_headers_no_database_could_keep(open_: Place) -> None:
    id_ = new()
    headers = {"Content-Type": "ก".encode().decode("latin-1") + "x" * 5000}
    assert open_.ants(ants(dr(id_)), headers).status == 200
    (report,) = open_.reports(id_)
    assert len(open_.callback(report.callback_id).content_type) == 200


# --- Repeats -------------------------------------------------------------------------------------


def test_repeats_are_counted_one_after_the_other_within_one_and_at_once(open_: Place) -> None:
    id_, other = new(), new()
    for _ in range(3):
        assert open_.ants(ants(dr(id_), dr(other, "PENDING"))).status == 200
    (report,) = open_.reports(id_)
    assert report.repeats == 2
    assert open_.ants(ants(dr(id_), dr(id_), dr(other), dr(id_))).status == 200
    (report,) = open_.reports(id_)
    assert report.repeats == 5
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda _: open_.ants(ants(dr(id_))), range(16))
        assert {answer.status for answer in answers} == {200}
    (report,) = open_.reports(id_)
    assert report.repeats == 21
    assert [r.repeats for r in open_.reports(other)] == [2, 0]


def test_a_new_report_that_comes_many_times_at_once_is_one(open_: Place) -> None:
    body = ants(*(dr(new()) for _ in range(20)))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: open_.ants(body), range(8)))
    assert {answer.status for answer in answers} == {200}
    for detail in json.loads(body)["details"]:
        (report,) = open_.reports(detail["messageId"])
        assert report.repeats == 7


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_thaibulksms_in_every_method(open_: Place, method: str) -> None:
    id_ = new()
    said = {"Transaction": id_, "Status": "delivery", "Time": "1763694000"}
    assert open_.thai(method, **said).status == 200
    if method != "GET":
        assert open_.thai(method, urlencode(said).encode()).status == 200
        assert open_.thai(method, json.dumps(said).encode()).status == 200
    (report,) = open_.reports(id_)
    assert (report.status, report.repeats) == ("delivered", 0 if method == "GET" else 2)
    assert report.done_at == datetime(2025, 11, 21, 3, tzinfo=UTC)


# --- /messages: recording ------------------------------------------------------------------------


def thai_v2(*ids: str, bad: Sequence[str] = (), credit: float = 1) -> Json:
    """Return ThaiBulkSMS's answer to a send call of API 2.0."""
    return {
        "remaining_credit": 99,
        "phone_number_list": [
            {"number": f"668{n:08}", "message_id": id_, "used_credit": credit}
            for n, id_ in enumerate(ids)
        ],
        "bad_phone_number_list": [{"number": n, "message": "number is wrong"} for n in bad],
    }


def thai_v1(*ids: str, status: int = 1) -> str:
    """Return its XML from before."""
    queue = "".join(
        f"<QUEUE><Msisdn>081234567{n}</Msisdn><Status>{status}</Status>"
        f"<Transaction>{id_}</Transaction><UsedCredit>1</UsedCredit><Detail>no</Detail></QUEUE>"
        for n, id_ in enumerate(ids)
    )
    return f"<SMS>{queue}</SMS>"


def ants_sent(bulk: str, *ids: str, status: str = "ACCEPTED", name: str = "details") -> Json:
    """Return ANTS's answer to a send call."""
    details = [
        {"messageId": id_, "to": f"668{n:08}", "credit": "1.5", "status": {"name": status}}
        for n, id_ in enumerate(ids)
    ]
    return {"bulkId": bulk, name: details}


def counts(answer: Answer) -> tuple[int, int, int]:
    assert answer.status == 201, answer
    found = answer.json
    recorded, repeated, rejected = (found[n] for n in ("recorded", "repeated", "rejected"))
    assert recorded + repeated + rejected == len(found["messages"])
    return recorded, repeated, rejected


@pytest.mark.parametrize(
    ("provider", "response", "recorded", "rejected"),
    [
        ("thaibulksms", lambda: thai_v2(new(), new()), 2, 0),
        ("thaibulksms", lambda: json.dumps(thai_v2(new())), 1, 0),
        ("thaibulksms", lambda: [thai_v2(new()), thai_v2(new())], 2, 0),
        ("thaibulksms", lambda: thai_v2(new(), bad=[f"0{new()}", "abc"]), 1, 2),
        ("thaibulksms", lambda: thai_v1(new(), new()), 2, 0),
        ("thaibulksms", lambda: thai_v1(new(), status=0), 0, 1),
        ("ants", lambda: ants_sent(new(), new(), new()), 2, 0),
        ("ants", lambda: ants_sent(new(), new(), name="detail"), 1, 0),
        ("ants", lambda: [ants_sent(new(), new())], 1, 0),
        ("ants", lambda: json.dumps(ants_sent(new(), new())), 1, 0),
        ("ants", lambda: ants_sent(new(), new(), new(), status="REJECTED"), 0, 2),
        ("ants", lambda: ants_sent(new(), new(), status="UNDELIVERED"), 0, 1),
    ],
)
def test_send_responses_are_recorded_and_again_they_are_repeats(
    open_: Place, provider: str, response: Callable[[], Json], recorded: int, rejected: int
) -> None:
    given, tag = response(), new()
    said = {"account": "otp", "sender": "ACME", "tag": tag, "reference": f"order-{tag}",
            "sent_at": "2026-11-21T10:00:00+07:00"}  # fmt: skip
    first = open_.record(provider, response=given, **said)
    assert counts(first) == (recorded, 0, rejected)
    again = open_.record(provider, response=given, **said)
    assert counts(again) == (0, recorded + rejected, 0)
    assert [m["id"] for m in first.json["messages"]] == [m["id"] for m in again.json["messages"]]
    rows = open_.messages(tag=tag)
    assert len(rows) == recorded + rejected
    assert [row.id for row in rows] == sorted(m["id"] for m in first.json["messages"])
    for row in rows:
        assert (row.provider, row.account, row.sender) == (provider, "otp", "ACME")
        assert row.sent_at == datetime(2026, 11, 21, 3, tzinfo=UTC)
        assert row.status == ("accepted" if row.error is None else "rejected")
    for message in first.json["messages"]:
        assert set(message) == {
            "id", "message_id", "transaction_id", "recipient", "reference", "status",
        }  # fmt: skip


def test_records_are_recorded_with_what_stands_outside_for_all(open_: Place) -> None:
    bulk, ids = new(), [new(), new()]
    answer = open_.record(
        messages=[
            {"message_id": ids[0], "recipient": "081-234-5678", "credit": "1.00"},
            {"message_id": ids[1], "recipient": "+66 81 234 5679", "tag": "own", "credit": 2,
             "sent_at": "2026-11-21T10:00:00"},
        ],
        transaction_id=bulk, tag="all", sender=" ACME ", reference="", sent_at=None,
    )  # fmt: skip
    assert counts(answer) == (2, 0, 0)
    first, second = sorted(open_.messages(transaction_id=bulk), key=lambda m: m.recipient)
    assert (first.recipient, first.tag, first.credit) == ("66812345678", "all", Decimal("1.0000"))
    assert (second.recipient, second.tag, second.credit) == ("66812345679", "own", Decimal(2))
    assert (first.sender, first.reference, first.account) == ("ACME", None, "")
    assert abs(datetime.now(UTC) - first.sent_at) < timedelta(minutes=1)
    assert second.sent_at == datetime(2026, 11, 21, 3, tzinfo=UTC)  # Bangkok's


BAD: Final[list[tuple[dict[str, Any], str]]] = [
    ({}, "messages[1].recipient"),
    ({"recipient": "66812345678"}, "messages[1]: expected a message_id or a transaction_id"),
    ({"recipient": "x", "message_id": "1"}, "messages[1].recipient"),
    ({"recipient": "123", "message_id": "1"}, "messages[1].recipient"),
    ({"recipient": None, "message_id": "1"}, "messages[1].recipient"),
    ({"recipient": "66812345678", "message_id": "x" * 201}, "messages[1].message_id"),
    ({"recipient": "66812345678", "message_id": "a\0b"}, "messages[1].message_id"),
    ({"recipient": "66812345678", "message_id": "\ud800"}, "messages[1].message_id"),
    ({"recipient": "66812345678", "message_id": {}}, "messages[1].message_id"),
    ({"recipient": "66812345678", "message_id": True}, "messages[1].message_id"),
    ({"recipient": "66812345678", "message_id": "1", "sender": "x" * 201}, "messages[1].sender"),
    ({"recipient": "66812345678", "message_id": "1", "account": ["a"]}, "messages[1].account"),
    ({"recipient": "66812345678", "message_id": "1", "credit": "x"}, "messages[1].credit"),
    ({"recipient": "66812345678", "message_id": "1", "credit": 1e9}, "messages[1].credit"),
    ({"recipient": "66812345678", "message_id": "1", "credit": float("nan")}, "messages[1].credit"),
    ({"recipient": "66812345678", "message_id": "1", "sent_at": "soon"}, "messages[1].sent_at"),
    ({"recipient": "66812345678", "message_id": "1", "sent_at": 0}, "messages[1].sent_at"),
    ({"recipient": "66812345678", "message_id": "1", "sent_at": "0001-01-01"}, "[1].sent_at"),
    ({"recipient": "66812345678", "message_id": "1", "status": "delivered"}, "messages[1].status"),
    ({"recipient": "66812345678", "message_id": "1", "error": 5.5}, "messages[1].error"),
]


@pytest.mark.parametrize(("bad", "said"), BAD)
def test_one_bad_record_and_nothing_is_recorded(
    open_: Place, bad: dict[str, Any], said: str
) -> None:
    good = {"message_id": new(), "recipient": "66812345678"}
    answer = open_.record(messages=[good, bad])
    assert answer.status == 422
    assert said in answer.detail
    assert open_.messages(message_id=good["message_id"]) == []


def test_every_bad_record_is_named(open_: Place) -> None:
    good = {"message_id": new(), "recipient": "66812345678"}
    answer = open_.record(messages=[good, {}, 5, good, [], None, {"recipient": "1"}])
    assert answer.status == 422
    named = re.findall(r"messages\[(\d)\]", answer.detail)
    assert list(dict.fromkeys(named)) == ["1", "2", "4", "5", "6"]
    assert answer.json["problems"] == answer.detail.split("; ")
    assert open_.messages(message_id=good["message_id"]) == []


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "provider"),
        ([], "body: expected an object"),
        (None, "body"),
        (
            {"provider": "nobody", "messages": []},
            f"provider: expected one of: {', '.join(PROVIDERS)}",
        ),
        ({"provider": 5, "messages": []}, "provider"),
        ({"provider": "ants"}, "either `response` or `messages`"),
        ({"provider": "ants", "messages": [], "response": {}}, "either `response` or `messages`"),
        ({"provider": "ants", "messages": {}}, "messages"),
        ({"provider": "ants", "messages": [], "sentat": "x"}, "sentat"),
        ({"provider": "ants", "messages": [], "sent_at": "x"}, "sent_at"),
        ({"provider": "ants", "response": {}}, "response: details"),
        ({"provider": "ants", "response": []}, "response"),
        ({"provider": "ants", "response": "<a/>"}, "response"),
        ({"provider": "ants", "response": "{"}, "response"),
        ({"provider": "ants", "response": 5}, "response"),
        ({"provider": "ants", "response": "<!DOCTYPE a><a/>"}, "DOCTYPE"),
        ({"provider": "thaibulksms", "response": {"phone_number_list": [{}]}}, "message_id"),
        (
            {"provider": "ants", "sender": "a\0b", "response": ants_sent("bulk", "id-of-nul")},
            "sender: expected text",
        ),
    ],
)
def test_a_submission_that_cannot_be_understood(open_: Place, document: Any, said: str) -> None:
    answer = open_.shop("POST", "/messages", document)
    assert answer.status == (400 if document is None else 422)
    assert said.lower() in answer.detail.lower()
    assert open_.messages(message_id="id-of-nul") == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 6000 + b"}"]
)
def test_a_submission_that_is_no_json(open_: Place, body: bytes) -> None:
    key = {"Authorization": f"Bearer {open_.api_key}"}
    answer = open_("POST", "/messages", body, key)
    assert answer.status == 400
    assert "JSON" in answer.detail


def test_any_json_is_understood_or_refused_and_never_our_fault(open_: Place) -> None:
    """Deeper and deeper, in every place that takes anything."""
    for depth in (*range(100, 1100, 100), 50_000):
        for opening, closing in (("[", "]"), ('{"details":', "}")):
            deep = opening * depth + "1" + closing * depth
            for text_ in (
                f'{{"provider": "ants", "response": {deep}}}',
                f'{{"provider": "thaibulksms", "response": {json.dumps(deep)}}}',
                f'{{"provider": "ants", "messages": [{deep}]}}',
                f'{{"provider": "ants", "messages": [{{"message_id": {deep}}}]}}',
                deep,
            ):
                key = {"Authorization": f"Bearer {open_.api_key}"}
                assert open_("POST", "/messages", text_.encode(), key).status in {400, 422}


@pytest.mark.parametrize(
    ("provider", "response", "words"),
    [
        ("thaibulksms", {"error": {"code": 105, "name": "MSISDN", "description": "bad"}},
         "MSISDN (105): bad"),
        ("thaibulksms", "<sms><status>0</status><detail>ไม่มีเครดิต</detail></sms>", "ไม่มีเครดิต"),
        ("ants", {"requestError": {"serviceException": {"messageId": "UNAUTHORIZED",
         "text": "Invalid login details"}}}, "UNAUTHORIZED: Invalid login details"),
    ],
)  # fmt: skip
def test_a_provider_that_refused_to_send_is_quoted(
    open_: Place, provider: str, response: Json, words: str
) -> None:
    answer = open_.record(provider, response=response)
    assert answer.status == 422
    assert words in answer.detail


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer x", "Basic shop-key-0123456789",
               "Bearer shop:shop-key-0123456789", "shop-key-0123456789", "Bearer ก"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/messages"), ("GET", "/messages?reference=x"), ("GET", "/messages/ants/x")],
)
def test_messages_want_a_key(open_: Place, header: str | None, method: str, path: str) -> None:
    id_ = new()
    body = {"provider": "ants", "messages": [{"message_id": id_, "recipient": "66812345678"}]}
    given = {} if header is None else {"Authorization": header.encode().decode("latin-1")}
    given |= stranger("10.4.5")
    answer = open_(method, path, json.dumps(body).encode() if method == "POST" else b"", given)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "Expected" in answer.detail
    assert open_.messages(message_id=id_) == []


def test_any_of_the_keys_is_right(open_: Place) -> None:
    for key in ("shop-key-0123456789", "other-key-0123456789"):
        for word in ("Bearer", "bearer"):
            given = {"Authorization": f"{word} {key}"}
            assert open_("GET", "/messages?reference=x", b"", given).status == 404


def test_no_key_is_configured(strict: Place) -> None:
    for given in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}):
        answer = strict("POST", "/messages", b"{}", SHOP | given)
        assert answer.status == 401
        assert "RECEIVER_API_KEYS" in answer.detail


def test_recording_again_completes_the_row(open_: Place) -> None:
    id_, bulk = new(), new()
    one = {"message_id": id_, "recipient": "0812345678"}
    assert counts(open_.record(messages=[one], sent_at="2026-01-01T00:00:00Z")) == (1, 0, 0)
    more = one | {"transaction_id": bulk, "sender": "ACME", "tag": "t", "reference": "r",
                  "account": "otp", "credit": "0"}  # fmt: skip
    assert counts(open_.record(messages=[more])) == (0, 1, 0)
    other = one | {
        "sender": "OTHER",
        "credit": "5",
        "error": "x",
        "sent_at": "2026-02-02T00:00:00Z",
    }
    assert counts(open_.record(messages=[other])) == (0, 1, 0)
    (row,) = open_.messages(message_id=id_)
    assert (row.transaction_id, row.sender, row.tag, row.reference) == (bulk, "ACME", "t", "r")
    assert (row.account, row.credit, row.error) == ("otp", Decimal(0), None)
    assert row.sent_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_record_that_names_both_ids_joins_two_rows(open_: Place) -> None:
    id_, bulk = new(), new()
    who = {"recipient": "66812345678"}
    rows = [who | {"message_id": id_}, who | {"transaction_id": bulk, "account": "otp"}]
    assert counts(open_.record(messages=rows)) == (2, 0, 0)
    open_.ants(ants(dr(id_, "PENDING")))
    expired = {"to": who["recipient"], "status": {"name": "EXPIRED"}}
    open_("POST", "/callbacks/ants/ants-token",
          json.dumps({"bulkId": bulk, "details": [expired]}).encode())  # fmt: skip
    open_.wait_for("enroute", message_id=id_)
    open_.wait_for("expired", transaction_id=bulk)
    answer = open_.record(messages=[who | {"message_id": id_, "transaction_id": bulk}])
    assert counts(answer) == (0, 1, 0)
    (row,) = open_.messages(transaction_id=bulk)
    assert (row.message_id, row.account) == (id_, "otp")
    assert row.id == answer.json["messages"][0]["id"]
    # Both rows' reports are about the one message now.
    open_.wait_for("expired", message_id=id_)
    (found,) = open_.shop("GET", f"/messages/ants/{id_}").json["messages"]
    assert (found["report_count"], found["provider_status"]) == (2, "EXPIRED")


def test_rows_that_are_joined_in_one_call_are_counted_once(open_: Place) -> None:
    who = {"recipient": "66812345678"}
    id_, bulk = new(), new()
    answer = open_.record(
        messages=[who | {"message_id": id_}, who | {"transaction_id": bulk},
                  who | {"message_id": id_, "transaction_id": bulk}]
    )  # fmt: skip
    assert counts(answer) == (1, 2, 0)
    assert len({m["id"] for m in answer.json["messages"]}) == 1
    assert len(open_.messages(transaction_id=bulk)) == 1


def test_refusals_with_and_without_an_id(open_: Place) -> None:
    id_ = new()
    refused = {"recipient": "12", "error": f"wrong number {id_}"}
    for record, rows in (
        ({**refused, "message_id": id_}, 1),
        (refused, 2),
        ({**refused, "message_id": id_}, 2),
        ({**refused, "sent_at": "2026-01-01T00:00:00Z"}, 3),
        ({**refused, "sent_at": "2026-01-01T07:00:00+07:00"}, 4),  # written differently
        ({**refused, "account": "otp"}, 5),
        (refused, 5),
    ):
        answer = open_.record(messages=[record])
        assert answer.status == 201
        found = open_.messages(error=refused["error"])
        assert len(found) == rows, record
        assert counts(open_.record(messages=[record])) == (0, 1, 0)
    assert {(row.status, row.recipient) for row in found} == {("rejected", "12")}


def test_a_refusal_is_the_same_however_the_response_is_spaced_and_written(open_: Place) -> None:
    response = thai_v2(bad=[f"x{new()}"])
    when = {"sent_at": "2026-01-01T00:00:00Z"}
    assert counts(open_.record("thaibulksms", response=response, **when)) == (0, 0, 1)
    for same in (
        json.dumps(response, indent=3),
        dict(reversed(response.items())),
        json.dumps(dict(reversed(response.items()))),
    ):
        assert counts(open_.record("thaibulksms", response=same, **when)) == (0, 1, 0)
    same_moment = {"sent_at": "2026-01-01T07:00:00+07:00"}
    assert counts(open_.record("thaibulksms", response=response, **same_moment)) == (0, 1, 0)
    other = response | {"remaining_credit": 98}
    assert counts(open_.record("thaibulksms", response=other, **when)) == (0, 0, 1)


def test_equal_calls_at_once_are_one_record(open_: Place) -> None:
    ids = [new() for _ in range(5)]
    messages = [{"message_id": i, "recipient": "66812345678"} for i in ids]
    messages += [{"transaction_id": i, "recipient": "66812345679"} for i in ids]
    messages += [{"recipient": "1", "error": f"no {i}"} for i in ids]
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: open_.record(messages=messages), range(24)))
    found = [counts(answer) for answer in answers]
    assert sum(recorded for recorded, _, _ in found) == 10
    assert sum(rejected for _, _, rejected in found) == 5
    assert len({tuple(m["id"] for m in answer.json["messages"]) for answer in answers}) == 1


def test_a_great_many_records_in_one_call(open_: Place) -> None:
    mark = new()
    messages = [{"message_id": f"{mark}-{n}", "recipient": "66812345678"} for n in range(2500)]
    assert counts(open_.record(messages=messages, reference=mark)) == (2500, 0, 0)
    refusals = [{"recipient": f"{n}", "error": mark} for n in range(1500)]
    assert counts(open_.record(messages=[*refusals, *messages[:5]])) == (0, 5, 1500)
    assert counts(open_.record(messages=[*refusals, *messages])) == (0, 4000, 0)


# --- /messages: looking up -----------------------------------------------------------------------


def test_looking_up_by_id(open_: Place) -> None:
    id_, bulk, order = f"a/b c/{new()}?x=%", f"bulk/{new()}", new()
    who = {"message_id": id_, "recipient": "0812345678"}
    assert counts(open_.record(messages=[who], transaction_id=bulk, reference=order)) == (1, 0, 0)
    assert open_.ants(ants(dr(id_, "PENDING"))).status == 200
    assert open_.ants(ants(dr(id_, "DELIVERED", credit="0.5"))).status == 200
    open_.wait_for("delivered", message_id=id_)
    ways = [f"/messages/ants/{quote(id_)}", f"/messages/ants/{quote(bulk, safe='')}"]
    ways += [f"/messages?reference={order}"]
    for path in ways:
        answer = open_.shop("GET", path)
        assert answer.status == 200
        assert answer.json["unmatched"] == []
        (found,) = answer.json["messages"]
        assert (found["message_id"], found["status"], found["final"]) == (id_, "delivered", True)
        assert found["report_count"] == 2
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["sent_at"])
        assert [line["event"] for line in found["timeline"]] == ["sent", "report", "report"]
        assert {line["status"] for line in found["timeline"]} >= {"enroute", "delivered"}
        assert open_.shop("HEAD", path).body == b""
        assert open_.shop("HEAD", path).status == 200
    assert open_.shop("GET", f"/messages/thaibulksms/{quote(id_)}").status == 404


@pytest.mark.parametrize(
    "written", ["0812340099", "66812340099", "+66 81-234-0099", "(081) 234 0099", "0066812340099"]
)
def test_looking_up_by_number_in_any_way_of_writing_it(open_: Place, written: str) -> None:
    open_.record(messages=[{"message_id": "by number", "recipient": "66812340099"}])
    for quoted in (quote(written, safe=""), quote(written, safe="+")):
        (found,) = open_.shop("GET", f"/messages?recipient={quoted}").json["messages"]
        assert found["message_id"] == "by number"


def test_a_report_without_a_message_is_found_by_its_ids(open_: Place) -> None:
    id_, bulk = new(), new()
    body = json.dumps({"bulkId": bulk, "details": [dr(id_, credit="0.25")]}).encode()
    assert open_.ants(body).status == 200
    for given in (id_, bulk):
        answer = open_.shop("GET", f"/messages/ants/{given}")
        assert answer.status == 200
        assert answer.json["messages"] == []
        (report,) = answer.json["unmatched"]
        assert (report["message_id"], report["credit"]) == (id_, "0.2500")
        assert re.fullmatch("[0-9a-f]{32}", report["digest"])
        assert report["sent_message_id"] is None


@pytest.mark.parametrize(
    "path",
    ["/messages?reference=nobody", "/messages?recipient=0899999999", "/messages?recipient=%00",
     "/messages?reference=%00", "/messages?reference=%ED%A0%80", "/messages/ants/nobody",
     "/messages/ants/", "/messages/ants/%00", "/messages/ants/%0A", "/messages/nobody/x",
     f"/messages/ants/{'x' * 10_000}", "/messages/ants/%27%3B--"],
)  # fmt: skip
def test_looking_up_what_is_not_there(open_: Place, path: str) -> None:
    answer = open_.shop("GET", path)
    assert answer.status == 404
    assert answer.detail


@pytest.mark.parametrize("query", ["", "?", "?reference=", "?recipient=", "?tag=x", "?limit=5"])
def test_looking_up_nothing(open_: Place, query: str) -> None:
    answer = open_.shop("GET", f"/messages{query}")
    assert answer.status == 422
    assert "reference" in answer.detail


# --- /messages: the feed -------------------------------------------------------------------------


def feed(place: Place, cursor: str, limit: int | None = None) -> tuple[list[Json], str]:
    query = f"changed_after={cursor}" + ("" if limit is None else f"&limit={limit}")
    answer = place.shop("GET", f"/messages?{query}")
    assert answer.status == 200, answer
    return answer.json["messages"], answer.json["cursor"]


def test_the_feed_skips_nothing_and_says_nothing_twice(open_: Place) -> None:
    """Every millisecond is exact in the cursor, and many messages may share one."""
    # Floats of these days' milliseconds are not exact.
    tag, start = new(), datetime(2004, 3, 5, 7, 11, 13, tzinfo=UTC)
    rows = [
        {"provider": "ants", "message_id": f"{tag}{n}", "recipient": "66812345678", "tag": tag,
         "changed_at": start + timedelta(milliseconds=n // 4 * 7), "settled_at": start}
        for n in range(80)
    ]  # fmt: skip
    with open_.engine.begin() as connection:
        connection.execute(insert(sent_message), rows)
    for limit in (1, 3, 7, 80, None):
        seen: list[Json] = []
        cursor = ""
        while len(seen) < len(rows):
            page, cursor = feed(open_, cursor, limit)
            assert 0 < len(page) <= (limit or 1000)
            seen += page
        assert [m["message_id"] for m in seen[:80]] == [row["message_id"] for row in rows]
    with open_.engine.begin() as connection:
        connection.execute(sent_message.delete().where(sent_message.c.tag == tag))


def test_the_feed_tells_every_change_as_soon_as_it_is_made(open_: Place) -> None:
    id_ = new()
    _, cursor = feed(open_, "", 10_000)
    open_.record(messages=[{"message_id": id_, "recipient": "66812345678"}])
    for status, ours in (("PENDING", "enroute"), ("DELIVERED", "delivered")):
        assert open_.ants(ants(dr(id_, status))).status == 200
        open_.wait_for(ours, message_id=id_)
    page, cursor = feed(open_, cursor)
    (message,) = [m for m in page if m["message_id"] == id_]
    assert (message["status"], message["final"]) == ("delivered", True)
    assert "timeline" not in message
    assert feed(open_, cursor) == ([], cursor)


@pytest.mark.parametrize(
    "query",
    ["changed_after=x", "changed_after=1", "changed_after=-1--1", "changed_after=1-",
     "changed_after=1-" + "9" * 30, "changed_after=" + "9" * 30 + "-1",
     "changed_after=" + "9" * 5000 + "-1", "changed_after=%00", "changed_after=1-1%0A",
     "changed_after=%E0%B9%91-1", "changed_after=&limit=0", "changed_after=&limit=10001",
     "changed_after=&limit=x", "changed_after=&limit=-1", "changed_after=&limit=1.5",
     "changed_after=&limit=" + "9" * 5000],
)  # fmt: skip
def test_a_cursor_or_limit_that_is_none(open_: Place, query: str) -> None:
    answer = open_.shop("GET", f"/messages?{query}")
    assert answer.status == 422
    assert ("limit" if "limit" in query else "changed_after") in answer.detail


# --- Health --------------------------------------------------------------------------------------


def test_health(open_: Place) -> None:
    for path in ("/healthz", "/readyz"):
        assert open_("HEAD", path).status == 200
        assert open_("HEAD", path).body == b""
    assert open_("GET", "/healthz").json == {"status": "ok"}
    eventually(lambda: open_("GET", "/readyz").json["settling"]["reports"] == 0)
    assert open_("GET", "/readyz").json == {
        "status": "ready",
        "problems": [],
        "queue": {"callbacks": 0, "bytes": 0},
        "spool": {
            "callbacks": 0,
            "bytes": 0,
            "oldest_seconds": None,
            "refused": 0,
            "set_aside": [],
            "trouble": None,
            "refusal": None,
        },
        "settling": {"messages": 0, "reports": 0, "oldest_seconds": None},
    }


def test_readyz_shows_how_much_waits_to_be_settled(databases: Databases) -> None:
    """Here nobody settles: another receiver's hand is held."""
    with placed(databases, "postgresql", OPEN) as place, place.engine.begin() as hand:
        hand.exec_driver_sql("SELECT id FROM receiver_state WHERE id = 1 FOR UPDATE")
        long_ago = datetime.now(UTC) - timedelta(seconds=100)
        row = {"provider": "ants", "message_id": "m", "recipient": "66812345678"}
        with place.engine.begin() as other:
            other.execute(insert(sent_message), row | {"recorded_at": long_ago})
        assert place.ants(ants(dr("a"), dr("b"))).status == 200
        waiting = place("GET", "/readyz").json["settling"]
        assert (waiting["messages"], waiting["reports"]) == (1, 2)
        assert 100 <= waiting["oldest_seconds"] < 130
        hand.rollback()
        eventually(lambda: place("GET", "/readyz").json["settling"]["reports"] == 0)


# --- The database goes away ----------------------------------------------------------------------


def at_once(*asked: Callable[[], Answer]) -> list[Answer]:
    """Ask all of it at the same time."""
    with ThreadPoolExecutor(len(asked)) as threads:
        return [answer.result() for answer in [threads.submit(ask) for ask in asked]]


@contextmanager
def away(place: Place, databases: Databases) -> Iterator[None]:
    """Take the database away: SQLite locked by another program, PostgreSQL refusing everybody."""
    with ExitStack() as back:
        if place.engine.dialect.name == "sqlite":
            lock = back.enter_context(place.engine.connect())
            lock.exec_driver_sql("SELECT 1")  # begins, and so takes the write lock
        else:
            name = place.engine.url.database
            place.engine.dispose()
            databases.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            back.callback(databases.sql, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            databases.sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
        yield


def test_without_a_database_nothing_is_lost_in_silence(
    spoolless: Place, databases: Databases
) -> None:
    before, during, after = new(), new(), new()
    assert spoolless.ants(ants(dr(before))).status == 200
    message = {"message_id": during, "recipient": "66812345678"}
    with away(spoolless, databases):
        for answer in at_once(
            lambda: spoolless.ants(ants(dr(during))),
            lambda: spoolless.thai(Transaction=during, Status="delivery"),
            lambda: spoolless.ants(b"{" + during.encode()),  # it is not kept, so it is no 400
            lambda: spoolless.record(messages=[message]),
            lambda: spoolless("GET", "/readyz"),
        ):
            assert answer.status == 503
            assert answer.headers["retry-after"] == "5"
            assert answer.json["status"] in {503, "unavailable"}
        if spoolless.engine.dialect.name == "postgresql":
            answer = spoolless.shop("GET", f"/messages/ants/{before}")
            assert answer.status == 503
            assert answer.headers["retry-after"] == "5"
        # What needs no database is answered as ever.
        assert spoolless("GET", "/healthz").status == 200
        assert spoolless("HEAD", "/callbacks/ants/ants-token").status == 200
        assert spoolless.ants(ants(dr(during)), token="wrong").status == 401
        assert spoolless.ants(b"").status == 200
    eventually(lambda: spoolless.is_ready(200))
    assert spoolless.reports(during) == []
    assert spoolless.messages(message_id=during) == []
    assert spoolless.ants(ants(dr(after))).status == 200
    assert counts(spoolless.record(messages=[message])) == (1, 0, 0)
    assert [len(spoolless.reports(id_)) for id_ in (before, during, after)] == [1, 0, 1]


def test_a_database_that_may_only_be_read_is_away(databases: Databases) -> None:
    """As a PostgreSQL is that others failed over from."""
    with placed(databases, "postgresql", OPEN | SPOOLLESS) as place:
        name = place.engine.url.database
        for read_only, status in (("on", 503), ("off", 200)):
            databases.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = {read_only}")
            databases.sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            eventually(partial(place.is_ready, status))
            assert place.ants(ants(dr(new()))).status == status
            record = {"message_id": new(), "recipient": "66812345678"}
            assert place.record(messages=[record]).status == (status if status == 503 else 201)
            assert place.shop("GET", "/messages/ants/x").status == 404
            assert place.ants(b"{", token="wrong").status == 401


@contextmanager
def stuck(place: Place) -> Iterator[None]:
    """Let the database answer nothing, and fail nothing: the writer waits."""
    with place.engine.connect() as lock:
        if place.engine.dialect.name == "sqlite":
            lock.exec_driver_sql("SELECT 1")
        else:
            lock.exec_driver_sql("LOCK TABLE callback IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_full_queue_is_said_at_once(alone: Place) -> None:
    """Of five bodies of 8 MB from one address two are under way at once (body_budget.py)."""
    bodies = [b"\xff" + new().encode() + b"x" * 8_300_000 for _ in range(5)]
    with ThreadPoolExecutor(5) as threads:
        with stuck(alone):
            asked = [threads.submit(alone.ants, body) for body in bodies]
            full = eventually(lambda: [a.result() for a in asked if a.done()])
        answers = [a.result() for a in asked]
    assert full[0].status == 503
    assert "Too many" in full[0].detail
    assert full[0].headers["retry-after"] == "5"
    # SQLite gives up waiting for the lock after a second, and may have.
    kept = [answer for answer in answers if answer.status == 400]
    assert len(kept) + sum(answer.status == 503 for answer in answers) == 5
    assert {str(row.id) for row in alone.rows(select(callback.c.id))} == {
        answer.json["callback"] for answer in kept
    }
    assert alone.engine.dialect.name == "sqlite" or len(kept) == 2
    assert alone.ants(ants(dr(new()))).status == 200


# --- Stopping ------------------------------------------------------------------------------------


def test_sigterm_under_load_keeps_everything_that_was_answered(alone: Place) -> None:
    stopped = threading.Event()

    def provider(_: int) -> list[str]:
        kept = []
        while not stopped.is_set():
            id_ = new()
            with suppress(OSError, http.client.HTTPException):
                if alone.ants(ants(dr(id_))).status == 200:
                    kept.append(id_)
        return kept

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(provider, n) for n in range(8)]
        try:
            eventually(lambda: alone.count()[1] > 200)
            alone.server.stop()  # checks the exit code
        finally:
            stopped.set()
        answered = [id_ for a in asked for id_ in a.result()]
    assert len(answered) > 200
    stored = {row.message_id for row in alone.rows(select(delivery_report.c.message_id))}
    assert set(answered) <= stored
    (unsettled,) = alone.rows(select(func.count()).where(delivery_report.c.settled_at.is_(None)))
    assert unsettled[0] == 0


def test_when_the_server_ends_the_writer_has_ended(databases: Databases) -> None:
    edge = unused(databases)
    with running(edge) as url:
        assert call(url, "GET", "/readyz").status == 200
    with pytest.raises(UnavailableError, match="shutting down"):
        asyncio.run(edge.writer.run(lambda _: None))


def test_a_database_that_hangs(databases: Databases) -> None:
    """Look-ups cannot take the writer's place; SIGTERM ends it all within ten seconds."""
    with (
        placed(databases, "postgresql", OPEN | SPOOLLESS) as place,
        ThreadPoolExecutor(30) as threads,
        place.engine.connect() as lock,
    ):
        lock.exec_driver_sql("LOCK TABLE sent_message IN ACCESS EXCLUSIVE MODE")
        asked = [threads.submit(place.shop, "GET", f"/messages?reference={n}") for n in range(20)]
        eventually(lambda: waiting(place.engine) >= 8)
        assert place.ants(ants(dr(new()))).status == 200  # they wait, and it does not
        lock.exec_driver_sql("LOCK TABLE callback IN ACCESS EXCLUSIVE MODE")
        asked += [threads.submit(place.ants, ants(dr(new()))) for _ in range(2)]
        part = head("/callbacks/ants/ants-token", "Content-Length: 50"), b"{"
        half = threads.submit(raw, place.server.url, *part)
        eventually(lambda: waiting(place.engine) >= 9)
        place.server.stop()
        for answer in (a.result() for a in asked):
            assert answer.status == 503
            assert answer.headers["retry-after"] == "5"
            assert answer.detail
        assert half.result().startswith(b"HTTP/1.1 503 ")


def waiting(engine: Engine) -> int:
    """Return how many wait for a lock in this database."""
    blocked = (
        "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
        " WHERE NOT granted AND datname = current_database()"
    )
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(blocked).scalar_one())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_log_that_cannot_be_written_costs_nothing(databases: Databases) -> None:
    """The disk it goes to is full."""
    url = databases.make("sqlite")
    with serving(url, log="/dev/full", **OPEN) as server:
        place = Place(server, databases.open(url))
        for body, status in ((ants(dr(new())), 200), (b"{", 400), (ants(dr(new())), 200)):
            assert place.ants(body).status == status
            assert place.ants(body, token="wrong").status == 401
        assert place.count() == (3, 2)


# --- What is written to the log ------------------------------------------------------------------


def test_nothing_personal_and_no_secret_is_ever_written(alone: Place, databases: Databases) -> None:
    """Marks stand in every field of good, bad and failing requests."""
    planted: list[str] = []
    numbers = itertools.count(66891234567)

    def mark() -> str:
        planted.append(f"mark{new()}")
        return planted[-1]

    def number() -> str:
        planted.append(str(next(numbers)))
        return planted[-1]

    def detail(**more: Any) -> Json:
        text_ = {"to": number(), "from": mark(), "text": mark()}
        status = {"name": mark(), "code": mark(), "description": mark()}
        rest = {"credit": mark(), "doneDate": mark(), "callbackData": mark()}
        return {"messageId": mark(), **text_, "status": status, **rest, **more}

    def ask_everything() -> set[int]:
        body = ants(detail(), detail(messageId={"a": mark()}), detail(status=mark()))
        thai = {"Transaction": mark(), "Status": mark(), "Msisdn": number()}
        multipart = f'--{mark()}\r\nContent-Disposition: x; name="{mark()}"\r\n\r\n'
        record = {"message_id": mark(), "recipient": number(), "tag": mark(),
                  "sender": mark(), "reference": mark(), "account": mark()}  # fmt: skip
        header = {"Authorization": mark(), "X-Forwarded-For": mark(),
                  "Content-Type": mark(), "User-Agent": mark()}  # fmt: skip
        answers = at_once(
            lambda: alone.ants(body),
            lambda: alone.ants(body, header),
            lambda: alone.ants(body[:-5]),
            lambda: alone.ants(ants(detail(messageId="x" * 300))),
            lambda: alone.ants(f"<CALLBACK><details>{mark()}</a>".encode()),
            lambda: alone.ants(f"<!DOCTYPE {mark()}><a>{number()}</a>".encode()),
            lambda: alone.ants(body, token=mark()),
            lambda: alone("POST", f"/callbacks/ants/{mark()}?{mark()}", body, header),
            lambda: alone("GET", f"/callbacks/{mark()}/{mark()}"),
            lambda: alone("GET", f"/{mark()}?{mark()}"),
            lambda: alone.thai("GET", **thai),
            lambda: alone.thai("GET", Transaction=mark(), Msisdn=number()),
            lambda: alone.thai("POST", multipart.encode()),
            lambda: alone.thai("POST", (multipart + number()).encode(), Status=mark()),
            lambda: alone.thai("PUT", json.dumps(thai | {"Transaction": [mark()]}).encode()),
            lambda: alone.record(messages=[record]),
            lambda: alone.record(messages=[record, {"message_id": mark(), mark(): 1}]),
            lambda: alone.record("thaibulksms", response=thai_v2(mark(), bad=[number()])),
            lambda: alone.record("thaibulksms", response={"error": {"description": mark()}}),
            lambda: alone.record(mark(), messages=[]),
            lambda: alone.shop("GET", f"/messages/ants/{record['message_id']}"),
            lambda: alone.shop("GET", f"/messages/ants/{mark()}"),
            lambda: alone.shop("GET", f"/messages?recipient={number()}"),
            lambda: alone.shop("GET", f"/messages?reference={mark()}"),
            lambda: alone.shop("GET", f"/messages?changed_after={mark()}"),
            lambda: alone("GET", f"/messages?reference={mark()}", b"", header),
            lambda: alone("GET", "/messages", b"", {"Authorization": f"Bearer {mark()}"}),
        )
        raw(alone.server.url, f"{mark()} {mark()}\r\n\r\n".encode(), close=True)
        return {answer.status for answer in answers}

    assert ask_everything() == {200, 201, 400, 401, 404, 422}
    with away(alone, databases):
        assert 503 in ask_everything()
    eventually(lambda: alone("GET", "/readyz").json["status"] == "ready")
    assert ask_everything() == {200, 201, 400, 401, 404, 422}
    eventually(lambda: alone("GET", "/readyz").json["settling"]["reports"] == 0)
    alone.server.stop()
    assert len(planted) > 250
    assert "level=" in alone.server.stderr()
    silent_about(alone.server, *planted, *("ants-token", "shop-key-0123456789"))


def test_a_look_up_that_is_to_be_tried_again_is(databases: Databases) -> None:
    """Two of three end in 40001: a standby's reads do, and those of rows on several machines."""
    with placed(databases, "postgresql", OPEN) as place:
        id_ = new()
        assert place.ants(ants(dr(id_))).status == 200
        eventually(place.is_ready)
        with place.engine.begin() as connection:
            connection.exec_driver_sql("CREATE SEQUENCE trouble")
            connection.exec_driver_sql("""
                CREATE FUNCTION trouble() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN
                    IF nextval('trouble') %% 3 <> 0 THEN RAISE EXCEPTION USING ERRCODE = '40001';
                    END IF;
                    RETURN true;
                END $$
            """)
            connection.exec_driver_sql("ALTER VIEW message_status RENAME TO message_status_")
            connection.exec_driver_sql(
                "CREATE VIEW message_status AS SELECT m.* FROM message_status_ m"
                " RIGHT JOIN (SELECT trouble()) t ON true WHERE m.id IS NOT NULL"
            )
        for _ in range(5):
            assert place.shop("GET", f"/messages/ants/{id_}").status == 200
        assert "database away" not in place.server.stderr()
