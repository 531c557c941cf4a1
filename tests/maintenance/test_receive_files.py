"""Filling a gap: saved callbacks go through the same pipeline as those that arrive."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.ingest.spool.spool import Spool
from receiver.maintenance.callback_files import Bad, Saved, saved
from tests.kit.commands import TOKENS, Command, process

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.conftest import Databases

BANGKOK = ZoneInfo("Asia/Bangkok")
QUERY = b"Transaction=%s&Status=delivery&Time=2026-11-21+10:00:00"
JSON = b'{"Transaction": "%s", "Status": "delivery", "Time": "2026-11-21 10:00:00"}'
XML = (
    b"<CALLBACK><details><messageId>x1</messageId><to>66812345678</to>\n"
    b"<status><name>DELIVERED</name></status></details>\n</CALLBACK>"
)


@pytest.mark.parametrize(
    ("file", "bodies"),
    [
        (b"", []),
        (b"\n \n", []),
        (b"a=1", [b"a=1"]),
        (b"?a=1\r\n\r\n?a=2\n", [b"a=1", b"a=2"]),
        (b'{"a": 1}\n', [b'{"a": 1}']),
        (
            b'{"a": 1}\n[{"a": 2}]\nnothing like it\n',
            [b'{"a": 1}', b'[{"a": 2}]', 3],
        ),
        (b'{\n"a": 1\n}\n', [b'{\n"a": 1\n}']),
        (b'{"details": [\n{"a": 1},\n{"a": 2}\n]}', [b'{"details": [\n{"a": 1},\n{"a": 2}\n]}']),
        (b'\xef\xbb\xbf{"a": 1}', [b'{"a": 1}']),
        (XML, [XML]),
        (
            b"--b\r\nContent-Disposition: form-data\r\n",
            [b"--b\r\nContent-Disposition: form-data\r\n"],
        ),
        ('{"a": 1}\n{"a": 2}\n'.encode("utf-16"), [b'{"a": 1}', b'{"a": 2}']),
        ('{\n"a": 1\n}'.encode("utf-16"), [b'{\n"a": 1\n}']),
        (b"a=\xff\nb=\xa1", [b"a=\xff", b"b=\xa1"]),
        (
            b'{\n"a": 1\n}\n{"b": 2}{"c": 3}\n[\n{"d": 4},\n{"d": 5}\n]',
            [
                b'{\n"a": 1\n}',
                b'{"b": 2}',
                b'{"c": 3}',
                b'[\n{"d": 4},\n{"d": 5}\n]',
            ],
        ),
        (b'{\n"a": 1,\n{\n"b": 2\n}\n', [1, b'{\n"b": 2\n}']),
        ('{"a": "ก"}\n{"a": "\x80é"}'.encode(), ['{"a": "ก"}'.encode(), '{"a": "\x80é"}'.encode()]),
        ('{"a": "ก"}'.encode("cp874"), ['{"a": "ก"}'.encode("cp874")]),
        (b"a=1\n" + b"x" * 300 + b"\na=2\n", [b"a=1", 2, b"a=2"]),
        (b"<" + b"x" * 300, [1]),
        (b'{"a": [\n' + b'"xxxxxxxxxxxxxxxxxxxx",\n' * 20 + b"0]}\na=2", [1, b"a=2"]),
    ],
)
def test_files_are_told_apart_by_content(file: bytes, bodies: list[bytes | int]) -> None:
    """Bodies, or the number of a line that holds none."""
    read = saved(BytesIO(file), 100 if len(file) > 250 else 1000, BANGKOK)
    assert [item.body if isinstance(item, Saved) else item.line for item in read] == bodies


URL = "/callbacks/thaibulksms/token-0123456789?Transaction=t1&Status=delivered"
Q = b"Transaction=t1&Status=delivered"
J = b'{"Transaction":"t1","Status":"delivered"}'
AT = datetime(2026, 11, 28, 3, 0, 5, tzinfo=UTC)


NGINX = "192.0.2.1 - - [28/Nov/2026:10:00:05 +0700]"
PHP = "[28-Nov-2026 03:00:05 UTC]"
CADDY = f'{{"ts":1795834805,"request":{{"method":"GET","uri":"{URL}"}}}}'
MARKUP = b"<CALLBACK><a>1</a></CALLBACK>"
OLD = "/dlr.php?Transaction=t1&Status=delivered"


@pytest.mark.parametrize(
    ("line", "body", "at"),
    [
        (f'{NGINX} "GET {URL} HTTP/1.1" 200 2 "-" "x"', Q, AT),
        (f'{NGINX} "GET {URL} HTTP/1.1" 499 0 "http://a/?b=1&c=2"', Q, AT),
        (f'h:80 {NGINX} "POST {OLD} HTTP/2.0" 200', Q, AT),
        (CADDY, Q, AT),
        (CADDY.replace("&", "\\u0026").replace("/", "\\/"), Q, AT),
        (f'{{"time":"2026-11-28T10:00:05+07:00","request":"GET {URL} HTTP/1.1"}}', Q, AT),
        (f"time=2026-11-28T10:00:05+07:00 uri={URL} status=200", Q, AT),
        (f"https://sms.example.com{URL}", Q, None),
        (f"GET https://sms.example.com/sms{URL}#top", Q, None),
        (f"https://old.example.com{OLD}", Q, None),
        (URL, Q, None),
        (f"[28-Nov-2026 10:00:05 Asia/Bangkok] {J.decode()}", J, AT),
        (f"{PHP} PHP Notice:  {J.decode()} in /srv/dlr.php on line 7", J, AT),
        (f"{PHP} {Q.decode()}", Q, AT),
        (f'2026/11/28 10:00:05 [error] 9#0: *1 FastCGI: "PHP message: {J.decode()}" while', J, AT),
        (f"[Sat Nov 28 10:00:05.12 2026] [php:notice] [client 192.0.2.1:5] {J.decode()}", J, AT),
        (f"2026-11-28 10:00:05,123 INFO {J.decode()}", J, AT.replace(microsecond=123000)),
        (f"2026-11-28T03:00:05Z dlr[9]: [{J.decode()}]", b"[" + J + b"]", AT),
        (f"Nov 28 10:00:05 host dlr: {J.decode()}", J, None),
        (f"{PHP} {MARKUP.decode()}", MARKUP, AT),
        (f"[28-Nov-2026 03:00:05 Nowhere/Else] {J.decode()}", J, None),
        (f"[31-Feb-2026 03:00:05 UTC] {J.decode()}", J, None),
        ('{"a": "at https://x/?a=1&b=2"}', b'{"a": "at https://x/?a=1&b=2"}', None),
        ("text=at https://x/?a=1&b=2", b"text=at https://x/?a=1&b=2", None),
    ],
)
def test_a_line_of_a_log(line: str, body: bytes, at: datetime | None) -> None:
    (read,) = saved(BytesIO(f"{line}\n".encode()), 10_000, BANGKOK)
    assert isinstance(read, Saved)
    assert (read.body, read.received_at) == (body, at)


@pytest.mark.parametrize(
    "line",
    [
        '192.0.2.1 - - [28/Nov/2026:10:00:05 +0700] "POST /callbacks/ants/t HTTP/1.1" 200 2',
        '192.0.2.1 - - [28/Nov/2026:10:00:05 +0700] "GET /healthz? HTTP/1.1" 200 2',
        '192.0.2.1 - - [28/Nov/2026:10:00:05 +0700] "\\x16\\x03\\x01" 400 150 "-" "-"',
        "https://sms.example.com/callbacks/ants/t",
        "[28-Nov-2026 10:00:05 UTC] PHP Warning:  Undefined array key 1 in /srv/dlr.php on line 7",
        "[28-Nov-2026 10:00:05 UTC] {broken",
        "{broken",
        "nothing like it",
        '"',
    ],
)
def test_a_line_without_a_callback_is_bad_and_costs_only_itself(line: str) -> None:
    read = list(saved(BytesIO(f"{line}\n{J.decode()}\n".encode()), 10_000, BANGKOK))
    assert [type(item) for item in read] == [Bad, Saved]
    assert [item.line for item in read] == [1, 2]


@given(st.binary(max_size=300), st.sampled_from([b"", b"{", b"[", b'"GET /a?', b"[28-Nov-2026 "]))
def test_whatever_is_in_a_file_has_an_end(content: bytes, begin: bytes) -> None:
    for item in saved(BytesIO(begin + content), 200, BANGKOK):
        assert 1 <= item.line <= 1 + content.count(b"\n") + content.count(b"\r")
        if isinstance(item, Saved):
            assert len(item.body) <= 200
            assert item.received_at is None or item.received_at.tzinfo


def test_a_line_is_never_held_whole() -> None:
    content = BytesIO(b"a=" + b"x" * 30_000_000 + b"\na=1\n")
    tracemalloc.start()
    try:
        read = list(saved(content, 100_000, BANGKOK))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [type(item) for item in read] == [Bad, Saved]
    assert most < 5_000_000


def test_the_vendors_own_log() -> None:
    """As its sample script writes it: time, a word, what PHP made of the parameters."""
    log = (
        b'2026-11-21T10:00:01+07:00 Data :{"Transaction":"a"}\n\nData :{}\n'
        b"2026-11-21T03:00:02Z Data :[]\n"
    )
    found = [item for item in saved(BytesIO(log), 1000, BANGKOK) if isinstance(item, Saved)]
    assert [(item.line, item.body) for item in found] == [
        (1, b'{"Transaction":"a"}'),
        (3, b"{}"),
        (4, b"[]"),
    ]
    assert found[0].received_at == datetime(2026, 11, 21, 3, 0, 1, tzinfo=UTC)
    assert found[1].received_at is None


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    url: str,
) -> Command:
    return Command(monkeypatch, tmp_path, capsys, RECEIVER_DATABASE_URL=url, **TOKENS)


def reports(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        table = delivery_report.c
        name = table.transaction_id, table.message_id, table.repeats
        return {row[0] or row[1]: row[2] for row in connection.execute(select(*name))}


def test_a_gap_is_filled_and_known_reports_are_counted(command: Command, engine: Engine) -> None:
    log = b"".join(
        b"2026-11-21T10:00:0%d+07:00 Data :" % n + JSON % b"t%d" % n + b"\n" for n in range(3)
    )
    (command.folder / "log.txt").write_bytes(log + QUERY % b"t0" + b"\n{broken\n")
    (command.folder / "one.json").write_bytes(
        json.dumps({"Transaction": "t9", "Status": "x"}).encode()
    )
    with engine.begin() as connection:
        row = {"provider": "thaibulksms", "message_id": "t1", "recipient": "66812345678"}
        connection.execute(sent_message.insert(), row)
    done = command("receive", "thaibulksms", "log.txt", "one.json", "--account", "otp")
    said = "log.txt:5: expected a query string or JSON, as it came or in a line of a log\n"
    assert (done.code, done.err) == (1, said)
    assert (
        done.out == "received 5 (unreadable 0), received before 0, reports 5 (repeated 1), bad 1\n"
    )
    assert reports(engine) == {"t0": 1, "t1": 0, "t2": 0, "t9": 0}
    with engine.connect() as connection:
        rows = connection.execute(select(callback).order_by(callback.c.received_at)).all()
        (status,) = connection.execute(select(sent_message.c.status)).scalars()
    assert {(row.method, row.account) for row in rows} == {("import", "otp")}
    assert rows[0].received_at == datetime(2026, 11, 21, 3, 0, 0, tzinfo=UTC)
    assert status == "delivered"  # it is settled, too
    again = command("receive", "thaibulksms", "log.txt")
    assert "reports 4 (repeated 4)" in again.out
    assert reports(engine)["t0"] == 3


OFFLINE = """\
CMD=DLVRREP&NTYPE=REP&FROM=66935700000&SMID=1&STATUS=OK&DETAIL=DELIVRD
CMD=DLVRREP&NTYPE=REP&FROM=66935700000&SMID=2&CAMPAIGN=Tom & Jerry = 1&STATUS=ERR&DETAIL=34
{"CMD":"DLVRREP","NTYPE":"REP","FROM":"66935700000","SMID":"3","STATUS":"ERR","DETAIL":"EXPIRED"}
NTYPE=REP&SMID=4&FROM=66935700000&CAMPAIGN=ปีใหม่ 50%&STATUS=OK&DETAIL=DELIVRD&CMD=DLVRREP
CMD=DLVRMSG&FROM=66935700000&TO=4541234&CTYPE=TEXT&CONTENT=739124 & SMID=9
CMD=DLVRREP&NTYPE=REP&FROM=66935700000&SMID=1&STATUS=OK&DETAIL=DELIVRD
CMD=DLVRNEW&SMID=5
# end of file
"""


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_an_offline_file_of_the_operators_gateway(
    command: Command, engine: Engine, ends: str
) -> None:
    """One report a line, in the words of a callback, values as they are; twice is once."""
    (command.folder / "offline.txt").write_bytes(OFFLINE.replace("\n", ends).encode())
    done = command("receive", "ais", "offline.txt")
    reason = "expected a query string or JSON, as it came or in a line of a log"
    assert (done.code, done.err) == (1, f"offline.txt:8: {reason}\n")
    assert done.out == (
        "received 7 (unreadable 1), received before 0, reports 5 (repeated 1), bad 1\n"
    )
    again = command("receive", "ais", "offline.txt")
    assert "reports 5 (repeated 5)" in again.out
    with engine.connect() as connection:
        table = delivery_report.c
        rows = connection.execute(
            select(table.message_id, table.status, table.provider_code).order_by(table.message_id)
        ).all()
        bodies = connection.execute(select(callback.c.body)).scalars().all()
    assert [tuple(row) for row in rows] == [
        ("1", "delivered", "DELIVRD"),
        ("2", "undeliverable", "34"),
        ("3", "expired", "EXPIRED"),
        ("4", "delivered", "DELIVRD"),
    ]
    assert not any(b"739124" in body for body in bodies)


def test_an_access_log_gives_what_it_has_and_no_token(command: Command, engine: Engine) -> None:
    token = TOKENS["RECEIVER_THAIBULKSMS_TOKENS"].split(",")[0].rpartition(":")[2]

    def line(target: str, method: str = "GET") -> str:
        return f'192.0.2.1 - - [28/Nov/2026:10:00:05 +0700] "{method} {target} HTTP/1.1" 200 2\n'

    good = f"/callbacks/thaibulksms/{token}?{(QUERY % b't1').decode()}"
    log = (
        line(good) + line(good.replace("t1", "t2"))
        + line(f"/callbacks/thaibulksms/{token}", "POST")
        + line("/readyz") + line("/page?next=1&other=2") + f"again={token}\n"
        + f'{{"Transaction": "{token}"}}\n' + line(good.replace("t1", "t3") + f"&next=%2F{token}")
    )  # fmt: skip
    (command.folder / "access.log.1.gz").write_bytes(gzip.compress(log.encode()))
    planned = command("receive", "thaibulksms", "access.log.1.gz", "--dry-run")
    assert planned.code == 1
    assert planned.out == (
        "would receive 2 (unreadable 0), reports 2 (known ones among them), bad 6\n"
    )
    assert reports(engine) == {}
    done = command("receive", "thaibulksms", "access.log.1.gz")
    assert (done.code, done.err) == (1, planned.err)
    assert [row.partition(": ")[0] for row in done.err.splitlines()] == [
        f"access.log.1.gz:{number}" for number in (3, 4, 5, 6, 7, 8)
    ]
    assert token not in done.err
    assert done.out.endswith("reports 2 (repeated 0), bad 6\n")
    assert reports(engine) == {"t1": 0, "t2": 0}
    with engine.connect() as connection:
        rows = connection.execute(select(callback)).all()
    assert not any(token.encode() in row.body for row in rows)
    assert {row.received_at for row in rows} == {AT}


def test_other_providers_and_what_is_too_long(command: Command, engine: Engine) -> None:
    (command.folder / "a.xml").write_bytes(XML)
    (command.folder / "b.json").write_bytes(b'{"x": "' + b"y" * 3000 + b'"}')
    command.set(RECEIVER_MAX_BODY_BYTES="1000")
    done = command("receive", "ANTS", "a.xml", "b.json")
    assert done.code == 1
    assert done.err == "b.json:1: over 1000 bytes\n"
    assert "received 1 " in done.out
    assert "bad 1" in done.out
    assert reports(engine) == {"x1": 0}


def test_texts_are_blanked_as_ever(command: Command, engine: Engine) -> None:
    detail = {"messageId": "m", "status": {"name": "DELIVERED"}, "text": "Your code is 1234"}
    (command.folder / "a.json").write_bytes(json.dumps({"details": [detail]}).encode())
    assert command("receive", "ants", "a.json").code == 0
    with engine.connect() as connection:
        (body,) = connection.execute(select(callback.c.body)).scalars()
    assert b"1234" not in body


def test_a_spool_file_is_taken_in_whole_and_once(command: Command, engine: Engine) -> None:
    from tests.ingest.test_spool import callback as spooled

    spool = Spool(command.folder / "left.db")
    spool.keep([spooled(n, XML.replace(b"x1", b"x%d" % n)) for n in range(250)])
    spool.close()
    first = command("receive", "--spool", "left.db")
    assert first.out.startswith("received 250 (unreadable 0), received before 0, reports 250 ")
    second = command("receive", "--spool", "left.db")
    assert second.out.startswith("received 0 (unreadable 0), received before 250, reports 0 ")
    assert set(reports(engine).values()) == {0}
    assert len(reports(engine)) == 250


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected PROVIDER and FILE, or --spool FILE"),
        (["ants"], "expected PROVIDER and FILE"),
        (["ants", "x", "--spool", "y"], "expected PROVIDER and FILE"),
        (["nobody", "x"], "PROVIDER: expected one of"),
        (["ants", "x", "--account", "y" * 201], "--account"),
    ],
)
def test_wrong_usage(command: Command, arguments: list[str], said: str) -> None:
    done = command("receive", *arguments)
    assert done.code == 2
    assert said in done.sentence


def test_files_that_are_not_there(command: Command) -> None:
    assert "nowhere" in command("receive", "ants", "nowhere").sentence
    assert "nowhere" in command("receive", "--spool", "nowhere").sentence


def test_from_stdin_in_a_process_of_its_own(databases: Databases, tmp_path: Path) -> None:
    url = databases.make("sqlite")
    settings = TOKENS | {"RECEIVER_DATABASE_URL": url}
    done = process(tmp_path, "receive", "thaibulksms", "-", settings=settings, stdin=QUERY % b"t")
    assert (done.code, done.err) == (0, "")
    assert reports(databases.open(url)) == {"t": 0}
