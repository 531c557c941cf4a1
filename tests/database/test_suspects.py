"""suspect_report: what a stranger who has learned a URL would make up is seen, with its reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import Engine, text

from receiver.database import schema
from receiver.database.tables.callbacks import delivery_report
from receiver.settling import settle
from tests.kit.commands import process
from tests.maintenance.test_rebuild import rows
from tests.maintenance.test_retention import NOW, receive, send

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Databases

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


def told(
    engine: Engine, id_: str, word: str, done: datetime | None, came: datetime | None = None
) -> None:
    """Receive a report of ThaiBulkSMS, which was done at a time and came at another."""
    time = f"&Time={int(done.timestamp())}" if done else ""
    receive(engine, f"Transaction={id_}&Status={word}{time}", came or done or NOW)


def suspects(engine: Engine, where: str = "") -> list[tuple[Any, ...]]:
    settle.settle_all(engine)
    query = f"SELECT reason, coalesce(message_id, transaction_id) FROM suspect_report {where}"
    with engine.connect() as connection:
        return sorted(map(tuple, connection.execute(text(query))))


def test_honest_reports_are_not_suspect(engine: Engine) -> None:
    for n in range(3):
        send(engine, f"m{n}", NOW - 3 * DAY, transaction_id="bulk")
        told(engine, f"m{n}", "Sent", NOW - 3 * DAY)
        told(engine, f"m{n}", "delivery", NOW - 2 * DAY)
    told(engine, "m0", "delivery", NOW - HOUR)  # again, and later
    told(engine, "m1", "expired", NOW - 2 * DAY + HOUR)
    told(engine, "m2", "sent", NOW)
    # Clocks differ a little, and a record may come a little late.
    send(engine, "late", NOW - DAY)
    told(engine, "late", "delivery", NOW - DAY - timedelta(minutes=9))
    told(engine, "m2", "delivery", NOW - DAY + timedelta(minutes=9), NOW - DAY)
    # Which of the three it is for cannot be said, but it is for one of them.
    told(engine, "bulk", "delivery", NOW - DAY)
    told(engine, "not recorded yet", "delivery", datetime.now(UTC))
    assert suspects(engine) == []


def test_an_id_never_sent(engine: Engine) -> None:
    told(engine, "forged", "delivery", NOW - HOUR)
    receive(engine, b'{"details": [{"messageId": "a", "status": {"name": "DELIVERED"}}]}',
            NOW - HOUR, "ants")  # fmt: skip
    assert suspects(engine) == []  # nobody records what is sent with either
    send(engine, "real", NOW - HOUR)
    told(engine, "forged too", "delivery", None, NOW - HOUR)
    assert suspects(engine) == [("never sent", "forged"), ("never sent", "forged too")]
    send(engine, "forged", NOW - HOUR)  # it was recorded late
    assert suspects(engine) == [("never sent", "forged too")]


@pytest.mark.parametrize(("first", "second"), [("delivery", "failed"), ("expired", "delivery")])
def test_a_final_status_that_changes_after_days(engine: Engine, first: str, second: str) -> None:
    for id_, after in (("quick", 1), ("late", 49)):
        send(engine, id_, NOW - 9 * DAY)
        told(engine, id_, first, NOW - 9 * DAY)
        told(engine, id_, second, NOW - 9 * DAY + after * HOUR)
        told(engine, id_, "sent", NOW)
    assert suspects(engine) == [("changed after days", "late")]
    (found,) = [r for r in rows(engine, delivery_report) if r["provider_status"] == second][1:]
    with engine.connect() as connection:
        said = connection.execute(text("SELECT * FROM suspect_report")).mappings().one()
    assert {name: said[name] for name in said if name not in {"reason", "done_at", "received_at",
            "callback_id"}} == {name: found[name] for name in said if name in found and name not in
            {"done_at", "received_at", "callback_id"}}  # fmt: skip
    assert str(said["callback_id"]) == str(found["callback_id"])


def test_a_delivery_before_its_sending_and_one_in_the_future(engine: Engine) -> None:
    for id_, at in (("early", -11), ("soon", 11), ("fine", 1)):
        send(engine, id_, NOW - DAY)
        done = NOW - DAY + timedelta(minutes=at)
        told(engine, id_, "delivery", done, NOW - DAY if at > 0 else NOW)
    told(engine, "fine", "sent", NOW + 2 * DAY, NOW)
    wanted = [("before sending", "early"), ("in the future", "fine"), ("in the future", "soon")]
    assert suspects(engine) == wanted
    since = f"WHERE received_at >= '{NOW - HOUR:%Y-%m-%d %H:%M:%S}.000Z'"
    assert suspects(engine, since) == wanted[:2]


def test_a_big_table_of_postgresql_gets_its_indexes_by_migrate_alone(
    databases: Databases, tmp_path: Path
) -> None:
    """`serve` must not hold up what writes, nor wait for minutes before it receives."""
    from alembic import command

    url = databases.empty("postgresql")
    engine = databases.open(url)
    there = text("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'ix_%_ahead'")
    with engine.begin() as connection:
        command.upgrade(schema.configuration(connection=connection, views=False), "0011")
        connection.execute(text(
            "INSERT INTO sent_message (provider, message_id, recipient, sent_at)"
            " SELECT 'ants', 'm' || n, '66812345678', now() FROM generate_series(0, 100001) AS s(n)"
        ))  # fmt: skip
    assert schema.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(there).scalar_one() == 1
        assert connection.execute(text("SELECT count(*) FROM suspect_report")).scalar_one() == 0
    # What was cut off left an index that cannot be used.
    with engine.begin() as connection:
        connection.execute(text("CREATE INDEX ix_sent_message_ahead ON sent_message (id)"))
        broken = "indexrelid = 'ix_sent_message_ahead'::regclass"
        connection.execute(text(f"UPDATE pg_index SET indisvalid = false WHERE {broken}"))
    settings = {"RECEIVER_DATABASE_URL": url}
    done = process(tmp_path, "migrate", settings=settings)
    assert done.out.splitlines()[1:] == ["Made the indexes ix_sent_message_ahead."]
    with engine.connect() as connection:
        made = text("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_sent_message_ahead'")
        assert (
            "(sent_at, done_at) WHERE (done_at < sent_at)" in connection.execute(made).scalar_one()
        )
    assert len(process(tmp_path, "migrate", settings=settings).out.splitlines()) == 1
    databases.drop(url)
