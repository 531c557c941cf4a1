"""What strangers try beside wrong secrets: requests in requests, code in fields, odd paths.

docs/security.md names the tests that hold each defence; these are those no other file has.
"""

from __future__ import annotations

import hmac
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import pytest
from sqlalchemy import inspect, select

from receiver.database.tables.base import metadata
from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.providers.engagelab_proofs import AUTHORIZATION, callback_id, smshook
from receiver.security import proofs, secrets
from receiver.settings.field_types import Secret
from tests.conftest import DIALECTS
from tests.fuzz import __main__ as fuzzing
from tests.web.test_app import (
    ALLOWED,
    BASIC,
    OPEN,
    PROBLEM,
    STRICT,
    Place,
    ants,
    dr,
    new,
    placed,
    raw,
)

if TYPE_CHECKING:
    from tests.conftest import Databases

ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=DIALECTS)
def place(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    """Give a receiver as most people run it."""
    with placed(databases, request.param, OPEN) as made:
        yield made


@pytest.fixture(scope="module")
def guarded(databases: Databases) -> Iterator[Place]:
    """Give a receiver that answers strangers for callbacks only."""
    with placed(databases, "sqlite", STRICT) as made:
        yield made


# A request within a request

INNER: Final = "POST /callbacks/ants/ants-token HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}"
CHUNKED: Final = "Transfer-Encoding: chunked"
LAST: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""Ends the connection after everything before it was done."""
# Headers under which one program in front of us takes what follows for a body, and another may
# take it for the next request. `{all}` is the length of it all.
AMBIGUOUS: Final = {
    "both": ["Content-Length: {all}", CHUNKED],
    "both, the other way round": [CHUNKED, "Content-Length: {all}"],
    "two lengths": ["Content-Length: {all}", "Content-Length: 5"],
    "two lengths, the other way round": ["Content-Length: 5", "Content-Length: {all}"],
    "two lengths in one": ["Content-Length: 5, {all}"],
    "a length with a plus": ["Content-Length: +5"],
    "a length in hexadecimal": ["Content-Length: 0x5"],
    "a length below nothing": ["Content-Length: -1"],
    "a space before the colon": ["Content-Length : {all}", "Content-Length: 5"],
    "a folded header": ["X: y", " Content-Length: 5", "Content-Length: {all}"],
    "no chunks of ours": ["Content-Length: {all}", "Transfer-Encoding: xchunked"],
    "chunks not last": ["Content-Length: {all}", "Transfer-Encoding: chunked, identity"],
    "chunks twice": ["Content-Length: {all}", CHUNKED, CHUNKED],
    "a tab": ["Content-Length: {all}", "Transfer-Encoding:\tchunked"],
    "a vertical tab": ["Content-Length: {all}", "Transfer-Encoding:\x0bchunked"],
    "a NUL": ["Content-Length: {all}", "Transfer-Encoding: chunked\0"],
    "a line feed alone": ["Content-Length: {all}\nTransfer-Encoding: chunked"],
    "a carriage return alone": ["X: y\rTransfer-Encoding: chunked", "Content-Length: {all}"],
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=list(AMBIGUOUS))
@pytest.mark.parametrize("begin", ["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"])
def test_a_request_within_a_request_is_never_taken_for_one(
    place: Place, headers: Sequence[str], begin: str
) -> None:
    hidden = new()
    body = ants(dr(hidden)).decode()
    rest = begin + INNER.format(len(body), body)
    lines = ["POST /callbacks/ants/wrong HTTP/1.1", "Host: x", *headers, "", ""]
    whole = "\r\n".join(lines).format(all=len(rest)) + rest

    raw(place.server.url, whole.encode("latin-1") + LAST)
    assert place.reports(hidden) == []


@pytest.mark.parametrize(
    "chunk",
    [
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_a_chunk_that_others_may_read_otherwise_is_refused(place: Place, chunk: str) -> None:
    lines = ["POST /callbacks/ants/ants-token HTTP/1.1", "Host: x", CHUNKED, "", chunk]
    found = raw(place.server.url, "\r\n".join(lines).encode() + LAST)

    assert found.startswith(b"HTTP/1.1 400 ")
    assert b'"callback"' not in found  # it is not the body that is refused, which would be kept


# Paths

HIDDEN: Final = ("readyz", "metrics", "messages?reference=1", "messages/ants/1", "login", "")
WAYS: Final = [
    "/{}", "//{}", "/./{}", "/../{}", "/callbacks/../{}", "/callbacks/ants/../../{}",
    "/callbacks/ants/ants-token/../../../{}", "/%2e%2e/{}", "/callbacks/%2e%2e/{}",
    "/callbacks%2f..%2f{}", "/callbacks/..;/{}", "/healthz/../{}", "/{}/", "/{}%00", "/{}%20",
    "http://127.0.0.1/{}", "http://127.0.0.1//{}", "/%5c{}", "/;/{}", "/?/../{}", "/healthz?/{}",
]  # fmt: skip


@pytest.mark.parametrize("page", HIDDEN)
def test_no_way_of_writing_a_path_leads_a_stranger_in(guarded: Place, page: str) -> None:
    health = guarded("GET", "/healthz").body
    for way in WAYS:
        path = way.format(page)
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", "", ""]
        answer = raw(guarded.server.url, "\r\n".join(lines).encode())
        status = int(answer.split()[1])
        assert status in {400, 401, 404, 405} or answer.endswith(health), (path, answer)


def test_a_token_counts_in_its_place_only(guarded: Place) -> None:
    headers = {"Authorization": BASIC} | ALLOWED
    body = ants(dr(new()))
    before = guarded.count()
    for path in ("/callbacks/ants?token=ants-token", "/callbacks/ants/wrong?/ants-token",
                 "/callbacks/ants/wrong#/ants-token", "/callbacks/ants;ants-token"):  # fmt: skip
        assert guarded("POST", path, body, headers).status in {400, 401, 404}
    for name in ("X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Token"):
        said = headers | {name: "/callbacks/ants/ants-token"}
        assert guarded("POST", "/callbacks/ants/wrong", body, said).status in {401, 429}
    assert guarded.count() == before


# Code in fields

CODE: Final = [
    "'; DROP TABLE sent_message; --",
    "1' OR '1'='1",
    '" OR ""="',
    "%' OR reference LIKE '%",
    "\\'; SELECT pg_sleep(9); --",
    ":x %(x)s %s ? $1 {{7*7}} ${7*7}",
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "=HYPERLINK(1)",
    "@SUM(1)",
    'x" level=error event="forged',
    "\x1b[2Jx\x1b]0;x\x07",
    "a\u202eb\u2066c",
    "../../etc/passwd",
]


@pytest.mark.parametrize("code", CODE)
def test_code_in_every_field_is_text_and_comes_out_as_it_went_in(place: Place, code: str) -> None:
    id_ = f"{code}{new()}"
    fields = {"sender": code, "tag": code, "reference": f"{code}{id_}"[:200], "account": code}
    assert (
        place.record(messages=[{"message_id": id_, "recipient": "0812345678", **fields}]).status
        == 201
    )
    status = {"name": f"X{code}", "code": code, "description": code}
    said = {"from": code, "callbackData": code, "doneDate": code, "sendDate": code, "credit": code}
    assert place.ants(ants(dr(id_, status, **said))).status == 200
    thai = {"Transaction": f"t{id_}", "Status": code, "Time": code, "error_message": code}
    assert place.thai("GET", **thai).status == 200

    (report,) = place.reports(id_)
    assert (report.provider_status, report.sender, report.callback_data) == (f"X{code}", code, code)
    assert place.reports(f"t{id_}")[0].provider_status == code
    (message,) = place.messages(message_id=id_)
    assert {name: getattr(message, name) for name in fields} == fields
    for path in (f"/messages/ants/{quote(id_, safe='')}",
                 f"/messages?{urlencode({'reference': fields['reference']})}"):  # fmt: skip
        answer = place.shop("GET", path)
        assert answer.headers["content-type"] == "application/json"
        assert [m["message_id"] for m in answer.json["messages"]] == [id_]


@pytest.mark.parametrize("code", CODE)
def test_code_in_a_question_is_text(place: Place, code: str) -> None:
    place.record(messages=[{"message_id": new(), "recipient": "0812345678", "reference": "r"}])
    for path in (
        f"/messages/ants/{quote(code, safe='')}",
        f"/messages?{urlencode({'reference': code})}",
    ):
        assert place.shop("GET", path).status == 404
    for name in ("recipient", "changed_after"):
        assert place.shop("GET", f"/messages?{urlencode({name: code})}").status in {404, 422}
    assert place.shop("GET", f"/messages/{quote(code, safe='')}/1").status == 404
    assert set(inspect(place.engine).get_table_names()) >= set(metadata.tables)
    assert place.rows(select(sent_message.c.id).limit(1))
    assert place.rows(select(delivery_report.c.id).limit(1)) is not None


MARKED: Final = "<b>planted</b>"


def test_no_error_repeats_what_was_sent(place: Place) -> None:
    """So that none can be a page of somebody else's, nor carry a secret further."""
    marked, header = quote(MARKED), {"X-Forwarded-For": MARKED, "Content-Type": MARKED}
    body = json.dumps({"details": MARKED, MARKED: MARKED}).encode()
    answers = [
        place("GET", f"/{marked}?{marked}", b"", header),
        place("POST", f"/callbacks/{marked}/{marked}", body, header),
        place("POST", f"/callbacks/ants/{marked}?{marked}", body, header),
        place("DELETE", f"/callbacks/ants/{marked}", body, header),
        place.ants(body, header | {"Content-Encoding": "gzip, planted"}),
        place.ants(body, header),
        place.ants(f"<planted>{MARKED}".encode(), header),
        place("GET", "/messages", b"", header | {"Authorization": f"Bearer {MARKED}"}),
        place.shop("GET", f"/messages/ants/{marked}"),
        place.shop("GET", f"/messages?changed_after={marked}"),
        place.shop("POST", "/messages", {"provider": MARKED, "messages": [{MARKED: MARKED}]}),
        place.record(messages=[{"message_id": [MARKED], "recipient": MARKED, "sent_at": MARKED}]),
    ]  # fmt: skip
    assert {answer.status for answer in answers} >= {400, 401, 404, 405, 415, 422}
    for answer in answers:
        assert answer.headers["content-type"] == PROBLEM
        assert b"planted" not in answer.body, answer


# The log

FORGED: Final = 'x\r\n2026-01-01 level=error event="forged" \x1b[2J\u2028'


def test_a_stranger_writes_no_line_of_the_log(databases: Databases) -> None:
    with placed(databases, "sqlite", OPEN) as place:
        there = quote(FORGED)
        for path in (f"/{there}", f"/callbacks/{there}/x", f"/callbacks/ants/{there}",
                     f"/callbacks/ants/ants-token?{there}"):  # fmt: skip
            place("POST", path, b"{" + FORGED.encode(), {"X-Forwarded-For": quote(FORGED)})
        place.ants(ants(dr(FORGED), dr(new(), FORGED), {FORGED: FORGED}))
        place.ants(ants(dr("\0" + FORGED), {"messageId": [FORGED]}))
        place.thai("POST", f"--{FORGED}\r\nContent-Disposition: {FORGED}".encode())
        place.record(messages=[{"message_id": new(), "recipient": "0812345678", "account": FORGED}])
        lines = place.server.stderr().splitlines()
        assert any("callback kept" in line for line in lines)
        for line in lines:
            assert re.match(
                r"timestamp=\d{4}-\d\d-\d\dT[\d:.]+Z level=(info|warning|error) ", line
            ), line
            assert line.isprintable()
            assert "forged" not in line


# Timing

SECRETS: Final = [Secret(name=f"n{i}", value=f"secret-{i}") for i in range(5)]
HEADERS: Final = {"x-smshook-timestamp": "1", "x-smshook-appkey": "k", "x-smshook-signature": "s",
                  "x-callback-id": "timestamp=1;nonce=n;username=u;signature=s",
                  "authorization": "secret-0"}  # fmt: skip
NOW: Final = datetime(2026, 11, 21, tzinfo=UTC)
COMPARED: Final[dict[str, tuple[Callable[[str], Any], int]]] = {
    "token": (lambda given: secrets.find(SECRETS, given), 5),
    "bearer": (lambda given: proofs.bearer(SECRETS, f"Bearer {given}"), 5),
    "basic": (lambda given: proofs.basic(SECRETS, basic_header("n0", given)), 5),
    "smshook": (lambda given: smshook(HEADERS, ("k", given), NOW), 2),
    "callback id": (lambda given: callback_id(HEADERS, ("u", given), NOW), 2),
    "authorization": (lambda given: AUTHORIZATION.holds(HEADERS, (given,), NOW), 1),
}


def basic_header(user: str, password: str) -> str:
    from base64 import b64encode

    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("way", COMPARED)
@pytest.mark.parametrize("given", ["secret-0", "secret-4", "secret-", "", "x" * 999])
def test_how_long_it_takes_says_nothing_of_a_secret(
    way: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each secret is compared, in constant time, whichever is right and wherever it differs."""
    compared: list[tuple[Any, Any]] = []
    compare = hmac.compare_digest

    def counted(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    ask, times = COMPARED[way]
    ask(given)
    assert len(compared) == times


def test_every_comparison_of_a_secret_is_in_security() -> None:
    """No module of ours but those compares a token, a key or a signature by itself."""
    here = {"security", "providers/proofs.py", "web/admin/sessions.py"}
    for path in sorted((ROOT / "receiver").rglob("*.py")):
        within = path.relative_to(ROOT / "receiver")
        if not {str(within), within.parts[0]} & here:
            assert not re.search(
                r"(\.value|token|api_key|secret|password)\s*(==|!=)", path.read_text("utf-8")
            ), path


# What is written of it

TABLE: Final = (ROOT / "docs" / "security.md").read_text("utf-8")


def named() -> list[tuple[str, str]]:
    """Return the file and the name of each test that the page names."""
    return re.findall(r"`(test_\w+)::(test_\w+)`", TABLE)


def test_every_test_of_the_table_is_there() -> None:
    assert len(named()) > 40
    for file, name in named():
        sources = [path.read_text("utf-8") for path in (ROOT / "tests").rglob(f"{file}.py")]
        definition = re.compile(rf"^(async )?def {name}\(", re.MULTILINE)
        assert any(definition.search(source) for source in sources), (file, name)


def test_every_row_of_the_table_names_a_test() -> None:
    (table,) = re.findall(r"^\| who .*?(?=\n\n)", TABLE, re.DOTALL | re.MULTILINE)
    rows = [line.strip("|").split(" | ") for line in table.splitlines()[2:]]
    assert len(rows) > 20
    for row in rows:
        assert len(row) == 4, row
        assert re.search(r"`test_\w+::test_\w+`", row[3]), row


def test_the_commands_of_the_page_are_right_beside_the_table() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", TABLE, re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if "pip install" in block)
    install, run = (shlex.split(part) for part in block.strip().split(" && "))
    assert install[:3] == [".venv/bin/pip", "install", "-e"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(install[3].strip(".[]").split(",")) <= set(extras["optional-dependencies"])
    assert run[:3] == [".venv/bin/python", "-m", "tests.fuzz"]
    assert fuzzing.options(run[3:]).runs == 1_000_000
    (test,) = re.findall(r"`\.venv/bin/python -m pytest (.*?)`", TABLE)
    file, _, word = test.split()
    assert f"def test_a_{word}(" in (ROOT / file).read_text("utf-8")


def test_every_test_of_this_file_is_in_the_table() -> None:
    ours = re.findall(r"^def (test_\w+)\(", Path(__file__).read_text("utf-8"), re.MULTILINE)
    told = {name for file, name in named() if file == "test_hostile"}
    assert {name for name in ours if "the_table" not in name} == told
