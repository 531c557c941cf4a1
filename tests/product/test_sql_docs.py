"""docs/sql.md is right: its SQL runs, and it names what is in the database, and nothing else."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, Table, inspect
from sqlalchemy.exc import IntegrityError

from receiver.database.column_types import instant_text
from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import account_credit, message_template, sent_message
from receiver.database.tables.operations import alarm
from receiver.database.tables.outbound import event_destination, event_set_aside
from receiver.domain.status import Status
from receiver.statistics import activity_rollup, refusals
from receiver.statistics.activity_rollup import ActivityKey, HourlyActivity
from receiver.statistics.bangkok import hour_of
from receiver.statistics.refusals import WRONG_TOKEN, Refusal, Times
from tests.conftest import give_ids
from tests.kit.counting import count_all

if TYPE_CHECKING:
    from tests.conftest import Databases

DIALECTS = ("sqlite", "postgresql")
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")
INTERNAL = {"receiver_state", "receiver_setting", "alarm_watch", "receiver_version"}

Rows = list[list[Any]]


class Block(NamedTuple):
    """A piece of SQL on the page, and the databases it is for."""

    line: int
    dialects: tuple[str, ...]
    sql: str


def blocks() -> list[Block]:
    """Return the page's ```sql blocks, in order."""
    found = []
    for match in re.finditer(r"^```sql *(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        line = PAGE.count("\n", 0, match.start()) + 2
        dialects = (match[1],) if match[1] else DIALECTS
        found.append(Block(line, dialects, match[2]))
    return found


BLOCKS = blocks()


def sections() -> dict[str, list[str]]:
    """Return the first cells of the column table under each heading that is a name."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE):
        if heading := re.match(r"`(\w+)`\n", part):
            table = part.partition("| column | meaning |\n|---|---|\n")[2]
            found[heading[1]] = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    return found


def documented(name: str) -> list[str]:
    """Return the columns of a table or view as the page has them, in order."""
    columns = []
    for cell in sections()[name]:
        names = re.findall(r"`(\w+)`", cell)
        if cell.startswith("every column of "):
            columns += [column for column in documented(names[0]) if column not in names[1:]]
        else:
            columns += names
    return columns


def test_every_table_and_view_is_documented_and_no_other(engine: Engine) -> None:
    found = inspect(engine)
    tables, views = set(found.get_table_names()), set(found.get_view_names())
    assert set(sections()) == tables - INTERNAL | views
    assert all(f"`{name}`" in PAGE for name in INTERNAL)
    tables_part, views_part = PAGE.split("\n## Views\n")
    assert {name for name in sections() if f"\n### `{name}`\n" in views_part} == views
    assert {name for name in sections() if f"\n### `{name}`\n" in tables_part} == tables - INTERNAL


def test_every_column_is_documented_and_no_other(engine: Engine) -> None:
    found = inspect(engine)
    for name in sections():
        columns = [column["name"] for column in found.get_columns(name)]
        assert sorted(documented(name)) == sorted(columns), name
        if name != "delivery_report":  # whose derived columns come last
            assert documented(name) == columns, name


def test_every_view_has_an_example_that_filters(engine: Engine) -> None:
    for part in re.split(r"^### ", PAGE, flags=re.MULTILINE):
        name = part.partition("\n")[0].strip("`")
        if name in inspect(engine).get_view_names():
            examples = re.findall(r"```sql\n(.*?)```", part, re.DOTALL)
            assert len(examples) == 1, name
            assert re.search(rf"FROM {name}\b", examples[0]), name
            columns = "sent_at|received_at|hour|day|transaction_id|sent_message_id|template_id"
            columns += "|provider" if name == "provider_activity" else ""  # its rows are few
            filters = rf"WHERE (\w\.)?({columns}) "
            assert re.search(filters, examples[0]), name


def test_every_status_and_group_is_explained() -> None:
    part = PAGE.partition("\n## What the words mean\n")[2].partition("\n## ")[0]
    statuses, groups = part.split("Every message is in one of six groups")
    assert set(re.findall(r"^\| `(\w+)` \|", statuses, re.MULTILINE)) == set(Status)
    counts = {"submitted", "refused", "delivered", "failed", "pending", "unknown", "silent"}
    assert set(re.findall(r"^\| `(\w+)` \|", groups, re.MULTILINE)) | {"submitted"} == counts


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#(.*?)\)", PAGE)
    assert links
    assert set(links) <= anchors


def test_there_is_sql_for_each_database() -> None:
    assert {block.dialects for block in BLOCKS} == {DIALECTS, ("sqlite",), ("postgresql",)}
    assert len(re.findall("^```sql", PAGE, re.MULTILINE)) == len(BLOCKS)


def insert(connection: Connection, table: Table, *rows: dict[str, Any]) -> None:
    for row in rows:
        connection.execute(table.insert().values(row))


def message(number: int, sent_at: datetime, **values: Any) -> dict[str, Any]:
    """Return a message that the page's examples may ask for."""
    row = {"id": number, "provider": "ants", "message_id": f"m{number}", "tag": "otp"}
    row |= {"recipient": "66812345678", "credit": Decimal(1)}
    row |= {"sent_at": sent_at, "recorded_at": sent_at}
    return row | values


def report(number: int, sent_message_id: int | None, status: str, **values: Any) -> dict[str, Any]:
    """Return a report."""
    row = {"id": number, "callback_id": str(UUID(int=number)), "position": 0, "provider": "ants"}
    row |= {"message_id": f"m{sent_message_id or number}", "provider_status": status.upper()}
    row |= {"sent_message_id": sent_message_id, "digest": number.to_bytes(16, "big")}
    return row | {"status": status} | values


def fill(connection: Connection, now: datetime) -> None:
    """Insert something for every question on the page; row ids far from those of its INSERTs."""
    earlier, then = now - timedelta(hours=2), datetime(2026, 1, 31, 3, tzinfo=UTC)
    late = earlier + timedelta(seconds=45)
    delivered = {"status": "delivered", "report_id": 1001, "done_at": late, "conflicting": True}
    transaction = "f3a1c09be2d84d5f8a77b1e6c0d94a52"
    give_ids(connection)
    insert(
        connection,
        sent_message,
        message(1001, earlier, reference="order-7", **delivered),
        message(1002, earlier, reference="order-7", transaction_id=transaction, template_id="123"),
        message(1003, earlier, status="expired", report_id=1003),
        message(1004, now, status="delivered", report_id=1004, done_at=now),
        message(1005, then, status="delivered", report_id=1005, done_at=then),
        message(1006, earlier, message_id="Zt7Qm1x0TbcR2yLkN8vWsA", error="no", status="rejected"),
    )
    insert(
        connection,
        delivery_report,
        report(1001, 1001, "delivered", received_at=now, done_at=late, repeats=2),
        report(1002, 1001, "expired", received_at=now, provider_description="too late"),
        report(1003, 1003, "expired", received_at=now, provider_code="301"),
        report(1004, 1004, "delivered", received_at=now, done_at=now),
        report(1005, 1005, "delivered", received_at=then, done_at=then),
        report(1006, None, "unknown", received_at=now, settled_at=now, transaction_id=transaction),
        report(1007, 1004, "delivered", received_at=now, done_at=now + timedelta(hours=1)),
    )
    insert(connection, message_template, {"provider": "ants", "template_id": "123"})
    left = {"provider": "thaibulksms", "account": "otp", "credit_type": "corporate"}
    insert(connection, account_credit, left | {"remaining": Decimal("4502.5"), "seen_at": now})
    row = {"id": str(UUID(int=1)), "provider": "ants", "method": "POST", "body": b"{"}
    insert(connection, callback, row | {"outcome": "unreadable", "received_at": now})
    place = ActivityKey(hour_of(now), "ants", "")
    activity_rollup.write(
        connection, {place: HourlyActivity(callbacks=1, unreadable=1, last_callback_at=now)}
    )
    refused = Refusal(place.hour, "ants", "", WRONG_TOKEN, "192.0.2.1")
    refusals.write(connection, {refused: Times(3, now)})
    stands = {"name": "settling_behind", "provider": "", "account": "", "state": "raised"}
    said = {"sentence": "Behind.", "advice": "See.", "since": now, "changed_at": now}
    insert(connection, alarm, stands | said)
    insert(connection, event_destination, {"name": "app"})
    aside = {"destination": "app", "sent_message_id": 1001, "status": 422}
    insert(connection, event_set_aside, aside | {"set_aside_at": now})
    count_all(connection)


SHOP = "INSERT INTO shop_sms VALUES ('7', 'ants', 'm1001', '66812345678', '2026-01-31')"


def plain(value: Any) -> Any:
    """Return a value as both databases mean it."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" if value.tzinfo is None else instant_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | int | float):  # and booleans
        return round(float(value), 4)
    return str(value) if isinstance(value, UUID) else value


def run(engine: Engine, now: datetime) -> dict[int, Rows]:
    """Run the page from top to bottom, verbatim; return what each SELECT gives, by its line."""
    results = {}
    with engine.connect() as connection:
        fill(connection, now)
        raw: Any = connection.connection.driver_connection
        for block in BLOCKS:
            if engine.dialect.name not in block.dialects:
                continue
            try:
                cursor = raw.cursor().execute(block.sql)
                rows = cursor.fetchall() if block.sql.startswith("SELECT") else None
            except Exception as error:
                raise AssertionError(f"docs/sql.md, line {block.line}: {error}") from error
            if rows is not None:
                # Ages change while this runs.
                names = [column[0] for column in cursor.description]
                kept = [n for n, name in enumerate(names) if name != "age_seconds"]
                results[block.line] = [[plain(row[n]) for n in kept] for row in rows]
            if "CREATE TABLE shop_sms" in block.sql:
                raw.cursor().execute(SHOP)
        connection.rollback()
    return results


@pytest.fixture(scope="module")
def results(databases: Databases) -> dict[str, dict[int, Rows]]:
    """Run the page on both databases, on the same data."""
    now, found = datetime.now(UTC), {}
    for dialect in DIALECTS:
        url = databases.make(dialect)
        found[dialect] = run(databases.open(url), now)
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_query_runs_and_finds_something(
    results: dict[str, dict[int, Rows]], dialect: str
) -> None:
    lines = [
        block.line for block in BLOCKS if dialect in block.dialects and "SELECT" in block.sql[:6]
    ]
    assert list(results[dialect]) == lines
    assert [line for line, rows in results[dialect].items() if not rows] == []


def test_a_query_for_both_databases_gives_the_same_on_both(
    results: dict[str, dict[int, Rows]],
) -> None:
    shared = [block for block in BLOCKS if block.dialects == DIALECTS]
    for line in (block.line for block in shared if block.sql.startswith("SELECT")):
        sqlite, postgresql = results["sqlite"][line], results["postgresql"][line]
        assert sorted(map(repr, sqlite)) == sorted(map(repr, postgresql)), f"line {line}"


def test_pairs_for_each_database_give_the_same(results: dict[str, dict[int, Rows]]) -> None:
    select = [block for block in BLOCKS if block.sql.startswith("SELECT")]
    pairs = [[b.line for b in select if b.dialects == (dialect,)] for dialect in DIALECTS]
    assert pairs[0]
    for first, second in zip(*pairs, strict=True):
        sqlite, postgresql = results["sqlite"][first], results["postgresql"][second]
        assert sorted(map(repr, sqlite)) == sorted(map(repr, postgresql)), f"line {first}"


def test_queries_do_not_read_whole_tables(databases: Databases) -> None:
    few = r"told|transaction_ledger|d$|reported|\(|SUBQUERY"
    few += "|template_delivery|m USING INDEX ix_sent_message_(conflicting|ahead)|receiver_state"
    few += "|provider_activity|alarm|event_destination|e$"
    engine = databases.open(databases.make("sqlite"))
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        for block in BLOCKS:
            if "CREATE TABLE shop_sms" in block.sql:
                raw.execute(block.sql)
                raw.execute("CREATE INDEX shop_sms_order_no ON shop_sms (order_no)")
            elif "sqlite" in block.dialects and block.sql.startswith("SELECT"):
                lines = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {block.sql}")]
                scans = [line for line in lines if re.match(rf"SCAN (?!{few})", line)]
                assert not scans, f"docs/sql.md, line {block.line}: {lines}"
        connection.rollback()


LONG = "x" * 201


@pytest.mark.parametrize(
    "values",
    [
        {"recipient": "0812345678"},
        {"recipient": "+66812345678"},
        {"recipient": "66 812345678"},
        {"recipient": ""},
        {"recipient": None},
        {"message_id": None},
        {"message_id": ""},
        {"message_id": LONG},
        {"message_id": None, "transaction_id": ""},
        {"transaction_id": LONG},
        {"account": LONG},
        {"sender": LONG},
        {"tag": LONG},
        {"reference": LONG},
        {"provider": ""},
        {"provider": "ANTS"},
        {"provider": None},
        {"status": "sent"},
        {"status": "delivered"},
        {"status": "rejected"},
        {"status": "delivered", "error": "no"},
    ],
    ids=repr,
)
def test_what_the_page_says_is_refused_is_refused(engine: Engine, values: dict[str, Any]) -> None:
    row = {"provider": "ants", "recipient": "66812345678", "message_id": "a"}
    with engine.connect() as connection:
        insert(connection, sent_message, row)
        connection.rollback()
        with pytest.raises(IntegrityError):
            insert(connection, sent_message, row | values)


@pytest.mark.parametrize("known", [{"message_id": "a"}, {"transaction_id": "t"}], ids=repr)
def test_the_same_message_is_refused(engine: Engine, known: dict[str, Any]) -> None:
    row = {"provider": "ants", "recipient": "66812345678"} | known
    with engine.connect() as connection:
        insert(connection, sent_message, row, row | {"recipient": "66812345679"})
        insert(connection, sent_message, row | {"account": "otp"}, row | {"provider": "engagelab"})
        with pytest.raises(IntegrityError):
            insert(connection, sent_message, row)


@pytest.mark.parametrize(
    "moment",
    ["2026-01-31 02:00:00", "2026-01-31T02:00:00.000Z", "2026-01-31 02:00:00.000+07:00", "now"],
)
def test_sqlite_refuses_times_that_are_not_written_so(databases: Databases, moment: str) -> None:
    engine = databases.open(databases.make("sqlite"))
    columns = "(provider, recipient, message_id, sent_at)"
    values = f"('ants', '66812345678', 'a', '{moment}')"
    with engine.connect() as connection, pytest.raises(IntegrityError):
        connection.exec_driver_sql(f"INSERT INTO sent_message {columns} VALUES {values}")


def test_what_is_left_out_is_as_the_page_says(engine: Engine) -> None:
    with engine.connect() as connection:
        row = {"provider": "ants", "recipient": "66812345678", "message_id": "a"}
        insert(connection, sent_message, row)
        insert(connection, sent_message, row | {"error": "no", "message_id": None})
        found = connection.execute(sent_message.select().order_by("id")).mappings().first()
        assert found is not None
        left_out = {"account": "", "status": "accepted", "conflicting": False}
        now = {"sent_at": found["sent_at"], "recorded_at": found["recorded_at"]}
        assert dict(found) == {
            **dict.fromkeys(column.name for column in sent_message.c),
            **row,
            **left_out,
            **now,
            "id": found["id"],
        }
        for moment in now.values():
            assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


def test_times_written_as_the_page_says_in_python() -> None:
    (line,) = re.findall(r"^`(datetime\.now.+)`;", PAGE, re.MULTILINE)
    written = eval(line, {"datetime": datetime, "UTC": UTC})
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z", written)
