"""What all providers' bytes go through: encodings, JSON, XML, forms, fields."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from receiver.domain.errors import UnreadableError
from receiver.domain.report import Unreadable
from receiver.providers import decoding, forms, reading
from receiver.providers.bounds import MAX_ITEMS
from receiver.providers.json_document import Number
from receiver.providers.reading import Credit, Id, IdIfAny, LongWords, Row, Words
from receiver.providers.xml_document import decode_xml

# Text


ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", ['{"a": "ก😀"}', "<a>ก😀</a>", " [1]", "{}"])
def test_an_encoding_is_told_by_the_bytes(encoding: str, text: str) -> None:
    body = text.encode(encoding)
    read = decoding.decode(body)

    assert read.text.removeprefix("\ufeff") == text
    assert read.encode(read.text) == body
    assert decoding.read_document(read.text) is not None


@given(st.binary())
def test_what_is_decoded_goes_back_into_the_same_bytes(body: bytes) -> None:
    try:
        read = decoding.decode(body)
    except UnreadableError:
        return
    assert read.encode(read.text) == body


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_half_a_unit_is_broken(codec: str) -> None:
    with pytest.raises(UnreadableError, match=f"^body: expected text, got broken {codec}$"):
        decoding.decode("<a>b</a>".encode(codec)[:-1])


# JSON


def test_numbers_are_kept_as_they_are_written() -> None:
    said = decoding.read_json('[1.00, 25501288135972440649, NaN, -Infinity, 1e99, -0, "1"]')

    assert said == [
        Number("1.00"), Number("25501288135972440649"), Number("NaN"), Number("-Infinity"),
        Number("1e99"), Number("-0"), "1",
    ]  # fmt: skip
    assert decoding.read_json("1" * 10000) == Number("1" * 10000)


@pytest.mark.parametrize(
    "text", ["", " ", "{", "{'a': 1}", '{"a": 01}', "[1,]", "{} x", "nope", '"\\x"']
)
def test_no_json(text: str) -> None:
    with pytest.raises(UnreadableError, match=r"^body: expected JSON, got something else at char"):
        decoding.read_json(text)


def test_json_too_deep() -> None:
    for text in ("[" * 101 + "]" * 101, '{"a":' * 101 + "1" + "}" * 101, "[" * 99_999):
        with pytest.raises(
            UnreadableError, match=r"^body: expected JSON at most 100 deep, got it deeper$"
        ):
            decoding.read_json(text)
    assert decoding.read_json("[" * 100 + "]" * 100)


# XML


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<r/>", ""),
        ("<r> a </r>", "a"),
        ("<r><a>1</a></r>", {"a": "1"}),
        ("<r><a>1</a><b/><a>2</a></r>", {"a": ["1", "2"], "b": ""}),
        ("<p:r xmlns:p='u'><p:a x='1'>1</p:a></p:r>", {"a": "1"}),
        ("<p:r><q:a>1</q:a></p:r>", {"a": "1"}),
        ("<r xmlns:i='u'><a i:nil='true'/><b i:nil='1'>x</b><c i:nil='false'>y</c></r>",
         {"a": None, "b": None, "c": "y"}),
        ("<r><a nil='true'/></r>", {"a": None}),
        ("<r><nil>true</nil></r>", {"nil": "true"}),
        ("<r><a b='c'><d/></a></r>", {"a": {"d": ""}}),
        ("<?xml version='1.0' encoding='utf-16'?><r>ก</r>", "ก"),
        ("\ufeff\n<r>&lt;&#xE01;<![CDATA[<]]></r>", "<ก<"),
    ],
)  # fmt: skip
def test_xml(text: str, expected: object) -> None:
    assert decoding.read_xml(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<!DOCTYPE r><r/>", "body: expected XML without a DOCTYPE, got one"),
        ("<a>" * 51 + "</a>" * 51, "body: expected XML at most 50 deep, got it deeper"),
        ("<a>", "body: expected XML, got no element found at line 1, column 3"),
        ("<a>\n</b>", "body: expected XML, got mismatched tag at line 2, column 2"),
        ("<a/><b/>", "body: expected XML, got junk after document element at line 1, column 4"),
    ],
)
def test_no_xml(text: str, reason: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        decoding.read_xml(text)

    assert str(caught.value) == reason


def test_a_doctype_is_refused_before_its_entities_are_read() -> None:
    bomb = '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">'
    for text in (bomb, bomb + "]><r>&b;</r>", "<?xml version='1.0'?>" + bomb):
        with pytest.raises(UnreadableError, match="DOCTYPE"):
            decoding.read_xml(text)


def test_xml_may_be_50_deep() -> None:
    assert decoding.read_xml("<a>" * 50 + "</a>" * 50)


def test_half_a_character_in_xml_costs_only_its_field() -> None:
    said = decoding.read_xml("<r><a>1</a><b>2\udcff</b><c>\ud800</c></r>")

    assert said == {"a": "1", "b": "2\udcff", "c": "\udcff"}


def test_where_the_contents_of_elements_are() -> None:
    text = "\ufeff <r a='>'>ก<n:B x='>'>ข<b/>😀</n:B><b/><b></b><c>b</c><b>\udcff</b></r>"
    _, spans = decode_xml(text, "b")
    assert spans is not None

    assert [text[begin:end] for begin, end in spans] == ["ข<b/>😀", "", "", "\udcff"]


def test_an_attribute_that_is_named_like_the_element_is_no_certainty() -> None:
    document, spans = decode_xml("<r><a B='1'/></r>", "b")

    assert document == {"a": ""}
    assert spans is None


# Forms


def test_a_query() -> None:
    said = forms.read_form(b"Aa=1&b=%E0%B8%81+%2B&c=&aA=2&d&e=%FF&f==;")

    assert said == [{"aa": "2", "b": "ก +", "c": "", "d": "", "e": "\udcff", "f": "=;"}]


def test_a_form_has_bounds() -> None:
    assert len(forms.read_form("&".join(f"a{i}=" for i in range(1000)).encode())[0]) == 1000
    with pytest.raises(
        UnreadableError, match=r"^form: expected at most 1000 parameters, got more$"
    ):
        forms.read_form(b"&" * 1000)
    with pytest.raises(UnreadableError, match=r"^form: expected at most 1048576 characters"):
        forms.read_form(b"a" * 1_048_577)


@pytest.mark.parametrize("boundary", ["x", "-" * 26 + "d74496d66958873e", "a b", "'()+_,-./:=?"])
def test_a_multipart_form_says_its_own_boundary(boundary: str) -> None:
    part = 'Content-Disposition: form-data; name="Aa"\r\n\r\nก\r\nข'
    body = f"\r\n--{boundary}\r\n{part}\r\n--{boundary}--\r\n".encode()

    assert forms.read_multipart(body) == [{"aa": "ก\r\nข"}]


@pytest.mark.parametrize("body", [b"--x", b"--x\r\n", b"--x--\r\n"])
def test_a_multipart_form_without_parts_is_empty(body: bytes) -> None:
    assert forms.read_multipart(body) == [{}]


@pytest.mark.parametrize(
    "body",
    [b"--x\r\n\r\n\r\n--x--", b"x", b"--" + b"x" * 300 + b"\r\n", b"--x\r\na\r\n\r\n"],
)
def test_no_multipart_form(body: bytes) -> None:
    with pytest.raises(UnreadableError) as caught:
        forms.read_multipart(body)

    assert str(caught.value) == "body: expected a multipart form, got something else"


# Fields


class _Example(Row):
    must: Id = Field(alias="mustBe")
    may: IdIfAny
    short: Words
    long: LongWords
    credit: Credit


def example(**members: object) -> _Example:
    return _Example.model_validate({"mustBe": "x", **members})


def problems(row: object) -> list[str]:
    items = reading.read_items([("a[0]", row)], lambda _, row: _Example.model_validate(row))
    return [item.reason for item in items if isinstance(item, Unreadable)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" a ", "a"),
        (7, "7"),
        (10**30, "1" + "0" * 30),
        (Number("-0"), "-0"),
        ("a" * 200, "a" * 200),
    ],
)
def test_an_id(value: object, expected: str) -> None:
    assert example(mustBe=value).must == expected
    assert example(may=value).may == expected


NOT_TEXT: Final = "expected text, got"
OTHER_NUMBER: Final = "expected text or a whole number, got another number"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (True, f"{NOT_TEXT} true or false"),
        ([], f"{NOT_TEXT} a list"),
        ({"a": 1}, f"{NOT_TEXT} an object"),
        (b"a", f"{NOT_TEXT} something else"),
        (1.0, None),
        (1.5, OTHER_NUMBER),
        (Decimal(1), None),
        (Decimal("1.5"), OTHER_NUMBER),
        (Number("1.0"), None),
        (Number("1e2"), OTHER_NUMBER),
        (Number("NaN"), OTHER_NUMBER),
        ("a" * 201, "expected at most 200 characters, got 201"),
        (Number("1" * 201), "expected at most 200 characters, got 201"),
        pytest.param(10**5000, "expected text, got a number", id="5001 digits"),
        ("a\0", "expected text, got a NUL or half a character"),
        ("a\udc80", "expected text, got a NUL or half a character"),
    ],
)
def test_no_id(value: object, reason: str | None) -> None:
    found = [] if reason is None else [reason]

    assert problems({"mustBe": value}) == [f"a[0].mustBe: {r}" for r in found]
    assert problems({"mustBe": "x", "may": value}) == [f"a[0].may: {r}" for r in found]


@pytest.mark.parametrize("value", [None, "", " \t\n"])
def test_an_empty_id(value: str | None) -> None:
    assert problems({"mustBe": value}) == ["a[0].mustBe: expected text, got nothing"]
    assert example(may=value).may is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "a"), (" a ", "a"), (1, "1"), (1.5, "1.5"), (Number("1e5"), "1e5"),
     (Decimal("1.0"), "1.0"), (True, None), (None, None), ([], None), ({}, None), ("", None),
     ("a\0", None), ("\ud800", None), ("a" * 201, None)],
)  # fmt: skip
def test_optional_words(value: object, expected: str | None) -> None:
    assert example(short=value).short == expected
    if expected is not None or not isinstance(value, str):
        assert example(long=value).long == expected


def test_long_words_are_cut() -> None:
    assert example(long=" " * 3000 + "a" * 3000).long == "a" * 2000


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1.00", "1.0000"), (1, "1.0000"), (0.1, "0.1000"), (Number("1e2"), "100.0000"), (True, None),
     (Number("NaN"), None), (float("nan"), None), (float("inf"), None), ("1e99", None),
     ("abc", None), ({}, None), (None, None)],
)  # fmt: skip
def test_a_credit(value: object, expected: str | None) -> None:
    credit = example(credit=value).credit

    assert (credit and str(credit)) == expected


def test_a_row_is_read_by_names_of_any_case_and_the_rest_is_ignored() -> None:
    row = _Example.model_validate({"MUSTBE": "1", "mustbe": "2", "Short": "s", "other": object()})

    assert (row.must, row.short, row.long) == ("2", "s", None)
    with pytest.raises(ValueError, match="frozen"):
        row.must = "3"  # type: ignore[misc]


# Items


def test_a_bad_item_costs_only_itself() -> None:
    def read(position: int, row: Any) -> str | None:
        return None if row is None else row["a"] + str(position)

    rows: list[tuple[str, object]] = [
        ("[0]", {"a": "x"}), ("[1]", {}), ("[2]", None), ("[3]", 7), ("[4]", {"a": "y"})
    ]  # fmt: skip

    assert reading.read_items(rows, read) == [
        "x0",
        Unreadable(position=1, reason="[1]: could not be read (KeyError)"),
        Unreadable(position=3, reason="[3]: could not be read (TypeError)"),
        "y4",
    ]


def test_reasons_name_every_field_with_its_path() -> None:
    assert problems({"may": [], "MustBe": {}}) == [
        "a[0].mustBe: expected text, got an object; a[0].may: expected text, got a list"
    ]
    assert problems("x") == ["a[0]: expected an object, got text"]


def test_all_read() -> None:
    bad = [Unreadable(position=n, reason=f"r{n}") for n in range(2)]

    assert reading.all_read([1, 2]) == [1, 2]
    with pytest.raises(UnreadableError, match=r"^r0; r1$"):
        reading.all_read([1, *bad, 2])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("N", "1", "d"), "N (1): d"),
        (("N", None, "d"), "N: d"),
        ((None, "1", "d"), "1: d"),
        (("N", "1", None), "N (1)"),
        ((None, None, "d"), "d"),
        ((None, None, None), None),
    ],
)
def test_an_error_in_words(words: tuple[str | None, ...], expected: str | None) -> None:
    assert reading.in_words(*words) == expected


def test_a_recipient() -> None:
    assert reading.recipient("0812345678", "to", refused=False) == "66812345678"
    assert reading.recipient("0812345678", "to", refused=True) == "66812345678"
    assert reading.recipient("nobody", "to", refused=True) == "nobody"
    assert reading.recipient(None, "to", refused=True) == ""
    with pytest.raises(UnreadableError, match=r"^to: expected a phone number of 8 to 15 digits$"):
        reading.recipient("nobody", "to", refused=False)


def test_a_body_of_endless_items_is_unreadable_and_quick() -> None:
    rows: list[tuple[str, object]] = [(f"details[{n}]", {}) for n in range(MAX_ITEMS + 1)]
    with pytest.raises(UnreadableError, match="5000 items"):
        reading.read_items(rows, lambda _position, row: row)
    assert len(reading.read_items(rows[:-1], lambda _position, row: row)) == MAX_ITEMS
