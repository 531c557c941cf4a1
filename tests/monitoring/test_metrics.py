"""/metrics: what is counted is right, with several workers too, and costs nobody anything."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, insert, text

from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.domain.histogram import DELIVERY_TIMES
from receiver.domain.sent_message import SentMessage
from receiver.messages import recording
from receiver.monitoring.metrics import database
from receiver.settling import settle
from receiver.statistics.instruments import Metrics
from tests.conftest import give_ids
from tests.kit.serving import serving
from tests.server.test_supervisor import TWO, accepting, suspended
from tests.web.test_app import OPEN, STRICT, Place, ants, away, dr, eventually, new, placed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from tests.conftest import Databases

DIALECTS = ("sqlite", "postgresql")
LAST = ("callback", "report", "recorded")
Samples = dict[tuple[str, ...], float]


def scrape(place: Place) -> Samples:
    """Return every sample by its name and the values of its labels, in the labels' order."""
    answer = place("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


@pytest.fixture(params=DIALECTS)
def place(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    with placed(databases, request.param, OPEN) as made:
        yield made


def test_what_came_is_counted_by_what_became_of_it(place: Place) -> None:
    ids = [new() for _ in range(3)]
    sent_at = datetime.now(UTC) - timedelta(seconds=100)
    recorded = [{"message_id": i, "recipient": "66812345678"} for i in ids]
    assert place.record(messages=recorded, sent_at=sent_at.isoformat()).status == 201
    done = f"{sent_at + timedelta(hours=7, seconds=42):%Y-%m-%dT%H:%M:%S.%f}"
    body = ants(dr(ids[0], doneDate=done), dr(ids[1], "PENDING"), dr(new(), "a word of their own"))
    for _ in range(2):
        assert place.ants(body).status == 200
    assert place.ants(b"{").status == 400
    assert place.ants(b"{", token="wrong").status == 401
    assert place("GET", "/callbacks/ants/ants-token").status == 405
    assert place("POST", "/callbacks/nobody/x").status == 404
    place.wait_for("delivered", message_id=ids[0])
    found = eventually(lambda: scrape(place).get(("receiver_delivery_seconds_count", "ants"))
                       and scrape(place))  # fmt: skip
    counted = {key: value for key, value in found.items() if key[0].endswith("_total")}
    assert counted == {
        ("receiver_callbacks_total", "200", "ants"): 2,
        ("receiver_callbacks_total", "400", "ants"): 1,
        ("receiver_callbacks_total", "401", "ants"): 1,
        ("receiver_callbacks_total", "405", "ants"): 1,
        ("receiver_callbacks_total", "404", "other"): 1,
        ("receiver_refusals_total", "ants", "wrong token"): 1,
        ("receiver_refusals_total", "ants", "wrong method"): 1,
        ("receiver_reports_total", "ants", "delivered"): 2,
        ("receiver_reports_total", "ants", "enroute"): 2,
        ("receiver_reports_total", "ants", "unknown"): 2,
        ("receiver_report_repeats_total", "ants"): 3,
    }
    assert found["receiver_batch_callbacks_sum", "database"] == 3
    assert found["receiver_commit_seconds_count", "database"] >= 1
    assert 0 < found["receiver_commit_seconds_sum", "database"] < 10
    buckets = {
        float(key[1]): value
        for key, value in found.items()
        if key[0] == "receiver_delivery_seconds_bucket"
    }
    assert list(buckets) == [*DELIVERY_TIMES.seconds, float("inf")]
    assert {step: count for step, count in buckets.items() if 30 <= step <= 45} == {30: 0, 45: 1}
    assert found["receiver_delivery_seconds_sum", "ants"] == pytest.approx(42, abs=0.01)

    told = [(f"receiver_last_{what}_timestamp_seconds", "ants") for what in LAST]
    found = eventually(lambda: (s := scrape(place)).keys() >= {*told} and s)
    for key in told:
        assert time.time() - 60 < found[key] <= time.time() + 1
    assert found["receiver_unmatched_reports", "ants"] == 1
    assert 100 <= found["receiver_unfinished_oldest_seconds",] < 200
    eventually(lambda: not scrape(place)["receiver_waiting_rows", "report"])


def test_a_word_or_a_path_makes_no_label(place: Place) -> None:
    def series() -> set[tuple[str, ...]]:
        late = ("receiver_last_", "receiver_alarm")
        return {key for key in scrape(place) if not key[0].startswith(late)}

    place.ants(ants(dr(new(), "word")))
    place("POST", "/callbacks/nobody/x")
    while place.ants(b"{", token="wrong").status != 429:  # from the 20th on
        pass
    before = series()
    for n in range(30):
        place.ants(ants(dr(new(), f"word {n}")))
        place("POST", f"/callbacks/nobody{n}/x")
        place.ants(b"{", token=f"wrong{n}")
    with place.engine.begin() as connection:
        row = {"recipient": "66812345678", "message_id": "a"}
        for n in range(30):
            connection.execute(insert(sent_message), row | {"provider": f"theirs{n}"})
    eventually(lambda: not place("GET", "/readyz").json["settling"]["messages"])
    assert series() == before


def test_it_is_for_operations_only(databases: Databases) -> None:
    with placed(databases, "sqlite", STRICT) as place:
        inside, outside = {"X-Forwarded-For": "10.1.2.3"}, {"X-Forwarded-For": "203.0.113.7"}
        assert place("GET", "/metrics", b"", outside).status == 404
        assert place("GET", "/metrics").status == 404
        assert place("GET", "/metrics", b"", inside).status == 200
        assert place("HEAD", "/metrics", b"", inside).body == b""
        assert place("POST", "/metrics", b"", inside).status == 405
        openmetrics = inside | {"Accept": "application/openmetrics-text; version=1.0.0"}
        said = place("GET", "/metrics", b"", openmetrics)
        assert said.headers["content-type"].startswith("application/openmetrics-text")
        assert said.body.endswith(b"# EOF\n")


def test_without_a_database_the_rest_is_told_at_once(place: Place, databases: Databases) -> None:
    assert place.ants(ants(dr(new()))).status == 200
    assert ("receiver_waiting_oldest_seconds",) in scrape(place)
    with away(place, databases):
        assert place.ants(ants(dr(new()))).status == 200
        assert place.ants(ants(dr(new()))).status == 200
        began = time.monotonic()
        found = scrape(place)
        assert time.monotonic() - began < 3
    names = {key[0] for key in found}
    assert not names & database.GAUGES.keys()
    assert found["receiver_database_away",] == 1
    assert found["receiver_spool_callbacks",] == 2
    assert found["receiver_spool_bytes",] > 100
    assert 0 < found["receiver_spool_oldest_seconds",] < 60
    assert found["receiver_batch_callbacks_sum", "spool"] == 2
    assert found["receiver_reports_total", "ants", "delivered"] == 1
    after = eventually(lambda: (s := scrape(place))["receiver_spool_callbacks",] == 0 and s)
    assert after["receiver_database_away",] == 0
    assert after["receiver_reports_total", "ants", "delivered"] == 3


def test_a_database_that_hangs_holds_nobody_up(databases: Databases) -> None:
    with placed(databases, "postgresql", OPEN) as place:
        pause = text("LOCK TABLE delivery_report IN ACCESS EXCLUSIVE MODE")
        with place.engine.begin() as connection:
            connection.execute(pause)
            began = time.monotonic()
            answers = [scrape(place) for _ in range(3)]
            assert time.monotonic() - began < 6
        for found in answers:
            assert not {key[0] for key in found} & database.GAUGES.keys()
            assert ("receiver_queue_callbacks",) in found
        eventually(lambda: ("receiver_waiting_oldest_seconds",) in scrape(place))


def test_any_worker_tells_of_all_and_a_new_one_goes_on(databases: Databases, tmp_path: Any) -> None:
    url = databases.make("postgresql")
    with serving(url, folder=tmp_path, arguments=TWO, **OPEN) as server:
        place = Place(server, databases.open(url), server.api_key)
        pids = eventually(lambda: len(p := accepting(server)) == 2 and p)
        key = ("receiver_callbacks_total", "200", "ants")
        reports = ("receiver_reports_total", "ants", "delivered")
        for sent_so_far, pid in enumerate(pids):
            with suspended(pid):  # so the other one answers
                assert scrape(place).get(key, 0) == sent_so_far
                assert place.ants(ants(dr(new()))).status == 200
                assert scrape(place)[key] == sent_so_far + 1  # and hands on what it counted
        for pid in pids:
            with suspended(pid):
                found = scrape(place)
                assert (found[key], found[reports]) == (2, 2)
                assert found["receiver_batch_callbacks_count", "database"] == 2
                assert found["receiver_database_away",] == 0
        os.kill(pids[0], signal.SIGKILL)
        now = eventually(lambda: len(p := accepting(server)) == 2 and pids[0] not in p and p)
        with suspended(pids[1]):
            assert place.ants(ants(dr(new()))).status == 200
            assert scrape(place)[key] == 3
        for pid in now:
            with suspended(pid):
                assert scrape(place)[key] == 3
        environment = Path(f"/proc/{now[0]}/environ").read_text().split("\0")
        (name,) = (e.partition("=")[2] for e in environment if e.startswith("PROMETHEUS_MULTI"))
        folder = Path(name)  # where a worker that is killed again and again leaves no more files
        assert {file.stem.rpartition("_")[2] for file in folder.iterdir()} == {"0", "1"}
    assert not folder.exists()
    databases.drop(url)


def observed(done: settle.Settled) -> list[tuple[str, int]]:
    return sorted(done.took)


def test_a_delivery_is_told_once_and_when_it_is_news(engine: Engine) -> None:
    now = datetime.now(UTC)

    def record(name: str, ago: timedelta) -> None:
        one = SentMessage(recipient="66812345678", message_id=name, sent_at=now - ago)
        with engine.begin() as connection:
            recording.record(connection, "ants", [one])

    def report(name: str, ago: timedelta, status: str = "delivered") -> None:
        number = hash((name, status)) & 0xFFFF_FFFF
        row = {
            "callback_id": str(UUID(int=number)), "position": 0, "provider": "ants",
            "message_id": name, "provider_status": "X", "status": status,
            "digest": number.to_bytes(16, "big"), "received_at": now, "done_at": now - ago,
        }  # fmt: skip
        with engine.begin() as connection:
            connection.execute(insert(delivery_report), row)

    minute, week = timedelta(minutes=1), timedelta(days=7)
    record("a", minute)
    assert observed(settle.settle_one(engine)) == []
    report("a", minute - timedelta(seconds=7))
    report("early", minute - timedelta(seconds=9))
    record("old", week)
    report("old", week - timedelta(seconds=5))
    assert [(p, ms // 1000) for p, ms in observed(settle.settle_one(engine))] == [("ants", 7)]
    record("early", minute)
    report("a", minute, "enroute")
    assert [(p, ms // 1000) for p, ms in observed(settle.settle_one(engine))] == [("ants", 9)]
    with engine.begin() as connection:
        # Counted again, as what it was and with a credit beside that.
        connection.execute(sent_message.update().values(settled_at=None, credit=Decimal(2)))
        connection.execute(delivery_report.update().values(settled_at=None))
    assert observed(settle.settle_one(engine)) == []


def test_providers_of_strangers_share_a_label() -> None:
    metrics = Metrics()
    metrics.delivered([("ants", 1000), ("theirs", 1), ("others", 2)])
    (family,) = (f for f in metrics.registry.collect() if f.name == "receiver_delivery_seconds")
    assert {sample.labels["provider"] for sample in family.samples} == {"ants", "other"}


N = 10_000


def fill(connection: Connection) -> None:
    """Insert messages none of which is final, and reports none of which has a message."""
    give_ids(connection)
    now = datetime.now(UTC)
    for begin in range(1, N, 2000):
        numbers = range(begin, begin + 2000)
        connection.execute(
            insert(sent_message),
            [
                {"id": n, "provider": "ants", "message_id": f"m{n}", "recipient": "66812345678",
                 "sent_at": now - timedelta(seconds=n), "settled_at": now}
                for n in numbers
            ],
        )  # fmt: skip
        connection.execute(
            insert(delivery_report),
            [
                {"id": n, "callback_id": str(UUID(int=n)), "position": 0,
                 "provider": "ants" if n % 2 else "theirs", "message_id": f"x{n}",
                 "provider_status": "X", "status": "delivered",
                 "digest": n.to_bytes(16, "big"), "settled_at": now,
                 "received_at": now - timedelta(seconds=10 * n)}
                for n in numbers
            ],
        )  # fmt: skip
    connection.execute(text("ANALYZE"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_database_is_asked_by_index_and_within_bounds(
    databases: Databases, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = databases.make(dialect)
    engine = databases.open(url)
    with engine.begin() as connection:
        fill(connection)
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    monkeypatch.setattr(database, "UNMATCHED_MAX", 500)
    monkeypatch.setattr("receiver.database.time_limit.MAX_LOOKUP_SECONDS", 600)
    with engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", note)
        found = {(name, *labels): value for name, labels, value in database.read(connection)}
        event.remove(connection, "before_cursor_execute", note)
        assert found["receiver_unmatched_reports", "ants"] == 250
        assert found["receiver_unmatched_reports", "other"] == 250
        assert found["receiver_unmatched_reports", "thaibulksms"] == 0
        assert N - 5 < found["receiver_unfinished_oldest_seconds",] < N + 600
        assert found["receiver_waiting_rows", "report"] == 0
        explain = "EXPLAIN QUERY PLAN" if dialect == "sqlite" else "EXPLAIN"
        selects = [(sql, values) for sql, values in asked if sql.startswith("SELECT")]
        assert len(selects) >= 5
        plans = ""
        for sql, values in selects:
            rows = connection.exec_driver_sql(f"{explain} {sql}", values)
            plans += "\n".join(row[-1] for row in rows) + "\n"
        for index in ("unfinished", "unmatched", "unsettled"):
            assert f"ix_{'sent_message' if index == 'unfinished' else ''}" in plans
            assert index in plans, plans
        assert "Seq Scan on sent_message" not in plans, plans
        assert "Seq Scan on delivery_report" not in plans, plans
        assert not [
            line
            for line in plans.splitlines()
            if line.startswith(("SCAN sent_message", "SCAN delivery_report")) and "ix_" not in line
        ], plans
    databases.drop(url)
