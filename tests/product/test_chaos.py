"""The chaos kit finds nothing lost in a short form, and finds what is lost where something is."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from receiver.domain.callback import new_id
from tests.chaos import __main__ as chaos
from tests.chaos import rounds, scene, traffic, truth
from tests.chaos.traffic import Statement
from tests.chaos.truth import Contents, Promises, Told, compare

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

REPORT = Statement(
    provider="thaibulksms", message="a-1", transaction="a-1", word="delivery", time="1790000001",
    status="delivered",
)  # fmt: skip
RECORD = Statement(provider="thaibulksms", message="a-1")


@pytest.mark.long
@pytest.mark.parametrize("rounds_", [["kill", "outage"], ["trigger"]])
@pytest.mark.parametrize("database", chaos.DATABASES)
def test_nothing_is_lost(
    database: str, rounds_: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    chosen = chaos.options(
        ["--database", database, "--only", *rounds_, "--kills", "3", "--seconds", "2",
         "--json", str(file)]
    )  # fmt: skip
    code = chaos.run(chosen)
    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    made = json.loads(file.read_text())["rounds"]
    assert [row["round"] for row in made] == rounds_
    for verdict in (row["verdict"] for row in made):
        counted = [verdict[name] for name in ("lost", "doubled", "wrong", "unreadable")]
        assert counted == [0, 0, 0, 0]
        assert 100 < verdict["acknowledged"] <= verdict["kept"] <= verdict["sent"]


@pytest.mark.long
def test_a_receiver_that_answers_before_it_commits_is_found_out(tmp_path: Path) -> None:
    given = scene.Options(kills=2, command=("-m", "tests.chaos.hasty"))
    result = scene.play(rounds.ROUNDS["kill"], "sqlite", tmp_path / "hasty", given)
    assert result.verdict.lost > 0
    assert not result.verdict.good
    assert str(result.verdict.lost) in chaos.table([result])


# The comparison, by itself.


def promised(*, attempts: int, acknowledged: int, kind: str = "report") -> Promises:
    record = Told("record", "", [RECORD], attempts=1, acknowledged=1)
    statements = [REPORT] if kind == "report" else []
    item = Told(kind, "digest", statements, attempts=attempts, acknowledged=acknowledged)
    if kind == "unreadable" and acknowledged:
        item.callbacks = {"first"}
    return Promises(items={("j", "record"): record, ("j", "item"): item})


def contents(
    *times: int, callbacks: dict[str, int] | None = None, status: str = "delivered"
) -> Contents:
    """Return a database whose report has a row for each number."""
    there = {str(n): 1 for n in range(sum(times))} if callbacks is None else callbacks
    return Contents(
        reports={REPORT.key: list(times)} if times else {},
        callbacks={"digest": there} if there else {},
        messages={("thaibulksms", "a-1"): [status]},
    )


@pytest.mark.parametrize("kept", [2, 3])
def test_what_was_not_acknowledged_may_be_kept(kept: int) -> None:
    verdict = compare(promised(attempts=3, acknowledged=2), contents(kept))
    assert verdict.good, verdict.told
    assert (verdict.sent, verdict.acknowledged, verdict.kept) == (4, 3, kept + 1)


def test_what_was_acknowledged_and_is_not_there_is_lost() -> None:
    verdict = compare(promised(attempts=2, acknowledged=2), contents(status="accepted"))
    assert (verdict.lost, verdict.doubled) == (2, 0)
    verdict = compare(promised(attempts=3, acknowledged=3), contents(2))
    assert (verdict.lost, verdict.doubled) == (1, 0)


def test_what_is_there_more_often_than_it_was_sent_is_doubled() -> None:
    verdict = compare(promised(attempts=2, acknowledged=1), contents(3))
    assert (verdict.lost, verdict.doubled) == (0, 1)
    assert verdict.wrong == 1  # a row of callback too many
    assert compare(promised(attempts=2, acknowledged=2), contents(1, 1)).wrong == 1


def test_a_good_callback_that_is_kept_as_unreadable_is_found() -> None:
    found = contents(1)
    assert compare(promised(attempts=1, acknowledged=1), found).unreadable == 0
    found.unreadable = {"digest"}
    verdict = compare(promised(attempts=1, acknowledged=1), found)
    assert (verdict.unreadable, verdict.good) == (1, False)


def test_a_record_is_one_row() -> None:
    found = contents(1)
    found.messages = {}
    assert compare(promised(attempts=1, acknowledged=1), found).lost == 1
    found.messages = {("thaibulksms", "a-1"): ["delivered", "delivered"]}
    assert compare(promised(attempts=1, acknowledged=1), found).doubled == 1


def test_a_status_that_its_reports_do_not_decide_is_wrong() -> None:
    verdict = compare(promised(attempts=1, acknowledged=1), contents(1, status="accepted"))
    assert (verdict.lost, verdict.doubled, verdict.wrong) == (0, 0, 1)


@pytest.mark.parametrize(
    ("callbacks", "lost", "doubled", "wrong"),
    [
        ({"first": 2}, 0, 0, 0),
        ({"first": 3}, 0, 0, 0),
        ({"first": 1}, 1, 0, 0),
        ({"first": 4}, 0, 1, 0),
        ({"first": 1, "second": 1}, 0, 0, 1),
        ({"second": 2}, 0, 0, 1),
        ({}, 2, 0, 1),
    ],
)
def test_an_unreadable_callback_is_one_row_by_the_id_that_was_answered(
    callbacks: dict[str, int], lost: int, doubled: int, wrong: int
) -> None:
    said = promised(attempts=3, acknowledged=2, kind="unreadable")
    verdict = compare(said, contents(callbacks=callbacks, status="accepted"))
    assert (verdict.lost, verdict.doubled, verdict.wrong) == (lost, doubled, wrong), verdict.told


def test_an_unreadable_callback_may_be_known_by_the_id_of_a_repeat() -> None:
    said = promised(attempts=3, acknowledged=2, kind="unreadable")
    found = contents(callbacks={"other": 2}, status="accepted")
    found.again = {"first": "other"}
    assert compare(said, found).good


def test_what_nobody_sent_is_told() -> None:
    found = contents(1)
    found.reports["thaibulksms", "b", None, "delivery", "1"] = [1]
    found.callbacks["other"] = {"id": 1}
    found.messages["ants", "b"] = ["accepted"]
    verdict = compare(promised(attempts=1, acknowledged=1), found)
    assert (verdict.doubled, verdict.wrong) == (1, 2)


def test_database_is_read_as_it_is(url: str, engine: Engine) -> None:
    callback = new_id()
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO callback (id, provider, method, query, body, outcome)"
                " VALUES (:id, 'thaibulksms', 'GET', 'a=1', :body, 'read')"
            ),
            {"id": callback, "body": b"\xff"},
        )
        connection.execute(
            text(
                "INSERT INTO delivery_report (callback_id, position, provider, transaction_id,"
                " provider_status, provider_time, digest, status) VALUES (:id, 0, 'thaibulksms',"
                " 'a-1', 'delivery', '1790000001', :digest, 'delivered')"
            ),
            {"id": callback, "digest": bytes(16)},
        )
        connection.execute(
            text(
                "INSERT INTO sent_message (provider, message_id, recipient)"
                " VALUES ('thaibulksms', 'a-1', '66812345678')"
            )
        )
    plain = url.replace("+psycopg", "")
    found = truth.read_database(plain)
    digest = traffic.request_digest("thaibulksms", "a=1", b"\xff")
    assert found.reports == {REPORT.key: [1]}
    assert found.callbacks == {digest: {callback: 1}}
    assert found.messages == {("thaibulksms", "a-1"): ["accepted"]}
    assert found.unsettled == 2
    said = Promises(items={("j", "r"): Told("report", digest, [REPORT], 1, 1)})
    assert compare(said, found).doubled == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE delivery_report SET repeats = repeats + 1"))
    assert compare(said, truth.read_database(plain)).doubled == 1


def test_journals_are_read_up_to_the_last_whole_line(tmp_path: Path) -> None:
    lines = [
        {"item": "u", "kind": "unreadable", "digest": "d", "statements": []},
        {"attempt": 1, "of": "u"},
        {"answer": 1, "of": "u", "status": 400, "callback": "id", "at": 5.0},
        {"attempt": 2, "of": "u"},
        {"answer": 2, "of": "u", "status": 503, "callback": None, "at": 6.0},
        {"attempt": 3, "of": "u"},
        {"answer": 3, "of": "u", "status": 500, "callback": None, "at": 7.0},
    ]
    path = tmp_path / "journal"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"attempt": 4, "o')
    said = truth.read_journals([path])
    (item,) = said.items.values()
    assert (item.attempts, item.acknowledged, item.callbacks) == (3, 1, {"id"})
    assert (said.times, said.unexpected) == ([5.0], ["u was answered 500"])


def test_what_is_left_in_a_spool_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    assert truth.spooled(path) == 0
    for name in ("spool.db", "spool.2.db"):
        with closing(sqlite3.connect(tmp_path / name)) as file:
            file.execute("CREATE TABLE callback (body BLOB)")
            file.execute("INSERT INTO callback VALUES (x'00')")
            file.commit()
    assert truth.spooled(path) == 2


def test_longest_gap_leaves_out_what_the_kit_took_down() -> None:
    times = [1.0, 2.0, 7.0, 8.0]
    assert truth.longest_gap(times, (0, 9), []) == 5
    assert truth.longest_gap(times, (0, 9), [(3, 6)]) == 2
    assert truth.longest_gap(times, (0, 20), [(3, float("inf"))]) == 1


def test_traffic_is_new_and_the_same_for_a_seed() -> None:
    first, second = (traffic.Traffic("run", Random(1)) for _ in range(2))
    bundles = [first.bundle() for _ in range(200)]
    assert bundles == [second.bundle() for _ in range(200)]
    items = {item.id: item for bundle in bundles for _, item in bundle}
    assert {item.kind for item in items.values()} == {"report", "unreadable", "record"}
    assert {item.method for item in items.values()} == {"GET", "POST"}
    reports = [s for i in items.values() if i.kind == "report" for s in i.statements]
    assert len({statement.key for statement in reports}) == len(reports)
    assert len({i.digest for i in items.values()}) == len(items)
