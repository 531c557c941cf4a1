"""Nothing personal and no secret leaves through a log, a metric, an error, a title or a repr.

Marked values stand in every field of every provider's callback and send response, and in every
setting that is secret; whatever a receiver writes while it takes and refuses them is searched.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import pytest
from sqlalchemy import Engine, text

from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.domain.callback import Callback
from receiver.ingest import interpret
from receiver.messages.submitted import submission
from receiver.providers import PROVIDERS
from receiver.settings.settings import Settings
from tests.kit.commands import process
from tests.kit.serving import Server, serving
from tests.maintenance.test_rebuild import interpreter, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK: Final = "MARKED"
NUMBER: Final = "66891357924"
LOCAL: Final = "0891357924"
PERSONAL: Final = re.compile(rf"{MARK}|891357924|89[ -]135[ -]7924", re.IGNORECASE)
TOKENS: Final = {name: f"{MARK}-token-of-{name}" for name in PROVIDERS}
SECRETS: Final = {
    **{f"RECEIVER_{name.upper()}_TOKENS": token for name, token in TOKENS.items()},
    "RECEIVER_ANTS_BASIC_AUTH": f"user-{MARK}:password-{MARK}",
    "RECEIVER_ENGAGELAB_AUTHORIZATION": f"authorization-{MARK}",
    "RECEIVER_ENGAGELAB_SMS_USER": f"user-{MARK}",
    "RECEIVER_ENGAGELAB_SMS_KEY": f"key-{MARK}",
    "RECEIVER_API_KEYS": f"key-{MARK}",
}
BASIC: Final = f"Basic {base64.b64encode(f'user-{MARK}:password-{MARK}'.encode()).decode()}"
PROOF: Final[dict[str, dict[str, str]]] = {
    **{name: {} for name in PROVIDERS},
    "ants": {"Authorization": BASIC},
    "engagelab": {"Authorization": f"authorization-{MARK}"},
}


def marked(*names: str) -> dict[str, Any]:
    return {name: f"{MARK}-{name}" for name in names}


# Every field that a provider is known to send.
BODIES: Final[dict[str, Any]] = {
    "thaibulksms": marked("Transaction", "Status", "Time", "message_id", "sent_time", "done_time",
                          "error_message") | {"msisdn": LOCAL},
    "ants": marked("bulkId") | {"details": [
        marked("messageId", "from", "text", "credit", "sendDate", "doneDate", "callbackData")
        | {"to": NUMBER, "status": marked("name", "code", "description")}
    ]},
    "engagelab": {"total": 1, "rows": [
        marked("message_id", "server", "channel", "from") | {"to": NUMBER, "itime": MARK,
            "custom_args": marked("phone", "transaction_id") | {"to": LOCAL},
            "status": marked("message_status", "error_code") | {
                "status_data": marked("msg_time"), "error_detail": marked("message")}},
        {"system_event": marked("api_key", "email")},
        {"response": marked("text") | {"from": NUMBER}},
    ]},
    "movider": marked("status", "detail", "message_id", "message_price", "sent_date")
    | {"to": NUMBER},
    "infobip": {"results": [
        marked("bulkId", "messageId", "from", "sentAt", "doneAt", "callbackData", "mccMnc", "text")
        | {"to": NUMBER, "smsCount": 1, "price": marked("currency"),
           "status": marked("groupName", "name", "id", "description"),
           "error": marked("name", "id", "description")}
    ]},
    "ais": marked("NTYPE", "SMID", "STATUS", "DETAIL", "CODE", "SENDER", "TO", "TIME", "CAMPAIGN",
                  "campaignName", "transactionId", "CONTENT") | {"FROM": LOCAL},
}  # fmt: skip
SENT: Final[dict[str, Any]] = {
    "thaibulksms": {
        "phone_number_list": [marked("message_id") | {"number": LOCAL, "used_credit": MARK}],
        "bad_phone_number_list": [marked("message") | {"number": f"{NUMBER}-{MARK}"}],
        "remaining_credit": MARK,
    },
    "ants": marked("bulkId") | {"details": [
        marked("messageId", "credit") | {"to": NUMBER, "status": marked("name", "description")}]},
    "engagelab": marked("plan_id", "message_id") | {"to": [NUMBER], "accepted_count": MARK},
    "movider": {
        "phone_number_list": [marked("message_id") | {"number": LOCAL, "price": MARK}],
        "bad_phone_number_list": [marked("msg") | {"number": f"{NUMBER}-{MARK}"}],
        "remaining_balance": MARK,
    },
    "infobip": marked("bulkId") | {"messages": [
        marked("messageId") | {"to": NUMBER, "status": marked("groupName", "name")}]},
    "ais": marked("SMID", "DETAIL") | {"STATUS": "OK", "TO": NUMBER},
}  # fmt: skip


def spoilt(value: Any) -> Iterator[Any]:
    """Return a value with each of its parts in turn replaced by another kind of thing."""
    # A name that is not expected is said to whoever sent it (to an application, by its key).
    yield from ([MARK, NUMBER], {"odd": [MARK, NUMBER]})
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for at, part in items:
        for other in spoilt(part):
            changed = value.copy()
            changed[at] = other
            yield changed


def bodies(provider: str) -> Iterator[bytes]:
    whole = BODIES[provider]
    said = json.dumps(whole).encode()
    yield said
    yield urlencode({k: v for k, v in whole.items() if isinstance(v, str)}).encode()
    yield f"<{MARK}><to>{NUMBER}</to><text>{MARK}</text></{MARK}>".encode()
    yield from (said[:cut] for cut in range(1, len(said), 90))
    yield from (f"{NUMBER} {MARK}".encode(codec) for codec in ("utf-8", "utf-16", "utf-32"))
    yield b"\xff\xfe\x00" + MARK.encode()
    yield from (json.dumps(other).encode() for other in spoilt(whole))


class Caller:
    """Calls a receiver; remembers what it says that is no success."""

    def __init__(self, server: Server) -> None:
        self.line = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        self.said: list[str] = []
        self.statuses: set[int] = set()

    def __call__(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> int:
        self.line.request(method, path, body, headers)
        answer = self.line.getresponse()
        content = answer.read().decode("utf-8", "replace")
        if answer.status >= 300 or path in {"/readyz", "/metrics", "/healthz"}:
            self.said += [content, str(answer.getheaders())]
        self.statuses.add(answer.status)
        return answer.status

    def everything(self) -> None:
        """Send every right and wrong thing, with and without its proof."""
        key = {"Authorization": f"Bearer key-{MARK}"}
        for name, token in TOKENS.items():
            here = f"/callbacks/{name}/{token}"
            for body in bodies(name):
                self("POST", here, body, **PROOF[name])
            said = json.dumps(BODIES[name]).encode()
            for path in (f"/callbacks/{name}/{token}x", f"/callbacks/{name}", here + "/" + NUMBER):
                self("POST", f"{path}?to={NUMBER}", said, **PROOF[name])
            self("POST", here, said, Authorization=f"Basic {MARK}")
            self("POST", here, said, **{"Content-Encoding": f"gzip, {MARK}"} | PROOF[name])
            self("DELETE", f"{here}?{NUMBER}", said)
            self(
                "GET", f"{here}?{urlencode({'Status': MARK, 'msisdn': NUMBER})}", b"", **PROOF[name]
            )
            for response in (SENT[name], *spoilt(SENT[name])):
                sent = {"provider": name, "response": response, "reference": MARK, "tag": MARK}
                self("POST", "/messages", json.dumps(sent).encode(), **key)
        record = marked("message_id", "transaction_id", "sender", "reference") | {
            "recipient": LOCAL
        }
        for messages in ([record], *spoilt([record])):
            sent = {"provider": "ants", "messages": messages, "sent_at": MARK}
            self("POST", "/messages", json.dumps(sent).encode(), **key)
            self("POST", "/messages", json.dumps(sent | {"sent_at": None}).encode(), **key)
        self("POST", "/messages", f"{{{NUMBER}{MARK}".encode(), **key)
        self("POST", "/messages", b"{}", Authorization=f"Bearer {MARK}")
        sought = (f"recipient={MARK}{NUMBER}", f"reference={NUMBER}%00", f"changed_after={MARK}",
                  f"changed_after=&limit={NUMBER}", quote(MARK))  # fmt: skip
        for query in sought:
            self("GET", f"/messages?{query}", b"", **key)
            self("GET", f"/messages?{query}")
        for path in (f"/messages/{MARK}/{NUMBER}", f"/messages/ants/{NUMBER}", f"/{MARK}/{NUMBER}",
                     "/readyz", "/metrics", "/healthz"):  # fmt: skip
            self("GET", path, b"", **key)


def titles(server: Server) -> str:
    """Return what `ps` and `top` show of the process and its threads."""
    folder = Path(f"/proc/{server.process.pid}")
    return "".join(path.read_bytes().decode("utf-8", "replace")
                   for path in (folder / "cmdline", *folder.glob("task/*/comm")))  # fmt: skip


def clean(said: str) -> None:
    """Fail where anything marked is in what was said; tokens may show their first letters."""
    found = PERSONAL.search(said.replace(f"{MARK[:4]}…", ""))
    assert not found, said[max(0, found.start() - 300) : found.end() + 100]


def test_nothing_leaves_a_running_receiver(url: str, engine: Engine, tmp_path: Path) -> None:
    with serving(url, folder=tmp_path, **SECRETS, RECEIVER_MESSAGE_TEXT="keep") as server:
        call = Caller(server)
        call.everything()
        clean(titles(server))
        until = time.monotonic() + 20
        while any(row["settled_at"] is None for row in rows(engine, delivery_report)):
            assert time.monotonic() < until
            time.sleep(0.01)
        call("GET", "/metrics")
        # A database that refuses everything, and one that is gone.
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE callback RENAME TO callback_away"))
        call("POST", f"/callbacks/ants/{TOKENS['ants']}", json.dumps(BODIES["ants"]).encode(),
             **PROOF["ants"])  # fmt: skip
        call("GET", "/readyz")
        call.line.close()
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE callback_away RENAME TO callback"))
    # The marked values did arrive, or nothing of this means anything.
    kept = [row["body"] + row["query"].encode() for row in rows(engine, callback)]
    assert len([body for body in kept if PERSONAL.search(body.decode("latin-1"))]) > 100
    assert len(rows(engine, delivery_report)) > 10
    assert {row["recipient"] for row in rows(engine, sent_message)} >= {NUMBER}
    assert call.statuses >= {200, 201, 400, 401, 404, 405, 415, 422}
    assert len(server.stderr().splitlines()) > 100
    clean("\n".join([server.stderr(), server.stdout(), *call.said]))


@pytest.mark.parametrize("name", [n for n in SECRETS if n.endswith(("TOKENS", "AUTH", "KEYS"))])
def test_no_setting_that_is_refused_is_said(tmp_path: Path, name: str) -> None:
    wrong = {**SECRETS, name: f"{SECRETS[name]}%FF"}
    done = process(tmp_path, "serve", "--port", "0", settings=wrong)
    assert done.code == 1
    assert name in done.err
    clean(done.out + done.err)


@pytest.mark.parametrize("database", [
    f"postgresql://user:{MARK}@127.0.0.1:1/db", f"{MARK}://x", f"sqlite:///no/{MARK[:0]}x.db",
    f"postgresql://user:pass:{MARK}@127.0.0.1:port/db",
])  # fmt: skip
def test_no_password_of_the_database_is_said(tmp_path: Path, database: str) -> None:
    settings = SECRETS | {"RECEIVER_DATABASE_URL": database}
    for command in (["serve", "--port", "0"], ["status", "x"], ["migrate"], ["report"]):
        done = process(tmp_path, *command, settings=settings)
        assert done.code == 1
        clean(done.out + done.err)


def test_no_value_shows_itself() -> None:
    """What a stray log line or an unexpected traceback would print."""
    names = {name: {"tokens": token} for name, token in TOKENS.items()}
    names["ants"]["basic_auth"] = f"user:password-{MARK}"
    names["engagelab"] |= {"sms_key": MARK, "authorization": MARK, "smshook_secret": MARK}
    secret = {"api_keys": f"key-{MARK}", "database_url": f"postgresql://u:{MARK}@h/d"}
    shown: list[object] = [Settings(**secret, providers=names)]  # type: ignore[arg-type]
    for provider in PROVIDERS:
        for body in bodies(provider):
            arrived = Callback(provider=provider, method="POST", body=body, query=f"to={NUMBER}")
            reading = interpret.redact_and_read(arrived, interpreter(), "keep")
            shown += [arrived, reading, *reading.reports]
        sent = {"provider": provider, "response": SENT[provider], "reference": MARK}
        shown += submission(sent).sent_messages(interpreter().zone)
    for value in shown:
        said = repr(value)
        # A provider's own word is what a person needs to see; nothing else of it is shown.
        clean(re.sub(rf"(provider_(status|code|time|sent_time)|sender)='{MARK}[^']*'", "", said))


def test_the_search_finds_what_it_looks_for() -> None:
    for said in (MARK, NUMBER, LOCAL, f"+{NUMBER}", "089-135-7924", MARK.lower()):
        with pytest.raises(AssertionError):
            clean(f"level=info {said} x")
