"""The operator's page as people see it: in a real browser, from a receiver in its own process.

Every page is looked at on a desk and a phone, by day and by night, in both languages; pictures of
that go to build/screenshots. A page that the browser complains of fails.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import insert, update

from receiver.database.engine import connect, parse_url
from receiver.database.tables.callbacks import callback
from receiver.database.tables.messages import sent_message
from receiver.web.admin.sessions import COOKIE
from tests.kit.browser import browser, shots
from tests.kit.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.conftest import Databases
    from tests.kit.serving import Server

KEY: Final = "key-0123456789abcdef"
NUMBER: Final = "66812345678"
NOW: Final = datetime.now(UTC)
LOOKS: Final = {
    "desk-light-en": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light",
                      "locale": "en-US"},
    "desk-dark-th": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark",
                     "locale": "th-TH"},
    "phone-light-th": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light",
                       "locale": "th-TH"},
    "phone-dark-en": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark",
                      "locale": "en-US"},
}  # fmt: skip
WIDTH: Final = "document.documentElement.scrollWidth <= window.innerWidth"
EXPECTED: Final = re.compile(r"status of (?:401|503)")


@dataclass
class Desk:
    """A receiver, and a browser that looks at it; `complaints` is what the browser said."""

    server: Server
    browser: Browser
    url: str
    complaints: list[str] = field(default_factory=list)

    def context(self, **look: Any) -> BrowserContext:
        made = self.browser.new_context(**look)
        made.set_default_timeout(30_000)
        made.on("console", lambda said: self.note(said.type, said.text))
        made.on("weberror", lambda error: self.note("error", str(error.error)))
        return made

    def note(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not EXPECTED.search(text):
            self.complaints.append(text)

    def log_in(self, context: BrowserContext, path: str = "/") -> Page:
        page = context.new_page()
        page.goto(self.server.url + path)
        page.fill("#username", "ops")
        page.fill("#password", KEY)
        page.click("button[type=submit]")
        page.wait_for_url(self.server.url + path)
        return page

    def post(self, path: str, document: Any, headers: dict[str, str] | None = None) -> None:
        request = urllib.request.Request(
            self.server.url + path, json.dumps(document).encode(), headers or {}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status in {200, 201}

    def report(self, *details: dict[str, Any]) -> None:
        self.post(f"/callbacks/ants/{self.server.tokens['ants']}", {"details": list(details)})

    def record(self, *messages: dict[str, Any]) -> None:
        key = {"Authorization": f"Bearer {KEY}"}
        self.post("/messages", {"provider": "ants", "messages": list(messages)}, key)

    def wait_for_settling(self) -> None:
        waiting = 1
        while waiting:
            with urllib.request.urlopen(f"{self.server.url}/readyz", timeout=30) as answer:
                settling = json.load(answer)["settling"]
                waiting = settling["messages"] + settling["reports"]


def detail(message_id: str, word: str, **more: Any) -> dict[str, Any]:
    done = (datetime.now(UTC) + timedelta(hours=7)).strftime("%Y-%m-%dT%H:%M:%S.00")
    return {
        "messageId": message_id,
        "to": NUMBER,
        "doneDate": done,
        "status": {"name": word},
        **more,
    }


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture
def backend(
    chromium: Browser, databases: Databases, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    url = databases.make(getattr(request, "param", "sqlite"))
    with ExitStack() as stack:
        stack.callback(databases.drop, url)
        server = stack.enter_context(serving(url, RECEIVER_API_KEYS=f"ops:{KEY}"))
        made = Desk(server, chromium, url)
        yield made
        assert made.complaints == []
        assert "event=failed" not in server.stderr()


both: Final = pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)


@both
def test_an_operator_finds_a_message_and_reads_a_callback_again(backend: Desk) -> None:
    backend.record({"message_id": "m-1", "recipient": NUMBER, "tag": "spring", "sender": "ACME"})
    backend.report(detail("m-1", "PENDING"))
    backend.report(detail("m-1", "DELIVERED"))
    backend.wait_for_settling()
    context = backend.context(locale="en-US")
    page = backend.log_in(context)
    page.wait_for_selector("#plot-status[data-drawn] canvas")
    assert page.locator("#plot-status .u-legend").inner_text().count("Delivered") == 1
    assert painted(page, "#plot-status canvas") > 50

    page.click("text=Messages")
    page.fill("input[name=q]", "081-234-5678")
    page.press("input[name=q]", "Enter")
    arrive(page, "/sent/list?q=081-234-5678")
    assert page.locator("tbody tr").count() == 1
    page.click("tbody tr td:has-text('66812345678')")
    arrive(page, "/sent/detail?")
    story = page.locator(".page-body").inner_text()
    assert "PENDING" in story
    assert "DELIVERED" in story
    assert "decides" in story
    assert "It has the highest rank of 2 reports" in story

    replay(backend, page)
    assert "812345678" not in backend.server.stderr()
    context.close()


def arrive(page: Page, part: str) -> None:
    """Wait until the page is one whose address has a part."""
    page.wait_for_url(lambda url: part in url)


def replay(backend: Desk, page: Page) -> None:
    """Read a callback again that can be read by now."""
    kept = "01938f00-0000-7000-8000-000000000001"
    body = json.dumps({"details": [detail("m-2", "DELIVERED")]}).encode()
    unreadable = {"id": kept, "provider": "ants", "method": "POST", "body": body,
                  "content_type": "application/json", "outcome": "unreadable",
                  "error": "the program could not read it yet"}  # fmt: skip
    engine = connect(parse_url(backend.url))
    with engine.begin() as connection:
        connection.execute(insert(callback).values(received_at=datetime.now(UTC), **unreadable))
    engine.dispose()
    page.click("text=Unreadable")
    page.wait_for_selector("tbody tr")
    page.click("tbody tr td:has-text('the program could not read it yet')")
    arrive(page, "/unreadable/detail?")
    page.click("text=Read again")
    page.click("#modal-action.show #actionSubmit")
    page.wait_for_selector(".alert-success:has-text('It is read now: 1 new reports.')")


GREEN: Final = """selector => {
    const canvas = document.querySelector(selector);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let green = 0;
    for (let i = 0; i < data.length; i += 4) {
        const [red, is, blue, there] = data.subarray(i, i + 4);
        if (is > red + 60 && is > blue + 40 && there > 200) green += 1;
    }
    return green;
}"""


def painted(page: Page, canvas: str) -> int:
    """Return how many pixels of a canvas are green, as what was delivered is."""
    count: int = page.evaluate(GREEN, canvas)
    return count


def test_nobody_gets_in_without_a_key_nor_after_leaving(backend: Desk) -> None:
    context = backend.context(locale="en-US")
    page = context.new_page()
    page.goto(f"{backend.server.url}/sent/list")
    assert "/login?" in page.url
    page.fill("#username", "ops")
    page.fill("#password", "wrong")
    page.click("button[type=submit]")
    page.wait_for_selector("text=do not belong together")
    page.close()

    page = backend.log_in(context)
    (cookie,) = [c for c in context.cookies() if c["name"] == COOKIE]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.click("[aria-label='Open user menu'] >> visible=true")
    page.click("button:has-text('Logout') >> visible=true")
    arrive(page, "/login")
    forged = cookie["value"][:-4] + "AAAA"
    for value in (None, cookie["value"], forged, "x"):
        if value is not None:
            context.add_cookies([{"name": COOKIE, "value": value, "url": backend.server.url}])
        page.goto(f"{backend.server.url}/sent/list")
        assert "/login?" in page.url, value
    context.close()


def test_the_overview_refreshes_itself_and_says_when_it_cannot(backend: Desk) -> None:
    context = backend.context(locale="en-US")
    page = context.new_page()
    page.clock.install()
    page.goto(backend.server.url)
    page.fill("#username", "ops")
    page.fill("#password", KEY)
    page.click("button[type=submit]")
    page.wait_for_selector("#plot-status[data-drawn]")
    assert page.locator("#plot-status").inner_text() == "Nothing to draw yet."
    backend.record({"message_id": "m-1", "recipient": NUMBER})
    backend.report(detail("m-1", "DELIVERED"))
    backend.wait_for_settling()
    page.clock.run_for(31_000)
    page.wait_for_selector("#plot-status canvas")
    page.wait_for_function("document.querySelector('#fresh .h1').textContent.trim() === '1'")
    page.route("**/*", lambda route: route.abort())
    page.clock.run_for(31_000)
    page.wait_for_selector("#fresh.stale")
    backend.complaints.clear()  # the browser says that it could not load
    context.close()


def test_a_missing_chart_leaves_the_figures(backend: Desk) -> None:
    context = backend.context(locale="en-US")
    context.route("**/uPlot.iife.min.js*", lambda route: route.abort())
    page = backend.log_in(context)
    page.wait_for_selector("#plot-status[data-drawn]")
    assert "cannot be drawn" in page.locator("#plot-status").inner_text()
    assert "Submitted" in str(page.locator("#fresh").text_content())
    assert any("ERR_FAILED" in said for said in backend.complaints)
    backend.complaints.clear()
    context.close()


def test_the_keyboard_is_enough(backend: Desk) -> None:
    backend.record({"message_id": "m-1", "recipient": NUMBER})
    context = backend.context(locale="en-US")
    page = context.new_page()
    page.goto(f"{backend.server.url}/sent/list")
    page.focus("#username")
    page.keyboard.type("ops")
    page.keyboard.press("Tab")
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    arrive(page, "/sent/list")
    page.wait_for_selector("input[name=q]:focus")
    page.keyboard.type("0812345678")
    page.keyboard.press("Enter")
    arrive(page, "/sent/list?q=0812345678")
    page.focus("tbody tr")
    page.keyboard.press("Enter")
    arrive(page, "/sent/detail?")
    context.close()


def test_a_filter_is_built_and_taken_away(backend: Desk) -> None:
    backend.record(
        {"message_id": "m-1", "recipient": NUMBER, "tag": "spring"},
        {"message_id": "m-2", "recipient": NUMBER, "tag": "summer"},
    )
    context = backend.context(locale="en-US")
    page = backend.log_in(context, "/sent/list")
    page.click("button:has-text('Filters')")
    page.click("button:has-text('Add filter')")
    row = page.locator("[data-sa-hook='filter-row'], .filter-row").first
    row.locator("select").first.select_option("tag")
    row.locator("input[type=text], input:not([type])").first.fill("summer")
    page.click("button:has-text('Apply filters')")
    arrive(page, "filter=tag")
    assert page.locator("tbody tr[data-sa-pk]").count() == 1
    page.click("#active-filters a >> nth=0")
    page.wait_for_url(lambda url: "filter=" not in url)
    assert page.locator("tbody tr[data-sa-pk]").count() == 2
    context.close()


def nothing(_backend: Desk) -> None:
    """Record nothing."""


def little(backend: Desk) -> None:
    """One message, one stranger, one that cannot be read."""
    backend.record({"message_id": "m-1", "recipient": NUMBER, "sender": "ACME", "tag": "otp"})
    backend.report(detail("m-1", "DELIVERED"))
    backend.report(detail("M-1", "DELIVERED"))
    with pytest.raises(urllib.error.HTTPError):
        backend.report({"messageId": ""})


def much(backend: Desk) -> None:
    """Days of messages, some of whose texts are as long as they may be."""
    rows: list[dict[str, Any]] = []
    for hour in range(7 * 24):
        for n in range(4 + hour % 24):
            key = f"{hour}-{n}"
            rows.append(
                {"provider": ("ants", "thaibulksms", "engagelab")[n % 3], "message_id": f"id-{key}",
                 "transaction_id": f"t-{hour}", "recipient": f"6681{hour:03}{n:04}",
                 "account": "marketing" if n % 5 == 0 else "", "sender": "ACME",
                 "tag": "campaign-" + "x" * (180 if n == 3 else 3), "reference": f"order-{key}",
                 "sent_at": NOW - timedelta(hours=hour, seconds=n)}
            )  # fmt: skip
    engine = connect(parse_url(backend.url))
    with engine.begin() as connection:
        connection.execute(insert(sent_message), rows)
        refused = update(sent_message).where(sent_message.c.id % 37 == 0)
        connection.execute(refused.values(error="blocked by the network", settled_at=None))
    engine.dispose()
    words = ("DELIVERED",) * 12 + ("EXPIRED", "UNDELIVERABLE", "PENDING", "NO_SUCH_WORD")
    ours = [row for row in rows if row["provider"] == "ants"]
    for start in range(0, len(ours), 200):
        some = ours[start : start + 200]
        backend.report(*(told(row, words[n % 16]) for n, row in enumerate(some)))
    little(backend)


def told(row: dict[str, Any], word: str) -> dict[str, Any]:
    done = row["sent_at"] + timedelta(hours=7, seconds=len(row["reference"]) * 2)
    when = done.strftime("%Y-%m-%dT%H:%M:%S.00")
    return detail(row["message_id"], word, to=row["recipient"], doneDate=when)


@pytest.mark.long
@pytest.mark.parametrize("fill", [nothing, little, much])
def test_every_page_in_every_look(backend: Desk, fill: Callable[[Desk], None]) -> None:
    fill(backend)
    backend.wait_for_settling()
    for look, how in LOOKS.items():
        context = backend.context(**how)
        page = context.new_page()
        page.goto(backend.server.url)
        shoot(page, fill, look, "login")
        page.close()
        page = backend.log_in(context)
        page.wait_for_selector("#plot-status[data-drawn]")
        shoot(page, fill, look, "overview")
        assert page.locator("html").get_attribute("data-bs-theme") == how["color_scheme"]
        assert page.locator("html").get_attribute("lang") == str(how["locale"])[:2]
        page.goto(f"{backend.server.url}/?window=7d")
        page.wait_for_selector("#plot-status[data-drawn]")
        shoot(page, fill, look, "overview-7d")
        for key in ("sent", "unmatched", "unreadable"):
            page.goto(f"{backend.server.url}/{key}/list")
            shoot(page, fill, look, f"{key}-list")
            row = page.locator("tbody tr[data-sa-href]")
            if row.count():
                page.goto(str(row.first.get_attribute("data-sa-href")))
                shoot(page, fill, look, f"{key}-detail")
        context.close()


def shoot(page: Page, fill: Callable[[Desk], None], look: str, name: str) -> None:
    """Take a picture; the page is no wider than the window."""
    page.screenshot(path=shots() / f"{fill.__name__}-{name}-{look}.png", full_page=True)
    assert page.evaluate(WIDTH), (look, name)
