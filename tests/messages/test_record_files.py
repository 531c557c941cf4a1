"""Files for `receiver record`: every shape and encoding, what is bad and where, and the rows."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tracemalloc
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.messages import files as sent_file
from receiver.messages import record_files
from receiver.messages.files import Bad, Item, Record, Response
from receiver.messages.recording import GIVEN
from receiver.messages.submitted import Submission, submission
from receiver.providers import PROVIDERS
from tests.kit.commands import TOKENS, Command, process
from tests.kit.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine, Row

SENT: Final = Path(__file__).resolve().parents[1] / "sent"
HEADER: Final = "message_id,recipient,tag\n"
ROWS: Final = f"{HEADER}a1,66812345678,โปรโมชั่น\na2,66812345679,ปกติ\n"
ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp874")


def found(content: str | bytes, encoding: str = "utf-8") -> list[Item]:
    data = content if isinstance(content, bytes) else content.encode(encoding)
    return list(sent_file.items(io.BytesIO(data)))


def record(line: int, **values: object) -> Record:
    return Record(line, dict(values))


def thai(line: int, id_: str, number: str, tag: str) -> Record:
    return record(line, message_id=id_, recipient=number, tag=tag)


def a(line: int) -> Record:
    return record(line, recipient="1")


def b(line: int) -> Record:
    return record(line, recipient="2")


# Encodings.


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_csv_is_read_in_every_encoding(encoding: str) -> None:
    assert found(ROWS, encoding) == [
        thai(2, "a1", "66812345678", "โปรโมชั่น"),
        thai(3, "a2", "66812345679", "ปกติ"),
    ]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_lines_are_read_in_every_encoding(encoding: str) -> None:
    lines = '{"recipient": "1", "tag": "โปร"}\r\n\r\n{"details": []}\r\n'
    expected = [record(1, recipient="1", tag="โปร"), Response(3, {"details": []})]
    assert found(lines, encoding) == expected


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_xml_is_read_in_every_encoding(encoding: str) -> None:
    text = '<?xml version="1.0" encoding="tis-620"?>\n<SMS><Detail>ปิด</Detail></SMS>'
    assert found(text, encoding) == [Response(1, text)]


def test_the_encoding_is_that_of_the_whole_file() -> None:
    # What comes late decides: the first megabyte is the same in both.
    start = HEADER + "a1,66812345678,x\n" * 100_000
    late = (start + "a2,66812345679,ปกติ\n").encode("cp874")
    assert found(late)[-1] == thai(100_002, "a2", "66812345679", "ปกติ")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfea", b"\x89PNG\r\n\x1a\n\xff\xdb\xfc", b"\xff\xfe\x00\xd8a\x00", b"a\xdb\xff"],
)
def test_what_is_no_text_is_one_bad_line(content: bytes) -> None:
    assert found(content) == [Bad(1, "expected text in UTF-8, UTF-16 or windows-874")]


@pytest.mark.parametrize("content", ["", " \r\n\t\n", "\ufeff"])
def test_an_empty_file_holds_nothing(content: str) -> None:
    assert found(content) == []


# JSON.

PRETTY: Final = json.dumps({"phone_number_list": [{"number": "1"}, {"number": "2"}]}, indent=2)
BROKEN: Final = "expected JSON, got something else"
REST: Final = f"{BROKEN}; what follows in this list was not read"
A: Final = '{"recipient": "1"}'
B: Final = '{"recipient": "2"}'

JSON_CASES: Final[dict[str, tuple[str, list[Item]]]] = {
    "one": (A, [a(1)]),
    "lines": (f"{A}\n\n  {B}\n", [a(1), b(3)]),
    "no break at the end": (f"{A}\n{B}", [a(1), b(2)]),
    "one after the other": (f"{A}{B}", [a(1), b(1)]),
    "commas": (f"{A},\n{B},\n", [a(1), b(2)]),
    "pretty": (PRETTY, [Response(1, json.loads(PRETTY))]),
    "pretty and more": (
        f"{A}\n{PRETTY}\n{B}\n",
        [a(1), Response(2, json.loads(PRETTY)), b(12)],
    ),
    "unindented": (
        '{\n"details": [\n{\n"to": "1"\n}\n]\n}\n' + A,
        [Response(1, {"details": [{"to": "1"}]}), a(8)],
    ),
    "list": (f"[{A}, {B}]", [a(1), b(1)]),
    "list over lines": (
        f"[\n  {A},\n  {B}\n]\n",
        [a(2), b(3)],
    ),
    "list of responses": (
        f"[{PRETTY},\n{PRETTY}]",
        [Response(1, json.loads(PRETTY)), Response(11, json.loads(PRETTY))],
    ),
    "mixed list": (f'[{A}, {{"details": 1}}]', [a(1), Response(1, {"details": 1})]),
    "lines of lists": (f"[{A}]\n[{B}]", [a(1), b(2)]),
    "empty list": ("[]\n[ ]\n" + A, [a(3)]),
    "response as text": ('["<SMS/>", "[]"]', [Response(1, "<SMS/>"), Response(1, "[]")]),
    "list in a list": (f"[[{A}]]", [Response(1, [json.loads(A)])]),
    "our columns alone": ('{"message_id": "a"}', [record(1, message_id="a")]),
    "error": ('{"error": {"code": 1}}', [Response(1, {"error": {"code": 1}})]),
    "another answer": (
        '{"plan_id": "p", "message_id": "a"}',
        [Response(1, {"plan_id": "p", "message_id": "a"})],
    ),
    "empty object": ("{}", [Response(1, {})]),
    "no objects": (
        "[1, 2.5, null, true]\n" + A,
        [*[Bad(1, "expected an object")] * 4, a(2)],
    ),
    "junk line": (f"{A}\nnonsense\n{B}", [a(1), Bad(2, BROKEN), b(3)]),
    "line cut in a text": (
        f'{A}\n{{"recipient": "6\n{B}',
        [a(1), Bad(2, BROKEN), b(3)],
    ),
    "line cut between": (
        f'{{"recipient": "1",\n{B}\n{A}',
        [Bad(2, BROKEN), b(2), a(3)],
    ),
    "cut at the end": (f'{A}\n{{"recipient": "6', [a(1), Bad(2, BROKEN)]),
    "pretty and broken": (
        f"{PRETTY.replace(']', '')}\n{A}\n",
        [Bad(10, BROKEN), a(11)],
    ),
    "list broken": (
        f"[\n  {A},\n  {{nonsense}},\n  {B}\n]\n{A}\n",
        [a(2), Bad(3, REST), a(6)],
    ),
    "list cut": (
        f"[{A},\n{B}",
        [
            a(1),
            b(2),
            Bad(
                2, "expected a comma or the end of the list; what follows in this list was not read"
            ),
        ],
    ),
    "list without a comma": (
        f"[{A} {B}]\n{B}",
        [
            a(1),
            Bad(
                1, "expected a comma or the end of the list; what follows in this list was not read"
            ),
            b(2),
        ],
    ),
    "too deep": (
        "[" * 100_000 + "\n" + A,
        [Bad(1, "expected JSON that can be read; what follows in this list was not read")],
    ),
    "lists not begun": (f"[\n[{A},\n", [Bad(3, REST)]),
    "number too long": (
        '{"credit": ' + "1" * 5000 + "}\n" + A,
        [Bad(1, "expected JSON that can be read"), a(2)],
    ),
}


@pytest.mark.parametrize("name", JSON_CASES)
def test_json(name: str) -> None:
    content, expected = JSON_CASES[name]
    assert found(content) == expected


def test_what_is_inside_a_broken_list_is_none_of_its_own() -> None:
    content = f"[\n  {{nonsense}},\n{' ' * 90}{B},\n\t{B}\n]\n{A}\n"
    assert found(content) == [Bad(2, REST), a(6)]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=4), values, max_size=4), max_size=6),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.booleans(),
)
def test_whatever_is_json_is_read(
    documents: list[dict[str, Any]], indent: int | None, ascii_: bool, as_list: bool
) -> None:
    texts = [json.dumps(d, indent=indent, ensure_ascii=ascii_) for d in documents]
    content = f"[{','.join(texts)}]" if as_list else "\n".join(texts)
    read = found(content.encode("utf-8", "replace"))
    assert [getattr(i, "values", getattr(i, "document", None)) for i in read] == json.loads(
        f"[{','.join(texts)}]".encode("utf-8", "replace")
    )


@given(st.text(max_size=200))
def test_whatever_is_no_json_is_bad_or_nothing(text: str) -> None:
    for begin in ("{", "[", '[{"a": 1},'):
        for one in found((begin + text).encode("utf-8", "replace")):
            assert one.line <= 1 + text.count("\n")


def test_a_document_may_not_be_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_file, "MAX_DOCUMENT", 100)
    cut = '{"tag": "' + "x" * 1000
    long = Bad(1, "expected at most 100 characters; put one message on a line")
    assert found(f"{cut}\n{A}") == [long, a(2)]
    assert found("<a>" + "x" * 1000) == [Bad(1, "expected XML of at most 100 characters")]
    over_lines = ",\n".join([A] * 100)
    assert found(f"[{over_lines}]\n{A}") == [long, a(101)]
    rows = found(f"recipient,message_id\n1,a\n{'2' * 200},b\n3,c\n")
    assert [row.line for row in rows] == [2, 3, 4]
    assert isinstance(rows[1], Bad)
    assert rows[2] == record(4, recipient="3", message_id="c")


@pytest.mark.parametrize("begin", ["recipient,message_id\n", "{", "<a>", "[1,"])
def test_a_line_is_never_held_whole(begin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of 400 MB took 1.6 GB."""
    monkeypatch.setattr(sent_file, "MAX_DOCUMENT", 100_000)
    content = io.BytesIO(begin.encode() + b"x" * 30_000_000 + b"\n")
    tracemalloc.start()
    try:
        items = list(sent_file.items(content))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [type(item) for item in items] == [Bad]
    assert most < 5_000_000


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_are_unpacked(command: Command, pack: Callable[[bytes], bytes]) -> None:
    (command.folder / "a.csv.packed").write_bytes(pack(ROWS.encode()))
    done = command("record", "ants", "a.csv.packed")
    assert (done.code, done.out) == (0, "recorded 2, repeated 0, rejected 0, bad 0\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(ROWS.encode(), mtime=0)[:-9], "packed, and cut off or damaged"),
        (gzip.compress(ROWS.encode(), mtime=0)[:-4] + b"abcd", "packed, and cut off or damaged"),
        (b"\x1f\x8b not at all", "packed, and cut off or damaged"),
        (bz2.compress(b"x" * 100)[:-20], "packed, and cut off or damaged"),
        (b"BZh9 not at all", "packed, and damaged"),
        (lzma.compress(b"x" * 100)[:-20], "packed, and cut off or damaged"),
        (b"PK\x03\x04 an .xlsx", "or a spreadsheet of its own format"),
    ],
)
def test_packed_files_that_cannot_be_unpacked(command: Command, content: bytes, said: str) -> None:
    (command.folder / "a.packed").write_bytes(content)
    done = command("record", "ants", "a.packed")
    assert (done.code, done.out) == (1, "")
    assert said in done.sentence


# CSV.


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("said", [False, True])
def test_csv_of_every_spreadsheet(separator: str, end: str, said: bool) -> None:
    lines = [
        "Message_ID,RECIPIENT, tag ,",
        "a1,66812345678,x,",
        ",,,",
        '"a2","66812345679","y;,""z",',
    ]
    text = end.join(line.replace(",", separator) for line in lines) + end
    start = f"sep={separator}{end}" if said else ""
    quoted = 'y;,"z'.replace(",", separator)
    assert found(start + text) == [
        thai(2 + said, "a1", "66812345678", "x"),
        thai(4 + said, "a2", "66812345679", quoted),
    ]


CSV_CASES: Final[dict[str, tuple[str, list[Item]]]] = {
    "header alone": (HEADER, []),
    "blank lines": (f"\n\n{HEADER}\na,1,\n\n", [record(5, message_id="a", recipient="1")]),
    "quoted header": (
        '"message_id","recipient"\na,1\n',
        [record(2, message_id="a", recipient="1")],
    ),
    "transaction": (
        "transaction_id,recipient\nt,1",
        [record(2, transaction_id="t", recipient="1")],
    ),
    "refused": ("recipient,error\n1,no", [record(2, recipient="1", error="no")]),
    "cells over": (
        f"{HEADER}a,1,x,,\nb,2,x,y\n",
        [thai(2, "a", "1", "x"), Bad(3, "expected 3 cells, got 4")],
    ),
    "cells missing": (
        f"{HEADER}a,1\nb,2,x\n",
        [Bad(2, "expected 3 cells, got 2"), thai(3, "b", "2", "x")],
    ),
    "nameless column": (
        "message_id,recipient,\na,1,\nb,2,x\n",
        [
            record(2, message_id="a", recipient="1"),
            Bad(3, "expected nothing in a column without a name"),
        ],
    ),
    "quote in the middle": (
        f'{HEADER}a,1,"x\nb,2,"y"\nc,3,z\n',
        [
            Bad(2, "expected CSV; look for a quote too many or too few, up to line 3"),
            thai(4, "c", "3", "z"),
        ],
    ),
    "quote without an end": (
        f'{HEADER}a,1,x\nb,2,"y\nc,3,z\n',
        [
            thai(2, "a", "1", "x"),
            Bad(3, "expected CSV; look for a quote too many or too few, up to line 4"),
        ],
    ),
    "break in a cell": (
        f'{HEADER}a,1,"x\nb,2,"\nc,3,z\n',
        [Bad(2, "tag: expected one line; is a quote missing?"), thai(4, "c", "3", "z")],
    ),
    "kept from becoming a number by a formula": (
        f'{HEADER}"=""27071450371600000001""","=""0812345678""",x\n="b",2,y\n',
        [thai(2, "27071450371600000001", "0812345678", "x"), thai(3, "b", "2", "y")],
    ),
}


@pytest.mark.parametrize("name", CSV_CASES)
def test_csv(name: str) -> None:
    content, expected = CSV_CASES[name]
    assert found(content) == expected


def test_a_cell_longer_than_csv_allows_is_bad_and_the_next_row_is_read() -> None:
    content = f"{HEADER}a,1,{'x' * 200_000}\nb,2,y\n"
    assert found(content) == [
        Bad(2, "expected CSV; look for a quote too many or too few, up to line 2"),
        thai(3, "b", "2", "y"),
    ]


COLUMNS: Final = ", ".join(GIVEN)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("a1,66812345678", f"expected a header row with some of: {COLUMNS}"),
        (
            "message_id,recipient,status,mobile no",
            f"unknown columns: status, mobile no; expected some of: {COLUMNS}",
        ),
        ("tag,66812345678", f"unknown columns: (no name); expected some of: {COLUMNS}"),
        ("message_id,recipient,recipient", "expected each column once"),
        ("message_id,tag", "expected a column recipient"),
        ("recipient,tag", "expected a column message_id or transaction_id"),
    ],
)
def test_a_header_that_is_none_ends_the_file(header: str, reason: str) -> None:
    assert found(f"{header}\na,66812345678,x\n") == [Bad(1, reason)]


# The command.


@pytest.fixture
def command(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    return Command(monkeypatch, tmp_path, capsys, **TOKENS, RECEIVER_DATABASE_URL=url)


def rows(engine: Engine) -> list[Row[Any]]:
    with engine.connect() as connection:
        return list(connection.execute(select(sent_message).order_by(sent_message.c.id)))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


RESPONSE: Final = json.dumps(
    {
        "phone_number_list": [{"number": "66812345678", "message_id": "r1", "used_credit": 1}],
        "bad_phone_number_list": [{"number": "0812", "message": "MSISDN is invalid."}],
    }
)


def test_every_shape_is_recorded(command: Command, engine: Engine) -> None:
    folder = command.folder
    files = [
        SENT / "thaibulksms" / "v2-documented.json",
        SENT / "thaibulksms" / "v1-two.xml",
        write(
            folder,
            "lines.jsonl",
            f'{{"message_id": "l1", "recipient": "081 234 5678"}}\n{RESPONSE}\n',
        ),
        write(folder, "excel.csv", ROWS.encode("utf-16")),
    ]
    done = command(
        "record",
        "ThaiBulkSMS",
        *files,
        "--sender",
        "ACME",
        "--tag",
        "ours",
        "--template-id",
        "tpl-1",
        "--account",
        "otp",
        "--sent-at",
        "2026-11-21T10:00:00",
    )
    found = rows(engine)
    refused = sum(row.error is not None for row in found)
    said = f"recorded {len(found) - refused}, repeated 0, rejected {refused}, bad 0\n"
    assert (done.code, done.out, done.err) == (0, said, "")
    assert refused > 0
    assert {(row.provider, row.account, row.sender) for row in found} == {
        ("thaibulksms", "otp", "ACME")
    }
    assert {row.template_id for row in found} == {"tpl-1"}
    assert {row.sent_at.isoformat() for row in found} == {"2026-11-21T03:00:00+00:00"}
    assert {row.tag for row in found if row.message_id in {"a1", "a2"}} == {"โปรโมชั่น", "ปกติ"}
    assert [row.recipient for row in found if row.message_id == "l1"] == ["66812345678"]
    assert None not in {row.settled_at for row in found}


def test_recording_again_changes_nothing(command: Command, engine: Engine) -> None:
    path = write(command.folder, "a.csv", ROWS + "a1,66812345678,again\n")
    assert command("record", "ants", path).out == "recorded 2, repeated 1, rejected 0, bad 0\n"
    before = rows(engine)
    assert command("record", "ants", path).out == "recorded 0, repeated 3, rejected 0, bad 0\n"
    assert rows(engine) == before


SPOILED: Final = """\
message_id,recipient
2.70715E+19,0812345678
27071450371600000000,0812345678
27071450371600000001,812345678
\ufeffm2\u200b,66812345678.0
m3,6.68123E+10
m4,66812345678.5
"""


def test_what_tools_spoiled_is_read_as_what_it_was_or_refused(
    command: Command, engine: Engine
) -> None:
    path = write(command.folder, "a.csv", SPOILED)
    done = command("record", "ants", path)
    assert (done.code, done.out) == (1, "recorded 2, repeated 0, rejected 0, bad 4\n")
    rounded = "a spreadsheet has rounded it; make the column text there"
    assert done.err.splitlines() == [
        f"{path}:2: message_id: {rounded}",
        f"{path}:3: message_id: {rounded}",
        f"{path}:6: recipient: {rounded}",
        f"{path}:7: recipient: expected a phone number of 8 to 15 digits",
    ]
    assert [(row.message_id, row.recipient) for row in rows(engine)] == [
        ("27071450371600000001", "66812345678"),
        ("m2", "66812345678"),
    ]


MIXED: Final = """\
{"message_id": "a", "recipient": "66812345678"}
{"message_id": "b", "recipient": "0800-SECRET-NUMBER"}
{"message_id": "", "recipient": "66812345671"}
{"message_id": "c", "recipient": "66812345672", "credit": "much", "colour": "crimson"}
{"details": [{"messageId": "d", "to": "66812345673"}, {"messageId": {}}]}
{"message_id": "e", "recipient": "66812345674", "provider": "thaibulksms"}
{"message_id": "f", "recipient": "66812345675", "provider": "ants"}
66812345676
"""


def test_good_rows_are_recorded_and_bad_ones_named(command: Command, engine: Engine) -> None:
    path = write(command.folder, "a.jsonl", MIXED)
    done = command("record", "ants", path)
    assert done.out == "recorded 2, repeated 0, rejected 0, bad 6\n"
    assert done.code == 1
    said = done.err.splitlines()
    assert [line.split(":")[1] for line in said] == ["2", "3", "4", "5", "6", "8"]
    assert all(line.startswith(f"{path}:") for line in said)
    assert said[0] == f"{path}:2: recipient: expected a phone number of 8 to 15 digits"
    assert said[1] == f"{path}:3: expected a message_id or a transaction_id, got neither"
    assert "credit: expected a number" in said[2] and "colour: " in said[2]
    assert "details[1]" in said[3]
    assert said[4].endswith("provider: expected ants")
    assert not any(
        word in done.err for word in ("SECRET", "6681234", "much", "crimson", "messages[")
    )
    assert {row.message_id for row in rows(engine)} == {"a", "f"}


def test_a_refusal_is_told_in_the_providers_words(command: Command, engine: Engine) -> None:
    refusal = {"error": {"code": 107, "name": "ERROR_NUMBER", "description": "bad 081-234-5678"}}
    path = write(command.folder, "a.json", json.dumps(refusal))
    done = command("record", "thaibulksms", path)
    words = "the provider refused to send: ERROR_NUMBER (107): bad …"
    assert done.err == f"{path}:1: {words}\n"
    assert (done.code, done.out) == (1, "recorded 0, repeated 0, rejected 0, bad 1\n")
    assert rows(engine) == []


def test_batches_are_committed_one_by_one(
    command: Command, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_files, "MAX_BATCH_MESSAGES", 10)
    lines = [f"m{n},66812345{n:03d},x" for n in range(35)]
    lines[12] = "m12,nonsense,x"
    path = write(command.folder, "a.csv", HEADER + "\n".join(lines))
    done = command("record", "ants", path)
    assert (done.code, done.out) == (1, "recorded 34, repeated 0, rejected 0, bad 1\n")
    assert len(rows(engine)) == 34


REFUSAL: Final = {
    "sqlite": "CREATE TRIGGER no BEFORE INSERT ON sent_message WHEN NEW.tag = 'x'"
    " BEGIN SELECT RAISE(ABORT, 'no'); END",
    "postgresql": "ALTER TABLE sent_message ADD CONSTRAINT no CHECK (tag <> 'x')",
}


def test_what_the_database_refuses_costs_only_itself(command: Command, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(REFUSAL[engine.dialect.name])
    lines = [f"m{n},66812345{n:03d},{'x' if n == 5 else 'y'}" for n in range(12)]
    path = write(command.folder, "a.csv", HEADER + "\n".join(lines))
    done = command("record", "ants", path)
    assert (done.code, done.out) == (1, "recorded 11, repeated 0, rejected 0, bad 1\n")
    assert done.err == f"{path}:7: the database refuses it\n"
    assert {row.tag for row in rows(engine)} == {"y"}


def test_a_mistake_of_ours_costs_only_one_item(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(document: dict[str, Any]) -> Submission:
        if "a1" in str(document):
            raise AssertionError("66812345678")
        return submission(document)

    monkeypatch.setattr(record_files, "submission", fails)
    path = write(command.folder, "a.csv", ROWS)
    done = command("record", "ants", path)
    assert (done.code, done.out) == (1, "recorded 1, repeated 0, rejected 0, bad 1\n")
    assert done.err == f"{path}:2: could not be read (AssertionError)\n"


def test_reports_that_came_first_are_settled(command: Command, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            delivery_report.insert(),
            {
                "callback_id": "019a6b1e-7c1b-7000-8000-0123456789ab",
                "position": 0,
                "provider": "ants",
                "message_id": "a1",
                "provider_status": "DELIVERED",
                "status": "delivered",
                "digest": b"0123456789abcdef",
            },
        )
    command("record", "ants", write(command.folder, "a.csv", ROWS))
    assert {row.message_id: row.status for row in rows(engine)} == {
        "a1": "delivered",
        "a2": "accepted",
    }


@pytest.mark.parametrize("missing", ["no-such-file.csv", "."])
def test_a_file_that_is_none_stops_before_anything_is_recorded(
    command: Command, engine: Engine, missing: str
) -> None:
    done = command("record", "ants", write(command.folder, "a.csv", ROWS), missing)
    assert done.code == 1
    assert done.sentence.startswith(f"{missing}: ")
    assert done.out == ""
    assert rows(engine) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nobody", "a.csv"], f"PROVIDER: expected one of: {', '.join(PROVIDERS)}."),
        (["ants"], "Missing argument 'FILE'."),
        (["ants", "a.csv", "--sent-at", "yesterday"], "--sent-at: expected a time such as"),
        (["ants", "a.csv", "--tag", "x" * 201], "--tag: "),
        (["ants", "a.csv", "--template-id", "x" * 201], "--template-id: "),
    ],
)
def test_wrong_usage(command: Command, args: list[str], said: str) -> None:
    done = command("record", *args)
    assert done.code == 2
    assert done.sentence.startswith(said)
    assert done.sentence.endswith("See `receiver record --help`.")


def test_stdin_of_a_real_process(command: Command, engine: Engine, url: str) -> None:
    settings = {**TOKENS, "RECEIVER_DATABASE_URL": url}
    stdin = ROWS.encode("cp874")
    done = process(command.folder, "record", "ants", "-", settings=settings, stdin=stdin)
    assert (done.code, done.out) == (0, "recorded 2, repeated 0, rejected 0, bad 0\n")
    assert done.err == ""
    assert [row.tag for row in rows(engine)] == ["โปรโมชั่น", "ปกติ"]
    bad = process(command.folder, "record", "ants", "-", settings=settings, stdin=b"\xff")
    assert (bad.code, bad.out) == (1, "recorded 0, repeated 0, rejected 0, bad 1\n")
    assert bad.err == "stdin:1: expected text in UTF-8, UTF-16 or windows-874\n"


def test_a_time_without_an_offset_is_in_the_receivers_zone_by_every_door(
    command: Command, engine: Engine, url: str
) -> None:
    """Ten o'clock in Tokyo is one in UTC, whoever is told of it."""
    command.set(RECEIVER_TIMEZONE="Asia/Tokyo")
    time, folder = "2026-11-21 10:00:00", command.folder
    line = {"message_id": "line", "recipient": "66812345678", "sent_at": time}
    header = "message_id,recipient,sent_at\n"
    files = (
        write(folder, "lines.jsonl", json.dumps(line)),
        write(folder, "rows.csv", f"{header}row,66812345678,{time}\n"),
    )
    assert command("record", "ants", *files).code == 0
    bare = write(folder, "bare.csv", "message_id,recipient\nbare,66812345678\n")
    assert command("record", "ants", bare, "--sent-at", time).code == 0
    message = {"recipient": "66812345678"}
    with serving(url, **TOKENS, RECEIVER_TIMEZONE="Asia/Tokyo") as server:
        for said in (
            {"messages": [{**message, "message_id": "one", "sent_at": time}]},
            {"messages": [{**message, "message_id": "all"}], "sent_at": time},
            {"response": {"details": [{"messageId": "r", "to": "66812345678"}]}, "sent_at": time},
        ):
            asked = urllib.request.Request(
                f"{server.url}/messages",
                json.dumps({"provider": "ants", **said}).encode(),
                {"Authorization": f"Bearer {server.api_key}"},
            )
            with urllib.request.urlopen(asked, timeout=20) as answer:
                assert answer.status == 201
    at = {row.message_id: row.sent_at.isoformat() for row in rows(engine)}
    ids = ("line", "row", "bare", "one", "all", "r")
    assert at == dict.fromkeys(ids, "2026-11-21T01:00:00+00:00")
