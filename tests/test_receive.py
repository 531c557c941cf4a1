"""Filling a gap: saved callbacks go through the same pipeline as those that arrive."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from receiver.callback_file import saved
from receiver.models import callback, delivery_report, sent_message
from receiver.spool import Spool
from tests.commands import TOKENS, Command, process

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.conftest import Databases

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
            [b'{"a": 1}', b'[{"a": 2}]', b"nothing like it"],
        ),
        (b'{\n"a": 1\n}\n', [b'{\n"a": 1\n}\n']),
        (b'{"details": [\n{"a": 1},\n{"a": 2}\n]}', [b'{"details": [\n{"a": 1},\n{"a": 2}\n]}']),
        (b'\xef\xbb\xbf{"a": 1}', [b'{"a": 1}']),
        (XML, [XML]),
        (
            b"--b\r\nContent-Disposition: form-data\r\n",
            [b"--b\r\nContent-Disposition: form-data\r\n"],
        ),
        ('{"a": 1}\n{"a": 2}\n'.encode("utf-16"), [b'{"a": 1}', b'{"a": 2}']),
        ('{\n"a": 1\n}'.encode("utf-16"), ['{\n"a": 1\n}'.encode("utf-16")]),
        (b"a=\xff\nb=\xa1", [b"a=\xff", b"b=\xa1"]),
        (b"x" * 300, [b"x" * 101]),
        (b"<" + b"x" * 300, [b"<" + b"x" * 100]),
    ],
)
def test_files_are_told_apart_by_content(file: bytes, bodies: list[bytes]) -> None:
    assert [item.body for item in saved(BytesIO(file), 100 if len(file) > 250 else 1000)] == bodies


def test_the_vendors_own_log() -> None:
    """As its sample script writes it: time, a word, what PHP made of the parameters."""
    log = (
        b'2026-11-21T10:00:01+07:00 Data :{"Transaction":"a"}\n\nData :{}\n'
        b"2026-11-21T03:00:02Z Data :[]\n"
    )
    found = list(saved(BytesIO(log), 1000))
    assert [(item.line, item.body) for item in found] == [
        (1, b'{"Transaction":"a"}'),
        (3, b"Data :{}"),
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
    assert (done.code, done.err) == (0, "")
    # The broken one is kept as it came, like any other.
    assert (
        done.out == "received 6 (unreadable 1), received before 0, reports 5 (repeated 1), bad 0\n"
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
    from tests.test_spool import callback as spooled

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
