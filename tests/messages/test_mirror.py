"""The mirror of templates: what answers and callbacks tell of them, whatever the order."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from receiver.database.tables.messages import message_template, sent_message
from receiver.domain.callback import Callback
from receiver.domain.report import TemplateReview
from receiver.domain.status import Approval
from receiver.ingest.interpret import Interpreter, redact_and_read
from receiver.ingest.store import keep, keep_again
from receiver.messages.templates import mirror
from receiver.messages.templates.mirror import Template
from receiver.settings.settings import Settings
from tests.kit.commands import TOKENS, Command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from sqlalchemy import Connection, Engine

NOW: Final = datetime(2026, 11, 21, 3, tzinfo=UTC)


def review(word: Approval, minute: int, template_id: str = "1") -> tuple[TemplateReview, datetime]:
    at = NOW + timedelta(minutes=minute)
    return TemplateReview(position=0, template_id=template_id, approval=word), at


def state(connection: Connection) -> list[Any]:
    table = message_template.c
    names = ("template_id", "name", "approval", "approval_at", "mirrored_at", "deleted_at")
    return list(connection.execute(select(*(table[n] for n in names)).order_by(table.template_id)))


def test_no_order_of_reviews_and_answers_matters(engine: Engine) -> None:
    answers = [
        Template(template_id="1", name=name, approval=word)
        for name, word in (("old", Approval.PENDING), ("new", Approval.UNSUBMITTED))
    ]
    steps: list[Callable[[Connection], None]] = [
        lambda c: mirror.review(c, "engagelab", [review(Approval.APPROVED, 1)]),
        lambda c: mirror.review(c, "engagelab", [review(Approval.REJECTED, 4)]),
        lambda c: mirror.review(c, "engagelab", [review(Approval.APPROVED, 4)]),
        lambda c: mirror.keep(c, "engagelab", [answers[0]], NOW + timedelta(minutes=2)),
        lambda c: mirror.keep(c, "engagelab", [answers[1]], NOW + timedelta(minutes=3)),
    ]
    ends = set()
    with engine.connect() as connection:
        for order in itertools.permutations(steps):
            for step in (*order, order[0], order[-1]):  # some of it twice
                step(connection)
            ends.add(tuple(map(tuple, state(connection))))
            connection.rollback()
    at = NOW + timedelta(minutes=4)
    assert ends == {(("1", "new", "rejected", at, NOW + timedelta(minutes=3), None),)}


def test_an_answer_after_a_review_wins_and_one_before_does_not(engine: Engine) -> None:
    with engine.begin() as connection:
        mirror.review(connection, "engagelab", [review(Approval.APPROVED, 5)])
        known = Template(template_id="1", name="a", approval=Approval.PENDING)
        mirror.keep(connection, "engagelab", [known], NOW)
        assert [(row.name, row.approval) for row in state(connection)] == [("a", "approved")]
        mirror.keep(connection, "engagelab", [known], NOW + timedelta(minutes=6))
        assert [(row.name, row.approval) for row in state(connection)] == [("a", "pending")]


def test_what_was_told_of_later_is_not_deleted(engine: Engine) -> None:
    with engine.begin() as connection:
        mirror.review(connection, "engagelab", [review(Approval.APPROVED, 5, "new")])
        mirror.keep(connection, "engagelab", [Template(template_id="old")], NOW)
        mirror.keep(connection, "other", [Template(template_id="old")], NOW)
        ids = mirror.known_ids(connection, "engagelab")
        assert ids == {"new", "old"}
        assert mirror.drop(connection, "engagelab", ids, NOW + timedelta(minutes=1)) == 1
        assert mirror.known_ids(connection, "engagelab") == {"new"}
        assert mirror.known_ids(connection, "other") == {"old"}


def hook(word: Any, itime: int | None, template_id: Any = 7) -> Callback:
    data = {"template_id": template_id, "approval_status": word, "approval_message": "why"}
    status = {"message_status": "template_approval", "status_data": data}
    body = json.dumps({"message_id": "", "to": "", "itime": itime, "status": status}).encode()
    return Callback(provider="engagelab", method="POST", body=body, received_at=NOW)


def test_callbacks_keep_the_mirror_in_the_same_transaction(engine: Engine) -> None:
    interpreter = Interpreter.from_settings(Settings())

    def read(callback: Callback) -> Any:
        return redact_and_read(callback, interpreter, "drop")

    later = int(NOW.timestamp() * 1000) + 1
    with engine.connect() as connection:
        keep(connection, [read(hook("1", later)), read(hook("0", later - 5))])
        assert [row.approval for row in state(connection)] == ["approved"]
        again = read(hook("-1", None))  # as old as its callback, which is older
        keep(connection, [again])
        assert [row.approval for row in state(connection)] == ["approved"]
        reading = read(hook("-1", later + 1))
        keep(connection, [replace(reading, reviews=())])  # as an older program would
        keep_again(connection, reading)
        assert [row.approval for row in state(connection)] == ["rejected"]
        keep(connection, [read(hook("7", later + 9)), read(hook("1", later + 9, template_id={}))])
        assert [row.approval for row in state(connection)] == ["rejected"]
        connection.rollback()
        assert state(connection) == []


# Messages


def test_the_template_of_a_message_is_recorded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    engine: Engine,
) -> None:
    command = Command(monkeypatch, tmp_path, capsys, **TOKENS, RECEIVER_DATABASE_URL=url)
    path = command.folder / "sent.csv"
    path.write_text("message_id,recipient,template_id\na,66812345678,7\nb,66812345679,\n")
    assert command("record", "engagelab", path).code == 0
    path.write_text('{"message_id": "b", "recipient": "66812345679", "template_id": "8"}\n')
    assert command("record", "engagelab", path).code == 0
    with engine.connect() as connection:
        table = sent_message.c
        found = connection.execute(select(table.message_id, table.template_id).order_by(table.id))
        assert list(map(tuple, found)) == [("a", "7"), ("b", "8")]
