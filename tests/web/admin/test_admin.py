"""The operator's page over HTTP: who gets in, what is found, what a page may do, what is logged."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
import structlog
from babel.messages.pofile import read_po
from sqlalchemy import Engine, insert, select
from starlette.testclient import TestClient

from receiver.database.engine import connect, parse_url
from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.domain.callback import Callback
from receiver.ingest.interpret import Interpreter, read
from receiver.ingest.store import keep
from receiver.providers import PROVIDERS
from receiver.security.rate_limit import MAX_FAILURES
from receiver.server.composition import compose
from receiver.settings.field_types import Secret
from receiver.settings.settings import Settings
from receiver.settling import settle
from receiver.settling.backlog import waiting
from receiver.web.admin import asgi
from receiver.web.admin.i18n import CATALOGUE
from receiver.web.admin.sessions import COOKIE, SECONDS, Sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx2 import Response

KEY: Final = "key-0123456789abcdef"
OTHER: Final = "another-key-0123456789"
KEYS: Final = f"ops:{KEY},{OTHER}"
HERE: Final = ("127.0.0.1", 1)
HOME: Final = Path(asgi.__file__).parent
NOW: Final = datetime.now(UTC).replace(microsecond=0)
NUMBER: Final = "66812345678"
PAGES: Final = ("/", "/sent/list", "/unmatched/list", "/unreadable/list")


def settings(**more: Any) -> Settings:
    secrets = {name: {"tokens": "secret"} for name in PROVIDERS}
    return Settings(**{"api_keys": KEYS, "providers": secrets, "spool_path": "", **more})


def client_of(engine: Engine, **more: Any) -> TestClient:
    app = compose(settings(**more), engine).edge.app()
    return TestClient(app, client=HERE, base_url="http://127.0.0.1", follow_redirects=False)


@pytest.fixture
def stranger(engine: Engine) -> Iterator[TestClient]:
    """Give somebody inside the network who is not logged in."""
    with client_of(engine) as made:
        yield made


def log_in(client: TestClient, name: str = "ops", key: str = KEY, **more: Any) -> Response:
    client.get("/login")
    form = {"username": name, "password": key, "csrftoken": token(client)}
    answer: Response = client.post("/login", data=form, **more)
    return answer


def token(client: TestClient) -> str:
    return client.cookies.get("starlette_admin_csrftoken") or ""


@pytest.fixture
def operator(stranger: TestClient) -> TestClient:
    """Give somebody who is logged in."""
    assert log_in(stranger).status_code == 303
    return stranger


def send(engine: Engine, *rows: dict[str, Any]) -> None:
    usual = {"provider": "ants", "recipient": NUMBER, "sent_at": NOW - timedelta(minutes=5)}
    with engine.begin() as connection:
        for row in rows:
            connection.execute(insert(sent_message).values(usual | row))


def tell(engine: Engine, body: bytes, provider: str = "ants") -> str:
    """Keep a callback as it came, and settle; return its id."""
    arrived = Callback(
        provider=provider, account="", method="POST", query="", content_type="application/json",
        body=body, remote_addr="203.0.113.7",
    )  # fmt: skip
    reading = read(arrived, Interpreter.from_settings(settings()))
    with engine.begin() as connection:
        keep(connection, [reading])
    left = True
    while left:  # the receiver's own hand may be at it, too
        settle.settle_all(engine)
        with engine.connect() as connection:
            found = waiting(connection)
            left = bool(found.messages or found.reports)
    return arrived.id


def ants(message_id: str, word: str = "DELIVERED", to: str = NUMBER, **more: str) -> bytes:
    done = (NOW + timedelta(hours=7)).strftime("%Y-%m-%dT%H:%M:%S.00")
    said = {"messageId": message_id, "to": to, "doneDate": done, "status": {"name": word}, **more}
    return repr({"details": [said]}).replace("'", '"').encode()


# Who gets in.


@pytest.mark.parametrize("path", [*PAGES, "/sent/detail?pk=1"])
def test_a_stranger_is_sent_to_the_form(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("http://127.0.0.1/login?")


@pytest.mark.parametrize("path", ["/_api/sent/action?name=export", "/_api/unreadable/row-action"])
def test_a_stranger_cannot_do_anything(stranger: TestClient, path: str) -> None:
    stranger.get("/login")
    assert stranger.post(path).status_code == 403
    answer = stranger.post(path, headers={"X-CSRFToken": token(stranger)})
    assert answer.status_code == 303
    assert "/login?" in answer.headers["location"]


def test_name_and_key_let_in(stranger: TestClient) -> None:
    answer = log_in(stranger)
    assert answer.status_code == 303
    assert answer.headers["location"] == "http://127.0.0.1/"
    cookie = answer.headers["set-cookie"]
    for part in (f"{COOKIE}=", "HttpOnly", "SameSite=strict", f"Max-Age={SECONDS}", "Path=/"):
        assert part in cookie
    assert "Secure" not in cookie
    assert KEY not in cookie
    for path in PAGES:
        assert stranger.get(path).status_code == 200, path


def test_a_key_without_a_name_goes_with_none(stranger: TestClient) -> None:
    assert log_in(stranger, "ops", OTHER).status_code == 401
    assert log_in(stranger, "", OTHER).status_code == 303


@pytest.mark.parametrize(("name", "key"), [("ops", "wrong"), ("opz", KEY), ("", KEY), ("", "")])
def test_what_does_not_belong_together_is_401(stranger: TestClient, name: str, key: str) -> None:
    answer = log_in(stranger, name, key)
    assert answer.status_code == 401
    assert COOKIE not in answer.headers.get("set-cookie", "")
    assert "do not belong together" in answer.text
    assert stranger.get("/").status_code == 303


def test_no_key_lets_in_where_none_is_set(engine: Engine) -> None:
    with client_of(engine, api_keys="") as client:
        assert log_in(client, "", "").status_code == 401


def test_too_many_failures_are_429_and_the_right_key_is_not(stranger: TestClient) -> None:
    statuses = [log_in(stranger, "ops", f"wrong {n}").status_code for n in range(MAX_FAILURES + 1)]
    assert statuses == [401] * (MAX_FAILURES - 1) + [429] * 2
    assert int(log_in(stranger, "ops", "wrong").headers["retry-after"]) > 0
    assert log_in(stranger).status_code == 303


def test_behind_https_the_cookie_is_secure(engine: Engine) -> None:
    with client_of(engine) as client:
        answer = log_in(client, headers={"X-Forwarded-Proto": "https"})
        assert "Secure" in answer.headers["set-cookie"]


def test_only_a_trusted_proxy_says_https(engine: Engine) -> None:
    with client_of(engine, trusted_proxies="192.0.2.1") as client:
        answer = log_in(client, headers={"X-Forwarded-Proto": "https"})
        assert "Secure" not in answer.headers["set-cookie"]


def test_who_logged_out_is_refused_also_with_the_old_cookie(operator: TestClient) -> None:
    old = operator.cookies[COOKIE]
    assert operator.post("/logout", data={"csrftoken": token(operator)}).status_code == 303
    assert COOKIE not in operator.cookies
    assert operator.get("/").status_code == 303
    operator.cookies.set(COOKIE, old)
    assert operator.get("/").status_code == 303


def keys(*pairs: tuple[str, str]) -> list[Secret]:
    return [Secret(name=name, value=value) for name, value in pairs]


def test_every_receiver_with_the_key_accepts_a_session() -> None:
    cookie = Sessions(keys(("ops", KEY))).begin("ops", KEY)
    assert cookie
    session = Sessions(keys(("", OTHER), ("ops", KEY))).read(cookie)
    assert session
    assert session.name == "ops"


def test_a_key_that_is_revoked_takes_its_sessions_with_it() -> None:
    cookie = Sessions(keys(("ops", KEY))).begin("ops", KEY)
    assert cookie
    assert Sessions(keys(("ops", OTHER))).read(cookie) is None
    assert Sessions([]).read(cookie) is None


def test_a_session_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(keys(("ops", KEY)))
    cookie = sessions.begin("ops", KEY)
    assert cookie
    assert sessions.read(cookie)
    late = datetime.now(UTC).timestamp() + SECONDS + 2
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: late)
    assert sessions.read(cookie) is None


def test_a_forged_cookie_is_none(operator: TestClient) -> None:
    good = operator.cookies[COOKIE]
    payload, time, signature = good.rsplit(".", 2)
    forged = [
        "", "x", "..", f"{payload}.{time}.{signature[:-2]}AA", f"{payload}.{time}", "ก",
        f"{payload[:-1]}.{time}.{signature}", good + "x", "A" * 5000,
    ]  # fmt: skip
    sessions = Sessions(keys(("ops", KEY), ("", OTHER)))
    assert sessions.read(good)
    for cookie in forged:
        assert sessions.read(cookie) is None, cookie


def test_outsiders_find_nothing(engine: Engine) -> None:
    app = compose(settings(), engine).edge.app()
    with TestClient(app, client=("203.0.113.9", 1), base_url="http://127.0.0.1") as outsider:
        for path in (*PAGES, "/login", "/static/page/page.css"):
            assert outsider.get(path, follow_redirects=False).status_code == 404, path
    assert not hasattr(app, "page")


# What a page may do.


def test_every_page_has_its_policy(operator: TestClient) -> None:
    for path in (*PAGES, "/login"):
        answer = operator.get(path)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        nonce = re.search(r"'nonce-([^']+)'", policy)
        assert nonce
        assert nonce[1] not in operator.get(path).headers["content-security-policy"]


def test_nothing_in_a_page_needs_what_the_policy_forbids(
    operator: TestClient, engine: Engine
) -> None:
    send(engine, {"message_id": "known"})
    tell(engine, ants("known"))
    tell(engine, ants("stranger"))
    kept = tell(engine, b"{")
    details = (f"/unreadable/detail?pk={kept}", "/sent/detail?pk=1", "/unmatched/detail?pk=2")
    for path in (*PAGES, *details, "/sent/detail?pk=9"):
        answer = operator.get(path)
        text, policy = answer.text, answer.headers["content-security-policy"]
        nonce = re.search(r"'nonce-([^']+)'", policy)
        assert nonce
        assert not re.findall(r"<[^>]*\son[a-z]+=", text), path
        assert not re.findall(r"<[^>]*\sstyle=", text), path
        assert not re.findall(r"https?://(?!127\.0\.0\.1/|www\.w3\.org/2000/svg)", text), path
        tags = re.findall(r"<(?:script|style)[^>]*>", text)
        assert len(tags) > 2, path
        for tag in tags:
            assert f'nonce="{nonce[1]}"' in tag, (path, tag)


def test_all_that_a_page_names_is_served_from_here(operator: TestClient) -> None:
    urls = []
    for path in PAGES:
        links = re.findall(
            r'(?:src|href)="(http://127\.0\.0\.1/static/[^"]+)"', operator.get(path).text
        )
        assert len(links) > 5
        for link in links:
            answer = operator.get(link)
            assert answer.status_code == 200, link
            assert "set-cookie" not in answer.headers
            urls += re.findall(r"url\((?!['\"]?data:)([^)]+)\)", answer.text)
    assert len(urls) > 2  # the fonts
    assert not [url for url in urls if "//" in url]


def test_the_charts_are_the_files_that_were_published() -> None:
    folder = HOME / "static" / "uplot"
    noted = dict(
        re.findall(r"`(uPlot\S+)` \| `(\w{64})`", (folder / "README.md").read_text("utf-8"))
    )
    shipped = {path.name for path in folder.iterdir()} - {"LICENSE", "README.md"}
    assert noted.keys() == shipped
    for name, digest in noted.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_a_missing_file_is_404(operator: TestClient) -> None:
    assert operator.get("/static/uplot/none.js").status_code == 404


def test_what_the_library_could_change_is_not_there(operator: TestClient) -> None:
    for path in ("/sent/create", "/sent/edit?pk=1", "/_api/sent/import", "/_api/sent/inline-edit"):
        assert operator.get(path).status_code == 404, path
        assert operator.post(path).status_code == 404, path
    answer = operator.delete("/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("given", ["", "forged"])
def test_a_form_without_its_token_is_403(operator: TestClient, given: str) -> None:
    for path in ("/logout", "/_api/unreadable/row-action?name=replay&pk=1"):
        assert operator.post(path, data={"csrftoken": given}).status_code == 403, path
    assert operator.get("/").status_code == 200


def test_a_form_that_is_too_large_is_413(stranger: TestClient) -> None:
    assert stranger.post("/login", data={"username": "x" * 70_000}).status_code == 413


# What is found.


def found(client: TestClient, what: str, q: str, **more: Any) -> list[str]:
    """Return the ids of the rows of a list."""
    answer = client.get(f"/{what}/list", params={"q": q, **more})
    assert answer.status_code == 200, answer.text
    return re.findall(r'<tr data-sa-pk="([^"]+)"', answer.text)


WRITTEN: Final = [
    "081-234-5678", "+66 81 234 5678", "66812345678", " 0812345678 ", "(081) 234 5678",
    "m-1", "t-1", "order-7", "ACME", "campaign-42", "silent", "accepted",
    (NOW + timedelta(hours=7) - timedelta(minutes=5)).date().isoformat(),
]  # fmt: skip


def test_a_message_is_found_however_it_is_named(operator: TestClient, engine: Engine) -> None:
    named = {"message_id": "m-1", "transaction_id": "t-1", "reference": "order-7",
             "sender": "ACME", "tag": "campaign-42"}  # fmt: skip
    long_ago = NOW - timedelta(days=40)
    send(engine, named, {"message_id": "x", "recipient": "66899999999", "sent_at": long_ago})
    for written in WRITTEN:
        assert found(operator, "sent", written) == ["1"], written


def test_an_id_is_found_among_all_a_tag_of_late(operator: TestClient, engine: Engine) -> None:
    send(engine, {"message_id": "old", "tag": "spring", "sent_at": NOW - timedelta(days=400)})
    assert found(operator, "sent", "old") == ["1"]
    assert found(operator, "sent", "spring") == []
    since = (NOW - timedelta(days=500)).strftime("%Y-%m-%dT%H:%M")
    span = f"sent_at__between={since}..{NOW:%Y-%m-%dT%H:%M}"
    assert found(operator, "sent", "spring", filter=span) == ["1"]


def test_filters_are_what_they_say(operator: TestClient, engine: Engine) -> None:
    send(
        engine,
        {"message_id": "1", "tag": "a"},
        {"message_id": "2", "tag": "b"},
        {"message_id": "3", "tag": "b", "error": "no"},
    )
    tell(engine, ants("1"))
    for rule, ids in {
        "tag__eq=b": {"2", "3"},
        "state__in=silent,refused": {"2", "3"},
        "state__in=delivered": {"1"},
        "tag__eq=b AND state__in=refused": {"3"},
        "tag__eq=a OR state__in=refused": {"1", "3"},
        "provider__in=engagelab": set(),
    }.items():
        assert set(found(operator, "sent", "", filter=rule)) == ids, rule


TEXTS: Final[list[str | bytes]] = [
    "'", '"', "%", "_", "' OR 1=1 --", "50%", "สวัสดี", "\0", "x" * 10_000, "<script>", "\\",
    "0812345678'", "9" * 30, "-1", "{{7*7}}", "\ud800".encode("utf-8", "surrogatepass"),
]  # fmt: skip


def test_any_text_may_be_looked_for(operator: TestClient, engine: Engine) -> None:
    send(engine, {"message_id": "m"})
    for text, what in product(TEXTS, ("sent", "unmatched", "unreadable")):
        answer = operator.get(f"/{what}/list?q={quote(text)}")
        assert answer.status_code == 200, (what, text, answer.text)
        assert "<script>" not in answer.text.replace('<script>" nonce', ""), (what, text)
        assert "data-sa-pk" not in answer.text, (what, text)


def test_texts_that_are_markup_are_shown_as_text(operator: TestClient, engine: Engine) -> None:
    evil = "<img src=x onerror=alert(1)>"
    send(engine, {"message_id": evil, "sender": evil, "tag": evil, "reference": evil})
    tell(engine, ants("stranger", evil))
    for path in ("/sent/list", "/sent/detail?pk=1", "/unmatched/list", "/unmatched/detail?pk=1"):
        text = operator.get(path).text
        assert "<img" not in text
        assert "&lt;img" in text


@pytest.mark.parametrize("page", ["2", "999", "9" * 30])
def test_a_page_past_the_end_leads_to_the_last(
    operator: TestClient, engine: Engine, page: str
) -> None:
    send(engine, {"message_id": "m"})
    answer = operator.get(f"/sent/list?page={page}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "http://127.0.0.1/sent/list?page=1"


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "1.5"])
def test_a_page_that_is_none_is_the_first(operator: TestClient, page: str) -> None:
    assert operator.get(f"/sent/list?page={page}").status_code == 200


@pytest.mark.parametrize("wrong", ["page_size=7", "filter=x", "filter=nope__eq__1"])
def test_what_cannot_be_asked_is_400(operator: TestClient, wrong: str) -> None:
    assert operator.get(f"/sent/list?{wrong}").status_code == 400


@pytest.mark.parametrize("pk", ["", "0", "x", "-1", "9" * 40, "1'"])
def test_what_is_not_there_is_404(operator: TestClient, pk: str) -> None:
    for what in ("sent", "unmatched", "unreadable", "nothing"):
        answer = operator.get(f"/{what}/detail", params={"pk": pk})
        assert answer.status_code == 404, what


def test_paging_through_many(operator: TestClient, engine: Engine) -> None:
    rows = [{"message_id": f"m{n}", "recipient": f"668{n:08}"} for n in range(60)]
    send(engine, *rows)
    first = found(operator, "sent", "", page="1")
    last = found(operator, "sent", "", page="3")
    assert (len(first), len(last)) == (25, 10)
    assert not set(first) & set(last)


def test_the_story_of_a_message(operator: TestClient, engine: Engine) -> None:
    send(engine, {"message_id": "m"})
    tell(engine, ants("m", "PENDING"))
    tell(engine, ants("m", "DELIVERED"))
    text = operator.get("/sent/detail?pk=1").text
    for part in (
        "PENDING",
        "DELIVERED",
        "decides",
        "It has the highest rank of 2 reports",
        "203.0.113.7",
    ):
        assert part in text
    assert "&#34;messageId&#34;: &#34;m&#34;" in text


def test_an_unmatched_report_and_what_is_nearest(operator: TestClient, engine: Engine) -> None:
    send(engine, {"message_id": "AbC-1"})
    tell(engine, ants("aBc-1"))
    with engine.connect() as connection:
        id_ = connection.execute(select(delivery_report.c.id)).scalar_one()
    text = operator.get(f"/unmatched/detail?pk={id_}").text
    assert "The same id in other letters" in text
    assert "AbC-1" in text


# What it does.


def test_a_callback_is_read_again(operator: TestClient, engine: Engine) -> None:
    send(engine, {"message_id": "m"})
    kept = tell(engine, b'{"details": [')
    mended = {"body": ants("m"), "digest": None}
    with engine.begin() as connection:  # as if the program had learnt to read it
        connection.execute(callback.update().values(mended))
    url = f"/_api/unreadable/row-action?name=replay&pk={kept}"
    answer = operator.post(url, headers={"X-CSRFToken": token(operator)})
    assert answer.status_code == 200, answer.text
    with engine.connect() as connection:
        assert connection.execute(select(callback.c.outcome)).scalar_one() == "read"
        assert connection.execute(select(sent_message.c.status)).scalar_one() == "delivered"
    assert "It is read now: 1 new reports." in operator.get("/unreadable/list").text


def test_what_is_no_callback_cannot_be_read_again(operator: TestClient) -> None:
    url = "/_api/unreadable/row-action?name=replay&pk=none"
    answer = operator.post(url, headers={"X-CSRFToken": token(operator)})
    assert answer.status_code == 400
    assert "callback" in answer.json()["msg"]


def test_an_export_runs_nowhere(operator: TestClient, engine: Engine) -> None:
    send(engine, {"message_id": "m", "sender": "=cmd|' /C calc'!A0", "tag": "ป้าย"})
    answer = operator.post(
        "/_api/sent/action?name=export&_list_query=%3Fq%3Dm",
        data={"csrftoken": token(operator), "scope": "page", "format": "csv"},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert row["Sender"] == "'=cmd|' /C calc'!A0"
    assert row["Tag"] == "ป้าย"
    assert row["Recipient"] == NUMBER


def test_the_log_says_who_and_never_what(operator: TestClient, engine: Engine) -> None:
    send(engine, {"message_id": "secret-id"})
    kept = tell(engine, b"{")
    with structlog.testing.capture_logs() as lines:
        found(operator, "sent", "081-234-5678")
        operator.get("/sent/detail?pk=1")
        post = {"csrftoken": token(operator), "scope": "page", "format": "csv"}
        operator.post("/_api/sent/action?name=export&_list_query=%3Fq%3D0812345678", data=post)
        url = f"/_api/unreadable/row-action?name=replay&pk={kept}"
        operator.post(url, headers={"X-CSRFToken": token(operator)})
    events = [(line["event"], line["key"]) for line in lines if "key" in line]
    assert ("looked up", "ops") in events
    assert ("looked at", "ops") in events
    assert ("exported", "ops") in events
    assert ("replayed", "ops") in events
    said = repr(lines)
    for part in ("812345678", "5678", "secret-id", KEY):
        assert part not in said


# The first page.


def test_the_overview_counts(operator: TestClient, engine: Engine) -> None:
    send(engine, {"message_id": "1"}, {"message_id": "2"}, {"message_id": "3", "error": "no"})
    tell(engine, ants("1"))
    tell(engine, ants("nobody"))
    tell(engine, b"{")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", operator.get("/").text))
    assert "Submitted 3 Delivery rate 50.0%" in text
    assert "Unmatched reports 1 Unreadable callbacks 1" in text
    assert "ANTS 3 50.0% 1 0 1 0 0 1" in text


def test_the_overview_of_any_window(operator: TestClient) -> None:
    for window in ("1h", "24h", "7d", "", "nonsense", "<script>"):
        answer = operator.get("/", params={"window": window})
        assert answer.status_code == 200, window
        assert "No message was sent since" in answer.text, window


# Thai and English.


def msgids() -> set[str]:
    """Return every text of ours that is to be translated, from the code and the templates."""
    from babel.messages.extract import extract
    from jinja2.ext import babel_extract

    found: set[str] = set()
    for path in HOME.rglob("*.py"):
        with path.open("rb") as opened:
            said = extract("python", opened, {"_": None, "gettext": None})
            found |= {str(message) for _, message, *_ in said}
    for path in HOME.rglob("*.html"):
        with path.open("rb") as opened:
            for *_, told, _ in babel_extract(opened, ("_",), [], {}):
                found.add(str(told[0] if isinstance(told, tuple) else told))
    return found


def test_every_word_of_ours_is_there_in_thai() -> None:
    with CATALOGUE.open("rb") as opened:
        catalogue = read_po(opened, locale="th")
    thai = {str(message.id): str(message.string) for message in catalogue if message.id}
    assert len(msgids()) > 100
    assert not msgids() - thai.keys()
    for message, string in thai.items():
        assert string, message
        assert set(re.findall(r"%\(\w+\)s", message)) == set(re.findall(r"%\(\w+\)s", string))


def test_the_browser_says_which_language(stranger: TestClient) -> None:
    for accepted, language in (
        ("th-TH,th;q=0.9,en;q=0.8", "th"), ("en-US,en;q=0.9,th;q=0.8", "en"), ("th", "th"),
        ("de", "en"), ("", "en"), ("de, th;q=0.1", "th"), (";;q=x,,", "en"), ("x" * 9000, "en"),
    ):  # fmt: skip
        text = stranger.get("/login", headers={"Accept-Language": accepted}).text
        assert f'<html lang="{language}"' in text, accepted
        assert ("คีย์ API" in text) == (language == "th"), accepted


def test_a_cookie_says_it_before_the_browser(operator: TestClient) -> None:
    operator.cookies.set("language", "th")
    text = operator.get("/sent/list", headers={"Accept-Language": "en"}).text
    assert "ตัวกรอง" in text
    operator.cookies.set("language", "../../etc")
    assert operator.get("/sent/list").status_code == 200


def test_times_are_those_of_the_zone_that_is_set(engine: Engine) -> None:
    send(engine, {"message_id": "m", "sent_at": datetime(2026, 11, 20, 20, 30, tzinfo=UTC)})
    clocks = {"Asia/Bangkok": "2026-11-21 03:30:00", "UTC": "2026-11-20 20:30:00"}
    for zone, clock in clocks.items():
        with client_of(engine, timezone=zone) as client:
            log_in(client)
            assert clock in client.get("/sent/list?q=m").text


# Away.


def test_a_database_that_is_away_is_said_to_be() -> None:
    engine = connect(parse_url("postgresql://nobody@127.0.0.1:1/none"))
    with client_of(engine, spool_path="") as client:
        assert log_in(client).status_code == 303
        for path in (*PAGES, "/sent/detail?pk=1"):
            answer = client.get(path)
            assert answer.status_code == 503, path
            assert answer.headers["retry-after"]
            assert "The database does not answer" in answer.text
    engine.dispose()
