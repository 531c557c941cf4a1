"""Replay and rebuild: what we make of what is kept may change, what is kept may not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, insert, select, text, update

from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.domain.callback import Callback
from receiver.domain.status import SHARED_STATUSES, Status
from receiver.ingest import interpret, store
from receiver.ingest.interpret import Interpreter
from receiver.maintenance import rebuild, replay
from receiver.maintenance.changes import Change
from receiver.providers import PROVIDERS
from receiver.settling import settle, statements

if TYPE_CHECKING:
    from sqlalchemy import Table

BANGKOK = ZoneInfo("Asia/Bangkok")
CHANGED = ("thaibulksms", "unknown", "delivered")


def interpreter(**words: Status) -> Interpreter:
    """Make today's tables, with some words of ThaiBulkSMS added."""
    return Interpreter(
        BANGKOK,
        {
            name: {**SHARED_STATUSES, **provider.STATUSES, **words}
            for name, provider in PROVIDERS.items()
        },
    )


def receive(
    engine: Engine, query: str = "", body: bytes = b"", provider: str = "thaibulksms", **more: Any
) -> str:
    arrived = Callback(provider=provider, method="POST", query=query, body=body, **more)
    reading = interpret.redact_and_read(arrived, interpreter(), "drop")
    with engine.begin() as connection:
        return store.keep(connection, [reading])[0].id


def sent(engine: Engine, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(
            insert(sent_message), {"provider": "thaibulksms", "recipient": "66812345678"} | values
        )


def rows(engine: Engine, table: Table) -> list[Mapping[Any, Any]]:
    with engine.connect() as connection:
        return list(connection.execute(select(table).order_by(table.c.id)).mappings())


def everything(engine: Engine) -> list[Any]:
    """Return what must not change, without the times of settling."""
    found: list[Any] = []
    for table in (callback, delivery_report, sent_message):
        found += [
            {k: v for k, v in row.items() if k != "settled_at"} for row in rows(engine, table)
        ]
    return found


def test_rebuild_under_the_same_tables_changes_nothing(engine: Engine) -> None:
    sent(engine, message_id="a")
    sent(engine, message_id="b", error="no")
    for word in ("delivery", "Sent", "whatever"):
        receive(engine, f"Transaction=a&Status={word}&Time=2026-11-21 10:00:00")
    receive(engine, "Transaction=nobody&Status=delivery")
    settle.settle_all(engine)
    before = everything(engine)
    for dry_run in (True, False, True):
        done = rebuild.rebuild(engine, interpreter(), dry_run=dry_run)
        assert not (done.changed_reports or done.changed_messages or done.changed_links)
        assert everything(engine) == before
    with engine.connect() as connection:
        for table in (sent_message, delivery_report):
            unsettled = select(table.c.id).where(table.c.settled_at.is_(None))
            assert connection.execute(unsettled).all() == []


def test_rebuild_under_a_new_word_says_what_would_change_then_changes_it(engine: Engine) -> None:
    for n in range(3):
        sent(engine, message_id=f"m{n}")
        receive(engine, f"Transaction=m{n}&Status=ARRIVED&Time=170000000{n}")
    settle.settle_all(engine)
    before = everything(engine)
    assert {row["status"] for row in rows(engine, sent_message)} == {"unknown"}
    new = interpreter(arrived=Status.DELIVERED)
    tried = rebuild.rebuild(engine, new, dry_run=True)
    assert everything(engine) == before
    done = rebuild.rebuild(engine, new)
    wanted = {Change(what, *CHANGED): 3 for what in ("report", "message")}
    assert tried.changes == done.changes
    assert done.changes.counts == wanted
    callbacks = [str(row["id"]) for row in rows(engine, callback)]
    assert sorted(done.changes.examples[Change("report", *CHANGED)]) == sorted(callbacks)
    assert done.changes.examples[Change("message", *CHANGED)] == ["m0", "m1", "m2"]
    assert {row["status"] for row in rows(engine, sent_message)} == {"delivered"}


def test_rebuild_reads_old_times_anew(engine: Engine) -> None:
    arrived = datetime(2026, 11, 28, 13, 15, tzinfo=UTC)
    for name, time in (
        ("a", "2611282010"),
        ("b", "28/11/2569 20:10"),
        ("c", "2052-10-02 10:00:00"),
    ):
        sent(engine, message_id=name, sent_at=arrived - timedelta(minutes=10))
        receive(engine, f"Transaction={name}&Status=delivery&Time={time}", received_at=arrived)
    receive(engine, "Transaction=nobody&Status=Sent&Time=2611282010", received_at=arrived)
    settle.settle_all(engine)
    right = everything(engine)
    with engine.begin() as connection:  # as an older receiver kept them
        wrong = {"done_at": datetime(2052, 10, 2, 3, tzinfo=UTC), "settled_at": None}
        connection.execute(update(delivery_report).values(wrong))
    settle.settle_all(engine)
    assert everything(engine) != right
    assert rebuild.rebuild(engine, interpreter(), dry_run=True).changes.counts == {
        Change("time", "thaibulksms", "a time", "another time"): 3,
        Change("time", "thaibulksms", "a time", "none"): 1,
    }
    assert rebuild.rebuild(engine, interpreter()).changed_times == 4
    for row in everything(engine):
        assert row.get("done_at") in {None, arrived - timedelta(minutes=5)}
    assert [row["done_at"] is None for row in rows(engine, sent_message)] == [False, False, True]


def test_rebuild_mends_numbers_that_lost_their_zero(engine: Engine) -> None:
    """As they were recorded before, or are written straight into the table."""
    sent(engine, message_id="a", recipient="812345678")
    sent(engine, message_id="b", recipient="812345678")
    sent(engine, message_id="b")  # recorded again, with the whole number
    sent(engine, message_id="c", recipient="212345678")
    sent(engine, message_id="d", recipient="812345678", error="bad number")
    for name in ("a", "b"):
        receive(engine, f"Transaction={name}&Status=delivery&Msisdn=66812345678")
    settle.settle_all(engine)
    assert [row["status"] for row in rows(engine, sent_message)][:2] == ["accepted"] * 2
    for dry_run in (True, False):
        done = rebuild.rebuild(engine, interpreter(), dry_run=dry_run)
        assert (done.changed_numbers, done.changed_messages) == (1, 1)
    assert rebuild.rebuild(engine, interpreter()).changed_numbers == 0
    assert [(row["recipient"], row["status"]) for row in rows(engine, sent_message)] == [
        ("66812345678", "delivered"),
        ("812345678", "accepted"),
        ("66812345678", "delivered"),
        ("212345678", "accepted"),
        ("812345678", "rejected"),
    ]


def test_rebuild_under_another_zone_moves_times_without_an_offset(engine: Engine) -> None:
    sent(engine, message_id="a")
    receive(engine, "Transaction=a&Status=delivery&Time=2026-11-21 10:00:00")
    settle.settle_all(engine)
    tokyo = Interpreter(ZoneInfo("Asia/Tokyo"), interpreter().statuses)
    rebuild.rebuild(engine, tokyo)
    assert rows(engine, sent_message)[0]["done_at"] == datetime(2026, 11, 21, 1, tzinfo=UTC)
    receive(engine, "Transaction=a&Status=delivery&Time=2026-11-21 10:00:00")
    assert [row["repeats"] for row in rows(engine, delivery_report)] == [1]


@pytest.mark.parametrize("chunk", [1, 1000])
def test_rebuild_mends_links_and_statuses_that_were_spoilt(
    engine: Engine, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "CHUNK_ROWS", chunk)
    for n in range(4):
        sent(engine, message_id=f"m{n}")
        receive(engine, f"Transaction=m{n}&Status=delivery&Time=170000000{n}")
    settle.settle_all(engine)
    before = everything(engine)
    with engine.begin() as connection:
        table = delivery_report.c
        connection.execute(update(delivery_report).where(table.id == 1).values(sent_message_id=2))
        connection.execute(
            update(delivery_report).where(table.id == 3).values(sent_message_id=None)
        )
        connection.execute(
            update(sent_message).where(sent_message.c.id == 4).values(status="expired")
        )
    tried = rebuild.rebuild(engine, interpreter(), dry_run=True)
    done = rebuild.rebuild(engine, interpreter())
    assert tried.changes.counts == done.changes.counts
    links = {change[2:]: n for change, n in tried.changes.counts.items() if change.kind == "link"}
    assert links == {("a message", "another message"): 1, ("none", "a message"): 1}
    spoilt = Change("message", "thaibulksms", "expired", "delivered")
    assert (tried.changes.counts[spoilt], tried.changes.examples[spoilt]) == (1, ["m3"])
    changes = {"changed_at"}
    assert [{k: v for k, v in row.items() if k not in changes} for row in everything(engine)] == [
        {k: v for k, v in row.items() if k not in changes} for row in before
    ]


def test_replay_reads_what_was_unreadable(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(engine, message_id="a")
    kept = receive(engine, "Transaktion=a&Status=delivery")
    assert receive(engine, "Transaktion=a&Status=delivery") == kept
    assert [(r["outcome"], r["repeats"]) for r in rows(engine, callback)] == [("unreadable", 1)]
    still = replay.replay(engine, interpreter(), "drop")
    assert (still.outcomes, still.new_reports) == ({"unreadable": 1}, 0)

    mended = PROVIDERS["thaibulksms"].decode

    def decode(arrived: Callback) -> Any:  # the mended reader knows the new name
        query = arrived.query.replace("Transaktion", "Transaction")
        return mended(Callback(provider=arrived.provider, method="GET", query=query))

    monkeypatch.setattr(PROVIDERS["thaibulksms"], "decode", decode)
    before = everything(engine)
    tried = replay.replay(engine, interpreter(), "drop", dry_run=True)
    assert (tried.new_reports, everything(engine)) == (1, before)
    done = replay.replay(engine, interpreter(), "drop")
    assert (done.outcomes, done.new_reports) == ({"read": 1}, 1)
    row = rows(engine, callback)[0]
    assert (row["outcome"], row["error"], row["report_count"], row["digest"]) == (
        "read",
        None,
        1,
        None,
    )
    assert rows(engine, sent_message)[0]["status"] == "delivered"
    assert rows(engine, delivery_report)[0]["repeats"] == 1
    again = replay.replay(engine, interpreter(), "drop", ids=[kept])
    assert (again.new_reports, again.changed_reports) == (0, 0)
    assert rows(engine, delivery_report)[0]["repeats"] == 1


def test_replay_rewrites_what_is_derived_and_counts_no_repeat(engine: Engine) -> None:
    sent(engine, message_id="a")
    receive(engine, "Transaction=a&Status=ARRIVED")
    settle.settle_all(engine)
    new = interpreter(arrived=Status.DELIVERED)
    done = replay.replay(engine, new, "drop", outcomes=["read"])
    assert (done.callbacks, done.new_reports, done.changed_reports) == (1, 0, 1)
    assert rows(engine, sent_message)[0]["status"] == "delivered"
    assert rows(engine, delivery_report)[0]["repeats"] == 0


def test_replay_of_a_partial_callback_keeps_the_good_and_adds_the_mended(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = (
        b'{"details": [{"messageId": "a", "to": "66812345678", "status": {"name": "DELIVERED"}},'
        b' {"messageId": "b", "to": "66812345678", "status": {"nome": "DELIVERED"}}]}'
    )
    receive(engine, body=body, provider="ants")
    assert [r["outcome"] for r in rows(engine, callback)] == ["partial"]
    mended = PROVIDERS["ants"].decode
    monkeypatch.setattr(
        PROVIDERS["ants"],
        "decode",
        lambda c: mended(
            Callback(provider="ants", method="POST", body=c.body.replace(b"nome", b"name"))
        ),
    )
    done = replay.replay(engine, interpreter(), "drop")
    assert (done.outcomes, done.new_reports, done.changed_reports) == ({"read": 1}, 1, 0)
    assert [r["message_id"] for r in rows(engine, delivery_report)] == ["a", "b"]


def test_replay_redacts_what_could_not_be_redacted_when_it_came(engine: Engine) -> None:
    secret = "รหัส 123456"
    body = f'{{"details": [{{"messageId": "a", "text": "{secret}", "status": '.encode()
    kept = receive(engine, body=body, provider="ants")
    row = rows(engine, callback)[0]
    assert (row["redacted"], row["body"]) == (False, body)
    whole = body.decode() + '{"name": "DELIVERED"}}]}'
    with engine.begin() as connection:
        connection.execute(update(callback).values(body=whole.encode()))
    replay.replay(engine, interpreter(), "drop", ids=[kept])
    row = rows(engine, callback)[0]
    assert row["redacted"]
    assert secret.encode() not in row["body"]


def test_progress_adds_up(engine: Engine) -> None:
    for n in range(5):
        sent(engine, message_id=f"m{n}")
        receive(engine, f"Transaction=m{n}&Status=")
    receive(engine, "Transaction=x&Status=delivery")
    settle.settle_all(engine)
    told: list[int] = []
    rebuild.rebuild(engine, interpreter(), dry_run=True, progress=told.append)
    assert sum(told) == rebuild.count_rows(engine) == 6
    told.clear()
    replay.replay(engine, interpreter(), "drop", progress=told.append)
    assert sum(told) == replay.count_callbacks(engine) == 5


def test_a_dry_run_on_postgresql_waits_for_the_hand(databases: Any) -> None:
    """While another receiver settles, a dry run must not say that nothing would change."""
    engine = databases.open(databases.make("postgresql"))
    sent(engine, message_id="a")
    receive(engine, "Transaction=a&Status=ARRIVED")
    settle.settle_all(engine)
    with engine.begin() as other:
        other.execute(text(statements.SETTLING_LOCK))
        import threading

        found: list[rebuild.Rebuilt] = []
        thread = threading.Thread(
            target=lambda: found.append(
                rebuild.rebuild(engine, interpreter(arrived=Status.DELIVERED), dry_run=True)
            )
        )
        thread.start()
        thread.join(timedelta(seconds=0.3).total_seconds())
        assert not found
    thread.join(10)
    assert found[0].changes.counts[Change("message", *CHANGED)] == 1
