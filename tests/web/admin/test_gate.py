"""What nobody can ask of the operator's page: each is a 400 in words, and never our fault."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

import pytest
import structlog

from receiver.security import proofs
from receiver.security.rate_limit import MAX_FAILURES
from receiver.web.admin.sessions import COOKIE
from tests.web.admin.test_admin import (
    HERE,
    KEY,
    OTHER,
    client_of,
    log_in,
    operator,
    send,
    stranger,
    token,
)

if TYPE_CHECKING:
    from httpx2 import Response
    from sqlalchemy import Engine
    from starlette.testclient import TestClient

__all__ = ["operator", "stranger"]  # fixtures

LISTS: Final = ("sent", "unmatched", "unreadable")
BAD_URLS: Final = ("//[", "http://[", "//a]", "//\uff0fx\u2100", "/x?_origin=//[", "//[::1")
RULE: Final = "account__eq=a"
BETWEEN: Final = "{}__between={}..{}"
TIMES: Final = {"sent": "sent_at", "unmatched": "received_at", "unreadable": "received_at"}
HOSTILE: Final = (
    "", "\0", "\x1b[2J", "\ud800", "'", "\\", "//[", "9" * 5000, "-1", "1e999", "ก" * 300, "..",
)  # fmt: skip
FILTERS: Final = (
    "\0", "(", ")" * 30, "(" * 3000, "=", "__", "AND", "account__eq", "account__eq=",
    "account__eq=\0", "account__in=a", "nope__eq=1", f"({RULE}", "sent_at__between=a..b",
    "sent_at__between=0001-01-01T00:00..9999-12-31T23:59", "sent_at__between=..",
    "received_at__between=0001-01-01T00:00+14:00..9999-12-31T23:59-14:00",
    "sent_at__between=2026-01-01T00:00", "recipient__eq=" + "1" * 3000, "account__eq=\ud800",
)  # fmt: skip
PARAMETERS: Final = ("q", "filter", "page", "page_size", "sort", "cols", "next", "_origin", "pk",
                     "_list_query", "name", "window", "lang", "pks", "all")  # fmt: skip


def in_words(answer: Response) -> bool:
    """Say whether a 400 says what was expected, to a person."""
    text = re.sub(r"<[^>]*>|\s+", " ", answer.text)
    return answer.status_code == 400 and bool(re.search(r"[Ee]xpected|Invalid", text))


@pytest.mark.parametrize("name", ["next", "_origin"])
@pytest.mark.parametrize("given", BAD_URLS)
def test_what_is_no_url_is_400_before_and_after_the_login(
    stranger: TestClient, name: str, given: str
) -> None:
    query = f"?{name}={quote(given)}"
    stranger.get("/login")
    form = {"username": "ops", "password": KEY, "csrftoken": token(stranger)}
    assert in_words(stranger.post(f"/login{query}", data=form))
    assert in_words(stranger.get(f"/login{query}"))
    assert COOKIE not in stranger.cookies
    assert log_in(stranger).status_code == 303
    for path in ("/login", "/sent/list", "/sent/detail"):
        assert in_words(stranger.get(f"{path}{query}"))
    assert in_words(
        stranger.post(
            f"/_api/sent/action{query}&name=export", headers={"X-CSRFToken": token(stranger)}
        )
    )


@pytest.mark.parametrize(
    "given", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "x"]
)
def test_nobody_is_led_away_by_the_login(stranger: TestClient, given: str) -> None:
    stranger.get("/login")
    form = {"username": "ops", "password": KEY, "csrftoken": token(stranger)}
    answer = stranger.post(f"/login?next={quote(given)}", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "http://127.0.0.1/")


@pytest.mark.parametrize("what", LISTS)
def test_a_filter_between_the_first_year_and_the_last(operator: TestClient, what: str) -> None:
    column = TIMES[what]
    for first, last, right in (
        ("0001-01-01T00:00", "9999-12-31T23:59", False),
        ("0001-01-01T00:00", "2026-11-28T00:00", False),
        ("2026-11-28T00:00", "9999-12-31T23:59-14:00", False),
        ("0002-01-01T00:00", "9998-12-31T23:59", True),
    ):
        asked = BETWEEN.format(column, first, last)
        answer = operator.get(f"/{what}/list", params={"filter": asked})
        assert answer.status_code == 200 if right else in_words(answer), (first, last)


@pytest.mark.parametrize("count", [101, 300, 1501])
@pytest.mark.parametrize("word", ["AND", "OR"])
def test_more_conditions_than_a_database_takes(operator: TestClient, count: int, word: str) -> None:
    asked = f" {word} ".join(["tag__eq=a"] * count)
    assert in_words(operator.get("/sent/list", params={"filter": asked}))
    exported = {"name": "export", "all": "1", "_list_query": f"?filter={quote(asked)}"}
    answer = operator.post(
        "/_api/sent/action", params=exported, headers={"X-CSRFToken": token(operator)}
    )
    assert answer.status_code == 400
    listed = "provider__in=" + ",".join(f"p{n}" for n in range(count))
    assert in_words(operator.get("/sent/list", params={"filter": listed}))


def test_as_many_conditions_as_may_be(operator: TestClient, engine: Engine) -> None:
    send(engine, {"message_id": "one", "tag": "a"})
    asked = " OR ".join(["tag__eq=a"] * 100)
    answer = operator.get("/sent/list", params={"filter": asked})
    assert answer.status_code == 200
    assert "one" in answer.text


@pytest.mark.parametrize("path", ["/login", "/_api/sent/action?name=export", "/logout"])
@pytest.mark.parametrize("kind", ["urlencoded", "multipart", "file", "broken"])
def test_a_form_of_too_many_fields_or_none(operator: TestClient, path: str, kind: str) -> None:
    if kind == "urlencoded":
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = operator.post(path, content=b"a&" * 16_000, headers=form)
    elif kind == "multipart":
        answer = operator.post(path, files={f"a{n}": (None, "") for n in range(500)})
    elif kind == "file":
        answer = operator.post(path, files={"file": ("a.txt", b"x")})
    else:
        answer = operator.post(path, content=b"--x\r\n\r\n", headers={
            "Content-Type": "multipart/form-data; charset=nope; boundary=y"})  # fmt: skip
    assert in_words(answer), answer.text


@pytest.mark.parametrize(
    "name", ["รายงาน", "a\r\nX: y", 'a"b', "", "\u202egnp", "x" * 500, "a/../b"]
)
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_an_exported_file_may_have_any_name(
    operator: TestClient, engine: Engine, name: str, kind: str
) -> None:
    send(engine, {"message_id": "one"})
    form = {"csrftoken": token(operator), "format": kind, "filename": name, "scope": "all"}
    answer = operator.post("/_api/sent/action?name=export&all=1", data=form)
    assert answer.status_code == 200
    assert "one" in answer.text
    said = answer.headers["content-disposition"]
    assert said.isascii()
    assert "x" not in answer.headers
    plain, _, whole = said.removeprefix("attachment; ").partition("; ")
    assert re.fullmatch(rf'filename="[A-Za-z0-9._ -]*\.{kind}"', plain)
    assert whole.startswith("filename*=UTF-8''")
    if name == "รายงาน":
        assert unquote(whole.removeprefix("filename*=UTF-8''")) == f"รายงาน.{kind}"


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_whatever_is_asked_is_no_fault_of_ours(operator: TestClient, parameter: str) -> None:
    marks = {"X-CSRFToken": token(operator)}
    pages = ("/", "/login", "/sent/list", "/unreadable/list", "/unmatched/detail")
    for given in FILTERS if parameter == "filter" else HOSTILE:
        value = quote(given, errors="surrogatepass")
        for path in pages:
            answer = operator.get(f"{path}?{parameter}={value}")
            assert answer.status_code < 500, (path, given)
        asked = f"{parameter}={value}"
        for kind in ("action", "row-action"):
            rest = "" if parameter == "name" else "&name=export"
            answer = operator.post(f"/_api/sent/{kind}?{asked}{rest}", headers=marks)
            assert answer.status_code < 500, (kind, given)
            listed = quote(f"?{asked}")
            answer = operator.post(
                f"/_api/sent/{kind}?name=export&all=1&_list_query={listed}", headers=marks
            )
            assert answer.status_code < 500, (kind, given)


@pytest.mark.parametrize("name", ["Cookie", "Accept-Language", "Content-Type", "X-CSRFToken",
                                  "X-Forwarded-Proto", "Referer"])  # fmt: skip
def test_whatever_is_in_a_header_is_no_fault_of_ours(operator: TestClient, name: str) -> None:
    for given in (
        "\xff", ";" * 500, "=;=", f"{COOKIE}=\x80", "multipart/form-data", "a" * 5000,
        "multipart/form-data; boundary=", "q=" * 99, "en;q=x", "starlette_admin_csrftoken=a",
        "session=a; lang=\x00", "language=xx; timezone=Nowhere/No",
    ):  # fmt: skip
        headers = {name.encode(): given.encode("latin-1")}
        assert operator.get("/sent/list", headers=headers).status_code < 500, given
        assert operator.post("/login", content=b"a=b", headers=headers).status_code < 500, given


def test_what_a_database_does_not_take_is_not_called_away(operator: TestClient) -> None:
    """The page and `/messages` say what is wrong, and nobody is woken up."""
    with structlog.testing.capture_logs() as lines:
        assert in_words(operator.get("/sent/list", params={"filter": "tag__eq=a\0b"}))
        bearer = {"Authorization": f"Bearer {KEY}"}
        for asked in ("?recipient=%00", "?reference=a%00", "/ants/%00", "/ants/%ED%A0%80",
                      "?reference=%ED%A0%80"):  # fmt: skip
            answer = operator.get(f"/messages{asked}", headers=bearer)
            assert answer.status_code in {404, 422}, asked
    assert not [line for line in lines if line["event"] == "database away"]


# Whose forms they are.


def test_the_token_of_another_session_is_403(engine: Engine) -> None:
    with client_of(engine) as one, client_of(engine) as two:
        assert log_in(one).status_code == 303
        assert log_in(two).status_code == 303
        one.get("/")
        two.get("/")
        stolen = token(two)
        assert stolen != token(one)
        assert one.post("/logout", data={"csrftoken": stolen}).status_code == 403
        # Planted as a cookie, too, as a page of a neighbouring name can.
        own = one.cookies.get(COOKIE)
        one.cookies.clear()
        one.cookies.set(COOKIE, own or "")
        one.cookies.set("starlette_admin_csrftoken", stolen)
        assert one.post("/logout", data={"csrftoken": stolen}).status_code == 403
        assert two.post("/logout", data={"csrftoken": stolen}).status_code == 303


def test_the_token_of_the_login_is_good_for_nothing_after_it(stranger: TestClient) -> None:
    stranger.get("/login")
    before = token(stranger)
    assert log_in(stranger).status_code == 303
    stranger.cookies.set("starlette_admin_csrftoken", before)
    assert stranger.post("/logout", data={"csrftoken": before}).status_code == 403


# Guesses.


def test_guesses_of_an_api_key_are_limited_and_logged_as_at_the_login(engine: Engine) -> None:
    with client_of(engine) as client, structlog.testing.capture_logs() as lines:
        answers = [
            client.get("/messages?reference=x", headers={"Authorization": f"Bearer guess-{n}"})
            for n in range(MAX_FAILURES + 5)
        ]
        assert [a.status_code for a in answers] == [401] * (MAX_FAILURES - 1) + [429] * 6
        assert "www-authenticate" in answers[0].headers
        assert int(answers[-1].headers["retry-after"]) > 0
        # The same guesses, at the login: it is one key that is guessed.
        assert log_in(client, "ops", "guess").status_code == 429
        for path, method in (("/messages", "POST"), ("/messages/ants/x", "GET")):
            assert client.request(method, path).status_code == 429
        for key in (KEY, OTHER):
            right = client.get("/messages/ants/x", headers={"Authorization": f"Bearer {key}"})
            assert right.status_code == 404
        assert log_in(client).status_code == 303
    said = [line for line in lines if line["event"] in {"API key refused", "login refused"}]
    assert [line["address"] for line in said] == [HERE[0]]
    assert "guess" not in repr(lines)


# By which name, and how, we are called.


@pytest.mark.parametrize(
    ("host", "right"),
    [
        ("127.0.0.1", True), ("127.0.0.1:8000", True), ("[::1]:8000", True), ("10.1.2.3", True),
        ("localhost:8000", True), ("receiver", True), ("receiver:8000", True), ("", True),
        ("receiver.default.svc.cluster.local", True), ("sms.internal", True), ("pi.local.", True),
        ("sms.example.com", True), ("SMS.example.COM:443", True), ("sms.example.com.", True),
        ("ops.example.com", True), ("evil.example", False), ("evil.example:8000", False),
        ("sms.example.com.evil.example", False), ("xsms.example.com", False),
        ("127.0.0.1.evil.example", False), ("localhost.evil.example", False),
        ("notlocal.xlocal", False), ("a." * 200, False), ("evil.example@localhost", False),
    ],
)  # fmt: skip
def test_who_calls_us_by_a_name_that_is_not_ours_reads_nothing(
    engine: Engine, host: str, right: bool
) -> None:
    names = {"public_url": "https://sms.example.com", "internal_hosts": "ops.example.com"}
    with client_of(engine, **names) as client:
        for path, status in (("/readyz", 200), ("/metrics", 200), ("/login", 200), ("/", 303)):
            answer = client.get(path, headers={"Host": host})
            assert answer.status_code == status if right else in_words(answer), path
        # Who provides and who sends need a secret, which no stranger's page has.
        for path in ("/healthz", "/callbacks/ants/secret"):
            assert client.request("HEAD", path, headers={"Host": host}).status_code == 200
        bearer = {"Host": host, "Authorization": f"Bearer {KEY}"}
        assert client.get("/messages/ants/x", headers=bearer).status_code == 404


def test_outsiders_are_told_nothing_of_names(engine: Engine) -> None:
    with client_of(engine, internal_ips="192.0.2.1") as client:
        for host in ("127.0.0.1", "evil.example"):
            assert client.get("/readyz", headers={"Host": host}).status_code == 404


@pytest.mark.parametrize(
    ("given", "secure"),
    [
        (["https"], True), (["HTTPS"], True), ([" Https "], True), (["https, http"], True),
        (["https,http"], True), (["https", "http"], True), (["http"], False), ([""], False),
        (["http, https"], False), (["httpss"], False), (["wss"], False),
    ],
)  # fmt: skip
def test_https_in_any_case_or_list(engine: Engine, given: list[str], secure: bool) -> None:
    assert proofs.forwarded_https(given) is secure
    with client_of(engine) as client:
        answer = log_in(client, headers=[("X-Forwarded-Proto", value) for value in given])
        assert answer.status_code == 303
        assert ("Secure" in answer.headers["set-cookie"]) is secure
    with client_of(engine, trusted_proxies="192.0.2.1") as client:
        answer = log_in(client, headers=[("X-Forwarded-Proto", value) for value in given])
        assert "Secure" not in answer.headers["set-cookie"]
