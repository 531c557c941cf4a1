"""Copying a database into another: everything, exactly, as often as one likes, nothing else."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Identity,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)

from receiver.database import portions, schema
from receiver.database.bulk import BulkInsert
from receiver.database.column_types import Credit, Instant, Key, RowId
from receiver.database.engine import connect, parse_url
from receiver.database.tables.base import metadata
from receiver.database.tables.callbacks import callback, callback_repeat, delivery_report
from receiver.database.tables.messages import message_template, sent_message
from receiver.database.views import VIEWS
from receiver.display import progress_bar
from receiver.maintenance import copy as copying
from receiver.maintenance import rebuild
from receiver.settling import settle
from tests.kit.commands import ROOT, Command
from tests.maintenance.test_rebuild import interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Databases

NOW: Final = datetime(2026, 11, 21, 3, 0, 0, 123000, tzinfo=UTC)
FILLED: Final = (callback, callback_repeat, delivery_report, sent_message, message_template)
WAYS: Final = (("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite"))


class Pair:
    """Two migrated databases, and the command that copies the first into the second."""

    def __init__(self, command: Command, databases: Databases, kinds: tuple[str, str]) -> None:
        self.urls = [databases.make(kind) for kind in kinds]
        self.source, self.target = (databases.open(url) for url in self.urls)
        self.command = command
        command.set(RECEIVER_DATABASE_URL=self.urls[0])

    def copy(self) -> Any:
        return self.command("copy", "--to", self.urls[1])


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Command:
    return Command(monkeypatch, tmp_path, capfd)


@pytest.fixture(params=WAYS, ids="-".join)
def pair(request: pytest.FixtureRequest, command: Command, databases: Databases) -> Iterator[Pair]:
    made = Pair(command, databases, request.param)
    fill(made.source)
    yield made
    for url in made.urls:
        databases.drop(url)


@pytest.fixture
def moved(command: Command, databases: Databases) -> Iterator[Pair]:
    """Give one pair only, from SQLite to PostgreSQL, for what is the same in every direction."""
    made = Pair(command, databases, WAYS[0])
    fill(made.source)
    yield made
    for url in made.urls:
        databases.drop(url)


def fill(engine: Engine, messages: int = 30) -> None:
    """Put rows into every table, settled and counted, with whatever is awkward in them."""
    with engine.begin() as connection:
        for n in range(messages):
            values = {
                "provider": "ants", "message_id": f"m{n}", "recipient": f"6681234{n:04}",
                "sender": ["ACME", "ร้านค้า", None][n % 3], "tag": ["'; --", "", None][n % 3],
                "credit": [Decimal("12345678.9012"), Decimal(0), None][n % 3],
                "sent_at": NOW + timedelta(hours=n), "reference": "x" * 200,
            }  # fmt: skip
            connection.execute(insert(sent_message), values)
            key = str(UUID(int=(messages - n) << 64))
            body = bytes(range(256)) * (n % 3)
            kept = {"method": "POST", "body": body, "outcome": "read", "provider": "ants"}
            connection.execute(insert(callback), kept | {"id": key, "redacted": n % 2 == 0})
            stated = {
                "callback_id": key, "position": 0, "provider": "ants", "message_id": f"m{n}",
                "provider_status": "DELIVERED", "status": "delivered", "credit": Decimal("0.1"),
                "digest": n.to_bytes(16, "big"), "done_at": NOW + timedelta(hours=n, seconds=9),
            }  # fmt: skip
            connection.execute(insert(delivery_report), stated)
        # The last ids there were, which nothing may have again.
        for table in (sent_message, delivery_report):
            last = select(func.max(table.c.id)).scalar_subquery()
            connection.execute(delete(table).where(table.c.id == last))
        again = {"id": str(UUID(int=1)), "callback_id": str(UUID(int=2)), "received_at": NOW}
        connection.execute(insert(callback_repeat), again)
        connection.execute(insert(message_template), {"provider": "ants", "template_id": "t"})
    settle.settle_all(engine)


def rows(engine: Engine, table: Table) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(map(str, row)) for row in connection.execute(select(table))]


def changes(engine: Engine) -> rebuild.Rebuilt:
    return rebuild.rebuild(engine, interpreter(), dry_run=True)


def test_everything_is_copied_and_works_there(pair: Pair) -> None:
    done = pair.copy()
    assert done.code == 0, done.err
    assert done.out.endswith("Both databases hold the same.\n")
    for table in metadata.tables.values():
        assert sorted(rows(pair.target, table)) == sorted(rows(pair.source, table))
    assert all(rows(pair.target, table) for table in FILLED)
    with pair.source.connect() as ours, pair.target.connect() as theirs:
        for view in set(VIEWS) - {"unfinished_message"}:  # which says how old it is now
            query = text(f"SELECT count(*) FROM {view}")
            assert theirs.execute(query).scalar() == ours.execute(query).scalar(), view
    assert settle.settle_all(pair.target) == 0
    assert not changes(pair.target).changed_messages
    assert changes(pair.target).changed_rollups == 0


def test_the_next_id_is_one_that_never_was(pair: Pair) -> None:
    assert pair.copy().code == 0
    given = []
    for engine in (pair.source, pair.target):
        with engine.begin() as connection:
            for table in (sent_message, delivery_report, message_template):
                values = {
                    "provider": "ants", "message_id": "new", "template_id": "new",
                    "recipient": "66812345678", "callback_id": str(UUID(int=3)), "position": 0,
                    "provider_status": "x", "status": "accepted", "digest": b"x" * 16,
                }  # fmt: skip
                known = {name: values[name] for name in table.columns.keys() & values.keys()}
                made = connection.execute(insert(table).returning(table.c.id), known)
                given.append(made.scalar_one())
    assert given[:3] == given[3:] == [31, 31, 2]


def test_again_changes_nothing(pair: Pair) -> None:
    first = pair.copy()
    before = {name: rows(pair.target, table) for name, table in metadata.tables.items()}
    again = pair.copy()
    assert (again.code, again.out) == (0, first.out)
    assert {name: rows(pair.target, table) for name, table in metadata.tables.items()} == before


def test_what_was_cut_off_goes_on(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = BulkInsert.__call__, 0

    def cut(self: BulkInsert, connection: Any, rows: Any) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return real(self, connection, rows)

    monkeypatch.setattr(copying, "MAX_BATCH_ROWS", 4)
    with monkeypatch.context() as patch:
        patch.setattr(BulkInsert, "__call__", cut)
        assert pair.copy().code == 130
    done, wanted = (sum(len(rows(e, t)) for t in FILLED) for e in (pair.target, pair.source))
    assert 0 < done < wanted
    assert pair.copy().code == 0


def test_a_killed_copy_goes_on(moved: Pair) -> None:
    """A real kill of a real process, wherever it is by then."""
    fill_many(moved.source)
    started = subprocess.Popen(
        [sys.executable, "-m", "receiver", "copy", "--to", moved.urls[1]],
        cwd=moved.command.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    counted = select(func.count()).select_from(callback)
    while started.poll() is None:
        with moved.target.connect() as connection:
            if connection.execute(counted).scalar_one():
                break
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    assert moved.copy().code == 0


def fill_many(engine: Engine) -> None:
    """Add callbacks enough for a copy to take a while."""
    with engine.begin() as connection:
        values = {"provider": "ants", "method": "GET", "body": b"x" * 99, "outcome": "read"}
        keys = [str(UUID(int=n << 32)) for n in range(1, 12_000)]
        connection.execute(insert(callback), [values | {"id": key} for key in keys])


def test_a_target_with_data_of_others_is_refused_and_left_alone(pair: Pair) -> None:
    with pair.target.begin() as connection:
        theirs = {"provider": "ants", "message_id": "theirs", "recipient": "66899999999"}
        connection.execute(insert(sent_message), theirs)
    before = rows(pair.target, sent_message)
    done = pair.copy()
    assert done.code == 1
    assert "--to: sent_message holds rows" in done.sentence
    assert "receiver migrate" in done.sentence
    assert rows(pair.target, sent_message) == before
    assert rows(pair.target, callback) == []


def test_a_target_with_more_than_the_source_is_refused(pair: Pair) -> None:
    assert pair.copy().code == 0
    with pair.target.begin() as connection:
        more = {"provider": "ants", "message_id": "more", "recipient": "66899999999"}
        connection.execute(insert(sent_message), more)
    assert "--to: sent_message holds rows" in pair.copy().sentence


def test_a_source_that_changes_meanwhile_is_found_out(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def progress(what: str, total: int | None) -> Iterator[Any]:
        with progress_bar.progress(what, total) as advance:
            yield advance
        if what == "Copying":
            with pair.source.begin() as connection:
                connection.execute(update(sent_message).values(reference="changed"))

    monkeypatch.setattr(copying, "progress", progress)
    done = pair.copy()
    assert done.code == 1
    assert "sent_message has changed since it was copied" in done.sentence


@pytest.mark.parametrize("which", [0, 1])
def test_a_newer_or_older_schema_is_refused(moved: Pair, which: int) -> None:
    prefix = ("", "--to: ")[which]
    for revision, advice in (
        ("9000", "Copy with the newer program."),
        ("0001", "receiver migrate"),
    ):
        with (moved.source, moved.target)[which].begin() as connection:
            change = text(f"UPDATE {schema.VERSION_TABLE} SET version_num = :revision")
            connection.execute(change, {"revision": revision})
        done = moved.copy()
        assert done.code == 1
        assert done.sentence.startswith(f"{prefix}The database is at revision {revision}, ")
        assert advice in done.sentence


def test_a_target_without_tables_or_file(moved: Pair, databases: Databases) -> None:
    for dialect, said in (
        ("postgresql", "--to: The database has no tables yet. Run `receiver migrate`"),
        ("sqlite", "There is no database at"),
    ):
        done = moved.command("copy", "--to", databases.empty(dialect))
        assert done.code == 1
        assert said in done.sentence


def test_a_wrong_url_is_named_and_no_password_shown(moved: Pair) -> None:
    for wrong in ("mysql://root:secret-word@h/d", "postgresql://a:secret-word@h:x/d", "sqlite://"):
        done = moved.command("copy", "--to", wrong)
        assert done.code == 1
        assert done.sentence.startswith("--to: ")
        assert "secret-word" not in done.sentence
    away = moved.command("copy", "--to", "postgresql://a:secret-word@127.0.0.1:1/d")
    assert "The database cannot be used" in away.sentence
    assert "secret-word" not in away.sentence


def test_a_database_is_not_copied_into_itself(moved: Pair) -> None:
    done = moved.command("copy", "--to", moved.urls[0])
    assert "another database" in done.sentence


def test_a_row_that_postgresql_cannot_take_is_named_without_its_values(moved: Pair) -> None:
    file = str(moved.source.url.database)
    with sqlite3.connect(file) as raw:
        raw.execute("UPDATE sent_message SET reference = 'a' || char(0) || 'b' WHERE id = 7")
    raw.close()
    done = moved.copy()
    assert done.code == 1
    assert "sent_message, key 7: --to does not take this row (DataError)" in done.sentence
    assert "6681234" not in done.sentence
    with sqlite3.connect(file) as raw:
        raw.execute("UPDATE sent_message SET reference = 'b' WHERE id = 7")
    raw.close()
    assert moved.copy().code == 0


def test_a_new_table_is_copied_without_a_change(pair: Pair) -> None:
    newcomer = Table(
        "newcomer",
        metadata,
        Column("id", RowId, Identity(always=True), primary_key=True),
        Column("word", Text),
        sqlite_autoincrement=True,
    )
    worded = Table("worded", metadata, Column("word", Text, primary_key=True))
    try:
        for engine in (pair.source, pair.target):
            metadata.create_all(engine, [newcomer, worded])
        words = [{"word": word} for word in ("b", "B", "ก", "a", "_", "é", "Z")]
        with pair.source.begin() as connection:
            connection.execute(insert(newcomer), words)
            connection.execute(insert(worded), words)
        done = pair.copy()
        assert done.code == 0, done.err
        for table in (newcomer, worded):
            assert sorted(rows(pair.target, table)) == sorted(rows(pair.source, table))
        assert pair.copy().code == 0
        with pair.target.begin() as connection:
            given = connection.execute(insert(newcomer).values(word="c").returning(newcomer.c.id))
            assert given.scalar_one() == 8
    finally:
        metadata.remove(newcomer)
        metadata.remove(worded)


def test_words_are_ordered_by_their_bytes_on_both(
    moved: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests' PostgreSQL has no other order; most have."""
    said: list[str] = []
    real = Connection.execute

    def execute(self: Any, statement: Any, *args: Any, **more: Any) -> Any:
        said.append(str(statement.compile(self.engine)))
        return real(self, statement, *args, **more)

    worded = Table("worded", metadata, Column("word", Text, primary_key=True))
    try:
        for engine in (moved.source, moved.target):
            metadata.create_all(engine, [worded])
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "execute", execute)
            assert moved.copy().code == 0
    finally:
        metadata.remove(worded)
    ordered = [" ".join(s.split()) for s in said if "ORDER BY worded.word" in s]
    assert any('ORDER BY worded.word COLLATE "C"' in s for s in ordered)
    assert any('COLLATE "C"' not in s for s in ordered)  # SQLite's


def test_every_table_and_type_can_be_copied() -> None:
    """A table has a key; a type is the driver's own, or BulkInsert knows how it is written."""
    for table in metadata.tables.values():
        assert table.primary_key.columns, table.name
        for column in table.columns:
            ours = isinstance(column.type, Instant | Credit | Key)
            assert ours or column.type.python_type in {int, bool, str, bytes}, column


def test_only_seeded_tables_have_rows_from_their_making(engine: Engine) -> None:
    with engine.connect() as connection:
        held = {
            table.name
            for table in metadata.tables.values()
            if connection.execute(select(func.count()).select_from(table)).scalar_one()
        }
    assert held == copying.SEEDED
    assert inspect(engine).get_table_names()


def test_a_large_body_does_not_fill_a_batch(moved: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = BulkInsert.__call__

    def measured(self: BulkInsert, connection: Any, rows: Any) -> list[Any]:
        sizes.append(sum(len(row.get("body", b"")) for row in rows))
        return real(self, connection, rows)

    with moved.source.begin() as connection:
        connection.execute(update(callback).values(body=b"x" * 1024 * 1024))
    monkeypatch.setattr(BulkInsert, "__call__", measured)
    assert moved.copy().code == 0
    assert 1024 * 1024 <= max(sizes) <= portions.PORTION_BYTES


def test_a_terminal_sees_a_bar(moved: Pair) -> None:
    import pty

    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "receiver", "copy", "--to", moved.urls[1]],
        cwd=moved.command.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        check=True,
    )
    os.close(theirs)
    said = b""
    while b"Comparing" not in said:
        said += os.read(ours, 4096)
    os.close(ours)
    assert done.returncode == 0
    assert b"Copying" in said


def test_copying_needs_nothing_but_reading_the_source(moved: Pair) -> None:
    """A program that holds SQLite's write lock, as the move without a gap does, is no hindrance."""
    holder = connect(parse_url(moved.urls[0]))
    with holder.begin():
        assert moved.copy().code == 0
    holder.dispose()


def test_a_target_that_asks_to_try_again_is_asked_again(moved: Pair) -> None:
    """Two of three inserts end in 40001, as they may where rows are spread over machines."""
    with moved.target.begin() as connection:
        connection.execute(text("CREATE SEQUENCE trouble"))
        connection.exec_driver_sql("""
            CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('trouble') %% 3 <> 0 THEN
                    RAISE EXCEPTION USING ERRCODE = '40001';
                END IF;
                RETURN NULL;
            END $$
        """)
        for table in metadata.sorted_tables:
            connection.exec_driver_sql(
                f"CREATE TRIGGER trouble BEFORE INSERT ON {table.name}"
                " FOR EACH STATEMENT EXECUTE FUNCTION trouble()"
            )
    assert moved.copy().code == 0
    with moved.target.connect() as connection:
        assert connection.execute(text("SELECT last_value FROM trouble")).scalar_one() >= 9
