"""What is left of a credit: the latest sending's answer stays, whatever is recorded how often."""

from __future__ import annotations

import itertools
import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from receiver.database.tables.messages import account_credit, sent_message
from receiver.database.transactions import retry
from receiver.messages.recording import record
from receiver.messages.submitted import submission
from tests.ingest.test_store import deadlocks, together
from tests.kit.commands import Command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from sqlalchemy import Engine

    from tests.conftest import Databases

THEN: Final = datetime(2026, 11, 21, 3, tzinfo=UTC)


def answer(number: int, left: object, **more: Any) -> dict[str, Any]:
    """Return an answer of API 2.0 for one message."""
    good = {"number": "66812345678", "message_id": f"m{number}", "used_credit": 1}
    return {
        "remaining_credit": left,
        "credit_type": "corporate",
        "phone_number_list": [good],
    } | more


def send(engine: Engine, response: object, **common: Any) -> None:
    said = submission({"provider": "thaibulksms", "response": response, **common})
    sent = said.sent_messages(UTC)

    def once() -> None:
        with engine.begin() as connection:
            record(connection, "thaibulksms", sent)

    retry(once, attempts=1000)


def kept(engine: Engine) -> dict[tuple[str, str], tuple[Decimal, datetime]]:
    with engine.connect() as connection:
        rows = connection.execute(select(account_credit)).all()
    assert {row.provider for row in rows} <= {"thaibulksms"}
    return {(row.account, row.credit_type): (row.remaining, row.seen_at) for row in rows}


def at(minute: int) -> str:
    return (THEN + timedelta(minutes=minute)).isoformat()


def test_the_latest_sending_stays_in_any_order(engine: Engine) -> None:
    """Of two at one time, the one that left less."""
    said = [(answer(1, 10), at(1)), (answer(2, 8.5), at(3)), (answer(3, 9), at(3)),
            (answer(4, 500), at(2))]  # fmt: skip
    for order in itertools.permutations(said):
        with engine.begin() as connection:
            connection.execute(account_credit.delete())
            connection.execute(sent_message.delete())
        for response, sent_at in (*order, *order[:2]):
            send(engine, response, sent_at=sent_at)
        left = Decimal("8.5"), THEN + timedelta(minutes=3)
        assert kept(engine) == {("", "corporate"): left}


def test_the_same_again_changes_nothing(engine: Engine) -> None:
    first, second = answer(1, 10), answer(2, 20)  # something was bought between the two
    send(engine, first)
    (before,) = kept(engine).values()
    send(engine, first)
    assert list(kept(engine).values()) == [before]
    send(engine, second)
    (after,) = kept(engine).values()
    assert after[0] == Decimal(20)
    assert abs(after[1] - datetime.now(UTC)) < timedelta(minutes=1)
    send(engine, first)
    assert list(kept(engine).values()) == [after]


def test_what_is_scheduled_does_not_count_as_later(engine: Engine) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    send(engine, answer(1, 10), sent_at=tomorrow.isoformat())
    ((_, seen_at),) = kept(engine).values()
    assert seen_at < tomorrow - timedelta(hours=23)
    while datetime.now(UTC) - seen_at < timedelta(milliseconds=2):
        pass
    send(engine, answer(2, 12))
    ((left, _),) = kept(engine).values()
    assert left == Decimal(12)


def test_accounts_and_kinds_of_credit_are_kept_apart(engine: Engine) -> None:
    queue = "<QUEUE><Msisdn>0812345678</Msisdn><Status>{}</Status><Transaction>{}</Transaction>"
    queue += "<RemainCredit>{}</RemainCredit></QUEUE>"
    send(engine, answer(1, 10), sent_at=at(1))
    send(engine, answer(2, -3, credit_type="standard"), sent_at=at(1))
    send(engine, answer(3, "7.12345"), sent_at=at(1), account="otp")
    old = f"<SMS>{queue.format(1, 'a', '5')}{queue.format(0, 'b', '4.5')}</SMS>"
    send(engine, old, sent_at=at(1))
    assert {key: left for key, (left, _) in kept(engine).items()} == {
        ("", "corporate"): Decimal(10),
        ("", "standard"): Decimal(-3),
        ("otp", "corporate"): Decimal("7.1234"),
        ("", ""): Decimal("4.5"),
    }


def test_refusals_tell_it_too(engine: Engine) -> None:
    refused = {"phone_number_list": [], "bad_phone_number_list": [{"number": "1", "message": "x"}]}
    send(engine, answer(1, 10) | refused, sent_at=at(1))
    assert list(kept(engine).values()) == [(Decimal(10), THEN + timedelta(minutes=1))]


def test_what_cannot_be_read_costs_no_message(engine: Engine) -> None:
    for left in (None, "NaN", "much", [1], 10**9, True):
        send(engine, answer(1, left))
    assert kept(engine) == {}
    with engine.connect() as connection:
        assert len(connection.execute(select(sent_message.c.id)).all()) == 1


def test_a_file_of_answers(
    url: str,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    receiver = Command(monkeypatch, tmp_path, capsys, RECEIVER_DATABASE_URL=url)
    lines = [json.dumps(answer(number, 1000 - number)) for number in range(700)]
    (tmp_path / "answers.jsonl").write_text("\n".join(reversed(lines)))
    given = ("answers.jsonl", "--sent-at", at(0), "--account", "otp")
    for _ in range(2):
        assert receiver("record", "thaibulksms", *given).code == 0
        assert kept(engine) == {("otp", "corporate"): (Decimal(301), THEN)}


def test_several_receivers_at_once(databases: Databases) -> None:
    engine = databases.open(databases.make("postgresql"))
    said = [
        (answer(n, 1000 - n // 2), {"sent_at": at(n // 2), "account": ("", "otp")[n % 2]})
        for n in range(40)
    ]

    def receiver(number: int) -> Callable[[], object]:
        mine = random.Random(number).sample(said, len(said))

        def all_of_it() -> None:
            for response, common in mine:
                send(engine, response, **common)

        return all_of_it

    together([receiver(number) for number in range(6)])
    left = Decimal(981), THEN + timedelta(minutes=19)
    assert kept(engine) == {("", "corporate"): left, ("otp", "corporate"): left}
    assert deadlocks(engine) == 0
