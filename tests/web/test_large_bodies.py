"""What is read back is read in portions, by commands and pages: never a day's bodies at once."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import insert, select

from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.display.body import MAX_SHOWN, readable_lines
from receiver.domain.callback import new_id
from receiver.ingest import callbacks
from receiver.messages import lookup, search
from tests.kit.commands import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.conftest import Databases

NUMBER: Final = "66812345678"
COUNT: Final = 24
SIZE: Final = 4 * 1024 * 1024
MOST: Final = 180 * 1024
"""KiB; all bodies together are 96 MiB, and a command that does nothing takes some 90."""


def fill(engine: Engine, size: int = SIZE, count: int = COUNT) -> list[str]:
    """Keep one message, and its reports in a padded callback each."""
    ids = [new_id() for _ in range(count)]
    with engine.begin() as connection:
        message = {"provider": "ants", "message_id": "m", "recipient": NUMBER,
                   "sent_at": datetime.now(UTC), "settled_at": datetime.now(UTC)}  # fmt: skip
        connection.execute(insert(sent_message).values(message))
        for n, id_ in enumerate(ids):
            body = b"{" + str(n).encode() + b" " + NUMBER.encode() + b" " * size
            connection.execute(insert(callback).values(
                id=id_, provider="ants", method="POST", body=body, outcome="unreadable",
                digest=n.to_bytes(16, "big"), redacted=False))  # fmt: skip
            connection.execute(insert(delivery_report).values(
                callback_id=id_, position=0, provider="ants", message_id="m", status="delivered",
                provider_status="DELIVERED", digest=n.to_bytes(16, "big"), sent_message_id=1,
                settled_at=datetime.now(UTC)))  # fmt: skip
    return ids


# `VmHWM` is of this program alone; what `wait` tells counts the tests' own memory, too.
MEASURED: Final = """
import atexit, pathlib, re, sys
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: pathlib.Path("taken").write_text(
    re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]))
from receiver.cli import main
main(sys.argv[1:])
"""


def memory_of(url: str, folder: Path, *args: str) -> int:
    """Run a command in a process of its own; return how many KiB it took at most."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RECEIVER_DATABASE_URL": url}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *args],
        cwd=folder, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return int((folder / "taken").read_text())


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("command", ["erase", "replay", "copy", "show", "status"])
def test_a_command_takes_what_one_portion_takes(
    engine: Engine, url: str, databases: Databases, tmp_path: Path, command: str
) -> None:
    ids = fill(engine)
    commands = {
        "erase": ["erase", "--recipient", NUMBER, "--yes"],
        "replay": ["replay"],
        "copy": ["copy", "--to", databases.make("sqlite") if command == "copy" else ""],
        "show": ["callbacks", "show", ids[0]],
        "status": ["status", "m"],
    }
    taken = memory_of(url, tmp_path, *commands[command])
    assert taken < MOST
    if command == "erase":
        with engine.connect() as connection:
            for body in connection.execute(select(callback.c.body)).scalars():
                assert NUMBER.encode() not in body
                assert len(body) > SIZE


def test_a_page_reads_what_it_shows(engine: Engine) -> None:
    fill(engine, size=100_000, count=30)
    with engine.connect() as connection:
        told = search.message(connection, "1")
        assert told
        assert len(told.callbacks) == search.MAX_BODIES
        assert sum(len(row["body"]) for row in told.callbacks) <= search.MAX_BODIES_BYTES
        for row in told.callbacks:
            assert row["length"] > 100_000
            assert row["body"].startswith(b"{")
            assert readable_lines(row["body"], row["length"])[-1].startswith(
                f"(… {row['length']} bytes in all"
            )


def test_a_callback_is_shown_by_its_head(engine: Engine) -> None:
    (id_,) = fill(engine, size=100_000, count=1)
    with engine.connect() as connection:
        whole = callbacks.kept_callback(connection, id_)
        head = callbacks.kept_callback(connection, id_, head=MAX_SHOWN)
        none = callbacks.kept_callback(connection, id_, head=0)
    assert head["body"] == whole["body"][:MAX_SHOWN]
    assert head["length"] == none["length"] == len(whole["body"])
    assert none["body"] == b""
    assert readable_lines(head["body"], head["length"]) == readable_lines(whole["body"])


def test_a_list_holds_no_bodies_and_no_queries(engine: Engine) -> None:
    fill(engine, size=10, count=3)
    with engine.connect() as connection:
        found = search.find(connection, search.UNREADABLE, search.Search())
    assert len(found.rows) == 3
    assert not {"body", "query", "digest"} & set(found.rows[0])


def test_a_look_up_ends(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MAX_TIMELINE", 10)
    fill(engine, size=1, count=8)
    with engine.connect() as connection:
        found: Any = lookup.by_id(connection, "ants", "m")
        assert not found.truncated
    with engine.begin() as connection:
        more = [{"callback_id": new_id(), "position": 0, "provider": "ants", "message_id": "m",
                 "status": "delivered", "provider_status": "D", "sent_message_id": 1,
                 "digest": (100 + n).to_bytes(16, "big")} for n in range(5)]  # fmt: skip
        connection.execute(insert(delivery_report), more)
        found = lookup.by_id(connection, "ants", "m")
    assert found.truncated
    assert found.as_json()["truncated"] is True
    assert len(found.messages[0]["timeline"]) == 10
