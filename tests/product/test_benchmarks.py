"""The benchmark's peer does its work right, and its result is told plainly. Nothing is timed."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, insert, select, text
from starlette.testclient import TestClient

from receiver.database.engine import connect, parse_url
from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.ingest.interpret import Interpreter
from receiver.maintenance.rebuild import rebuild
from receiver.settings.settings import Settings
from receiver.settling.backlog import waiting
from tests.benchmarks import (
    ceiling,
    data,
    growth,
    history,
    load,
    parts,
    peer,
    report,
    server,
    trial,
)
from tests.benchmarks.__main__ import options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine, Row

    from tests.conftest import Databases


@pytest.fixture
def client(url: str, engine: Engine) -> Iterator[TestClient]:
    with engine.begin() as connection:
        connection.execute(
            insert(sent_message),
            [
                {"provider": "thaibulksms", "message_id": "aB1", "recipient": "66812345678"},
                {"provider": "ants", "message_id": "1", "recipient": "66812345678"},
                {"provider": "ants", "message_id": "2", "recipient": "66812345679"},
            ],
        )
    environment = {
        "RECEIVER_DATABASE_URL": url,
        "RECEIVER_THAIBULKSMS_TOKENS": "secret",
        "RECEIVER_ANTS_TOKENS": "otp:other, secret",
    }
    with TestClient(peer.create_app(environment)) as made:
        yield made


def rows(engine: Engine, table: Any) -> list[Row[Any]]:
    with engine.connect() as connection:
        return list(connection.execute(select(table).order_by(table.c.id)))


def thai(client: TestClient, status: str, time: int = 1700000000, message: str = "aB1") -> int:
    query = f"Transaction={message}&Status={status}&Time={time}"
    return client.get(f"/callbacks/thaibulksms/secret?{query}").status_code


def test_peer_keeps_a_callback_and_moves_the_status(client: TestClient, engine: Engine) -> None:
    assert client.get("/readyz").status_code == 200
    assert thai(client, "delivery") == 200
    (kept,), (report,) = rows(engine, callback), rows(engine, delivery_report)
    message = rows(engine, sent_message)[0]
    assert (kept.outcome, kept.report_count) == ("read", 1)
    assert kept.query == "Transaction=aB1&Status=delivery&Time=1700000000"
    assert (report.callback_id, report.sent_message_id) == (kept.id, message.id)
    assert (report.status, report.done_at.timestamp()) == ("delivered", 1700000000)
    assert (message.status, message.report_id) == ("delivered", report.id)
    assert message.done_at == report.done_at
    assert None not in {report.settled_at, message.settled_at, message.changed_at}


def test_peer_keeps_a_repeat_once(client: TestClient, engine: Engine) -> None:
    assert [thai(client, "delivery") for _ in range(3)] == [200, 200, 200]
    (report,) = rows(engine, delivery_report)
    assert report.repeats == 2
    assert rows(engine, sent_message)[0].report_id == report.id


def test_peer_never_moves_a_status_back(client: TestClient, engine: Engine) -> None:
    for status, time in (("sent", 1700000000), ("delivery", 1700000001), ("sent", 1700000002)):
        assert thai(client, status, time) == 200
    message = rows(engine, sent_message)[0]
    reports = rows(engine, delivery_report)
    assert (message.status, message.report_id) == ("delivered", reports[1].id)
    assert not message.conflicting
    assert thai(client, "failed", 1700000003) == 200
    message = rows(engine, sent_message)[0]
    assert (message.status, message.conflicting) == ("delivered", True)


def test_peer_settles_a_batch(client: TestClient, engine: Engine) -> None:
    details = [
        {"messageId": id_, "to": number, "status": {"name": name}, "doneDate": done}
        for id_, number, name, done in (
            ("2", "66812345679", "EXPIRED", "2026-11-21T10:00:00.25"),
            ("1", "66812345678", "PENDING", "2026-11-21T10:00:00.25"),
            ("1", "66812345678", "DELIVERED", "2026-11-21T10:00:01.25"),
            ("1", "66812345678", "DELIVERED", "2026-11-21T10:00:01.25"),
            ("3", "66812345670", "DELIVERED", "2026-11-21T10:00:01.25"),
        )
    ]
    for _ in range(2):
        answer = client.post("/callbacks/ants/secret", content=json.dumps({"details": details}))
        assert answer.status_code == 200
    reports = rows(engine, delivery_report)
    assert sorted(report.repeats for report in reports) == [1, 1, 1, 3]
    assert None not in {report.settled_at for report in reports}
    _, first, second = rows(engine, sent_message)
    assert (first.status, second.status) == ("delivered", "expired")
    (unmatched,) = (report for report in reports if report.message_id == "3")
    assert unmatched.sent_message_id is None


def test_peer_keeps_what_it_cannot_read(client: TestClient, engine: Engine) -> None:
    for _ in range(2):
        assert client.post("/callbacks/ants/secret", content=b"{").status_code == 400
    (kept,) = rows(engine, callback)
    assert (kept.outcome, kept.repeats) == ("unreadable", 1)


def test_peer_wants_the_token(client: TestClient, engine: Engine) -> None:
    assert client.get("/callbacks/thaibulksms/wrong?Transaction=aB1").status_code == 401
    assert client.post("/callbacks/ants/secre", content=b"{}").status_code == 401
    assert rows(engine, callback) == []


def test_ceiling_answers_as_the_receiver_does() -> None:
    with TestClient(ceiling.create_app()) as client:
        answer = client.post("/callbacks/ants/secret", content=b"{}")
        assert (answer.status_code, answer.text) == (200, "OK")
        assert client.get("/callbacks/thaibulksms/secret?Transaction=1").text == "OK"


def test_matrix_is_every_shape_over_every_number_of_connections() -> None:
    chosen = options(["--matrix"])
    assert (chosen.shape, chosen.connections) == (list(data.SHAPES), [1, 16, 64, 256])
    assert (options([]).shape, options([]).connections) == (["single"], [64])


def test_several_receivers_need_postgresql(capsys: pytest.CaptureFixture[str]) -> None:
    assert options(["--database", "postgresql", "--receivers", "1", "3"]).receivers == [1, 3]
    with pytest.raises(SystemExit):
        options(["--receivers", "2"])
    assert "needs --database postgresql" in capsys.readouterr().err
    assert trial.Tested("receiver", 1, 3).label == "3 receivers"
    assert trial.Tested("receiver", 2).label == "receiver x2"


def run(database: str, server: str, turn: int, settled: int, **wrong: int) -> report.Run:
    sent = load.Load(
        requests=settled, refused=wrong.get("refused", 0), broken=0, timeouts=0, exhausted=0,
        seconds=10, p50_ms=1.5, p99_ms=20, max_ms=30, cpu=1, cpu_share=0.1,
    )  # fmt: skip
    kept = settled - wrong.get("refused", 0) - wrong.get("lost", 0)
    found = data.Contents(
        callbacks=kept, kept=kept, settled=kept, repeats=0, linked=kept, delivered=kept, first_at=0
    )
    return report.Run(
        database=database, server=server, round=turn, load=sent, contents=found, seconds=10,
        drain_seconds=0.5, server_cpu=9, database_cpu=0, others_cpu=0, peak_mb=120,
        ready_seconds=0.9,
        failures=report.failures(data.SHAPES["single"], sent, found, waiting=0),
    )  # fmt: skip


def result(*runs: report.Run) -> report.Result:
    options = {"connections": 64, "seconds": 10, "messages": 1_000_000, "rounds": 2}
    machine = {"cores": 2}
    startups = {"sqlite receiver": [1.2, 1.0, 1.9]}
    return report.Result(
        shapes=[data.SHAPES["single"]],
        options=options,
        machine=machine,
        runs=list(runs),
        startups=startups,
    )


def test_result_is_one_table() -> None:
    made = result(
        run("sqlite", "peer", 1, 5000),
        run("sqlite", "receiver", 1, 50_000),
        run("sqlite", "peer", 2, 6000),
        run("sqlite", "receiver", 2, 42_000),
        run("sqlite", "ceiling", 1, 120_000),
        run("sqlite", "ceiling", 2, 100_000),
    )
    lines = [line.split("  ") for line in report.render(made).splitlines()]
    cells = [[cell.strip() for cell in line if cell] for line in lines]
    load = ["sqlite", "single", "64"]
    assert cells[3][:5] == ["database", "shape", "conns", "server", "settled/s"]
    assert cells[4][:5] == [*load, "peer", "550 (500–600)"]  # noqa: RUF001
    assert cells[5][:5] == [*load, "receiver", "4,600 (4,200–5,000)"]  # noqa: RUF001
    assert cells[5][-1] == "42 (42–42) %"  # noqa: RUF001
    assert cells[6][:5] == [*load, "ceiling", "-"]
    assert cells[7] == [*load, "ratio", "8.5 (7.0–10.0)"]  # noqa: RUF001
    assert report.wanted(made) == [
        "MISSED: ratio on sqlite 8.5, wanted at least 15",
        "reached: share of the ceiling on sqlite 0.42, wanted at least 0.25",
        "reached: µs of ours a report on sqlite 197, wanted at most 200",
        "reached: MB resident on sqlite 120, wanted at most 150",
        "reached: seconds until ready on an empty sqlite 1.20, wanted at most 1.5",
    ]
    assert json.loads(json.dumps(made.as_json()))["ratios"] == {"sqlite": [10.0, 7.0]}
    assert "FAILED" not in report.render(made)


def test_result_tells_what_failed() -> None:
    made = result(run("sqlite", "receiver", 1, 100, refused=3, lost=2))
    said = report.render(made)
    assert "FAILED: sqlite receiver, round 1: 3 answers were no 200" in said
    assert "97 reports were answered with 200, 95 are kept" in said


def test_lag_is_the_age_of_the_report_that_waits_longest(client: TestClient, url: str) -> None:
    assert thai(client, "delivery") == 200
    watch = data.Watch(url)
    with data.Lag(watch) as lag:
        assert watch.lag() == 0
        with watch.engine.execution_options(receiver_read=False).begin() as connection:
            connection.execute(text("UPDATE delivery_report SET settled_at = NULL"))
        assert 0 < watch.lag() < 60
    assert lag.longest >= 0
    watch.close()


@pytest.mark.long
@pytest.mark.parametrize("provider", ["thaibulksms", "ants"])
def test_databases_are_copies_with_the_messages_that_are_sent(
    provider: str, tmp_path: Path
) -> None:
    databases = data.make("sqlite", tmp_path / "sqlite", provider, 1000)
    url = databases.fresh()
    engine = connect(parse_url(url))
    messages = rows(engine, sent_message)
    engine.dispose()
    data.write_numbers(tmp_path / "numbers", provider, 1000)
    lines = (tmp_path / "numbers").read_text().splitlines()
    assert lines == [f"{message.message_id}{message.recipient}" for message in messages]
    assert {(len(line), line.isascii()) for line in lines} == {(len(lines[0]), True)}
    watch = data.Watch(url)
    assert watch.state() == (False, 0)
    assert watch.contents().kept == 0
    watch.close()
    databases.drop(url)
    assert sorted(path.name for path in (tmp_path / "sqlite").iterdir()) == ["template.db"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_postgresql_computes_the_same_messages(engine: Engine) -> None:
    with engine.begin() as connection:
        for provider in ("thaibulksms", "ants"):
            values = {"provider": provider, "messages": 100, "start": 0}
            connection.execute(text(data.postgresql_messages(provider)), values)
    found = {(row.provider, row.message_id, row.recipient) for row in rows(engine, sent_message)}
    assert found == {
        (provider, data.message_id(provider, n), data.recipient(n))
        for provider in ("thaibulksms", "ants")
        for n in range(100)
    }


NOW = 1_800_000_000_000
DECIDED = "SELECT id, status, done_at, report_id, conflicting FROM sent_message ORDER BY id"
LINKED = "SELECT id, sent_message_id FROM delivery_report ORDER BY id"


@pytest.mark.long
def test_history_is_what_settling_would_leave(url: str, engine: Engine) -> None:
    messages = 2000
    history.fill(url, history.Plan(messages=messages, now=NOW))
    with engine.connect() as connection:

        def rows_of(statement: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in connection.execute(text(statement))]

        assert waiting(connection).oldest_seconds is None
        counted = [rows_of(f"SELECT count(*) FROM {name}")[0][0] for name in history.TABLES]
        assert counted == [2 * messages + 2, 2 * messages + 2, messages]
        statuses = dict(rows_of("SELECT status, count(*) FROM sent_message GROUP BY 1"))
        assert statuses["delivered"] > 0.9 * messages
        assert set(statuses) == {"delivered", "undeliverable", "expired", "rejected", "enroute"}
        for view, least in (("unfinished", 5), ("conflicting", 1)):
            assert rows_of(f"SELECT count(*) FROM {view}_message")[0][0] >= least
        assert rows_of("SELECT count(*) FROM unmatched_report") == [(2,)]
        before = rows_of(DECIDED), rows_of(LINKED)
        for days, share in ((1, 0.02), (30, 0.6), (731, 1)):
            since = datetime.fromtimestamp(NOW / 1000, UTC) - timedelta(days=days)
            recent = select(func.count()).where(sent_message.c.sent_at >= since)
            assert connection.execute(recent).scalar_one() == share * messages
    done = rebuild(engine, Interpreter.from_settings(Settings()))
    assert (done.changed_reports, done.changed_links, done.changed_messages) == (0, 0, 0)
    with engine.connect() as connection:
        assert (rows_of(DECIDED), rows_of(LINKED)) == before


def test_history_is_the_same_on_both_databases(databases: Databases) -> None:
    made = []
    for dialect in ("sqlite", "postgresql"):
        url = databases.make(dialect)
        history.fill(url, history.Plan(messages=500, now=NOW, seed=7))
        with pytest.raises(ValueError, match="not empty"):
            history.fill(url, history.Plan(messages=500, now=NOW))
        engine = databases.open(url)
        made.append([rows(engine, table) for table in (sent_message, delivery_report, callback)])
        with engine.begin() as connection:  # and it goes on from there
            (id_,) = connection.execute(
                insert(sent_message).returning(sent_message.c.id),
                {"provider": "ants", "message_id": "1", "recipient": "66812345678"},
            ).one()
        assert id_ == 501
    assert made[0] == made[1]


def test_history_leaves_every_index_as_it_was(url: str) -> None:
    indexes = []
    for _ in range(2):
        with closing(history.open_target(url)) as target:
            indexes.append(target.indexes())
        if len(indexes) == 1:
            history.fill(url, history.Plan(messages=100, now=NOW))
    assert len(indexes[0]) > 15
    assert indexes[0] == indexes[1]


@pytest.mark.long
def test_growth_asks_what_a_user_would_type(url: str, engine: Engine) -> None:
    reads = growth.read_side(engine)
    assert {(len(read.ms), read.rows) for read in reads} == {(growth.TIMES, 0)}
    engine.dispose()  # nobody else may have it open
    history.fill(
        url, history.Plan(messages=3000, now=int(datetime.now(UTC).timestamp() - 5) * 1000)
    )
    found = {read.name: read.rows for read in growth.read_side(engine)}
    assert all(found.values()), found
    assert (found["message by id"], found["by reference"]) == (1, 1)
    assert found["feed, a page of 1,000"] == 1000


def test_growth_is_told_beside_what_was_wanted() -> None:
    sizes = [
        growth.Size(
            database="sqlite",
            messages=messages,
            fill_seconds=1,
            reads=[growth.Read(name="message by id", wanted_ms=2, rows=1, ms=[ms, ms, 9])],
            runs=[run("sqlite", "receiver", 1, settled)],
        )
        for messages, ms, settled in ((0, 0.5, 10_000), (1_000_000, 3, 6000))
    ]
    given = {"connections": 64, "seconds": 10, "rounds": 1}
    made = growth.Result(options=given, machine={"cores": 2}, sizes=sizes)
    said = growth.render(made)
    assert (
        "MISSED: share of the first rate on sqlite at 1,000,000 0.60, wanted at least 0.7" in said
    )
    assert "MISSED: message by id, ms on sqlite at 1,000,000 3.0, wanted at most 2" in said
    cells = [line.split("  ") for line in said.splitlines() if line.startswith("message by id")]
    values = [cell.strip() for cell in cells[0] if cell]
    assert values == ["message by id", "0.5 (0.5–9.0)", "3.0 (3.0–9.0)", "1", "2"]  # noqa: RUF001
    assert json.loads(json.dumps(made.as_json()))["sizes"][1]["rate"] == 600


def test_a_watch_may_look_at_what_is_new_only(client: TestClient, url: str) -> None:
    assert thai(client, "sent") == 200
    watch = data.Watch(url, only_new=True)
    assert watch.contents().kept == 0
    assert thai(client, "delivery") == 200
    found = watch.contents()
    assert (found.callbacks, found.kept, found.settled, found.delivered) == (1, 1, 1, 1)
    watch.close()


def test_another_revision_is_unpacked_beside(tmp_path: Path, monkeypatch: Any) -> None:
    if not (server.ROOT / ".git").exists():
        pytest.skip("there is no repository to take a revision from")
    monkeypatch.setattr(server, "RELEASES", {})
    server.unpack("HEAD", tmp_path / "then")
    assert server.RELEASES["HEAD"] == tmp_path / "then"
    assert (tmp_path / "then" / "receiver" / "__main__.py").is_file()
    with pytest.raises(server.ServerError, match="no-such-revision"):
        server.unpack("no-such-revision", tmp_path / "never")
    assert "no-such-revision" not in server.RELEASES


def test_the_time_of_each_part_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--messages", "30", "--reports", "20", "--batch", "3", "20", "--rounds", "1"]
    monkeypatch.setattr("sys.argv", ["parts", *few])
    monkeypatch.setattr(parts, "leave_cleanly", lambda: None)
    parts.main()
    titles, *rows = capsys.readouterr().out.splitlines()
    assert titles.split() == ["batch", "read", "keep", "settle", "together"]
    assert [row.split()[0] for row in rows] == ["3", "20"]
    assert all(cell.replace(",", "").isdigit() for row in rows for cell in row.split())
