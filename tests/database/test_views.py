"""The views give the figures that docs/sql.md promises, the same on both databases, by index."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, Table, inspect, text, update

from receiver.database import views
from receiver.database.column_types import instant_text
from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import message_template, sent_message
from receiver.database.tables.statistics import delivery_rollup
from receiver.domain.status import FAILED, FINAL, Status
from receiver.statistics.delivery_rollup import Contribution
from tests.conftest import give_ids
from tests.kit.counting import count_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Databases

Row = dict[str, Any]

DAY = datetime(2025, 6, 10, tzinfo=UTC)
DIALECTS = ("sqlite", "postgresql")
MILLISECOND = timedelta(milliseconds=1)
NUMBERS = count(1)


def at(clock: str) -> datetime:
    """Return a time of that day, in UTC."""
    return datetime.fromisoformat(f"{DAY:%Y-%m-%d} {clock}+00:00")


def shown(moment: datetime) -> str:
    """Return a time as `rows` gives it."""
    return instant_text(moment)


def insert(connection: Connection, table: Table, row: Row) -> int:
    """Insert a row; return its id."""
    key = connection.execute(table.insert().values(row)).inserted_primary_key
    assert key is not None
    return int(key[0])


def send(connection: Connection, **values: Any) -> int:
    """Insert a sent message; return its id."""
    number = next(NUMBERS)
    row = {
        "provider": "ants",
        "message_id": f"m{number}",
        "recipient": "66812345678",
        "sent_at": at("03:00:00"),
        "recorded_at": at("03:00:01"),
        **values,
    }
    return insert(connection, sent_message, row)


def tell(connection: Connection, **values: Any) -> int:
    """Insert a report; return its id."""
    number = next(NUMBERS)
    row = {
        "callback_id": str(UUID(int=number)),
        "position": 0,
        "provider": "ants",
        "message_id": f"r{number}",
        "provider_status": str(values.get("status", "")).upper(),
        "received_at": at("04:00:00"),
        "digest": number.to_bytes(16, "big"),
        **values,
    }
    return insert(connection, delivery_report, row)


def decide(connection: Connection, message: int, **values: Any) -> int:
    """Insert a report that decides a message's status; return the report's id."""
    report = tell(connection, sent_message_id=message, **values)
    connection.execute(
        update(sent_message)
        .where(sent_message.c.id == message)
        .values(report_id=report, status=values["status"], done_at=values.get("done_at"))
    )
    return report


def plain(value: Any) -> Any:
    """Return a value as both databases mean it: times as text, credits and booleans as numbers."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" if value.tzinfo is None else instant_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, UUID):
        return str(value)
    return bytes(value) if isinstance(value, memoryview) else value


def rows(connection: Connection, sql: str, **values: Any) -> list[Row]:
    """Run a query; return its rows as plain values."""
    if "FROM delivery_rate" in sql or "FROM delivery_latency" in sql or "_percentile" in sql:
        count_all(connection)
    found = connection.execute(text(sql), values).mappings().all()
    return [{name: plain(value) for name, value in row.items()} for row in found]


def tuples(connection: Connection, sql: str) -> list[tuple[Any, ...]]:
    """Run a query; return its rows as tuples of plain values."""
    return [tuple(row.values()) for row in rows(connection, sql)]


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """Open a transaction: once on SQLite, once on PostgreSQL."""
    with engine.begin() as opened:
        yield opened


SENT = [column.name for column in sent_message.c if column.name not in Contribution._fields]
REPORT = [column.name for column in delivery_report.c]
STATUS = [
    *SENT, "final", "provider_status", "provider_code", "provider_description", "report_count",
    "delivery_seconds",
]  # fmt: skip
COUNTS = ["submitted", "refused", "delivered", "failed", "pending", "unknown", "silent"]
CONTRACT = {
    "message_status": STATUS,
    "message_timeline": [
        "sent_message_id", "provider", "transaction_id", "message_id", "at", "event", "status",
        "provider_status", "provider_code", "provider_description", "received_at", "repeats",
        "callback_id",
    ],
    "unmatched_report": REPORT,
    "unfinished_message": [*STATUS, "age_seconds"],
    "conflicting_message": [
        "sent_message_id", "provider", "account", "transaction_id", "message_id", "recipient",
        "status", "delivered_at", "failed_at", "failed_status",
    ],
    "delivery_rate_hourly": [
        "hour", "provider", "account", "sender", "tag", *COUNTS, "delivery_rate", "credit",
    ],
    "delivery_rate_daily": [
        "day", "provider", "account", "sender", "tag", *COUNTS, "delivery_rate", "credit",
    ],
    "delivery_latency_daily": [
        "day", "provider", "account", "sender", "delivered", "within_10s", "within_30s",
        "within_60s", "within_300s", "within_3600s", "mean_seconds",
    ],
    "delivery_percentile_daily": [
        "day", "provider", "account", "sender", "timed", "median_seconds", "p95_seconds",
    ],
    "credit_daily": [
        "day", "provider", "account", "sender", "tag", "submitted_credit", "delivered_credit",
        "failed_credit", "reported_submitted_credit", "reported_delivered_credit",
        "reported_failed_credit", "difference",
    ],
    "transaction_ledger": [
        "provider", "account", "transaction_id", *COUNTS, "unattributed_reports",
        "unattributed_delivered", "unattributed_failed",
    ],
    "template_delivery": ["provider", "template_id", "name", "approval", *COUNTS, "delivery_rate"],
    "provider_activity": [
        "provider", "account", "last_callback_at", "last_report_at", "last_recorded_at",
        "last_refused_at", "callbacks_hour", "callbacks_day", "unreadable_hour", "unreadable_day",
        "reports_hour", "reports_day", "repeats_hour", "repeats_day", "recorded_hour",
        "recorded_day", "refused_hour", "refused_day",
    ],
    "suspect_report": [
        "reason", "id", "provider", "account", "transaction_id", "message_id", "recipient",
        "status", "provider_status", "done_at", "received_at", "callback_id", "sent_message_id",
    ],
    "unreadable_callback": [column.name for column in callback.c if column.name != "body"],
}  # fmt: skip


def test_views_have_the_columns_of_the_contract(connection: Connection) -> None:
    found = inspect(connection)
    assert list(views.VIEWS) == list(CONTRACT)
    for view, columns in CONTRACT.items():
        assert [column["name"] for column in found.get_columns(view)] == columns, view


# Every way a message can stand: status, refused at sending, reported. A fresh INSERT with `error`
# has the status accepted until it is settled, and is refused all the same.
STANDINGS = [
    ("accepted", False, False, "silent"),
    ("accepted", True, False, "refused"),
    ("rejected", True, False, "refused"),
    ("unknown", False, True, "unknown"),
    ("accepted", False, True, "pending"),
    ("enroute", False, True, "pending"),
    ("enroute", True, True, "pending"),
    ("delivered", False, True, "delivered"),
    ("delivered", True, True, "delivered"),
    ("rejected", True, True, "failed"),
    *((status.value, False, True, "failed") for status in FAILED),
]


def stand(connection: Connection, standing: tuple[str, bool, bool, str], **values: Any) -> int:
    """Insert a message that stands so, and its report; return the message's id."""
    status, error, reported, _ = standing
    first = {} if reported else {"status": status}
    message = send(connection, error="bad number" if error else None, **first, **values)
    if reported:
        decide(connection, message, status=status)
    return message


@pytest.mark.parametrize("standing", STANDINGS, ids=lambda s: f"{s[3]}-{s[0]}-{s[1]:d}{s[2]:d}")
def test_each_standing_is_in_one_count(
    connection: Connection, standing: tuple[str, bool, bool, str]
) -> None:
    stand(connection, standing, transaction_id="t")
    word = standing[3]
    final = word in {"delivered", "failed", "refused"}
    assert tuples(connection, "SELECT status, final FROM message_status") == [(standing[0], final)]
    assert len(rows(connection, "SELECT * FROM unfinished_message")) == (not final)
    expected = {name: int(name in {"submitted", word}) for name in COUNTS}
    for view in ("delivery_rate_hourly", "delivery_rate_daily", "transaction_ledger"):
        assert rows(connection, f"SELECT {', '.join(COUNTS)} FROM {view}") == [expected], view


def test_statuses_are_all_tried() -> None:
    assert {status for status, _, reported, _ in STANDINGS if reported} == set(Status)


@pytest.mark.parametrize(
    ("sent", "own", "done", "seconds"),
    [
        ("03:00:00.000", None, "03:00:10.000", 10.0),
        ("03:00:00.000", None, "03:00:10.001", 10.001),
        ("03:00:00.999", None, "03:00:01.000", 0.001),
        ("03:00:00.000", None, "03:00:00.000", 0.0),
        ("03:00:00.001", None, "03:00:00.000", None),  # the provider's clock is behind
        ("03:00:00.000", None, None, None),  # it gave no time
        ("03:00:00.000", "03:00:04.500", "03:00:10.000", 5.5),  # its own sending time
        ("03:00:00.000", "02:59:50.000", "03:00:10.000", 20.0),
        ("03:00:00.000", "03:00:10.001", "03:00:10.000", None),
        ("00:00:00.000", None, "23:59:59.999", 86399.999),
    ],
)
def test_delivery_seconds(
    connection: Connection, sent: str, own: str | None, done: str | None, seconds: float | None
) -> None:
    message = send(connection, sent_at=at(sent))
    told = {"done_at": at(done) if done else None, "sent_at": at(own) if own else None}
    decide(connection, message, status="delivered", **told)
    assert tuples(connection, "SELECT delivery_seconds FROM message_status") == [(seconds,)]


def test_delivery_seconds_are_exact_for_every_millisecond(connection: Connection) -> None:
    start = datetime(2024, 2, 28, 16, 59, 59, 995000, tzinfo=UTC)  # over midnight, in a leap year
    spans = [*range(1000), 10_000, 59_999, 60_000, 86_400_000, 2 * 86_400_000 + 1, 10**10 + 7]
    numbers = range(1, len(spans) + 1)
    give_ids(connection)
    connection.execute(
        sent_message.insert(),
        [
            {
                "id": n, "provider": "ants", "message_id": f"{n}", "recipient": "66812345678",
                "sent_at": start, "status": "delivered", "report_id": n,
                "done_at": start + span * MILLISECOND,
            }
            for n, span in zip(numbers, spans, strict=True)
        ],
    )  # fmt: skip
    found = tuples(connection, "SELECT delivery_seconds FROM message_status ORDER BY id")
    assert found == [(span / 1000,) for span in spans]


@pytest.mark.parametrize("status", [s for s in Status if s != Status.DELIVERED])
def test_only_a_delivered_message_has_delivery_seconds(
    connection: Connection, status: Status
) -> None:
    decide(connection, send(connection), status=status.value, done_at=at("03:00:05"))
    assert tuples(connection, "SELECT delivery_seconds FROM message_status") == [(None,)]


def test_message_status_has_the_message_and_the_words_of_the_deciding_report(
    connection: Connection,
) -> None:
    message = send(
        connection, message_id="A", transaction_id="T", account="otp", sender="ACME",
        tag="x", reference="order-7", credit=Decimal("1.5"), changed_at=at("05:00:00"),
    )  # fmt: skip
    tell(connection, status="enroute", sent_message_id=message, provider_description="first")
    report = decide(
        connection, message, status="delivered", done_at=at("03:00:12.250"),
        provider_status="DELIVERED", provider_code="000", provider_description="to phone",
    )  # fmt: skip
    silent = send(connection, message_id="B")
    first, second = rows(connection, "SELECT * FROM message_status ORDER BY id")
    assert first == {
        "id": message, "provider": "ants", "account": "otp", "transaction_id": "T",
        "message_id": "A", "recipient": "66812345678", "sender": "ACME", "tag": "x",
        "reference": "order-7", "credit": 1.5, "sent_at": shown(at("03:00:00")),
        "recorded_at": shown(at("03:00:01")), "error": None, "refusal_key": None,
        "status": "delivered", "done_at": shown(at("03:00:12.250")), "report_id": report,
        "conflicting": 0, "changed_at": shown(at("05:00:00")), "settled_at": None, "final": 1,
        "template_id": None, "erased_at": None,
        "provider_status": "DELIVERED", "provider_code": "000",
        "provider_description": "to phone", "report_count": 2, "delivery_seconds": 12.25,
    }  # fmt: skip
    assert (second["id"], second["report_count"], second["final"]) == (silent, 0, 0)
    assert (second["provider_status"], second["delivery_seconds"]) == (None, None)


def test_a_purged_report_leaves_status_and_seconds(connection: Connection) -> None:
    decide(connection, send(connection), status="delivered", done_at=at("03:00:02"))
    connection.execute(delivery_report.delete())
    query = "SELECT status, final, provider_status, report_count, delivery_seconds"
    assert tuples(connection, f"{query} FROM message_status") == [("delivered", 1, None, 0, 2.0)]


def test_timeline_tells_the_sending_and_each_linked_report(connection: Connection) -> None:
    message = send(connection, message_id="A", transaction_id="T")
    refused = send(connection, message_id="B", error="bad number", status="rejected")
    tell(
        connection, status="enroute", sent_message_id=message, message_id="A",
        provider_status="PENDING", provider_code="102", provider_description="to operator",
        received_at=at("03:00:03"), callback_id=str(UUID(int=7)), repeats=2,
    )  # fmt: skip
    decide(
        connection, message, status="delivered", transaction_id="T", provider_status="OK",
        done_at=at("03:00:02"), received_at=at("03:00:09"), callback_id=str(UUID(int=8)),
        message_id=None,
    )  # fmt: skip
    tell(connection, status="delivered", message_id="nobody's")
    sent = [message, "ants", "T", "A", shown(at("03:00:00")), "sent", "accepted", None, None, None]
    assert [
        list(row)
        for row in tuples(connection, "SELECT * FROM message_timeline ORDER BY sent_message_id, at")
    ] == [
        [*sent, shown(at("03:00:01")), 0, None],
        [
            message, "ants", "T", None, shown(at("03:00:02")), "report", "delivered", "OK", None,
            None, shown(at("03:00:09")), 0, str(UUID(int=8)),
        ],
        [
            message, "ants", None, "A", shown(at("03:00:03")), "report", "enroute", "PENDING",
            "102", "to operator", shown(at("03:00:03")), 2, str(UUID(int=7)),
        ],
        [
            refused, "ants", None, "B", shown(at("03:00:00")), "sent", "rejected", None, None,
            "bad number", shown(at("03:00:01")), 0, None,
        ],
    ]  # fmt: skip


def test_unmatched_reports_are_those_without_a_message(connection: Connection) -> None:
    decide(connection, send(connection), status="delivered")
    alone = tell(connection, status="delivered", credit=Decimal("0.25"), repeats=3)
    assert rows(connection, "SELECT * FROM unmatched_report") == rows(
        connection, "SELECT * FROM delivery_report WHERE id = :id", id=alone
    )


def test_unfinished_messages_and_their_age(connection: Connection) -> None:
    now = datetime.now(UTC)
    silent = send(connection, sent_at=now - timedelta(hours=1))
    told = send(connection, sent_at=now - timedelta(days=2))
    decide(connection, told, status="enroute")
    send(connection, sent_at=now + timedelta(hours=1))
    decide(connection, send(connection, sent_at=now), status="expired")
    found = rows(connection, "SELECT * FROM unfinished_message ORDER BY id")
    assert [row["id"] for row in found] == [silent, told]
    assert [row["final"] for row in found] == [0, 0]
    for row, age in zip(found, (3600, 2 * 86400), strict=True):
        assert age <= row["age_seconds"] < age + 60
        assert row["age_seconds"] == round(row["age_seconds"] * 1000) / 1000
        assert {k: v for k, v in row.items() if k != "age_seconds"} in rows(
            connection, "SELECT * FROM message_status"
        )


def test_scheduled_messages_are_in_no_figure_before_their_time(connection: Connection) -> None:
    for standing in STANDINGS:
        later = datetime.now(UTC) + timedelta(hours=1)
        stand(connection, standing, sent_at=later, transaction_id="t")
    assert len(rows(connection, "SELECT * FROM message_status")) == len(STANDINGS)
    for view in (
        "unfinished_message", "delivery_rate_hourly", "delivery_rate_daily",
        "delivery_latency_daily", "credit_daily", "transaction_ledger",
    ):  # fmt: skip
        assert rows(connection, f"SELECT * FROM {view}") == [], view


def test_conflicting_messages(connection: Connection) -> None:
    send(connection)
    message = send(connection, message_id="A", transaction_id="T", account="otp", conflicting=True)
    decide(connection, message, status="delivered", done_at=at("03:00:09"))
    for status, done, received in (
        ("delivered", None, "03:00:08"),  # earliest, by the time it came
        ("enroute", "02:00:00", "02:00:00"),
        ("deleted", "03:00:20", "03:00:20"),
        ("rejected", None, "03:00:30"),  # latest
        ("expired", "03:00:30", "03:00:40"),  # as late, and goes first
        ("enroute", "09:00:00", "09:00:00"),
    ):
        done_at = at(done) if done else None
        tell(
            connection, sent_message_id=message, status=status, done_at=done_at,
            received_at=at(received),
        )  # fmt: skip
    purged = send(connection, message_id="B", conflicting=True)
    assert tuples(connection, "SELECT * FROM conflicting_message ORDER BY sent_message_id") == [
        (
            message, "ants", "otp", "T", "A", "66812345678", "delivered", shown(at("03:00:08")),
            shown(at("03:00:30")), "expired",
        ),
        (purged, "ants", "", None, "B", "66812345678", "accepted", None, None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), [(a, b) for a in FAILED for b in FAILED if a != b])
def test_failures_of_one_time_go_in_the_order_that_decides_a_status(
    connection: Connection, first: Status, second: Status
) -> None:
    message = send(connection, conflicting=True)
    for status in (first, second):
        done = at("03:00:30")
        tell(connection, sent_message_id=message, status=status.value, done_at=done)
    expected = min(first, second, key=FAILED.index)
    assert tuples(connection, "SELECT failed_status FROM conflicting_message") == [(expected,)]


def test_rates_by_bangkok_hour_and_day(connection: Connection) -> None:
    midnight = at("17:00:00")  # in Bangkok, 11 June begins
    last = midnight - MILLISECOND
    decide(connection, send(connection, sent_at=last, credit=Decimal("0.1")), status="delivered")
    decide(connection, send(connection, sent_at=last, credit=Decimal("0.2")), status="expired")
    send(connection, sent_at=last, credit=None)
    send(connection, sent_at=last, error="bad number", status="rejected")
    send(connection, sent_at=midnight, error="bad number", status="rejected")
    send(connection, sent_at=midnight, account="otp", sender="ACME", tag="x")
    decide(
        connection, send(connection, sent_at=midnight, account="otp", sender="ACME", tag="x"),
        status="unknown",
    )  # fmt: skip
    decide(
        connection, send(connection, sent_at=midnight, account="otp", sender="ACME", tag="y"),
        status="delivered",
    )  # fmt: skip
    decide(connection, send(connection, sent_at=midnight + timedelta(hours=1)), status="enroute")
    mixed = ("ants", "", None, None, 4, 1, 1, 1, 0, 0, 1, 1 / 3, 0.3)
    refused = ("ants", "", None, None, 1, 1, 0, 0, 0, 0, 0, None, None)
    campaign = ("ants", "otp", "ACME", "x", 2, 0, 0, 0, 0, 1, 1, 0.0, None)
    other = ("ants", "otp", "ACME", "y", 1, 0, 1, 0, 0, 0, 0, 1.0, None)
    pending = ("ants", "", None, None, 1, 0, 0, 0, 1, 0, 0, 0.0, None)
    assert set(tuples(connection, "SELECT * FROM delivery_rate_hourly")) == {
        ("2025-06-10 23:00:00", *mixed),
        ("2025-06-11 00:00:00", *refused),
        ("2025-06-11 00:00:00", *campaign),
        ("2025-06-11 00:00:00", *other),
        ("2025-06-11 01:00:00", *pending),
    }
    both = ("ants", "", None, None, 2, 1, 0, 0, 1, 0, 0, 0.0, None)
    assert set(tuples(connection, "SELECT * FROM delivery_rate_daily")) == {
        ("2025-06-10", *mixed),
        ("2025-06-11", *both),
        ("2025-06-11", *campaign),
        ("2025-06-11", *other),
    }
    assert rows(connection, "SELECT * FROM delivery_rate_daily WHERE day = '2025-06-10'")
    assert rows(connection, "SELECT * FROM delivery_rate_hourly WHERE hour = '2025-06-10 23:00:00'")


def test_latency_by_bangkok_day(connection: Connection) -> None:
    spans = [0, 10_000, 10_001, 30_000, 30_001, 60_000, 60_001, 300_000, 300_001, 3_600_000]
    for span in [*spans, 3_600_001]:
        message = send(connection, sender="ACME")
        done = at("03:00:00") + span * MILLISECOND
        decide(connection, message, status="delivered", done_at=done)
    decide(connection, send(connection, sender="ACME"), status="delivered")  # no time
    early = at("02:59:59.999")
    decide(connection, send(connection, sender="ACME"), status="delivered", done_at=early)
    decide(connection, send(connection, sender="ACME"), status="expired", done_at=early)
    other = send(connection, account="otp", sent_at=at("17:00:00"))
    own = at("17:00:05")
    decide(connection, other, status="delivered", sent_at=own, done_at=at("17:00:15"))
    decide(connection, send(connection), status="delivered")
    percentiles = {
        ("2025-06-10", "ants", "", "ACME", 11, 60.0, 7200.0),
        ("2025-06-11", "ants", "otp", None, 1, 10.0, 10.0),
    }
    assert set(tuples(connection, "SELECT * FROM delivery_percentile_daily")) == percentiles
    shares = [n / 11 for n in (2, 4, 6, 8, 10)]
    mean = (sum(spans) + 3_600_001) / 11 / 1000
    assert set(tuples(connection, "SELECT * FROM delivery_latency_daily")) == {
        ("2025-06-10", "ants", "", "ACME", 13, *shares, mean),
        ("2025-06-11", "ants", "otp", None, 1, 1.0, 1.0, 1.0, 1.0, 1.0, 10.0),
        ("2025-06-10", "ants", "", None, 1, None, None, None, None, None, None),
    }


def test_ledger_of_transactions(connection: Connection) -> None:
    for standing in STANDINGS:
        stand(connection, standing, transaction_id="T")
    send(connection, transaction_id="T", account="otp")
    send(connection, transaction_id="T", provider="engagelab")
    send(connection)  # of no transaction
    linked = send(connection, transaction_id="U")
    decide(connection, linked, status="delivered", transaction_id="U")
    for status, repeats in (("delivered", 0), ("delivered", 4), ("expired", 1), ("enroute", 2)):
        tell(connection, status=status, transaction_id="T", repeats=repeats)
    tell(connection, status="deleted", transaction_id="T", account="otp")
    for status, repeats in (("unknown", 0), ("delivered", 1), ("rejected", 2)):
        tell(connection, status=status, transaction_id="alone", repeats=repeats)
    tell(connection, status="delivered")
    failed = len(FAILED) + 1
    query = "SELECT * FROM transaction_ledger"
    assert set(tuples(connection, query)) == {
        ("ants", "", "T", len(STANDINGS), 2, 2, failed, 3, 1, 1, 11, 6, 2),
        ("ants", "otp", "T", 1, 0, 0, 0, 0, 0, 1, 1, 0, 1),
        ("engagelab", "", "T", 1, 0, 0, 0, 0, 0, 1, 0, 0, 0),
        ("ants", "", "U", 1, 0, 1, 0, 0, 0, 0, 0, 0, 0),
        ("ants", "", "alone", 0, 0, 0, 0, 0, 0, 0, 6, 2, 3),
    }
    one = f"{query} WHERE provider = 'ants' AND account = 'otp' AND transaction_id = 'T'"
    assert len(rows(connection, one)) == 1


def test_ledger_shows_reports_of_a_scheduled_transaction(connection: Connection) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    send(connection, transaction_id="T", sent_at=later)
    tell(connection, status="enroute", transaction_id="T")
    query = "SELECT submitted, silent, unattributed_reports FROM transaction_ledger"
    assert tuples(connection, query) == [(0, 0, 1)]


def test_unreadable_callbacks_have_no_body(connection: Connection) -> None:
    for number, outcome in enumerate(("read", "partial", "unreadable"), 1):
        row = {
            "id": str(UUID(int=number)), "provider": "ants", "method": "POST", "body": b"{",
            "outcome": outcome, "received_at": at("03:00:00"), "error": outcome,
            "digest": bytes(16) if outcome == "unreadable" else None, "repeats": number,
        }  # fmt: skip
        connection.execute(callback.insert().values(row))
    assert rows(connection, "SELECT * FROM unreadable_callback ORDER BY id") == [
        {
            "id": str(UUID(int=number)), "provider": "ants", "account": "",
            "received_at": shown(at("03:00:00")), "remote_addr": "", "method": "POST",
            "query": "", "content_type": "", "redacted": 0, "outcome": outcome, "error": outcome,
            "report_count": 0, "repeats": number, "digest": digest,
            "erased_at": None, "body_size": None,
        }
        for number, outcome, digest in ((2, "partial", None), (3, "unreadable", bytes(16)))
    ]  # fmt: skip


def kinds(connection: Connection, view: str, names: str) -> list[Any]:
    """Return the types of some columns of the first row, as the database calls them."""
    sqlite = connection.dialect.name == "sqlite"
    kind = "typeof({})" if sqlite else "CAST(pg_typeof({}) AS TEXT)"
    columns = ", ".join(kind.format(name) for name in names.split())
    rows(connection, f"SELECT * FROM {view}")
    return list(connection.execute(text(f"SELECT {columns} FROM {view}")).one())


def test_types_that_programs_see(connection: Connection) -> None:
    message = send(connection, credit=Decimal(1))
    decide(connection, message, status="delivered", done_at=at("03:00:10"))
    status = kinds(connection, "message_status", "sent_at final report_count delivery_seconds")
    rate = kinds(connection, "delivery_rate_hourly", "hour submitted delivery_rate credit")
    latency = kinds(connection, "delivery_latency_daily", "day delivered within_10s mean_seconds")
    if connection.dialect.name == "sqlite":
        assert status == ["text", "integer", "integer", "real"]
        assert rate == latency == ["text", "integer", "real", "real"]
        return
    double = "double precision"
    assert status == ["timestamp with time zone", "boolean", "bigint", double]
    assert rate == ["timestamp without time zone", "bigint", double, "numeric"]
    assert latency == ["date", "bigint", double, double]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)  # SQLite has no zone of its own
def test_a_session_s_time_zone_changes_no_figure(connection: Connection) -> None:
    decide(connection, send(connection, sent_at=at("17:00:00")), status="delivered")
    before = figures(connection)
    connection.execute(text("SET LOCAL TIME ZONE 'America/New_York'"))
    assert figures(connection) == before
    assert tuples(connection, "SELECT day FROM delivery_rate_daily") == [("2025-06-11",)]


@pytest.fixture(scope="module")
def pair(databases: Databases) -> Iterator[dict[str, Engine]]:
    """Connect to one database of each kind."""
    urls = {dialect: databases.make(dialect) for dialect in DIALECTS}
    yield {dialect: databases.open(url) for dialect, url in urls.items()}
    for url in urls.values():
        databases.drop(url)


# Few names, so that rows meet; times around midnight in Bangkok, to the millisecond.
NAMES = st.sampled_from([None, "x", "y"])
TIMES = st.integers(-40_000, 40_000).map(lambda n: at("17:00:00") + n * MILLISECOND)
CREDITS = st.none() | st.decimals("0", "99999999.9999", places=4)
REPORTS = st.fixed_dictionaries(
    {
        "status": st.sampled_from([status.value for status in Status]),
        "done_at": st.none() | TIMES,
        "sent_at": st.none() | TIMES,
        "received_at": TIMES,
        "repeats": st.integers(0, 3),
        "credit": CREDITS,
    }
)
LATER = datetime(2999, 1, 1, tzinfo=UTC)
MESSAGES = st.fixed_dictionaries(
    {
        "provider": st.sampled_from(["ants", "engagelab"]),
        "account": st.sampled_from(["", "otp"]),
        "transaction_id": NAMES,
        "sender": NAMES,
        "tag": NAMES,
        "credit": CREDITS,
        "sent_at": TIMES | st.just(LATER),
        "error": st.none() | st.just("bad number"),
        "conflicting": st.booleans(),
    }
)
LONE = st.fixed_dictionaries(
    {
        "provider": st.sampled_from(["ants", "engagelab"]),
        "account": st.sampled_from(["", "otp"]),
        "transaction_id": st.sampled_from(["x", "y", "z"]),
    }
)


def fill(
    connection: Connection, sent: list[tuple[Row, list[Row]]], lone: list[tuple[Row, Row]]
) -> None:
    """Make the database hold these messages, their reports (the first decides) and others."""
    give_ids(connection)
    for table in (sent_message, delivery_report, delivery_rollup):
        connection.execute(table.delete())
    number = count(1)
    messages, reports = [], []
    for n, (message, told) in enumerate(sent, 1):
        row = {**message, "id": n, "message_id": f"m{n}", "recipient": "66812345678"}
        row |= {"recorded_at": DAY, "report_id": None, "done_at": None}
        row["status"] = "rejected" if message["error"] else "accepted"
        ids = [next(number) for _ in told]
        if told:
            row |= {k: told[0][k] for k in ("status", "done_at")} | {"report_id": ids[0]}
        messages.append(row)
        ours = {k: row[k] for k in ("provider", "account", "transaction_id", "message_id")}
        reports += [
            {**ours, **report, "id": i, "sent_message_id": n}
            for i, report in zip(ids, told, strict=True)
        ]
    for ids_of, report in lone:
        reports.append({**ids_of, **report, "id": next(number), "message_id": None})
        reports[-1]["sent_message_id"] = None
    for report in reports:
        report |= {"callback_id": str(UUID(int=report["id"])), "position": 0}
        report |= {"provider_status": "S", "digest": report["id"].to_bytes(16, "big")}
    if messages:
        connection.execute(sent_message.insert(), messages)
    if reports:
        connection.execute(delivery_report.insert(), reports)


def figures(connection: Connection) -> dict[str, list[str]]:
    """Return every view's rows, in an order of their own; ages change with the clock."""
    found = {}
    for view, columns in CONTRACT.items():
        names = ", ".join(column for column in columns if column != "age_seconds")
        lines = tuples(connection, f"SELECT {names} FROM {view}")
        # SQLite gives a credit without decimals as an integer.
        numbers = (int, float)
        found[view] = sorted(
            repr([float(v) if isinstance(v, numbers) else v for v in line]) for line in lines
        )
    return found


def word_of(message: Row, told: list[Row]) -> str:
    """Say in plain Python which of the six counts a message belongs to."""
    if not told:
        return "refused" if message["error"] else "silent"
    status = told[0]["status"]
    if status == "delivered":
        return "delivered"
    if status in FINAL:
        return "failed"
    return "unknown" if status == "unknown" else "pending"


def check_counts(
    connection: Connection, sent: list[tuple[Row, list[Row]]], lone: list[tuple[Row, Row]]
) -> None:
    """Compare the counting views with a count in plain Python."""
    due = [(message, told) for message, told in sent if message["sent_at"] < LATER]
    in_transaction = [(message, told) for message, told in due if message["transaction_id"]]
    sums = ", ".join(f"CAST(coalesce(sum({c}), 0) AS INTEGER) AS {c}" for c in COUNTS)
    for view, counted in (
        ("delivery_rate_hourly", due),
        ("delivery_rate_daily", due),
        ("transaction_ledger", in_transaction),
    ):
        words = [word_of(message, told) for message, told in counted]
        expected = {"submitted": len(words)} | {word: words.count(word) for word in COUNTS[1:]}
        assert rows(connection, f"SELECT {sums} FROM {view}") == [expected], view
        parts = " + ".join(COUNTS[1:])
        assert not rows(connection, f"SELECT * FROM {view} WHERE submitted <> {parts}")
    delivered = [told[0] for _, told in due if told and told[0]["status"] == "delivered"]
    total = "SELECT CAST(coalesce(sum(delivered), 0) AS INTEGER) FROM delivery_latency_daily"
    assert tuples(connection, total) == [(len(delivered),)]
    for column, statuses in (
        ("unattributed_reports", tuple(Status)),
        ("unattributed_delivered", (Status.DELIVERED,)),
        ("unattributed_failed", FAILED),
    ):
        heard = sum(1 + report["repeats"] for _, report in lone if report["status"] in statuses)
        total = f"SELECT coalesce(sum({column}), 0) FROM transaction_ledger"
        assert tuples(connection, total) == [(heard,)], column


@settings(max_examples=30, deadline=None)
@given(
    sent=st.lists(st.tuples(MESSAGES, st.lists(REPORTS, max_size=3)), max_size=12),
    lone=st.lists(st.tuples(LONE, REPORTS), max_size=5),
)
def test_both_databases_count_every_message_once_and_give_the_same_rows(
    pair: dict[str, Engine], sent: list[tuple[Row, list[Row]]], lone: list[tuple[Row, Row]]
) -> None:
    found = {}
    for dialect, engine in pair.items():
        with engine.begin() as connection:
            fill(connection, sent, lone)
            check_counts(connection, sent, lone)
            found[dialect] = figures(connection)
    assert found["sqlite"] == found["postgresql"]


SINCE = instant_text(DAY + timedelta(minutes=1990))
OF_REFERENCE = "(SELECT id FROM sent_message WHERE reference = 'r7')"
JOINED = "sent_message m JOIN message_timeline t ON t.sent_message_id = m.id"

# What must be found by index, and by which.
PLANS = [
    (f"message_status WHERE sent_at >= '{SINCE}'", "ix_sent_message_sent_at"),
    ("message_status WHERE id = 7", "PRIMARY KEY|pk_sent_message"),
    ("message_status WHERE recipient = '66800000007'", "ix_sent_message_recipient"),
    ("message_status WHERE reference = 'r7'", "ix_sent_message_reference"),
    ("message_status WHERE message_id = 'm7'", "uq_sent_message_message_id"),
    ("message_status WHERE transaction_id = 't7'", "ix_sent_message_transaction_id_recipient"),
    (f"unfinished_message WHERE sent_at >= '{SINCE}'", "ix_sent_message_(unfinished|sent_at)"),
    ("unfinished_message", "ix_sent_message_unfinished"),
    ("unfinished_message WHERE id = 7", "PRIMARY KEY|pk_sent_message"),
    ("unfinished_message WHERE recipient = '66800000007'", "ix_sent_message_recipient"),
    ("unfinished_message WHERE reference = 'r7'", "ix_sent_message_reference"),
    ("unfinished_message WHERE message_id = 'm7'", "uq_sent_message_message_id"),
    (f"unmatched_report WHERE received_at >= '{SINCE}'", "ix_delivery_report_unmatched"),
    ("unmatched_report WHERE message_id = 'm7'", "ix_delivery_report_message_id"),
    ("conflicting_message", "ix_sent_message_conflicting"),
    ("message_timeline WHERE sent_message_id = 7 ORDER BY at", "PRIMARY KEY|pk_sent_message"),
    ("message_timeline WHERE sent_message_id = 7 ORDER BY at", "ix_delivery_report_sent_message"),
    ("message_timeline WHERE message_id = 'm7' ORDER BY at", "ix_delivery_report_message_id"),
    (f"message_timeline WHERE sent_message_id IN {OF_REFERENCE}", "ix_sent_message_reference"),
    (f"message_timeline WHERE sent_message_id IN {OF_REFERENCE}", "ix_delivery_report_sent"),
    (f"{JOINED} WHERE m.reference = 'r7' ORDER BY at", "ix_delivery_report_sent_message_id"),
    ("transaction_ledger WHERE transaction_id = 't7'", "ix_sent_message_transaction_id_recipient"),
    ("transaction_ledger WHERE transaction_id = 't7'", "ix_delivery_report_transaction_id"),
    ("transaction_ledger WHERE transaction_id IN ('t7', 't8')", "ix_sent_message_transaction_id"),
    (f"unreadable_callback WHERE received_at >= '{SINCE}'", "ix_callback_outcome"),
    *(
        (f"suspect_report {where}", index)
        for where in (f"WHERE received_at >= '{SINCE}'", "LIMIT 100")
        for index in (
            "ix_delivery_report_unmatched",
            "ix_sent_message_conflicting",
            "ix_sent_message_ahead",
            "ix_delivery_report_ahead",
        )
    ),
]


def crowd(connection: Connection) -> None:
    """Insert enough rows for indexes to be worth it."""
    give_ids(connection)
    connection.execute(
        sent_message.insert(),
        [
            {
                "id": n, "provider": "ants", "message_id": f"m{n}", "transaction_id": f"t{n // 3}",
                "recipient": f"668{n:08}", "reference": f"r{n}",
                "sent_at": DAY + timedelta(minutes=n), "conflicting": n % 500 == 1,
                "status": "delivered" if n % 4 else "accepted", "report_id": n if n % 4 else None,
            }
            for n in range(1, 2001)
        ],
    )  # fmt: skip
    connection.execute(
        delivery_report.insert(),
        [
            {
                "id": n, "callback_id": str(UUID(int=n)), "position": 0, "provider": "ants",
                "message_id": f"m{n}", "transaction_id": f"t{n // 3}", "status": "delivered",
                "provider_status": "D", "received_at": DAY + timedelta(minutes=n),
                "digest": n.to_bytes(16, "big"), "sent_message_id": n if n % 4 else None,
            }
            for n in range(1, 2001)
        ],
    )  # fmt: skip
    connection.execute(
        callback.insert(),
        [
            {
                "id": str(UUID(int=n)), "provider": "ants", "method": "POST", "body": b"",
                "received_at": DAY + timedelta(minutes=n),
                "outcome": "read" if n % 99 else "unreadable",
            }
            for n in range(1, 2001)
        ],
    )  # fmt: skip


@pytest.fixture(scope="module", params=DIALECTS)
def crowded(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    """Connect to a database of 2,000 messages, reports and callbacks."""
    url = databases.make(request.param)
    engine = databases.open(url)
    with engine.begin() as connection:
        crowd(connection)
        if request.param == "postgresql":  # its autovacuum does so by itself, SQLite never
            connection.execute(text("ANALYZE"))
    yield engine
    databases.drop(url)


def plan(engine: Engine, query: str) -> str:
    """Return the database's plan for a query."""
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN (COSTS OFF)"
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # to which 2,000 rows are soon read
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        return "\n".join(row[-1] for row in connection.execute(text(f"{explain} {query}")))


@pytest.mark.parametrize(("query", "index"), PLANS)
def test_filters_use_indexes(crowded: Engine, query: str, index: str) -> None:
    version = sqlite3.sqlite_version_info
    if crowded.dialect.name == "sqlite" and version < (3, 39) and JOINED in query:
        pytest.skip("SQLite joins into both arms of a view by index from 3.39 on")
    found = plan(crowded, f"SELECT * FROM {query}")
    assert re.search(rf"\b({index})", found), found
    # A scan may read what was found before, and an index of few rows.
    few = r"SUBQUERY|told|transaction_ledger|.*ix_sent_message_conflicting|.*_ahead|d$"
    wide = rf"^SCAN (?!{few})|Seq Scan on (?!delivery_rollup)"
    assert not re.search(wide, found, re.MULTILINE), found


def test_the_commonest_question_reads_one_range_of_one_table(crowded: Engine) -> None:
    query = "SELECT status, report_id IS NULL AS silent, count(*) FROM sent_message"
    found = plan(crowded, f"{query} WHERE sent_at >= '{SINCE}' GROUP BY 1, 2")
    assert "ix_sent_message_sent_at" in found
    assert "delivery_report" not in found


# Templates


def test_template_delivery(connection: Connection) -> None:
    for values in (
        {"template_id": "1", "name": "otp", "approval": "approved"},
        {"template_id": "2", "name": "unused", "approval": "pending"},
        {"template_id": "3", "name": "gone", "deleted_at": at("01:00:00")},
        {"template_id": "1", "provider": "ants", "name": "another's"},
    ):
        insert(connection, message_template, {"provider": "engagelab", **values})
    used = {"provider": "engagelab", "template_id": "1"}
    decide(connection, send(connection, **used), status="delivered")
    decide(connection, send(connection, **used), status="expired")
    send(connection, **used)
    send(connection, **used, error="no", status="rejected")
    send(connection, **used, sent_at=datetime.now(UTC) + timedelta(hours=1))  # scheduled
    send(connection, **used | {"template_id": "unheard"})
    send(connection, provider="engagelab")

    found = rows(connection, "SELECT * FROM template_delivery ORDER BY provider, template_id")
    assert [list(row.values()) for row in found] == [
        ["ants", "1", "another's", None, 0, 0, 0, 0, 0, 0, 0, None],
        ["engagelab", "1", "otp", "approved", 4, 1, 1, 1, 0, 0, 1, 1 / 3],
        ["engagelab", "2", "unused", "pending", 0, 0, 0, 0, 0, 0, 0, None],
        ["engagelab", "unheard", None, None, 1, 0, 0, 0, 0, 0, 1, 0.0],
    ]


@pytest.mark.parametrize(
    "view",
    [views.message_status, views.message_timeline, views.provider_activity],
    ids=lambda view: view.name,
)
def test_what_we_read_of_a_view_is_what_it_has(engine: Engine, view: Table) -> None:
    names = [column["name"] for column in inspect(engine).get_columns(view.name)]
    assert [column.name for column in view.columns] == names
