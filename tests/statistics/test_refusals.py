"""Who is turned away is seen: the table `refusal`, and what came in `activity_rollup`."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import OperationalError

from receiver.database.tables.messages import sent_message
from receiver.database.tables.statistics import activity_rollup, refusal
from receiver.database.transactions import transact
from receiver.domain.callback import Callback
from receiver.domain.errors import BusyError
from receiver.domain.sent_message import SentMessage
from receiver.ingest import store
from receiver.ingest.interpret import Interpreter, read
from receiver.messages import recording
from receiver.server.composition import compose
from receiver.settings.settings import Settings
from receiver.settling import settle
from receiver.statistics import counters, refusals
from receiver.statistics.activity_rollup import ActivityKey, HourlyActivity, write
from receiver.statistics.bangkok import hour_of
from receiver.statistics.counters import Counters
from receiver.statistics.instruments import Metrics
from receiver.statistics.refusals import MAX_ADDRESSES, OTHER_ADDRESSES, Refusal, Times
from tests.kit.serving import serving
from tests.web.test_app import BASIC, Headers, ants, call, dr, eventually, head, raw, running
from tests.web.test_engagelab import HOOK, hooked

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from receiver.domain.reading import Kept, Reading
    from tests.conftest import Databases

NOW = datetime(2026, 11, 21, 16, 59, 59, tzinfo=UTC)
HOUR = "2026-11-21 23:00:00"
SETTINGS: dict[str, Any] = {
    "max_body_bytes": 1000,
    "api_keys": "key",
    "providers": {
        "ants": {"tokens": "otp:t", "allowed_ips": "127.0.0.1"},
        "engagelab": {"tokens": "e"} | {k[19:].lower(): v for k, v in HOOK.items()},
    },
}
INTERPRETER = Interpreter.from_settings(Settings())


def told(engine: Engine) -> list[tuple[Any, ...]]:
    """Return the refusals without hour and time."""
    table = refusal.c
    columns = (table.provider, table.account, table.reason, table.address, table["count"])
    with engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(select(*columns)))


def came(engine: Engine) -> list[tuple[Any, ...]]:
    """Return what came: the hour, whose, and the counts."""
    table = activity_rollup.c
    with engine.connect() as connection:
        rows = connection.execute(select(activity_rollup).order_by(table.hour, table.account))
        return [(str(row.hour), *row[1:8]) for row in rows]


def test_every_way_to_be_turned_away(engine: Engine) -> None:
    edge = compose(Settings.model_validate(SETTINGS), engine).edge
    edge.bodies.seconds = 0.2
    elsewhere = {"X-Forwarded-For": "192.0.2.7"}
    asked: list[tuple[str, str, bytes, Headers, int]] = [
        ("GET", "/callbacks/ants/t", b"", {}, 405),
        ("POST", "/callbacks/ants/t", b"x", {"Content-Encoding": "gzip"}, 415),
        ("POST", "/callbacks/ants/wrong", b"x", {}, 401),
        ("POST", "/callbacks/ants", b"x", elsewhere, 401),
        ("POST", "/callbacks/ants/t", b"x", elsewhere, 401),
        ("POST", "/callbacks/thaibulksms/t", b"x", {}, 401),
        ("POST", "/callbacks/engagelab/e", b"[]", {}, 401),
        ("POST", "/callbacks/ants/t", b"x" * 1001, {}, 413),
        # These are no refusals: nobody's, kept as unreadable, read, a probe, no callback at all.
        ("POST", "/callbacks/nobody/t", b"x", {}, 404),
        ("POST", "/callbacks/ants/t", b"x", {}, 400),
        ("POST", "/callbacks/ants/t", ants(dr("m")), {}, 200),
        ("HEAD", "/callbacks/ants/t", b"", {}, 200),
        ("POST", "/messages", b"x", {}, 401),
        ("POST", "/callbacks/engagelab/e", b"{}", hooked(), 200),
    ]
    with running(edge) as url:
        for method, path, body, headers, status in asked:
            assert call(url, method, path, body, headers).status == status, (method, path)
        slow = head("/callbacks/ants/t", "Content-Length: 100", "Connection: close")
        assert raw(url, slow, b"{").startswith(b"HTTP/1.1 408 ")
    ours, theirs = "127.0.0.1", "192.0.2.7"
    assert told(engine) == sorted(
        [
            ("ants", "", refusals.REASONS[405], ours, 1),
            ("ants", "", refusals.REASONS[415], ours, 1),
            ("ants", "", refusals.WRONG_TOKEN, ours, 1),
            ("ants", "", refusals.WRONG_TOKEN, theirs, 1),
            ("ants", "", refusals.WRONG_ADDRESS, theirs, 1),
            ("thaibulksms", "", refusals.NO_TOKEN, ours, 1),
            ("engagelab", "", refusals.WRONG_SIGNATURE, ours, 1),
            ("ants", "otp", refusals.REASONS[413], ours, 1),
            ("ants", "otp", refusals.REASONS[408], ours, 1),
        ]
    )
    assert [row[1:] for row in came(engine)] == [("ants", "otp", 2, 1, 1, 0, 0)]


def test_a_wrong_password_is_told_from_a_wrong_signature(engine: Engine) -> None:
    providers = {
        "engagelab": SETTINGS["providers"]["engagelab"] | {"basic_auth": "ants:pa%2Css:word"}
    }
    edge = compose(Settings.model_validate({"providers": providers}), engine).edge
    with running(edge) as url:
        for headers in (hooked(), {"Authorization": BASIC}):
            assert call(url, "POST", "/callbacks/engagelab/e", b"[]", headers).status == 401
    reasons = [row[2] for row in told(engine)]
    assert reasons == sorted([refusals.WRONG_BASIC, refusals.WRONG_SIGNATURE])


def test_what_cannot_be_kept_is_counted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = compose(Settings.model_validate(SETTINGS), engine).edge
    with running(edge) as url:
        for error in (BusyError("Too much waits."), None):
            with monkeypatch.context() as patch:
                if error is not None:

                    async def full(_: Reading, error: BusyError = error) -> Kept:
                        raise error

                    patch.setattr(edge.writer, "keep", full)
                else:  # no spool, and the database away
                    edge.writer.failover.is_on = True
                assert call(url, "POST", "/callbacks/ants/t", ants(dr("m"))).status == 503
                edge.writer.failover.is_on = False
    reasons = {row[2] for row in told(engine)}
    assert reasons == {refusals.QUEUE_FULL, refusals.REASONS[503]}


def test_it_is_written_while_the_receiver_runs_and_the_rest_on_sigterm(
    url: str, engine: Engine
) -> None:
    with serving(url) as server:
        path = "/callbacks/ants/wrong"
        assert call(server.url, "POST", path, b"x").status == 401
        eventually(lambda: told(engine))
        for _ in range(5):
            assert call(server.url, "POST", path, b"x").status == 401
    assert told(engine) == [("ants", "", refusals.WRONG_TOKEN, "127.0.0.1", 6)]


def test_an_hour_has_so_many_rows_and_loses_no_count(engine: Engine) -> None:
    """Two receivers at once, on PostgreSQL; each from 3,000 addresses, half of them the same."""
    ledgers = [Counters(Metrics()), Counters(Metrics())]
    for number, one in enumerate(ledgers):
        for n in range(3000):
            one.refuse(
                "ants", "", refusals.WRONG_TOKEN, f"10.{number * (n % 2)}.{n // 256}.{n % 256}"
            )
        one.refuse("thaibulksms", "otp", refusals.WRONG_ADDRESS, "192.0.2.1")
    threads = [threading.Thread(target=one.write, args=[engine]) for one in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in ledgers:
        one.write(engine, at_once=True)
    rows = told(engine)
    assert (
        len(rows) <= 2 * (MAX_ADDRESSES + 2)
        if len(hours(engine)) > 1
        else len(rows) <= MAX_ADDRESSES + 2
    )
    assert sum(row[4] for row in rows if row[0] == "ants") == 6000
    assert sum(row[4] for row in rows if row[0] == "thaibulksms") == 2
    assert OTHER_ADDRESSES in {row[3] for row in rows}


def hours(engine: Engine) -> set[Any]:
    with engine.connect() as connection:
        return set(connection.execute(select(refusal.c.hour)).scalars())


def test_a_known_address_keeps_its_row_in_a_full_hour(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_ADDRESSES", 2)
    key = Refusal(HOUR, "ants", "", "wrong token", "")
    for address in ("a", "b", "c", "a", "d", OTHER_ADDRESSES):
        one = {key._replace(address=address): Times(1, NOW)}
        transact(engine, lambda c, one=one: refusals.write(c, one))  # type: ignore[misc]
    assert [row[3:] for row in told(engine)] == [(OTHER_ADDRESSES, 3), ("a", 2), ("b", 1)]


def test_old_refusals_go(engine: Engine) -> None:
    def add(at: datetime) -> None:
        one = {Refusal(hour_of(at), "ants", "", "wrong token", "a"): Times(1, at)}
        transact(engine, lambda c: refusals.write(c, one))

    for days in (31, 29, 0):
        add(NOW - timedelta(days=days))
    with engine.connect() as connection:
        kept = list(connection.execute(select(refusal.c.last_at).order_by("hour")).scalars())
    assert kept == [NOW - timedelta(days=29), NOW]


def test_the_latest_time_stays(engine: Engine) -> None:
    key = Refusal(HOUR, "ants", "", "wrong token", "a")
    place = ActivityKey(HOUR, "ants", "")
    for at in (NOW, NOW - timedelta(minutes=5)):
        transact(engine, lambda c, at=at: refusals.write(c, {key: Times(2, at)}))  # type: ignore[misc]
        seen = {place: HourlyActivity(callbacks=1, last_callback_at=at)}
        transact(engine, lambda c, seen=seen: write(c, seen))  # type: ignore[misc]
    heard = {place: HourlyActivity(recorded=1, last_recorded_at=NOW)}
    transact(engine, lambda c: write(c, heard))
    with engine.connect() as connection:
        assert connection.execute(select(refusal.c.last_at, refusal.c["count"])).one() == (NOW, 4)
        row = connection.execute(select(activity_rollup)).one()
        assert (row.last_callback_at, row.last_report_at, row.last_recorded_at) == (NOW, None, NOW)
        assert (row.callbacks, row.recorded) == (2, 1)


def test_counts_wait_in_bounded_memory_while_the_database_is_away(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counters(Metrics())

    def away(*_: object) -> None:
        raise OperationalError("SELECT 1", None, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr(counters, "transact", away)
        for round_ in range(3):
            for n in range(2000):
                counted.refuse("ants", "", "wrong token", f"10.{round_}.{n // 256}.{n % 256}")
            counted.write(engine, at_once=True)
        assert len(counted._refused) <= MAX_ADDRESSES + 1  # noqa: SLF001
    assert told(engine) == []
    counted.write(engine, at_once=True)
    counted.write(engine, at_once=True)
    assert sum(row[4] for row in told(engine)) == 6000


def reading(body: Any, at: datetime = NOW, account: str = "") -> Reading:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    arrived = Callback(
        provider="ants", method="POST", body=body, account=account, received_at=at,
        content_type="application/json",
    )  # fmt: skip
    return read(arrived, INTERPRETER)


def test_what_is_kept_is_counted_once_in_the_hour_it_came(engine: Engine) -> None:
    counted = Counters(Metrics())
    report = {"details": [dr("m1"), dr("m2")]}
    next_hour = NOW + timedelta(seconds=1)
    readings = [
        reading(report), reading(report, next_hour), reading(b"{", account="otp"),
        reading(b"{", account="otp"), reading({"details": [dr("m3"), {}]}, account="otp"),
    ]  # fmt: skip
    for _ in range(2):  # the second time everything is there
        kept = transact(engine, lambda c: store.keep(c, readings))
        counted.keep(readings, kept)
    counted.keep(readings[:1], [BusyError("no")])
    counted.write(engine)
    assert came(engine) == [
        (HOUR, "ants", "", 1, 0, 2, 0, 0),
        (HOUR, "ants", "otp", 3, 2, 1, 0, 0),
        ("2026-11-22 00:00:00", "ants", "", 1, 0, 2, 2, 0),
    ]


def test_messages_are_counted_where_they_were_recorded(engine: Engine) -> None:
    later = NOW + timedelta(days=1)
    with engine.begin() as connection:
        recording.record(connection, "ants", [SentMessage(recipient="66812345678", message_id="a")])
        values = {"provider": "ants", "account": "otp", "recipient": "66812345678"}
        for name, at in (("b", NOW), ("c", NOW - timedelta(minutes=1)), ("d", later)):
            row = values | {"message_id": name, "recorded_at": at, "sent_at": NOW}
            connection.execute(insert(sent_message), row)
    settle.settle_all(engine)
    with engine.begin() as connection:  # settled again, they are not counted again
        connection.execute(sent_message.update().values(settled_at=None))
    settle.settle_all(engine)
    table = activity_rollup.c
    with engine.connect() as connection:
        found = connection.execute(
            select(table.account, func.sum(table.recorded), func.max(table.last_recorded_at))
            .group_by(table.account)
            .order_by(table.account)
        ).all()
    assert [(row[0], int(row[1])) for row in found] == [("", 1), ("otp", 3)]
    assert found[1][2] == later


def test_the_view_tells_the_last_hour_from_the_last_day(engine: Engine) -> None:
    now = datetime.now(UTC)
    ages = {"now": now, "hours": now - timedelta(hours=3), "days": now - timedelta(days=3)}
    with engine.begin() as connection:
        for number, at in enumerate([*ages.values(), now - timedelta(days=91)]):
            here = ActivityKey(hour_of(at), "ants", "otp" if number < 3 else "old")
            heard = HourlyActivity(callbacks=2, reports=3, unreadable=1, last_callback_at=at)
            write(connection, {here: heard})
            gone = Refusal(hour_of(at), "ants", "", "wrong token", "a")
            refusals.write(connection, {gone: Times(5, at)})
        rows = connection.execute(text("SELECT * FROM provider_activity ORDER BY account"))
        refused, ours = rows.mappings().all()
    assert (refused["account"], ours["account"]) == ("", "otp")
    assert (refused["refused_hour"], refused["refused_day"]) == (5, 10)
    assert (ours["callbacks_hour"], ours["callbacks_day"]) == (2, 4)
    assert (ours["reports_hour"], ours["reports_day"]) == (3, 6)
    assert (ours["unreadable_day"], ours["recorded_day"], ours["refused_day"]) == (2, 0, 0)
    assert ours["last_report_at"] is refused["last_callback_at"] is None
    assert ours["last_callback_at"] is not None
    assert refused["last_refused_at"] is not None


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_view_reads_only_hours_that_count(databases: Databases, dialect: str) -> None:
    engine = databases.open(databases.make(dialect))
    with engine.begin() as connection:
        hours = [hour_of(NOW - timedelta(hours=n)) for n in range(5000)]
        rows = [{"hour": hour, "provider": "ants", "account": ""} for hour in hours]
        connection.execute(insert(activity_rollup), rows)
        more = {"reason": "r", "address": "a", "count": 1, "last_at": NOW}
        connection.execute(insert(refusal), [row | more for row in rows])
        connection.execute(text("ANALYZE"))
    explain = "EXPLAIN QUERY PLAN" if dialect == "sqlite" else "EXPLAIN (COSTS OFF)"
    with engine.connect() as connection:
        if dialect == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        statement = text(f"{explain} SELECT * FROM provider_activity")
        plan = "\n".join(row[-1] for row in connection.execute(statement))
    assert "SCAN activity_rollup" not in plan, plan
    assert "SCAN refusal" not in plan, plan
    assert "Seq Scan" not in plan, plan
    assert "sent_message" not in plan, plan
    assert "delivery_report" not in plan, plan
