"""What each provider sends, as files of bytes, and what it must mean; and what nothing may do."""

from __future__ import annotations

import json
import random
import re
from contextlib import suppress
from dataclasses import asdict, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from xml.parsers import expat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.domain.callback import Callback
from receiver.domain.errors import ProviderRefusalError, UnreadableError
from receiver.domain.report import Item, Report, TemplateReview, Unreadable
from receiver.domain.sent_message import SentMessage
from receiver.domain.status import Status
from receiver.ingest import interpret
from receiver.providers import (
    PROVIDERS,
    ais,
    ants,
    decoding,
    engagelab,
    json_document,
    thaibulksms,
    xml_document,
)
from receiver.providers.decoding import Text
from tests.fuzz.promises import INTERPRETER, redact
from tests.kit.fixtures import Case, load

HERE: Final = Path(__file__).resolve().parents[1]
MARKER: Final = "เลขลับ 7391 secret"
FUZZ: Final = settings(max_examples=150, deadline=None)


CALLBACKS: Final = load("callbacks")
SENT: Final = load("sent")
OF_ANTS: Final = [case for case in CALLBACKS if case.provider == "ants"]
OF_ENGAGELAB: Final = [case for case in CALLBACKS if case.provider == "engagelab"]


def each(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[f"{c.provider}/{c.name}" for c in cases])


def plain(value: Item | SentMessage) -> dict[str, Any]:
    """Return what a value says, as the expected files write it."""
    said = {k: str(v) if isinstance(v, Decimal) else v for k, v in asdict(value).items()}
    if isinstance(value, SentMessage):
        said.pop("account")
    return {name: v for name, v in said.items() if v is not None}


def read(callback: Callback) -> list[Item] | str:
    """Return what is read, or why nothing is. Anything but UnreadableError fails the test."""
    try:
        provider = PROVIDERS[callback.provider]
        return provider.parse(provider.decode(callback))
    except UnreadableError as error:
        return str(error)


def readable(callback: Callback) -> list[Item]:
    """Return what is read."""
    items = read(callback)
    assert not isinstance(items, str)
    return items


# The files


@each(CALLBACKS)
def test_callback(case: Case) -> None:
    items = read(case.callback)

    if isinstance(items, str):
        assert {"error": items} == {"error": case.expected.get("error")}
        return
    assert "error" not in case.expected
    assert [plain(i) for i in items if isinstance(i, Report)] == case.expected["reports"]
    reviews = [plain(i) for i in items if isinstance(i, TemplateReview)]
    assert reviews == case.expected.get("reviews", [])
    assert [plain(i) for i in items if isinstance(i, Unreadable)] == case.expected["unreadable"]
    for item in (
        i for i in items if not isinstance(i, TemplateReview)
    ):  # plain text, no decoder's type, so that a digest is made of text
        assert {type(getattr(item, f.name)) for f in fields(item)} <= {
            int, str, Decimal, type(None),
        }  # fmt: skip


def forms(case: Case) -> list[object]:
    """Return a send response as bytes, as text, and decoded by somebody else."""
    with suppress(UnicodeDecodeError):
        text = case.body.decode("utf-16" if case.body[1:2] in {b"\xfe", b"\0"} else "utf-8")
        if case.kind != "json":
            return [case.body, text]
        decoded = json.loads(text.removeprefix("\ufeff"))
        return [case.body, text] + ([] if isinstance(decoded, str) else [decoded])
    return [case.body]


@each(SENT)
def test_send_response(case: Case) -> None:
    for response in forms(case):
        said: dict[str, Any]
        try:
            said = {"messages": [plain(m) for m in PROVIDERS[case.provider].parse_sent(response)]}
        except ProviderRefusalError as error:
            said = {"refusal": str(error)}
        except UnreadableError as error:
            said = {"error": str(error)}
        assert {"source": case.expected["source"], **said} == case.expected


# Words


def test_a_status_is_told_by_its_name_and_never_by_its_code() -> None:
    (case,) = (c for c in OF_ANTS if c.name == "statuses")
    by_code: dict[str, set[Status]] = {}
    for report in readable(case.callback):
        assert isinstance(report, Report)
        status = ants.STATUSES[report.provider_status.lower()]
        by_code.setdefault(report.provider_code or "", set()).add(status)

    assert by_code["000"] == {Status.ENROUTE, Status.DELIVERED}
    assert ants.STATUSES["completed"] is Status.UNKNOWN


def test_probes() -> None:
    def probe(name: str, body: bytes = b"", query: str = "") -> bool:
        callback = Callback(provider=name, method="POST", body=body, query=query)
        return PROVIDERS[name].is_probe(callback)

    assert probe("ants")
    assert probe("ants", query="shop=7")
    assert not probe("ants", b" ")
    assert not probe("ants", b"{}")
    assert probe("thaibulksms")
    assert not probe("thaibulksms", query="shop=7")
    assert not probe("thaibulksms", b"\n")
    for name in ("movider", "ais"):
        assert probe(name)
        assert not probe(name, query="shop=7")
        assert not probe(name, b"\n")
    assert probe("infobip", query="shop=7")
    assert not probe("infobip", b"{}")
    for body in (b"", b" \n", b"{}", b" {\r\n}\t"):
        assert probe("engagelab", body)
    for body in (b"[]", b"null", b'{"a":1}', b"{", b"{}{}", b"\0"):
        assert not probe("engagelab", body)


# Message texts

TEXT_PIECES: Final = ("739124", "39124", "421937")
"""What the texts in the files hold, and nothing else in them does."""


@each(OF_ANTS)
def test_redaction_of_the_files(case: Case) -> None:
    callback = case.callback
    redacted = redact(callback)

    assert redacted.redacted is case.expected["redacted"]
    assert replace(redacted, body=b"", redacted=True) == replace(callback, body=b"")
    assert read(redacted) == read(callback)
    assert redact(redacted) == redacted
    if redacted.redacted:
        left = redacted.body.replace(b"\0", b"").decode("ascii", "ignore")  # of any encoding
        assert not any(piece in left for piece in TEXT_PIECES)
    else:
        assert redacted.body == case.body


@each([case for case in CALLBACKS if case.provider in {"movider", "infobip", "ais"}])
def test_redaction_of_the_files_of_others(case: Case) -> None:
    callback = case.callback
    redacted = redact(callback)

    assert redacted.redacted is case.expected["redacted"]
    assert read(redacted) == read(callback)
    assert redact(redacted) == redacted
    if redacted.redacted:
        left = redacted.body.replace(b"\0", b"").decode("ascii", "ignore")
        assert not any(piece in left for piece in (*TEXT_PIECES, "%007%003%009"))
        if not re.search(r"message|text-beside", case.name):
            assert redacted.body == callback.body


def test_there_are_texts_in_the_files() -> None:
    bodies = [c.body.replace(b"\0", b"") for c in OF_ANTS if c.expected["redacted"]]

    assert sum(any(p.encode() in body for p in TEXT_PIECES) for body in bodies) > 50


def bulk(texts: list[object], *, name: str = "text") -> dict[str, Any]:
    """Return ANTS's body with these texts in it."""
    status = {"code": "000", "name": "DELIVERED", "description": 'a "text": b'}
    return {
        "bulkId": "b",
        "details": [
            {"messageId": str(i), name: text, "status": status, "callbackData": "\u0e01\n\\text"}
            for i, text in enumerate(texts)
        ],
    }


ENCODINGS: Final = st.sampled_from(
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
)
ANY_TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
ANY_VALUE: Final = st.recursive(
    ANY_TEXT | st.integers() | st.floats() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)


@FUZZ
@given(
    st.lists(ANY_VALUE | st.just('"text": "x"') | st.just("\\"), min_size=1, max_size=4),
    ENCODINGS,
    st.sampled_from(["text", "Text", "TEXT"]),
    st.booleans(),
    st.sampled_from([None, 0, 4, "\t"]),
)
def test_json_is_the_same_with_its_texts_blank(
    texts: list[object], encoding: str, name: str, ascii_only: bool, indent: int | str | None
) -> None:
    def body(said: list[object]) -> bytes:
        whole = bulk(said, name=name)
        return json.dumps(whole, ensure_ascii=ascii_only, indent=indent).encode(encoding)

    callback = Callback(provider="ants", method="POST", body=body(texts))
    redacted = redact(callback)

    assert redacted.redacted
    assert redacted.body == body([""] * len(texts))
    assert read(redacted) == read(callback)


def xml(texts: list[str], *, tag: str = "text", attributes: str = "", prolog: str = "") -> str:
    """Return ANTS's body with these texts, which are XML already."""
    details = "".join(
        f"<detail>\n <messageId>{i}</messageId><{tag}{attributes}>{text}</{tag}><to>\U0001f600</to>"
        "<status><name>DELIVERED</name></status></detail>"
        for i, text in enumerate(texts)
    )
    head = f"{prolog}<CALLBACK xmlns:n='n'><bulkId>\u0e01</bulkId>\n"
    return f"{head}<details>{details}</details></CALLBACK>"


XML_TEXT: Final = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
)
XML_PIECE: Final = st.one_of(
    XML_TEXT.map(lambda t: t.replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "")),
    XML_TEXT.map(lambda t: f"<![CDATA[{t.replace(']]>', '')}]]>"),
    XML_TEXT.map(lambda t: f"<!--{t.replace('-', '')}-->"),
    XML_TEXT.map(lambda t: "".join(f"&#{ord(c)};" for c in t if c.isalnum())),
    st.sampled_from(["<text>x</text>", "<b a='>'/>", "<?pi x?>", "\n", "&amp;", "<n:text/>"]),
)


@FUZZ
@given(
    st.lists(st.lists(XML_PIECE, max_size=4).map("".join), min_size=1, max_size=4),
    ENCODINGS,
    st.sampled_from(["text", "Text", "n:text"]),
    st.sampled_from(["", " a='>'", ' a="/text>" b=\'"\'', "\n"]),
    st.sampled_from(["", '<?xml version="1.0" encoding="utf-16"?>', "\r\n <?xml version='1.0'?>"]),
)
def test_xml_is_the_same_with_its_texts_blank(
    texts: list[str], encoding: str, tag: str, attributes: str, prolog: str
) -> None:
    def body(said: list[str]) -> bytes:
        return xml(said, tag=tag, attributes=attributes, prolog=prolog).encode(encoding)

    callback = Callback(provider="ants", method="POST", body=body(texts))
    redacted = redact(callback)

    assert redacted.redacted
    assert redacted.body == body([""] * len(texts))
    assert read(redacted) == read(callback)


def redacts(body: bytes) -> bool:
    callback = Callback(provider="ants", method="POST", body=body)
    redacted = redact(callback)
    assert redacted.redacted or redacted.body == body
    return redacted.redacted


def test_a_scanner_that_errs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    as_json, as_xml = json.dumps(bulk(["secret"])).encode(), xml(["secret"]).encode()
    assert redacts(as_json)
    assert redacts(as_xml)

    with monkeypatch.context() as patch:
        patch.setattr(json_document, "_STRING", re.compile('"(nothing)"(:)'))
        assert not redacts(as_json)
    with monkeypatch.context() as patch:
        for pattern in (b"<te", b"<nothing"):
            patch.setattr(xml_document, "_TAG", re.compile(pattern))
            assert not redacts(as_xml)
    with monkeypatch.context() as patch:
        reader = xml_document._Reader  # noqa: SLF001
        blank = reader._blank  # noqa: SLF001
        patch.setattr(reader, "_blank", lambda self, b, e: blank(self, b, e - 3))
        assert not redacts(as_xml)
    with monkeypatch.context() as patch:
        patch.setattr(
            decoding, "decode", lambda b, _: Text(b.decode("utf-8", "replace"), "utf-8", "")
        )
        assert not redacts(as_json.replace(b"secret", b"\xff"))


@pytest.mark.parametrize("depth", [100, *range(900, 1000)])
def test_redaction_is_total_at_any_depth(depth: int) -> None:
    rest = '"x":' + "[" * depth + "]" * depth
    redacts(f'{{"details":[{{"messageId":"1","status":{{"name":"X"}},{rest}}}]}}'.encode())
    redacts(f'{{"text":1,"details":[{{"text":2,{rest}}}]}}'.encode())


@pytest.mark.parametrize("body", [b"Transaction=1&Status=delivery", b"", b"\xff", b"{"])
def test_thaibulksms_carries_no_text(body: bytes) -> None:
    callback = Callback(provider="thaibulksms", method="POST", body=body, redacted=False)

    assert redact(callback) == replace(callback, redacted=True)


# Secrets


@each(OF_ENGAGELAB)
def test_secrets_are_gone_and_every_other_byte_is_as_it_was(case: Case) -> None:
    redacted = redact(case.callback)

    assert redacted.redacted is case.expected["redacted"]
    assert redact(redacted) == redacted
    assert read(redacted) == read(case.callback) or "error" in case.expected
    if "event" not in case.name and case.name not in {"row-mixed", "row-two-kinds-alone"}:
        assert redacted.body == case.body
        return
    assert b"39124" in case.body.replace(b"\0", b"") or case.name == "row-system-event-null"
    assert b"39124" not in redacted.body.replace(b"\0", b"")


SECRET_NAMES: Final = st.sampled_from(["system_event", "SYSTEM_EVENT", "sys\\u0074em_\\u0065vent"])


@FUZZ
@given(st.lists(ANY_VALUE, min_size=1, max_size=3), SECRET_NAMES, ENCODINGS, st.booleans())
def test_no_secret_stays(values: list[object], name: str, encoding: str, whole: bool) -> None:
    rows = [{"itime": 1, "system_event": {"key": "739124", "more": v}} for v in values]
    text = json.dumps({"rows": [*rows, {"notification": "ก"}]}, ensure_ascii=False)
    body = text.replace('"system_event"', f'"{name}"').encode(encoding)
    if not whole:
        body = body[: -len(body) // 4]
    redacted = redact(Callback(provider="engagelab", method="POST", body=body))

    assert b"739124" not in redacted.body.replace(b"\0", b"")
    if whole:
        assert redacted.redacted
        blank = [{"itime": 1, name.encode().decode("unicode_escape"): {}} for _ in rows]
        left = json.loads(redacted.body.decode(encoding))
        assert left == {"rows": [*blank, {"notification": "ก"}]}


def test_a_secret_where_none_is_expected() -> None:
    event = {"custom_args": {"system_event": "739124"}, "message_id": "1"}
    body = json.dumps(event | {"status": {"message_status": "sent"}}).encode()
    redacted = redact(Callback(provider="engagelab", method="POST", body=body))

    assert redacted.body == body.replace(b'"739124"', b"{}")
    (report,) = readable(redacted)
    assert isinstance(report, Report)
    assert report.callback_data == '{"system_event": {}}'


def test_a_scanner_of_secrets_that_errs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_document, "_STRING", re.compile('"(nothing)"(:)'))
    body = b'{"rows": [{"system_event": "739124"}]}'
    redacted = redact(Callback(provider="engagelab", method="POST", body=body))

    assert redacted.body == b'{"rows": [{"'


# Nothing but reports, unreadable items and UnreadableError


def assert_total(callback: Callback) -> None:
    """Read and redact; a body that is blanked means what it meant."""
    items = read(callback)
    redacted = redact(callback)
    if redacted.body != callback.body:
        again = read(redacted)
        assert again == items or isinstance(items, str)
    if not isinstance(items, str):
        for item in items:
            assert isinstance(item, Report | TemplateReview | Unreadable)
            if isinstance(item, Report):
                item.digest(callback.provider)


@each(CALLBACKS)
def test_every_truncation(case: Case) -> None:
    callback, whole = case.callback, case.body
    step = 1 if len(whole) < 5000 else len(whole) // 200  # the long ones repeat themselves
    for end in range(0, len(whole), step):
        if case.kind == "query":
            assert_total(replace(callback, query=whole[:end].decode()))
        else:
            read(replace(callback, body=whole[:end]))


@each(OF_ANTS)
def test_redaction_of_truncations(case: Case) -> None:
    for end in range(0, len(case.body), 1 + len(case.body) // 40):
        assert_total(replace(case.callback, body=case.body[:end]))


@each(CALLBACKS)
def test_flipped_bits_and_junk(case: Case) -> None:
    dice = random.Random(case.name)  # the same each time
    for _ in range(20):
        body = bytearray(case.body)
        for _ in range(dice.choice([1, 1, 2, 10])):
            place = dice.randrange(len(body) + 1)
            if place < len(body) and dice.random() < 0.7:
                body[place] ^= 1 << dice.randrange(8)
            else:
                body[place:place] = dice.randbytes(dice.randrange(1, 4))
        query = bytes(body).decode("latin-1") if case.kind == "query" else case.callback.query
        sent = case.callback.body and bytes(body)
        assert_total(replace(case.callback, body=sent, query=query))


@each(SENT)
def test_every_truncation_of_a_send_response(case: Case) -> None:
    parse_sent = PROVIDERS[case.provider].parse_sent
    for end in range(len(case.body)):
        try:
            messages = parse_sent(case.body[:end])
        except (UnreadableError, ProviderRefusalError):
            continue
        assert all(isinstance(message, SentMessage) for message in messages)


@FUZZ
@given(st.sampled_from(sorted(PROVIDERS)), st.binary(), st.text(st.characters(max_codepoint=126)))
def test_any_bytes(name: str, body: bytes, query: str) -> None:
    assert_total(Callback(provider=name, method="POST", body=body, query=query))


ANY_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
NAMES: Final = ("code", "name", "description", "text")
ANY_STATUS: Final = ANY_JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, ANY_JSON))
ANY_DETAIL: Final = ANY_JSON | st.fixed_dictionaries(
    {"status": ANY_STATUS | st.lists(ANY_STATUS, max_size=2)},
    optional=dict.fromkeys(
        ("messageId", "to", "from", "text", "credit", "sendDate", "doneDate", "callbackData"),
        ANY_JSON | st.integers(10**8, 10**12).map(str),
    ),
)
ANY_ENGAGELAB_STATUS: Final = ANY_JSON | st.fixed_dictionaries(
    {"message_status": st.sampled_from([*engagelab.STATUSES, engagelab.REVIEW]) | ANY_JSON},
    optional=dict.fromkeys(("status_data", "error_code", "error_detail"), ANY_JSON),
)
ANY_EVENT: Final = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("message_id", "to", "from", "itime", "custom_args", *engagelab.KINDS[1:]), ANY_JSON
    )
    | {"status": ANY_ENGAGELAB_STATUS},
)
ANY_BULK: Final = st.fixed_dictionaries(
    {"details": st.lists(ANY_DETAIL, max_size=4) | ANY_DETAIL}, optional={"bulkId": ANY_JSON}
)


@FUZZ
@given(ANY_BULK | ANY_JSON, st.booleans())
def test_any_json_in_the_shape_of_ants(body: object, ascii_only: bool) -> None:
    text = json.dumps(body, ensure_ascii=ascii_only)
    callback = Callback(provider="ants", method="POST", body=text.encode("utf-8", "surrogatepass"))
    assert_total(callback)
    for name in PROVIDERS:
        for response in (body, text):
            try:
                PROVIDERS[name].parse_sent(response)
            except (UnreadableError, ProviderRefusalError):
                continue


@FUZZ
@given(ANY_EVENT | st.fixed_dictionaries({"rows": st.lists(ANY_EVENT, max_size=3) | ANY_JSON}))
def test_any_json_in_the_shape_of_engagelab(body: object) -> None:
    text = json.dumps(body).encode()
    assert_total(Callback(provider="engagelab", method="POST", body=text))
    for response in (text, body, {"plan_id": "1", "to": body}, {"message_id": "1", "to": body}):
        try:
            engagelab.parse_sent(response)
        except (UnreadableError, ProviderRefusalError):
            continue


@FUZZ
@given(ANY_JSON)
def test_any_json_at_thaibulksms(body: object) -> None:
    assert_total(
        Callback(provider="thaibulksms", method="POST", body=json.dumps(body).encode(), query="a=1")
    )


PARAMETERS: Final = ("Transaction", "Status", "Time", "msisdn", "recipient", "message_id", "x")
ANY_PAIRS: Final = st.lists(
    st.tuples(st.sampled_from(PARAMETERS) | st.text(), st.text() | st.binary()), max_size=8
)


@FUZZ
@given(ANY_PAIRS, ANY_PAIRS)
def test_any_form(
    body: list[tuple[str, str | bytes]], query: list[tuple[str, str | bytes]]
) -> None:
    def encode(pairs: list[tuple[str, str | bytes]]) -> str:
        return urlencode(pairs, errors="surrogatepass")

    callback = Callback(
        provider="thaibulksms", method="POST", body=encode(body).encode(), query=encode(query)
    )
    assert_total(callback)


@FUZZ
@given(ANY_TEXT, ANY_TEXT)
def test_a_form_says_what_was_put_into_it(transaction: str, status: str) -> None:
    pairs = {"Transaction": transaction, "Status": status}
    items = read(Callback(provider="thaibulksms", method="GET", query=urlencode(pairs)))

    assert isinstance(items, list)
    if all(0 < len(v.strip()) <= 200 and "\0" not in v for v in pairs.values()):
        assert items == [
            Report(position=0, transaction_id=transaction.strip(), provider_status=status.strip())
        ]
    else:
        assert isinstance(items[0], Unreadable)


# Reasons


def bad_values() -> list[object]:
    return [
        {MARKER: MARKER},
        [MARKER],
        MARKER * 20,
        MARKER + "\0",
        MARKER + "\ud800",
        7391 * 10**300,
    ]


def assert_silent(said: str) -> None:
    assert not re.search(r"7391|secret|เลขลับ|\\u0e40", said)


def assert_items_silent(callback: Callback) -> list[Item] | str:
    items = read(callback)
    for item in [items] if isinstance(items, str) else items:
        if isinstance(item, str | Unreadable):
            assert_silent(item if isinstance(item, str) else item.reason)
    return items


@pytest.mark.parametrize(
    "place", ["bulkId", "messageId", "to", "status", "name", "details", "detail"]
)
@pytest.mark.parametrize("value", bad_values(), ids=range(6))
def test_no_reason_of_ants_holds_a_value(place: str, value: object) -> None:
    body = bulk([MARKER, MARKER])
    detail = body["details"][1]
    if place in {"bulkId", "details"}:
        body[place] = value
    elif place == "detail":
        body["details"][1] = value
    elif place == "name":
        detail["status"] = {"name": value}
    elif place == "to":
        del detail["messageId"], body["bulkId"]
        detail["to"] = value
    else:
        detail[place] = value
    text = json.dumps(body)
    items = assert_items_silent(Callback(provider="ants", method="POST", body=text.encode()))
    if place != "name" or "\ud800" not in str(value):  # such a word is unknown, and no error
        assert isinstance(items, str) or any(isinstance(item, Unreadable) for item in items)

    for end in range(0, len(text), 7):
        assert_items_silent(Callback(provider="ants", method="POST", body=text[:end].encode()))
    for response in (text, body, [body]):
        try:
            ants.parse_sent(response)
        except UnreadableError as error:
            assert_silent(str(error))


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("value", bad_values(), ids=range(6))
def test_no_reason_of_thaibulksms_holds_a_value(name: str, value: object) -> None:
    said = {"Transaction": MARKER, "Status": MARKER, MARKER: MARKER} | {name: value}
    for body in (json.dumps(said), json.dumps([said]), json.dumps(said)[:-3]):
        callback = Callback(provider="thaibulksms", method="POST", body=body.encode())
        assert_items_silent(callback)
    pairs = {name: value if isinstance(value, str) else json.dumps(value)}
    query = urlencode(pairs, errors="surrogatepass")
    assert_items_silent(Callback(provider="thaibulksms", method="GET", query=query))


@pytest.mark.parametrize("value", bad_values(), ids=range(6))
@pytest.mark.parametrize("name", ["number", "message_id", "phone_number_list", "entry"])
def test_no_reason_of_a_send_response_holds_a_value(name: str, value: object) -> None:
    entry: object = {"number": "66812345678", "message_id": "m"} | {name: value}
    response = {"phone_number_list": [value if name == "entry" else entry]}
    if name == "phone_number_list":
        response = {name: value}  # type: ignore[dict-item]
    with pytest.raises(UnreadableError) as caught:
        thaibulksms.parse_sent(response)
    assert_silent(str(caught.value))


@pytest.mark.parametrize("value", bad_values(), ids=range(6))
@pytest.mark.parametrize("place", ["message_id", "to", "status", "message_status", "rows", "row"])
def test_no_reason_of_engagelab_holds_a_value(place: str, value: object) -> None:
    event: Any = {"message_id": MARKER, "to": MARKER, "status": {"message_status": MARKER}}
    if place == "message_status":
        event["status"] = {place: value}
    else:
        event[place] = value
    rows = value if place == "rows" else [value if place == "row" else event]
    for body in (event, {"rows": rows}):
        text = json.dumps(body)
        for end in (len(text), *range(0, len(text), 7)):
            said = text[:end].encode()
            assert_items_silent(Callback(provider="engagelab", method="POST", body=said))
    for answer in ({place: value}, {"plan_id": "1", "to": [value]}, {"message_id": value}):
        with pytest.raises(UnreadableError) as caught:
            engagelab.parse_sent(answer)
        assert_silent(str(caught.value))


# Recipients that an answer does not name


def test_recipients_are_given_beside_an_answer_that_names_none() -> None:
    plan = {"plan_id": "9", "total_count": 2, "accepted_count": 2}
    sent = engagelab.parse_sent(json.dumps(plan), ["0812345678", "+66812345679"])
    assert [(m.transaction_id, m.message_id, m.recipient) for m in sent] == [
        ("9", None, "66812345678"),
        ("9", None, "66812345679"),
    ]
    (single,) = engagelab.parse_sent(plan | {"message_id": "m"}, ["66812345678"])
    assert (single.transaction_id, single.message_id) == ("9", "m")
    (hook,) = engagelab.parse_sent({"message_id": "m"}, ["+66812345678"])
    assert (hook.transaction_id, hook.message_id) == ("m", "m$+66812345678")
    with pytest.raises(UnreadableError, match="one answer for the recipients"):
        engagelab.parse_sent([plan, plan], ["66812345678"])
    with pytest.raises(UnreadableError, match=r"to\[0\]: expected a phone number"):
        engagelab.parse_sent(plan, ["nobody"])


@pytest.mark.parametrize(
    "body",
    [
        f"<{MARKER}>",
        "<C><secret7391></C>",
        "<C>&secret7391;</C>",
        '<C><text secret7391="1" secret7391="2"/></C>',
        "<!DOCTYPE secret7391><C/>",
        "--secret7391\r\nContent-Disposition: secret7391\r\n\r\n7391\r\n--secret7391--\r\n",
        '{"details": [secret7391]}',
    ],
)
def test_no_error_holds_a_value(body: str) -> None:
    for name in PROVIDERS:
        assert_items_silent(Callback(provider=name, method="POST", body=body.encode()))


# One decoding


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("ants", json.dumps(bulk(["739124", {"text": ["739124"]}, None])).encode()),
        ("ants", xml(["739124", "a &amp; b"]).encode()),
        ("engagelab", b'{"rows": [{"system_event": {"key": "739124"}}]}'),
        ("thaibulksms", b'[{"Transaction": "1", "Status": "delivery"}]'),
    ],
    ids=["ants-json", "ants-xml", "engagelab", "thaibulksms"],
)
@pytest.mark.parametrize("message_text", ["drop", "keep"])
def test_a_body_is_decoded_once(
    provider: str, body: bytes, message_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blanking and reading share it; what is blanked may be looked at once more, value by value."""
    decoded: list[str] = []
    raw_decode, create = json.JSONDecoder.raw_decode, expat.ParserCreate

    def counting(self: json.JSONDecoder, text: str, place: int = 0) -> tuple[Any, int]:
        value, end = raw_decode(self, text, place)
        decoded.append(text[place:end])
        return value, end

    def creating(*arguments: Any) -> Any:
        decoded.append("XML")
        return create(*arguments)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counting)
    monkeypatch.setattr(expat, "ParserCreate", creating)
    callback = Callback(provider=provider, method="POST", body=body)
    reading = interpret.redact_and_read(callback, INTERPRETER, message_text)

    assert reading.outcome == "read"
    assert (b"739124" in reading.callback.body) is (message_text == "keep" and provider == "ants")
    whole = [text for text in decoded if text in {"XML", body.decode()}]
    assert len(whole) == 1
    assert sum(map(len, decoded)) < 2 * len(body)


# A batch with one of each

GOOD: Final = "<status><name>DELIVERED</name></status>"
ONE_OF_EACH: Final = (
    ("<messageId>a0</messageId><text>739124</text>" + GOOD, "DELIVERED"),
    ("<messageId>a1</messageId><text>739124&#x0B;next line</text>" + GOOD, "DELIVERED"),
    ("<messageId>a2</messageId><text>739124&#x1F;</text>" + GOOD, "DELIVERED"),
    ("<messageId>a3</messageId><text>739124 &#xD83D;&#xDE00;</text>" + GOOD, "DELIVERED"),
    ("<messageId>a4</messageId><text>739124&nbsp;</text>" + GOOD, "DELIVERED"),
    ("<messageId>a5</messageId><text>Tom & 739124 <3</text>" + GOOD, "DELIVERED"),
    ("<messageId>a6</messageId><text>739124 \x0b\ufffe\ud800</text>" + GOOD, "DELIVERED"),
    ("<messageId>a&#x0B;7</messageId><text>739124</text>" + GOOD, None),
    ("<messageId>a&#xD83D;8</messageId><text>739124</text>" + GOOD, None),
    ("<text>739124</text>" + GOOD, None),
    ("<messageId>a10</messageId><text>739124</text>", None),
    (f"<messageId>{'a' * 201}</messageId><text>739124</text>" + GOOD, None),
    ("<messageId>a12</messageId><text>739124</text><status><name>\udcca</name></status>", "\\xff"),
    ("<messageId>a13</messageId><credit>x</credit><to>&nbsp;</to><text/>" + GOOD, "DELIVERED"),
)


def test_a_batch_with_one_of_each_bad_thing_loses_the_bad_ones_only() -> None:
    details = "".join(f"<detail>{detail}</detail>" for detail, _ in ONE_OF_EACH)
    text = f"<CALLBACK><details>{details}</details></CALLBACK>".replace("\ud800", "&#xD800;")
    body = text.encode("utf-8", "surrogateescape")
    reading = interpret.redact_and_read(
        Callback(provider="ants", method="POST", body=body), INTERPRETER, "drop"
    )

    assert reading.outcome == "partial"
    assert {report.position: report.provider_status for report, _ in reading.reports} == {
        place: status for place, (_, status) in enumerate(ONE_OF_EACH) if status
    }
    assert reading.error is not None
    assert [line.partition(":")[0].partition("]")[0] for line in reading.error.splitlines()] == [
        f"details[{place}" for place, (_, status) in enumerate(ONE_OF_EACH) if status is None
    ]
    assert reading.callback.redacted
    assert b"739124" not in reading.callback.body
    assert re.sub(rb"<text>[^/]*</text>|<text>.*?</text>", b"<text></text>", body) == (
        reading.callback.body
    )


def test_the_one_number_is_given_beside_an_answer_that_names_none() -> None:
    answer = "<XML><STATUS>OK</STATUS><DETAIL></DETAIL><SMID>1</SMID><SMID>2</SMID></XML>"
    sent = ais.parse_sent(answer, ["0812345678"])
    assert [(m.message_id, m.recipient) for m in sent] == [
        ("1", "66812345678"),
        ("2", "66812345678"),
    ]
    with pytest.raises(UnreadableError, match="nothing says which id is whose, got 2"):
        ais.parse_sent(answer, ["0812345678", "0812345679"])
    with pytest.raises(UnreadableError, match="one answer for the recipients"):
        ais.parse_sent([{"SMID": "1"}, {"SMID": "2"}], ["0812345678"])


@pytest.mark.parametrize("name", ["infobip", "ais"])
def test_the_reports_of_others_are_no_reports_here(name: str) -> None:
    """Nothing that another provider sends is taken for a report, and nothing is silence."""
    for case in CALLBACKS:
        if case.provider != name and "reports" in case.expected and case.expected["reports"]:
            items = read(replace(case.callback, provider=name))
            assert isinstance(items, str) or (items and not any_reports(items)), case.name


def any_reports(items: list[Item]) -> bool:
    return any(isinstance(item, Report) for item in items)


@pytest.mark.parametrize("name", PROVIDERS)
def test_no_provider_is_broken_by_the_habits_of_another(name: str) -> None:
    """Each file of every provider, at each other's URL, comes out in words and is kept whole."""
    for case in CALLBACKS:
        if len(case.body) < 10_000:
            callback = replace(case.callback, provider=name)
            assert_total(callback)
            assert_items_silent(callback)
