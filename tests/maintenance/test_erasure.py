"""Erasing a number: nowhere left, nothing else changed, and nothing brings it back."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    Engine,
    LargeBinary,
    String,
    Table,
    create_engine,
    insert,
    select,
    text,
    update,
)

from receiver.database import transactions
from receiver.database.column_types import Instant, Key
from receiver.database.tables.base import metadata
from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import message_template, sent_message
from receiver.database.tables.statistics import delivery_rollup
from receiver.domain.callback import Callback, new_id
from receiver.domain.phone import msisdn
from receiver.domain.sent_message import SentMessage
from receiver.ingest import interpret, store
from receiver.ingest.spool.salvage import rewrite
from receiver.ingest.spool.spool import Spool
from receiver.maintenance import erasure, rebuild, replay
from receiver.maintenance.number_pattern import FILLED, NumberPattern
from receiver.messages import recording
from receiver.settings.settings import Settings
from receiver.settling import settle
from tests.kit.commands import Command, process
from tests.maintenance.test_rebuild import interpreter, receive, rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBER: Final = "66812345678"
OTHER: Final = "66898765432"
FORMS: Final = (
    NUMBER,
    "0812345678",
    "+66812345678",
    "+66 81 234 5678",
    "081-234-5678",
    "(081) 234 5678",
    "0066 (0)81 2345678",
    "๐๘๑๒๓๔๕๖๗๘",
    "%2B66%2081%20234%205678",
    "%2B6681234567%38",
    "\\u0030812345678",
    "&#43;66&#32;812345678",
)
VIEWS: Final = (
    "SELECT status, final, report_count, delivery_seconds, provider_status FROM message_status",
    "SELECT status, repeats FROM message_timeline",
    "SELECT status, repeats, settled_at IS NULL FROM unmatched_report",
    "SELECT status, failed_status FROM conflicting_message",
    "SELECT hour, provider, submitted, delivered, failed, credit FROM delivery_rate_hourly",
    "SELECT day, provider, delivered, within_10s, mean_seconds FROM delivery_latency_daily",
    "SELECT submitted, delivered, failed, unattributed_reports FROM transaction_ledger",
    "SELECT outcome, report_count, repeats FROM unreadable_callback",
    "SELECT count(*), sum(report_count), sum(repeats) FROM callback",
    "SELECT count(*), sum(repeats), count(sent_message_id) FROM delivery_report",
)
TRACE: Final = NumberPattern(NUMBER, b"key")
NOW: Final = datetime(2026, 11, 21, 3, tzinfo=UTC)
HOUR: Final = "2026-11-21 10:00:00"


# In texts.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "around", ["{}", "a${}", '"to": "{}",', "to={}&x=1", "<to>{}</to>", "x {}."]
)
def test_every_form_is_found_and_taken_out(form: str, around: str) -> None:
    said = around.format(form)
    assert TRACE.names(said)
    left = TRACE.without(said)
    assert not TRACE.names(left)
    assert FILLED.search(left)
    before, after = around.split("{}")
    assert left.startswith(before)
    assert left.endswith(after)


@pytest.mark.parametrize(
    "text",
    [OTHER, f"1{NUMBER}", f"{NUMBER}1", "712345678", "66812345679", "0812345678901234567890", "",
     "1812345678", "8123456789", "6681234567", "1421632800", "2026-11-21T08:12:34.5678"],
)  # fmt: skip
def test_other_numbers_are_not(text: str) -> None:
    assert not TRACE.names(text)


def test_numbers_of_other_countries() -> None:
    trace = NumberPattern("14155552671", b"key")
    assert all(map(trace.names, ("14155552671", "+1 (415) 555-2671", "0014155552671")))
    assert not any(map(trace.names, ("014155552671", "4155552671", "114155552671")))


@given(st.from_regex(r"66[689][0-9]{8}", fullmatch=True), st.text(" -.()+", max_size=3))
def test_what_is_read_as_the_number_is_found(number: str, gap: str) -> None:
    """Whatever we would derive the recipient from is found, however it is written."""
    trace = NumberPattern(number, b"key")
    for start in ("0", "66", "+66", "0066", "66 0", "", "'"):
        if start in {"", "'"} and msisdn(number[2:]) != number:
            continue
        written = start + gap.join(["", *number[2:]])
        assert trace.names(written)
        if msisdn(written) is not None:
            assert msisdn(written) == number
        assert msisdn(trace.without(written)) is None
    for written in (f"{number}.0", f"{number[0]}.{number[1:]}E+10", f"\ufeff{number}\u200b"):
        assert msisdn(written) == number
        assert trace.names(written)
        assert msisdn(trace.without(written)) is None


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_bodies_in_every_encoding(codec: str) -> None:
    said = '{"to": "0812345678", "ข้อความ": 66812345678}'
    body = said.encode(codec)
    assert TRACE.in_body(body)
    left = json.loads(TRACE.without_body(body, "x"))
    assert left["to"] == str(left["ข้อความ"]) == TRACE.filler("x")


def test_a_body_that_is_no_text() -> None:
    body = b"\xff\xfe\x00\x81 0812345678 \xff"
    assert TRACE.without_body(body, "") == body.replace(b"0812345678", TRACE.filler("").encode())


# In the database.


def dump(engine: Engine) -> str:
    """Return everything that the database holds, bodies as text."""
    found = []
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)).mappings():
                values = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v)
                          for v in row.values()]  # fmt: skip
                found.append(f"{table.name}: {values}")
    return "\n".join(found)


def figures(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return [Counter(map(tuple, connection.execute(text(view)))) for view in VIEWS]


def ants(id_: str | None, to: Any, status: str = "DELIVERED", **more: Any) -> dict[str, Any]:
    said = {"to": to, "from": "ACME", "status": {"name": status}, "sendDate": "2026-11-21T10:00:00"}
    said |= {"doneDate": "2026-11-21T10:00:09", "messageId": id_} | more
    return {name: value for name, value in said.items() if value is not None}


def hook(to: str) -> bytes:
    status = {"message_status": "delivered"}
    said = {"message_id": "e", "to": to, "itime": 1763694000000, "status": status,
            "custom_args": {"phone": to}}  # fmt: skip
    return json.dumps(said).encode()


def details(*items: Any, **more: Any) -> bytes:
    return json.dumps({"bulkId": "b", "details": items} | more).encode()


def record(engine: Engine, provider: str, *messages: SentMessage) -> None:
    with engine.begin() as connection:
        recording.record(connection, provider, messages)


def fill(engine: Engine, number: str = NUMBER) -> None:
    """Put the number wherever one can stand, beside another one."""
    local = f"0{number[2:]}"
    spaced = f"+66 {local[1:3]} {local[3:6]} {local[6:]}"
    for to, n in ((number, 0), (OTHER, 1)):
        record(
            engine, "ants",
            SentMessage(recipient=to, message_id=f"a{n}", transaction_id="b", tag="t"),
            SentMessage(recipient=to, transaction_id="c", reference=f"otp-{to}"),  # no id: rule 2
            SentMessage(recipient=to, error=f"bad number {to}", message_id=f"bad{n}"),
            SentMessage(recipient=f"{to} x", error="bad", refusal_key=bytes([n] * 16)),
        )  # fmt: skip
        record(
            engine, "engagelab",
            SentMessage(recipient=to, message_id=f"e${to}", transaction_id="e", tag=f"vip-{to}"),
        )  # fmt: skip
        record(
            engine, "thaibulksms", SentMessage(recipient=to, message_id=f"t{n}", sender=f"s{to}")
        )
    failed = ants("a0", local, "EXPIRED")
    receive(engine, body=details(ants("a0", number), ants("a1", OTHER)), provider="ants")
    receive(engine, body=details(ants("a0", int(number)), ants("a1", int(OTHER))), provider="ants")
    receive(engine, body=details(failed | {"callbackData": f"for {spaced}"}), provider="ants")
    receive(engine, body=details(ants("c0", spaced), bulkId="c"), provider="ants")
    receive(engine, body=details(ants(None, local, "PENDING"), bulkId="c"), provider="ants")
    receive(engine, body=details(ants("nobody", local)), provider="ants")
    receive(engine, body=details(ants("a1", OTHER), {"to": number}), provider="ants")
    receive(engine, body=b"{" + number.encode(), provider="ants")
    receive(engine, body=b"{" + number.encode(), provider="ants")
    receive(engine, body=b"{" + local.encode(), provider="ants")
    xml = f"<messageId>x</messageId><to>{local}</to><status><name>DELIVERED</name></status>"
    xml = f"<CALLBACK><details><detail>{xml}</detail></details></CALLBACK>"
    receive(engine, body=xml.encode("utf-16"), provider="ants")
    for to in (number, OTHER):
        receive(engine, body=hook(to), provider="engagelab")
    for n, status in enumerate(("Sent", "delivery", "delivery", f"about {number}")):
        receive(
            engine, f"Transaction=t0&Status={status}&msisdn={local}&error_message={spaced}{n // 2}"
        )
    receive(engine, f"Transaction={number}&Status=delivery")
    receive(engine, f"Transaction=t1&Status=delivery&Msisdn=%2B{OTHER}")
    with engine.begin() as connection:
        values = {"provider": "engagelab", "template_id": "1", "content": f"call {local}"}
        connection.execute(insert(message_template), values)
    settle.settle_all(engine)


def erase(engine: Engine) -> Counter[str]:
    return erasure.erase(engine, NumberPattern(NUMBER, b"another key"))


def test_the_number_is_nowhere_and_every_figure_as_it_was(engine: Engine) -> None:
    fill(engine)
    before = figures(engine)
    others = [line for line in dump(engine).splitlines() if OTHER in line]
    assert TRACE.names(dump(engine))
    changed = erase(engine)
    assert changed.keys() == {place.table.name for place in erasure.SEARCHED_TABLES}
    assert not TRACE.names(dump(engine))
    assert NUMBER not in dump(engine)
    assert "812345678" not in dump(engine)
    assert figures(engine) == before
    # What is of other people alone is untouched.
    alone = [line for line in others if not TRACE.names(line)]
    assert set(alone) <= set(dump(engine).splitlines())
    assert len(alone) > 10


def test_doing_it_again_changes_nothing(engine: Engine) -> None:
    fill(engine)
    erase(engine)
    before = dump(engine)
    assert erase(engine) == {}
    assert dump(engine) == before


def test_nothing_brings_it_back_and_nothing_breaks(engine: Engine) -> None:
    fill(engine)
    erase(engine)
    before, held = figures(engine), rows(engine, delivery_report)
    links = [(row["id"], row["sent_message_id"]) for row in held]
    assert [id_ for _, id_ in links if id_ is not None]
    for outcomes in (replay.REREAD, ("read", "partial", "unreadable")):
        done = replay.replay(engine, interpreter(), "drop", outcomes=outcomes)
        assert done.callbacks
        assert (done.new_reports, done.changed_reports) == (0, 0)
        assert figures(engine) == before
    found = rebuild.rebuild(engine, interpreter())
    assert not (found.changed_reports or found.changed_messages or found.changed_links)
    with engine.begin() as connection:
        for table in (delivery_report, sent_message):
            connection.execute(update(table).values(settled_at=None))
    settle.settle_all(engine, portion=1)
    assert figures(engine) == before
    assert links == [(row["id"], row["sent_message_id"]) for row in rows(engine, delivery_report)]
    assert not TRACE.names(dump(engine))


def test_a_late_report_finds_its_message_and_recording_again_adds_none(engine: Engine) -> None:
    for to, n in ((NUMBER, 0), (OTHER, 1)):
        record(engine, "ants", SentMessage(recipient=to, message_id="same" if n else "own"))
    record(engine, "ants", SentMessage(recipient=NUMBER, message_id="same"))
    settle.settle_all(engine)
    erase(engine)
    receive(engine, body=details(ants("own", NUMBER), ants("same", OTHER)), provider="ants")
    settle.settle_all(engine)
    found = {(r["message_id"], r["recipient"]): r["status"] for r in rows(engine, sent_message)}
    assert found == {("own", None): "delivered", ("same", OTHER): "delivered",
                     ("same", None): "accepted"}  # fmt: skip
    record(engine, "ants", SentMessage(recipient=NUMBER, message_id="own", tag="late"))
    assert len(rows(engine, sent_message)) == 3
    assert rows(engine, sent_message)[0]["tag"] == "late"
    erase(engine)
    assert not TRACE.names(dump(engine))


def test_cut_off_anywhere_it_is_right_and_the_next_run_ends_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "SEARCHED_TABLES", [
        erasure.SearchedTable(
            **{n: getattr(p, n) for n in erasure.SearchedTable.__slots__} | {"chunk": 1}
        )
        for p in erasure.SEARCHED_TABLES
    ])  # fmt: skip
    fill(engine)
    before = figures(engine)
    left = [1]

    def cut(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return transactions.transact(*given)

    monkeypatch.setattr(erasure, "transact", cut)
    for portions in range(1, 9):
        left[0] = portions
        with pytest.raises(KeyboardInterrupt):
            erase(engine)
        replay.replay(engine, interpreter(), "drop", outcomes=("read", "partial", "unreadable"))
        rebuild.rebuild(engine, interpreter())
        assert figures(engine) == before
    left[0] = 1000
    assert erase(engine)
    assert figures(engine) == before
    assert not TRACE.names(dump(engine))


def test_ids_and_digests_are_random(engine: Engine) -> None:
    """Nobody who has the database can tell whether a number is the one that was erased."""
    fill(engine)
    digests = {row["digest"] for row in rows(engine, delivery_report)}
    done = erasure.erase_all(engine, Settings(spool_path=""), NUMBER)
    erased = [row for row in rows(engine, delivery_report) if row["erased_at"]]
    assert len(erased) > 8
    assert not digests & {row["digest"] for row in erased}
    ids = {row["message_id"] for row in erased if "erased" in (row["message_id"] or "")}
    assert len(ids) == 1
    with engine.connect() as connection:
        named = select(sent_message.c.message_id).where(sent_message.c.message_id.in_(ids))
        assert connection.execute(named).scalars().all() == list(ids)
        rolled = connection.execute(select(delivery_rollup.c.tag).distinct()).scalars().all()
    assert {row["tag"] for row in rows(engine, sent_message)} == set(rolled)
    assert done.rows.total() > 15
    assert ids.isdisjoint({NumberPattern(NUMBER, b"").token(f"e${NUMBER}")})


def test_what_waits_to_be_settled_finds_its_message_first(engine: Engine) -> None:
    """By rule 2 only the number says which message of the transaction a report is about."""
    record(engine, "ants", *(SentMessage(recipient=to, transaction_id="c") for to in
                             (NUMBER, OTHER)))  # fmt: skip
    receive(engine, body=details(ants("c0", NUMBER), bulkId="c"), provider="ants")
    erase(engine)
    settle.settle_all(engine)
    assert {row["recipient"]: row["status"] for row in rows(engine, sent_message)} == {
        None: "delivered",
        OTHER: "accepted",
    }


def test_progress_is_of_every_row(engine: Engine) -> None:
    fill(engine)
    looked_at: list[int] = []
    erasure.erase(engine, NumberPattern(NUMBER, b"another key"), progress=looked_at.append)
    assert sum(looked_at) == erasure.count_rows(engine) > len(rows(engine, sent_message))


def test_what_was_written_between_the_look_and_the_change_is_erased(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine)
    real = erasure._row_portions  # noqa: SLF001
    of_number = sent_message.c.recipient == NUMBER

    def portions(engine: Engine, place: erasure.SearchedTable) -> Iterator[Any]:
        for found in real(engine, place):
            if place.table is sent_message:
                with engine.begin() as connection:
                    late = update(sent_message).where(of_number).values(tag=f"late {NUMBER}")
                    connection.execute(late)
            yield found

    monkeypatch.setattr(erasure, "_row_portions", portions)
    erase(engine)
    assert not TRACE.names(dump(engine))
    late = [row for row in rows(engine, sent_message) if (row["tag"] or "").startswith("late ")]
    assert late
    assert all(row["recipient"] is None for row in late)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_what_somebody_is_writing_is_waited_for(engine: Engine) -> None:
    """Else the change would be made of the row as it was before."""
    record(engine, "ants", SentMessage(recipient=NUMBER, message_id="m"))
    settle.settle_all(engine)
    waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                 " AND datname = current_database()")  # fmt: skip
    with engine.connect() as writing:
        writing.execute(update(sent_message).values(reference=f"new {NUMBER}"))
        done = threading.Thread(target=erase, args=(engine,))
        done.start()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as looking:
            while not looking.execute(waits).scalar_one():
                assert done.is_alive()
        writing.commit()
        done.join()
    assert not TRACE.names(dump(engine))
    assert [row["reference"][:4] for row in rows(engine, sent_message)] == ["new "]


# In spool files.


def spooled(path: Path, *numbers: str) -> None:
    spool = Spool(path)
    spool.keep([
        Callback(provider="ants", method="POST", body=details(ants(f"s{n}", to)), query=f"n={to}")
        for n, to in enumerate(numbers)
    ])  # fmt: skip
    spool.close()


def test_a_free_spool_file_loses_it(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spooled(path, "0812345678", OTHER)
    done = erasure.erase_all(engine, Settings(spool_path=str(path)), NUMBER)
    assert (done.spooled, done.held, done.damaged) == (1, [], [])
    for file in tmp_path.glob("spool*"):
        assert b"812345678" not in file.read_bytes()
    spool = Spool(path)
    portion = spool.portion(10)
    assert portion is not None
    kept = [interpret.read(waiting, interpreter()) for waiting in portion.callbacks]
    assert [reading.outcome for reading in kept] == ["read", "read"]
    assert OTHER in portion.callbacks[1].query
    with engine.begin() as connection:
        store.keep(connection, kept)
    spool.close()
    # As a set: rows follow their digests, and that of an erased one is random.
    assert {row["recipient"] for row in rows(engine, delivery_report)} == {None, OTHER}
    assert erasure.erase_all(engine, Settings(spool_path=str(path)), NUMBER).spooled == 0


def test_files_that_cannot_be_changed_are_named(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spooled(path, NUMBER)
    running = Spool(path)
    spooled(tmp_path / "spool.2.db", NUMBER)
    (tmp_path / "spool.damaged-20261121T000000000000Z.db").write_bytes(b"x")
    done = erasure.erase_all(engine, Settings(spool_path=str(path)), NUMBER)
    assert done.held == ["spool.db"]
    assert done.damaged == ["spool.damaged-20261121T000000000000Z.db"]
    assert done.spooled == 1
    running.close()
    with sqlite3.connect(path) as changed:
        changed.execute("UPDATE callback SET query = 'other'")
    changed.close()
    assert erasure.erase_all(engine, Settings(spool_path=str(path)), NUMBER).held == ["spool.db"]


# The command.


@pytest.fixture
def command(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(monkeypatch, tmp_path, capsys, RECEIVER_DATABASE_URL=url)


@pytest.mark.parametrize("said", ["0812345678", "+66 81-234-5678", "๐๘๑๒๓๔๕๖๗๘", " 66812345678 "])
def test_the_command(command: Command, engine: Engine, said: str) -> None:
    fill(engine)
    spooled(command.folder / "receiver-spool.db", NUMBER)
    done = command("erase", "--recipient", said, "--yes")
    assert done.code == 0
    assert done.out.startswith("Erased from: callback 1")
    assert done.out.endswith("message_template 1, spool 1.\n")
    assert not TRACE.names(dump(engine) + done.out + done.err)
    again = command("erase", "--recipient", said, "--yes")
    assert (again.code, again.out) == (0, "The number is nowhere (any more).\n")
    assert command("status", "b").out.count("ants a0 to (erased): delivered") == 1


@pytest.mark.parametrize("said", ["", "0", "word", "1234567", "6681234567812345", "081234567x"])
def test_no_number(command: Command, said: str) -> None:
    done = command("erase", f"--recipient={said}", "--yes")
    assert done.code == 2
    wanted = "--recipient: expected a phone number such as 0812345678."
    assert done.sentence == f"{wanted} See `receiver erase --help`."


def test_it_is_not_done_unasked(command: Command, engine: Engine) -> None:
    fill(engine)
    before = dump(engine)
    done = command("erase", "--recipient", NUMBER)
    assert done.code == 2
    assert "nobody can be asked here; add --yes." in done.sentence
    assert dump(engine) == before


def test_the_number_from_stdin(engine: Engine, url: str, tmp_path: Path) -> None:
    fill(engine)
    settings = {"RECEIVER_DATABASE_URL": url}
    done = process(
        tmp_path, "erase", "--recipient", "-", "--yes", settings=settings, stdin=b"081 234 5678\n"
    )
    assert done.code == 0, done.err
    assert not TRACE.names(dump(engine))


# Every column there is.


def texts(table: Table) -> dict[str, bool]:
    """Return the names of a table's columns of text or bytes, and whether it is bytes."""
    sqlite = create_engine("sqlite://").dialect
    return {
        column.name: isinstance(column.type, LargeBinary)
        for column in table.columns
        if isinstance(column.type.dialect_impl(sqlite), String | LargeBinary)
        and not isinstance(column.type, Instant | Key)
    }


def test_every_column_of_text_is_erased_or_has_its_reason() -> None:
    """A new column that may hold a number must be erased, or be in KEPT with the reason."""
    kept = Counter(name for names in erasure.EXEMPT_COLUMNS.values() for name in names)
    erased = Counter(f"{p.table.name}.{name}" for p in erasure.SEARCHED_TABLES for name in p.names)
    there = Counter(f"{table.name}.{name}" for table in metadata.sorted_tables
                    for name in texts(table))  # fmt: skip
    assert kept + erased == there


@pytest.mark.parametrize("table", erasure.SEARCHED_TABLES, ids=lambda place: place.table.name)
def test_the_number_is_erased_from_every_column_it_can_stand_in(
    engine: Engine, table: erasure.SearchedTable
) -> None:
    """One row for each column of a table, the number in that one alone."""
    usual: dict[str, Any] = {
        "provider": "ants", "method": "POST", "outcome": "read", "body": b"{}",
        "callback_id": new_id(), "position": 0, "message_id": "m", "provider_status": "x",
        "status": "accepted", "received_at": NOW, "sent_at": NOW, "hour": HOUR, "day": "2026-11-21",
        "account": "", "template_id": "1",
    }  # fmt: skip
    of, held = table.table, texts(table.table)
    kept = {name for names in erasure.EXEMPT_COLUMNS.values() for name in names}
    wanted = [name for name in held if f"{of.name}.{name}" not in kept]
    digests = [name for name in wanted if name in table.digests]
    named = [name for name in wanted if name not in digests]
    assert len(named) > 1
    with engine.begin() as connection:
        for n, name in enumerate(named):
            values = {key: value for key, value in usual.items() if key in of.columns}
            if isinstance(of.c.id.type, Key):
                values["id"] = new_id()
            values |= {digest: bytes([n] * 16) for digest in digests if digest != "refusal_key"}
            for given in ("message_id", "template_id"):
                if given in values:
                    values[given] = f"{given} {n}"
            if of is sent_message:
                values["recipient"] = OTHER
            values[name] = NUMBER.encode() if held[name] else NUMBER
            if engine.dialect.name != "sqlite" and of is delivery_rollup:
                values |= {"hour": datetime.fromisoformat(HOUR), "day": date(2026, 11, 21)}
            connection.execute(insert(of).values(values))
    before = len(rows(engine, of))
    assert TRACE.names(dump(engine))
    assert erase(engine)[of.name] == len(named)
    assert len(rows(engine, of)) == before
    assert not TRACE.names(dump(engine))


def test_nothing_brings_a_report_back_whatever_named_the_number(engine: Engine) -> None:
    """A replay reads the filler where the number stood: no report of it is new."""
    named = ("error", "callbackData", "doneDate", "sendDate", "from", "to", "messageId", "bulkId")
    items = []
    for n, name in enumerate(named):
        item = ants(f"m{n}", OTHER)
        if name == "error":
            item["error"] = {"name": "E", "description": f"of {NUMBER}"}
        elif name != "bulkId":
            item[name] = NUMBER
        items.append(item)
        receive(engine, body=details(item, bulkId=NUMBER if name == "bulkId" else "b"),
                provider="ants")  # fmt: skip
    status = {"name": "DELIVERED", "description": f"to {NUMBER}"}
    receive(engine, body=details(ants("s", OTHER) | {"status": status}), provider="ants")
    settle.settle_all(engine)
    count = len(rows(engine, delivery_report))
    assert count == len(named) + 1
    erase(engine)
    assert not TRACE.names(dump(engine))
    done = replay.replay(engine, interpreter(), "drop", outcomes=("read", "partial"))
    assert (done.callbacks, done.new_reports) == (count, 0)
    assert len(rows(engine, delivery_report)) == count


def test_content_types_of_spooled_callbacks(tmp_path: Path) -> None:
    said = Callback(provider="ants", method="POST", body=b"{}", content_type=f"text/x; a={NUMBER}")
    left = TRACE.without_callback(said)
    assert not TRACE.names(left.content_type)
    assert left.content_type.startswith("text/x; a=")
    assert left == replace(said, content_type=left.content_type)
    spool = Spool(tmp_path / "spool.db")
    spool.keep([said])
    spool.close()
    assert rewrite(tmp_path / "spool.db", TRACE.without_callback) == 1
