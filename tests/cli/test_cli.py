"""The commands: what they print, how they fail, and what they never show."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pytest
import structlog
import typer
from sqlalchemy import insert, text, update

from receiver.cli import app, figures
from receiver.database import opening, schema
from receiver.database.tables.callbacks import callback
from receiver.database.tables.messages import sent_message
from receiver.display import body as legible
from receiver.display.table import Table, show
from receiver.domain.callback import Callback
from receiver.ingest.interpret import Interpreter, redact_and_read
from receiver.ingest.store import keep
from receiver.messages import lookup
from receiver.providers import PROVIDERS
from receiver.server import logs
from receiver.settings.settings import read_settings
from receiver.settling import settle
from receiver.statistics import totals
from tests.kit.commands import SECRETS, TOKENS, Command, process
from tests.kit.serving import serving

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from tests.conftest import Databases

NOW: Final = datetime.now(UTC).replace(microsecond=0)
ROOT: Final = Path(__file__).resolve().parents[2]
ID: Final = "019a6b1e-7c1b-7000-8000-0123456789ab"

# Every command, with arguments that get it as far as the database.
READING: Final[dict[str, Sequence[str]]] = {
    "record": ("ants", os.devnull),
    "receive": ("ants", os.devnull),
    "status": ("0812345678",),
    "report": (),
    "check": (),
    "callbacks": (),
    "callbacks show": (ID,),
    "events": (),
    "replay": (),
    "rebuild": (),
    "copy": ("--to", "sqlite:///other.db"),
    "purge": ("--older-than", "400d"),
    "erase": ("--recipient", "0812345678", "--yes"),
}
TEMPLATES: Final[dict[str, Sequence[str]]] = {
    "templates list": (),
    "templates show": ("1",),
    "templates sync": (),
    "templates create": ("--name", "a", "--content", "b", "--type", "code"),
    "templates submit": ("1",),
    "templates update": ("1", "--name", "a"),
    "templates delete": ("1", "--yes"),
}
ARGUMENTS: Final = READING | TEMPLATES
ALL: Final = ("serve", "migrate", "urls", *READING, "simulate", *TEMPLATES)


@pytest.fixture
def bare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run commands in an empty folder, without any setting."""
    return Command(monkeypatch, tmp_path, capsys)


@pytest.fixture
def command(bare: Command, url: str) -> Command:
    """Run commands on a migrated database, with tokens and an API key."""
    bare.set(**TOKENS, RECEIVER_DATABASE_URL=url)
    return bare


# Help and usage.


def test_the_list_of_commands_is_complete() -> None:
    group: Any = typer.main.get_command(app.app)
    groups = {"callbacks", "templates"}
    inner = {f"{outer} {name}" for outer in groups for name in group.commands[outer].commands}
    assert {*group.commands, *inner} == {*ALL, "templates", "doctor"}


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_with_an_example(bare: Command, name: str) -> None:
    done = bare(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Example: receiver {name}" in done.out
    assert "--config <path>" in done.out


def cpu_seconds(*arguments: str) -> float:
    """Return what a Python with these arguments takes of a core."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def test_help_is_quick() -> None:
    """On any machine: less than half of what it takes to import all that serves."""
    whole = min(cpu_seconds("-c", "import receiver.server.running") for _ in range(3))
    assert min(cpu_seconds("-m", "receiver", "--help") for _ in range(3)) < whole / 2


def test_help_loads_nothing_heavy() -> None:
    heavy = (
        "sqlalchemy",
        "pydantic",
        "httpx2",
        "rich",
        "starlette",
        "uvicorn",
        "alembic",
        "structlog",
    )
    code = f"import sys, receiver.cli; sys.exit(bool({set(heavy)!r} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_console_script_is_the_module() -> None:
    script = Path(sys.executable).with_name("receiver")
    done = subprocess.run([script, "urls", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout == process(Path.cwd(), "urls", "--help").out


def test_without_a_command_there_is_help(bare: Command) -> None:
    done = bare()
    assert done.code == 2
    assert "Usage: receiver" in done.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["reports"], "No such command 'reports'."),
        (["serve", "--hots", "x"], "No such option: --hots"),
        (["serve", "--port", "70000"], "Invalid value for '--port':"),
        (["serve", "--workers", "0"], "Invalid value for '--workers':"),
        (["status"], "Missing argument 'ID-OR-NUMBER'."),
        (["status", "\udcff"], "ID-OR-NUMBER: expected text in UTF-8."),
        (["report", "--since", "soon"], "--since: expected 90m, 24h, 7d, or a date"),
        (["report", "--since", "999999999d"], "--since: expected 90m"),
        (["report", "--by", "provider,colour"], "--by: expected some of: provider,account,"),
        (["report", "--format", "xml"], "--format: expected one of: table, csv, json."),
        (["callbacks", "--outcome", "good"], "--outcome: expected some of: read, partial,"),
        (["callbacks", "--limit", "0"], "Invalid value for '--limit':"),
        (["replay", ID, "--outcome", "read"], "expected ids or --outcome, not both."),
    ],
)
def test_wrong_usage_is_one_sentence(bare: Command, args: list[str], said: str) -> None:
    done = bare(*args)
    assert (done.code, done.out) == (2, "")
    assert done.sentence.startswith(said)
    assert "--help`." in done.sentence


# What goes wrong.


@pytest.mark.parametrize("name", READING)
def test_a_missing_database_is_named_and_not_made(bare: Command, name: str) -> None:
    done = bare(*name.split(), *READING[name])
    file = bare.folder / "receiver.db"
    assert (done.code, done.out) == (1, "")
    assert done.sentence == f"There is no database at {file}. Run `receiver serve` first."
    assert list(bare.folder.iterdir()) == []


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize("name", READING)
def test_a_database_without_tables_is_left_alone(
    bare: Command, databases: Databases, name: str, dialect: str
) -> None:
    url = databases.empty(dialect)
    if dialect == "sqlite":
        Path(url.removeprefix("sqlite:///")).touch()
    bare.set(RECEIVER_DATABASE_URL=url)
    done = bare(*name.split(), *READING[name])
    assert (done.code, done.out) == (1, "")
    assert done.sentence == "The database has no tables yet. Run `receiver migrate`."
    databases.drop(url)


UNUSABLE: Final = {
    "sqlite:///here.txt": "RECEIVER_DATABASE_URL: {}/here.txt is no SQLite database.",
    "sqlite:///torn.db": "The database cannot be used: DatabaseError: ",
    "sqlite:///folder": "RECEIVER_DATABASE_URL: {}/folder is a folder; expected a file.",
    "sqlite:///none/x.db": "RECEIVER_DATABASE_URL: there is no folder {}/none.",
    "sqlite://": "RECEIVER_DATABASE_URL: expected a file, sqlite:///receiver.db",
    "nonsense": "RECEIVER_DATABASE_URL: expected a URL such as sqlite:///receiver.db or",
    "mysql://me:sesame@host/db": "RECEIVER_DATABASE_URL: expected sqlite:/// or postgresql://",
    "postgresql://me:open@sesame:x@host/db": "RECEIVER_DATABASE_URL: expected a URL such as",
    "postgresql://me:sesame@127.0.0.1:1/db": "The database cannot be used: OperationalError: ",
    "postgresql://me:sesame@no.such.host.invalid/db": "The database cannot be used: ",
}


@pytest.mark.parametrize("url", UNUSABLE)
@pytest.mark.parametrize("name", ["report", "serve", "migrate"])
def test_a_database_that_cannot_be_used(bare: Command, url: str, name: str) -> None:
    (bare.folder / "here.txt").write_text("This is a text, and no database.\n")
    (bare.folder / "torn.db").write_bytes(opening.SQLITE_HEADER + b"torn" * 1000)
    (bare.folder / "folder").mkdir()
    bare.set(RECEIVER_DATABASE_URL=url)
    done = bare(name, *(["--port", "0"] if name == "serve" else []))
    assert (done.code, done.out) == (1, "")
    assert done.sentence.startswith(UNUSABLE[url].format(bare.folder))
    assert "sesame" not in done.err
    assert not (bare.folder / "receiver.env").exists()
    assert (bare.folder / "here.txt").read_text().startswith("This is a text")


@pytest.mark.parametrize("name", ["serve", "migrate"])
def test_a_file_that_cannot_be_made(bare: Command, name: str) -> None:
    bare.set(RECEIVER_DATABASE_URL="sqlite:////proc/receiver.db", **TOKENS)
    done = bare(name, *(["--port", "0"] if name == "serve" else []))
    assert done.code == 1
    assert (
        done.sentence
        == "The database cannot be used: OperationalError: unable to open database file"
    )


def test_a_role_that_is_none(bare: Command, databases: Databases) -> None:
    url = (
        databases.make("postgresql")
        .replace("postgres@", "stranger:sesame@")
        .replace("postgres:@", "stranger:sesame@")
    )
    bare.set(RECEIVER_DATABASE_URL=url)
    done = bare("report")
    assert done.code == 1
    assert "stranger" in done.sentence
    assert "sesame" not in done.err


def test_a_locked_database_is_waited_for_and_then_named(
    bare: Command, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "WRITE_LOCK_SECONDS", 0)
    url = databases.make("sqlite")
    bare.set(RECEIVER_DATABASE_URL=url)
    (bare.folder / "a.csv").write_text("message_id,recipient\na,66812345678\n")
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    done = bare("record", "ants", "a.csv")
    assert (done.code, done.out) == (1, "recorded 0, repeated 0, rejected 0, bad 0\n")
    assert done.sentence == "The database cannot be used: OperationalError: database is locked"
    assert bare("report").code == 0  # whoever only reads does not wait
    holder.close()


@pytest.mark.parametrize("name", ALL)
def test_settings_that_cannot_be_read(bare: Command, name: str) -> None:
    args = (*name.split(), *ARGUMENTS.get(name, ()))
    (bare.folder / "receiver.env").mkdir()
    assert "receiver.env: the file cannot be read: Is a directory." in bare(*args).sentence
    (bare.folder / "receiver.env").rmdir()
    (bare.folder / "receiver.env").write_bytes(b"\xff\xfe\x00")
    assert bare(*args).sentence == "receiver.env: expected a text file of NAME=value lines."
    (bare.folder / "receiver.env").write_text("RECEIVER_ANTS_TOKEN=sesame\n")
    done = bare(*args)
    assert done.code == 1
    assert done.sentence == "RECEIVER_ANTS_TOKEN: no such setting. Is it misspelt?"
    assert [path.name for path in bare.folder.iterdir()] == ["receiver.env"]


@pytest.mark.parametrize("name", [n for n in ALL if n != "serve"])
def test_a_settings_file_that_is_named_must_be_there(bare: Command, name: str) -> None:
    done = bare(*name.split(), *ARGUMENTS.get(name, ()), "--config", "other.env")
    assert (done.code, done.sentence) == (1, "other.env: no such file.")


def test_another_settings_file(bare: Command, databases: Databases) -> None:
    url = databases.make("sqlite")
    (bare.folder / "other.env").write_text(f"RECEIVER_DATABASE_URL={url}\n")
    for name in ("report", "callbacks", "rebuild"):
        assert bare(name, "--config", "other.env").code == 0
    missing = f"There is no callback {ID}."
    assert bare("callbacks", "show", ID, "--config", "other.env").sentence == missing
    assert bare("callbacks", "--config", "other.env", "show", ID).sentence == missing


def test_a_mistake_of_ours_shows_no_values(bare: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ValueError("66812345678")

    monkeypatch.setattr("receiver.settings.callback_urls", fails)
    done = bare("urls")
    assert done.code == 1
    assert done.sentence.startswith("Something went wrong: ValueError in fails:")
    assert "668" not in done.err


def test_ctrl_c_is_no_traceback(bare: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("receiver.settings.callback_urls", interrupted)
    done = bare("urls")
    assert (done.code, done.sentence) == (130, "interrupted.")


@pytest.mark.parametrize(
    ("args", "code"),
    [(("report", "--format=json"), 0), (("report", "--help"), 0), (("record", "ants", "a.csv"), 1)],
)
def test_nobody_reads_to_the_end(
    databases: Databases, tmp_path: Path, args: Sequence[str], code: int
) -> None:
    (tmp_path / "a.csv").write_text("nonsense")
    outlet, inlet = os.pipe()
    os.close(outlet)
    settings = {"RECEIVER_DATABASE_URL": databases.make("sqlite"), "PYTHONPATH": str(ROOT)}
    settings |= {"PYTHONUNBUFFERED": ""}  # what is not full yet is written at the end
    with os.fdopen(inlet, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "receiver", *args],
            cwd=tmp_path,
            env=os.environ | settings,
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == code
    assert done.stderr == b"" or done.stderr.startswith(b"a.csv:1: expected a header row")
    assert done.stderr.count(b"\n") == code


# urls


def test_urls_are_whole_and_say_where_they_go(bare: Command) -> None:
    bare.set(
        RECEIVER_PUBLIC_URL="https://sms.example.com/in/",
        RECEIVER_THAIBULKSMS_TOKENS="one,otp:two%2Fthree",
        RECEIVER_ANTS_TOKENS="four",
        RECEIVER_ENGAGELAB_TOKENS="five",
    )
    done = bare("urls")
    assert (done.code, done.err) == (0, "")
    where = "  where: Webhook URL of the API key, at https://dashboard.thaibulksms.com/developer-settings/"
    expected = [
        "ThaiBulkSMS",
        "  https://sms.example.com/in/callbacks/thaibulksms/one",
        where,
        "",
        "ThaiBulkSMS (account otp)",
        "  https://sms.example.com/in/callbacks/thaibulksms/two%2Fthree",
        where,
        "",
        "ANTS",
        "  https://sms.example.com/in/callbacks/ants/four",
        "  where: `notifyUrl` of each send call, with `notifyContentType` application/json",
        "",
        "EngageLab",
        "  https://sms.example.com/in/callbacks/engagelab/five",
        "  where: " + PROVIDERS["engagelab"].REGISTER,
    ]
    assert done.out.splitlines()[: len(expected)] == expected


LOOPBACK: Final = "no provider can reach a loopback address; set RECEIVER_PUBLIC_URL"
HTTP: Final = "http shows the token and the phone numbers to every network between"


@pytest.mark.parametrize(
    ("public", "expected"),
    [
        ("https://sms.example.com", []),
        ("http://sms.example.com", [HTTP]),
        ("https://localhost:8443", [LOOPBACK]),
        ("http://127.0.0.1", [LOOPBACK, HTTP]),
        ("https://[::1]/x", [LOOPBACK]),
        ("https://0.0.0.0", [LOOPBACK]),
        ("https://receiver.localhost.", [LOOPBACK]),
        (None, [LOOPBACK, HTTP]),
    ],
)
def test_urls_warn(bare: Command, public: str | None, expected: list[str]) -> None:
    bare.set(**TOKENS, **({"RECEIVER_PUBLIC_URL": public} if public else {}))
    said = [line for line in bare("urls").out.splitlines() if "warning" in line]
    assert said == [f"  warning: {warning}" for warning in expected * len(PROVIDERS)]


@pytest.mark.parametrize(("length", "warned"), [(150, False), (151, True)])
def test_only_ants_has_a_longest_url(bare: Command, length: int, warned: bool) -> None:
    token = "x" * (length - len("https://sms.example.com/callbacks/ants/"))
    bare.set(
        RECEIVER_PUBLIC_URL="https://sms.example.com",
        RECEIVER_THAIBULKSMS_TOKENS="x" * 300,
        RECEIVER_ANTS_TOKENS=token,
    )
    said = [line for line in bare("urls").out.splitlines() if "warning" in line]
    too_long = (
        f"  warning: {length} characters, and ANTS takes at most 150;"
        " shorten RECEIVER_PUBLIC_URL or the token"
    )
    assert said == ([too_long] if warned else [])


def test_urls_name_a_provider_without_a_token(bare: Command) -> None:
    """As a settings file lacks it that was written before there was that provider."""
    (bare.folder / "receiver.env").write_text("RECEIVER_ANTS_TOKENS=four\n")
    said = bare("urls").out.splitlines()
    assert said[0] == "ANTS"
    assert said[-len(PROVIDERS) :] == [
        "",
        *(
            f"{provider.TITLE} has no token, so its callbacks are refused; where you use it, set"
            f" RECEIVER_{name.upper()}_TOKENS to a secret of your own."
            for name, provider in PROVIDERS.items()
            if name != "ants"
        ),
    ]
    told = [line for line in bare("doctor").out.splitlines() if "has no token" in line]
    assert len(told) == len(PROVIDERS) - 1
    assert all(line.startswith("ok ") for line in told)


def test_urls_without_a_token(bare: Command) -> None:
    done = bare("urls")
    assert (done.code, done.out) == (1, "")
    assert done.sentence.startswith("No token is configured.")


# status


def message(**values: object) -> dict[str, object]:
    return {"provider": "ants", "recipient": "66812345678", "sent_at": NOW} | values


def fill(engine: Engine, *messages: dict[str, object], reports: Sequence[str] = ()) -> None:
    """Record messages, and let ANTS report (`id word`) on them."""
    interpreter = Interpreter.from_settings(read_settings())
    with engine.begin() as connection:
        for one in messages:
            connection.execute(insert(sent_message), one)
        for said in reports:
            id_, _, word = said.partition(" ")
            detail = {"messageId": id_, "status": {"name": word, "code": "000"}}
            body = json.dumps({"details": [detail]}).encode()
            arrived = Callback(provider="ants", method="POST", body=body)
            keep(connection, [redact_and_read(arrived, interpreter, "drop")])
    settle.settle_all(engine)


def test_status_by_id_reference_and_number(command: Command, engine: Engine) -> None:
    fill(
        engine,
        message(message_id="m1", transaction_id="t1", reference="order-7", sender="ACME"),
        message(message_id="m2", reference="order-8", recipient="66812345679"),
        reports=("m1 PENDING", "m1 DELIVERED", "m1 DELIVERED"),
    )
    by_id = command("status", "m1")
    assert (by_id.code, by_id.err) == (0, "")
    for sought in ("t1", "order-7", "66812345678", "081-234-5678", "+66 81 234 5678"):
        assert command("status", sought) == by_id
    head, names, *events = by_id.out.splitlines()
    assert head == (
        "ants m1 to 66812345678: delivered; transaction_id t1; sender ACME; reference order-7"
    )
    assert names.split("  ")[0] == "time (Asia/Bangkok)"
    sent, pending, delivered, blank = events
    bangkok = (NOW + timedelta(hours=7)).strftime("%Y-%m-%d %H:%M:%S.000")
    assert sent.split() == [*bangkok.split(), "sent", "accepted"]
    assert pending.split()[2:6] == ["report", "enroute", "PENDING", "000"]
    assert delivered.split()[2:7] == ["report", "delivered", "DELIVERED", "000", "1"]
    assert blank == ""
    assert "\x1b" not in by_id.out


def test_status_says_what_is_odd(command: Command, engine: Engine) -> None:
    fill(
        engine,
        message(message_id="silent"),
        message(message_id="torn"),
        message(message_id=None, error="no such number", recipient="0812", status="rejected"),
        reports=("torn DELIVERED", "torn EXPIRED"),
    )
    heads = {
        sought: command("status", sought).out.splitlines()[0]
        for sought in ("silent", "torn", "0812")
    }
    assert heads == {
        "silent": "ants silent to 66812345678: accepted, no report yet",
        "torn": "ants torn to 66812345678: delivered; reported both delivered and failed",
        "0812": "ants (no id) to 0812: rejected; error no such number",
    }


def test_status_of_nothing(command: Command) -> None:
    done = command("status", "66812345678")
    assert (done.code, done.out) == (1, "")
    assert done.sentence == "No message with this id, reference or number."


def test_status_shows_reports_without_a_message(command: Command, engine: Engine) -> None:
    fill(engine, reports=("stray DELIVERED",))
    done = command("status", "stray")
    assert done.code == 1
    assert done.out.splitlines()[0] == "Reports that belong to no message we know of:"
    assert "DELIVERED 000" in done.out
    assert done.sentence == "No message with this id, reference or number."


def test_status_of_many(command: Command, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MAX_FOUND", 2)
    fill(engine, *(message(message_id=f"m{n}") for n in range(3)))
    done = command("status", "66812345678")
    assert (done.code, done.err) == (0, "There are more than 2; these are the newest.\n")
    assert done.out.count("accepted, no report yet") == 2


def test_no_provider_can_command_a_terminal(command: Command, engine: Engine) -> None:
    fill(engine, message(message_id="m1"), reports=("m1 \x1b[2J\u202e\u0085[bold]DELIVERED",))
    done = command("status", "m1")
    assert "\\x1b[2J\\u202e\\x85[bold]DELIVERED 000" in done.out
    assert not set(done.out) & {"\x1b", "\u202e", "\x85"}


# report


def test_report_counts_as_the_views_do(command: Command, engine: Engine) -> None:
    times = [NOW - timedelta(hours=hours) for hours in (0, 1, 5, 30, 200)]
    words = ("DELIVERED", "EXPIRED", "PENDING", "STRANGE", "")
    sent, reports = [], []
    for number in range(100):
        sent.append(message(
            message_id=f"m{number}", sent_at=times[number % 5], sender=("A", None)[number % 2],
            account=("", "otp")[number % 3 == 0], tag=("x", "y", None)[number % 3],
            error="no" if number % 7 == 0 else None,
            status="rejected" if number % 7 == 0 else "accepted",
        ))  # fmt: skip
        if number % 7 and (word := words[number // 5 % 5]):
            reports.append(f"m{number} {word}")
    later = message(message_id="later", sent_at=NOW + timedelta(hours=1))
    fill(engine, *sent, later, reports=reports)
    for unit, view in (("day", "delivery_rate_daily"), ("hour", "delivery_rate_hourly")):
        by = [unit, "provider", "account", "sender", "tag"]
        done = command("report", "--since", "3000d", "--by", ",".join(by), "--format", "json")
        found = json.loads(done.out)["rows"]
        with engine.connect() as connection:
            wanted = connection.execute(text(f"SELECT * FROM {view}")).mappings().all()
        assert {tuple(row.values()) for row in found} == {
            (str(row[unit]), *(row[n] for n in (*by[1:], *totals.COUNTED, "delivery_rate")))
            for row in wanted
        }
        assert sum(row["submitted"] for row in found) == 100


def test_report_since(command: Command, engine: Engine) -> None:
    for hours in (1, 23, 25, 100):
        fill(engine, message(message_id=f"m{hours}", sent_at=NOW - timedelta(hours=hours)))
    counts = {}
    midnight = (NOW + timedelta(hours=7) - timedelta(hours=25)).date().isoformat()
    for since in ("90m", "24h", "7d", midnight):
        rows = json.loads(command("report", "--since", since, "--by", "", "--format", "json").out)
        counts[since] = rows["rows"][0]["submitted"]
    assert counts == {"90m": 1, "24h": 2, "7d": 4, midnight: 3}


def test_since_a_date_is_bangkoks() -> None:
    assert figures.start("2026-11-21", NOW) == datetime(2026, 11, 20, 17, tzinfo=UTC)
    assert figures.start("2026-11-21T10:00:00Z", NOW) == datetime(2026, 11, 21, 10, tzinfo=UTC)


def report_fixture(engine: Engine) -> None:
    fill(
        engine,
        message(message_id="a", tag="=cmd|' /C calc'!A0", sender="+66"),
        message(message_id="b", tag='say "x", y', sender="@me"),
        message(message_id="c", tag="-1", sender="ปกติ"),
        message(message_id="d", error="no", status="rejected"),
        reports=(
            "a DELIVERED",
            "b STRANGE",
            'b Odd"\\ \x1b\u200b word',
            'c odd"\\ \x1b\u200b WORD',
        ),
    )


def test_report_as_csv_is_exact_and_harmless(command: Command, engine: Engine) -> None:
    report_fixture(engine)
    done = command("report", "--by", "tag,sender", "--format", "csv")
    assert done.code == 0
    assert list(csv.reader(io.StringIO(done.out))) == [
        ["tag", "sender", *totals.COUNTED, "rate"],
        ["", "", "1", "1", "0", "0", "0", "0", "0", ""],
        ["'-1", "ปกติ", "1", "0", "0", "0", "0", "1", "0", "0.0"],
        ["'=cmd|' /C calc'!A0", "'+66", "1", "0", "1", "0", "0", "0", "0", "1.0"],
        ['say "x", y', "'@me", "1", "0", "0", "0", "0", "1", "0", "0.0"],
    ]
    assert "Words we do not know" in done.err


def test_report_as_a_table(command: Command, engine: Engine) -> None:
    report_fixture(engine)
    done = command("report")
    assert (done.code, done.err) == (0, "")
    names, counts, *rest = done.out.splitlines()
    assert names.split() == ["provider", *totals.COUNTED, "rate"]
    assert counts.split() == ["ants", "4", "1", "1", "0", "0", "2", "0", "33.3%"]
    assert rest[-3:] == [
        "[ants]",
        '"odd\\"\\\\ \\u001b\\u200b word" = "unknown"  # reports: 2',
        '"strange" = "unknown"  # reports: 1',
    ]


def test_the_lines_to_paste_are_a_status_map(command: Command, engine: Engine) -> None:
    report_fixture(engine)
    lines = command("report").out.splitlines()
    start = lines.index("[ants]")
    path = command.folder / "map.toml"
    pasted = "\n".join(lines[start:]).replace('= "unknown"', '= "delivered"')
    path.write_text(pasted, "utf-8")
    command.set(RECEIVER_STATUS_MAP=str(path))
    done = command("report")
    assert "Words we do not know" not in done.out
    assert done.out.endswith("Some unknown words have a meaning by now: run `receiver rebuild`.\n")
    assert command("rebuild").code == 0
    after = command("report")
    assert after.out.splitlines()[1].split() == [
        "ants",
        "4",
        "1",
        "3",
        "0",
        "0",
        "0",
        "0",
        "100.0%",
    ]
    assert len(after.out.splitlines()) == 2
    # A word that the user calls unknown himself is none to ask about again.
    path.write_text("\n".join(lines[start:]), "utf-8")
    assert command("rebuild").code == 0
    assert len(command("report").out.splitlines()) == 2


def test_report_as_json(command: Command, engine: Engine) -> None:
    report_fixture(engine)
    document = json.loads(command("report", "--since", "2020-01-01", "--format", "json").out)
    assert document["since"] == "2019-12-31T17:00:00.000Z"
    assert document["by"] == ["provider"]
    assert document["rows"][0]["rate"] == 1 / 3
    assert document["unknown_words"] == [
        {"provider": "ants", "word": 'odd"\\ \x1b\u200b word', "reports": 2},
        {"provider": "ants", "word": "strange", "reports": 1},
    ]


def test_report_of_nothing(command: Command) -> None:
    done = command("report", "--since", "2020-01-01")
    assert (done.code, done.out) == (0, "No message was sent since 2020-01-01 00:00.\n")
    assert len(command("report", "--format", "csv").out.splitlines()) == 1
    assert json.loads(command("report", "--format", "json").out)["rows"] == []


# callbacks


def kept(engine: Engine, *bodies: bytes, **values: Any) -> list[str]:
    """Keep callbacks, one a second; return their ids."""
    interpreter = Interpreter.from_settings(read_settings())
    ids = []
    for number, body in enumerate(bodies):
        arrived = Callback(provider="ants", method="POST", body=body, **values)
        arrived = replace(arrived, received_at=NOW + timedelta(seconds=number))
        with engine.begin() as connection:
            keep(connection, [redact_and_read(arrived, interpreter, "drop")])
        ids.append(arrived.id)
    return ids


GOOD: Final = b'{"details": [{"messageId": "m1", "status": {"name": "DELIVERED"}}]}'
PARTLY: Final = b'{"details": [{"messageId": "m2", "status": {"name": "DELIVERED"}}, {}, {"a": 1}]}'
BAD: Final = b'{"details": \xe1\xe2\x1b[2J'


def test_callbacks_are_listed_newest_first(command: Command, engine: Engine) -> None:
    good, partly, bad = kept(engine, GOOD, PARTLY, BAD, account="otp")
    done = command("callbacks")
    assert (done.code, done.err) == (0, "")
    names, *lines = done.out.splitlines()
    assert names.split()[0] == "id"
    assert [line.split()[0] for line in lines] == [bad, partly, good]
    bangkok = (NOW + timedelta(hours=7)).strftime("%Y-%m-%d %H:%M:%S.000")
    assert lines[2].split() == [good, *bangkok.split(), "ants", "otp", "read", "1", "0"]
    assert "; details[2]" in lines[1]
    for args, expected in (
        (("--limit", "1"), [bad]),
        (("--outcome", "unreadable"), [bad]),
        (("--outcome", "partial,unreadable"), [bad, partly]),
        (("--outcome", "partial", "--outcome", "read"), [partly, good]),
        (("--outcome", "read"), [good]),
    ):
        lines = command("callbacks", *args).out.splitlines()[1:]
        assert [line.split()[0] for line in lines] == expected


def test_a_callback_is_shown_whole_and_safely(command: Command, engine: Engine) -> None:
    good, bad = kept(engine, GOOD, BAD, query="a=%00", remote_addr="10.0.0.1")
    head, _, body = command("callbacks", "show", good.upper()).out.partition("\n\n")
    said = dict(line.split(":", 1) for line in head.splitlines())
    assert {name: value.strip() for name, value in said.items()} == {
        "id": good, "provider": "ants", "account": "", "remote_addr": "10.0.0.1",
        "received_at": NOW.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "method": "POST", "query": "a=%00",
        "content_type": "", "redacted": "yes", "outcome": "read", "error": "",
        "report_count": "1", "repeats": "0", "digest": "", "erased_at": "", "body_size": "",
    }  # fmt: skip
    assert body == f"{GOOD.decode()}\n"
    shown = command("callbacks", "show", bad).out
    assert shown.endswith('{"details": \\xe1\\xe2\\x1b[2J\n')
    assert "unreadable" in shown


def test_a_body_comes_out_byte_for_byte(command: Command, engine: Engine) -> None:
    content = bytes(range(256))
    (id_,) = kept(engine, content)
    done = subprocess.run(
        [sys.executable, "-m", "receiver", "callbacks", "show", id_, "--body"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=command.folder,
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (content, b"")


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", ["(no body)"]),
        ("ปกติ\r\nx\ty".encode("utf-16"), ["ปกติ", "x    y"]),
        (b"\xef\xbb\xbf{}", ["{}"]),
        (
            b"\x00\x01\x02\x03abc",
            ["00000000  00 01 02 03 61 62 63                             ....abc"],
        ),
        (b"\xff\xfeabc", ["00000000  ff fe 61 62 63                                   ..abc"]),
    ],
)
def test_bodies_for_reading(content: bytes, lines: list[str]) -> None:
    assert legible.readable_lines(content) == lines


def test_a_long_body_is_cut_and_says_so() -> None:
    assert legible.readable_lines(b"x" * 100_000) == [
        "x" * 65536,
        "(… 100000 bytes in all; --body writes them)",
    ]


@pytest.mark.parametrize("name", ["callbacks show", "replay"])
def test_a_callback_that_is_none(command: Command, name: str) -> None:
    done = command(*name.split(), "nonsense")
    assert (done.code, done.sentence) == (1, "Expected a callback's id, as `callbacks` lists it.")
    done = command(*name.split(), ID)
    assert (done.code, done.sentence) == (1, f"There is no callback {ID}.")


# replay and rebuild


def test_replay_reads_again(command: Command, engine: Engine) -> None:
    fill(engine, message(message_id="m1"), message(message_id="m2"))
    partly, bad = kept(engine, PARTLY, BAD)
    with engine.begin() as connection:  # as if today's parser could read what it could not
        connection.execute(update(callback).where(callback.c.id == bad).values(body=GOOD))
    done = command("replay", "--dry-run")
    said = "callbacks 2, partial 1, read 1; new reports 1, changed reports 0"
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{said} (tried only, nothing was changed)\n"
    assert command("replay", bad, "--dry-run").out.startswith("callbacks 1, read 1; new reports 1")
    assert command("replay", "--outcome", "read").out.startswith("callbacks 0; ")
    assert command("status", "m1").out.splitlines()[0].endswith("no report yet")
    assert command("replay").out == f"{said}\n"
    assert command("status", "m1").out.splitlines()[0] == "ants m1 to 66812345678: delivered"
    assert command("replay", partly).out == (
        "callbacks 1, partial 1; new reports 0, changed reports 0\n"
    )
    assert command("callbacks", "--outcome", "unreadable").out.count("\n") == 1


def test_rebuild_says_what_changes(command: Command, engine: Engine) -> None:
    fill(engine, message(message_id="m1"), reports=("m1 ODD",))
    assert command("rebuild").out == "messages 1; changed: reports 0, links 0, messages 0\n"
    (command.folder / "map.toml").write_text('[ants]\n"odd" = "expired"\n')
    command.set(RECEIVER_STATUS_MAP="map.toml")
    for dry in (True, False):
        done = command("rebuild", *(["--dry-run"] if dry else []))
        assert (done.code, done.err) == (0, "")
        names, report, one, said = done.out.splitlines()
        assert names.split() == ["what", "provider", "from", "to", "rows", "examples"]
        assert report.split()[:5] == ["report", "ants", "unknown", "expired", "1"]
        assert one.split() == ["message", "ants", "unknown", "expired", "1", "m1"]
        tried = " (tried only, nothing was changed)" if dry else ""
        assert said == f"messages 1; changed: reports 1, links 0, messages 1{tried}"
    assert command("status", "m1").out.splitlines()[0] == "ants m1 to 66812345678: expired"


def test_what_a_status_map_would_change(command: Command, engine: Engine) -> None:
    """The numbers of thousands of messages are in it, and of three each an id that has none."""
    numbers = {f"id{n}$+6681234{n:04}": f"6681234{n:04}" for n in range(4)}
    fill(
        engine,
        *(message(message_id=name, recipient=number) for name, number in numbers.items()),
        *(message(message_id=f"m{n}") for n in range(9)),
        reports=(*(f"m{n} ODD" for n in range(9)), "m0 DELIVERED", *(f"{n} Odd" for n in numbers)),
    )
    before = command("report", "--since", "2020-01-01", "--format", "json").out
    (command.folder / "new.toml").write_text('[ants]\n"odd" = "expired"\n')
    done = command("rebuild", "--dry-run", "--status-map", "new.toml")
    assert (done.code, done.err) == (0, "")
    _, reports, messages, said = done.out.splitlines()
    assert reports.split()[:5] == ["report", "ants", "unknown", "expired", "13"]
    for kept in re.findall(r"[0-9a-f-]{36}", reports):
        assert command("callbacks", "show", kept).code == 0
    assert messages.split()[:5] == ["message", "ants", "unknown", "expired", "12"]
    assert re.findall(r"sent_message \d+", messages) == [f"sent_message {n}" for n in (1, 2, 3)]
    assert said == (
        "messages 13; changed: reports 13, links 0, messages 12 (tried only, nothing was changed)"
    )
    assert "6681234" not in done.out
    assert command("report", "--since", "2020-01-01", "--format", "json").out == before
    assert command("rebuild", "--dry-run").out.endswith(
        "messages 0 (tried only, nothing was changed)\n"
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "--status-map: the file cannot be read: No such file or directory."),
        ("[ants\n", "--status-map: expected a TOML file (at line 1, column 6)."),
        ('[ants]\n"odd" = "gone"\n', "--status-map: [ants]: expected one of: unknown, accepted"),
        ('[ant]\n"odd" = "expired"\n', "--status-map: [ant]: expected a table of one of:"),
        ('"odd" = "expired"\n', "--status-map: [odd]: expected a table of one of:"),
    ],
)
def test_a_wrong_status_map_to_try(command: Command, written: str | None, said: str) -> None:
    if written is not None:
        (command.folder / "new.toml").write_text(written)
    done = command("rebuild", "--dry-run", "--status-map", "new.toml")
    assert done.code == 2 and done.sentence.startswith(said)


def test_a_status_map_is_only_tried(command: Command) -> None:
    done = command("rebuild", "--status-map", "new.toml")
    assert done.code == 2
    assert done.sentence.startswith("--status-map: expected --dry-run, too;")


# migrate


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_migrate(bare: Command, databases: Databases, dialect: str) -> None:
    url = databases.empty(dialect)
    bare.set(RECEIVER_DATABASE_URL=url)
    head = schema.head()
    assert "CREATE TABLE" in bare("migrate", "--sql").out
    if dialect == "sqlite":
        assert not Path(url.removeprefix("sqlite:///")).exists()
    assert bare("migrate").out == f"The schema is now at revision {head}.\n"
    assert bare("migrate").out == f"The schema is already at revision {head}.\n"
    assert bare("report").code == 0
    with databases.open(url).begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    assert bare("migrate").out == "The schema is already at revision 9999.\n"
    done = bare("report")
    newer = f"receiver: The database is at revision 9999, newer than this program's {head}.\n"
    assert (done.code, done.err) == (0, newer)
    with databases.open(url).begin() as connection:
        connection.execute(text("UPDATE receiver_state SET oldest_revision = '9998'"))
    done = bare("report")
    assert done.code == 1
    assert "needs a program of revision 9998 or later" in done.sentence


# serve


class Serving:
    """A real receiver in a folder, with the settings it is given and no others."""

    def __init__(self, folder: Path, *args: str, **settings: str) -> None:
        outside = {k: v for k, v in os.environ.items() if not k.upper().startswith("RECEIVER_")}
        outside |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "receiver", "serve", "--port", "0", *args],
            cwd=folder,
            env=outside | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def greeting(self) -> str:
        """Return what it says when it is ready."""
        assert self.process.stdout is not None
        said: list[str] = []
        while not said or not said[-1].startswith("`receiver urls`"):
            said.append(self.process.stdout.readline())
            assert said[-1], self.process.communicate()
        return "".join(said)

    def stop(self, number: int) -> None:
        """Send a signal; it must end cleanly."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        assert (self.process.returncode, "Traceback" in err) == (0, False), (out, err)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def settings_of(folder: Path) -> dict[str, str]:
    lines = (folder / "receiver.env").read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_a_first_start_makes_tokens_and_shows_them_once(tmp_path: Path) -> None:
    with Serving(tmp_path) as first:  # stopped the moment it has said hello
        said = first.greeting()
        first.stop(signal.SIGTERM)
    written = settings_of(tmp_path)
    assert (tmp_path / "receiver.env").stat().st_mode & 0o777 == 0o600
    assert sorted(written) == sorted(TOKENS)
    assert len({*written.values()}) == len(TOKENS)
    assert {len(secret) for secret in written.values()} == {32}
    assert said.startswith("First start: wrote new tokens and an API key to receiver.env.")
    assert f"/callbacks/ants/{written['RECEIVER_ANTS_TOKENS']}\n" in said
    assert f"/callbacks/thaibulksms/{written['RECEIVER_THAIBULKSMS_TOKENS']}\n" in said
    with Serving(tmp_path) as second:
        said = second.greeting()
        second.stop(signal.SIGINT)
    assert f"/callbacks/ants/{written['RECEIVER_ANTS_TOKENS'][:4]}…\n" in said
    assert not any(secret in said for secret in written.values())
    assert settings_of(tmp_path) == written


def test_a_first_start_keeps_an_api_key_that_is_set(tmp_path: Path) -> None:
    with Serving(tmp_path, "--config", "my.env", RECEIVER_API_KEYS="mine-0123456789") as started:
        started.greeting()
        started.stop(signal.SIGTERM)
    assert [path.name for path in tmp_path.glob("*.env")] == ["my.env"]
    assert "RECEIVER_API_KEYS" not in (tmp_path / "my.env").read_text()


def test_no_new_tokens_beside_a_settings_file(bare: Command) -> None:
    (bare.folder / "receiver.env").write_text("RECEIVER_MIGRATE=auto\n")
    done = bare("serve", "--port", 0)
    assert (done.code, done.out) == (1, "")
    assert done.sentence.startswith("No token is configured, neither in receiver.env nor outside.")
    assert (bare.folder / "receiver.env").read_text() == "RECEIVER_MIGRATE=auto\n"
    (bare.folder / "receiver.env").unlink()
    (bare.folder / "receiver.env").symlink_to("nowhere")
    assert bare("serve", "--port", 0).sentence.startswith("No token is configured, neither in")
    assert [path.name for path in bare.folder.iterdir()] == ["receiver.env"]


def test_no_new_tokens_where_callbacks_were_received(
    bare: Command, url: str, engine: Engine
) -> None:
    bare.set(RECEIVER_DATABASE_URL=url)
    kept(engine, GOOD)
    done = bare("serve", "--port", 0)
    assert (done.code, done.out) == (1, "")
    assert done.sentence.startswith("No token is configured, but callbacks were received.")
    assert not (bare.folder / "receiver.env").exists()


def test_tokens_that_cannot_be_written(bare: Command) -> None:
    done = bare("serve", "--port", 0, "--config", "none/receiver.env")
    assert (done.code, done.out) == (1, "")
    assert " none/receiver.env cannot be written: No such file or directory. " in done.sentence


def test_a_port_in_use_changes_nothing(bare: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = bare("serve", "--port", port)
    assert (done.code, done.out) == (1, "")
    assert done.sentence == f"Cannot listen on 127.0.0.1 port {port}: Address already in use."
    assert list(bare.folder.iterdir()) == []


@pytest.mark.parametrize("host", ["203.0.113.1", "no.such.host.invalid", "a..b", "::2"])
def test_an_address_that_is_not_ours(bare: Command, host: str) -> None:
    done = bare("serve", "--host", host)
    assert (done.code, done.out) == (1, "")
    assert done.sentence.startswith(f"Cannot listen on {host} port 8000: ")
    assert list(bare.folder.iterdir()) == []


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_schema_that_is_not_ours_to_change(
    bare: Command, databases: Databases, dialect: str
) -> None:
    url = databases.empty(dialect)
    bare.set(RECEIVER_DATABASE_URL=url, RECEIVER_MIGRATE="off")
    done = bare("serve", "--port", 0)
    assert (done.code, done.out) == (1, "")
    assert done.sentence.endswith("Run `receiver migrate`.")
    assert list(bare.folder.iterdir()) == []
    if dialect == "sqlite":
        assert not Path(url.removeprefix("sqlite:///")).exists()
    databases.drop(url)


def test_sqlite_has_one_worker(bare: Command) -> None:
    done = bare("serve", "--workers", 2)
    assert (done.code, done.out) == (1, "")
    assert done.sentence == "--workers: more than one worker needs PostgreSQL."


def test_somebody_elses_table_is_left_alone(bare: Command, databases: Databases) -> None:
    file = Path(databases.empty("sqlite").removeprefix("sqlite:///"))
    with sqlite3.connect(file) as theirs:
        theirs.execute("CREATE TABLE callback (phone TEXT)")
    theirs.close()
    bare.set(RECEIVER_DATABASE_URL=f"sqlite:///{file}")
    done = bare("serve", "--port", 0)
    assert (done.code, done.out) == (1, "")
    assert done.sentence.startswith("The database cannot be used: OperationalError: ")
    with sqlite3.connect(file) as theirs:
        assert theirs.execute("SELECT name FROM sqlite_master").fetchall() == [("callback",)]
    theirs.close()
    assert not (bare.folder / "receiver.env").exists()


# What is never shown, and what a terminal is shown.


def test_the_log_goes_to_what_stderr_is(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    log = structlog.get_logger("a module's own")
    try:
        for number in (1, 2):
            log.warning("kept", provider="ants", number=number)
            out, err = capsys.readouterr()
            assert out == ""
            assert err.endswith(f"Z level=warning event=kept provider=ants number={number}\n")
    finally:
        structlog.reset_defaults()


def test_no_command_but_urls_shows_a_secret(command: Command, engine: Engine, url: str) -> None:
    fill(engine, message(message_id="m1"), reports=("m1 DELIVERED", "m1 ODD"))
    (good,) = kept(engine, GOOD)
    with serving(url, **TOKENS) as server:
        lines = [
            command("migrate"), command("status", "m1"), command("report"),
            command("callbacks"), command("callbacks", "show", good), command("replay"),
            command("rebuild"), command("record", "ants", os.devnull),
            command("simulate", "--url", server.url, "--count", 2, "--faults", "all"),
        ]  # fmt: skip
        said = "".join(done.out + done.err for done in lines) + server.stdout() + server.stderr()
    assert {done.code for done in lines} == {0}
    assert not any(secret in said for secret in SECRETS)
    assert all(secret in command("urls").out for secret in SECRETS[:-1])
    assert SECRETS[-1] not in command("urls").out


def test_a_second_receiver_of_one_file_is_told_of_the_first(bare: Command, tmp_path: Path) -> None:
    with Serving(tmp_path, **TOKENS, RECEIVER_DATABASE_URL=f"sqlite:///{tmp_path}/a.db") as first:
        said = first.greeting()
        found = re.search(r"listens on (\S+)\. ", said)
        assert found is not None
        link = tmp_path / "link.db"  # the same file by another name
        link.symlink_to(tmp_path / "a.db")
        bare.set(RECEIVER_DATABASE_URL=f"sqlite:///{link}", **TOKENS)
        done = bare("serve", "--port", 0)
        assert (done.code, done.out) == (1, "")
        assert done.sentence == (
            f"{tmp_path}/a.db is in use by another receiver ({found[1]}, process"
            f" {first.process.pid}). Stop that one first; several receivers of one database need"
            " PostgreSQL."
        )
        bare.set(RECEIVER_DATABASE_URL=f"sqlite:///{tmp_path}/b.db")
        assert bare("migrate").code == 0  # which is no receiver
        first.process.kill()  # its lock ends with it
        first.process.wait()
        with Serving(tmp_path, **TOKENS, RECEIVER_DATABASE_URL=f"sqlite:///{link}") as second:
            second.greeting()
            second.stop(signal.SIGTERM)


def test_what_is_made_is_for_nobody_else(tmp_path: Path) -> None:
    with Serving(tmp_path) as made:
        made.greeting()
        made.stop(signal.SIGTERM)
    files = {path.name: path.stat().st_mode & 0o007 for path in tmp_path.iterdir()}
    assert {"receiver.db", "receiver.env", "receiver-spool.db"} <= set(files)
    assert set(files.values()) == {0}


def test_serve_says_what_others_can_read() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Serving(folder) as made:
            made.greeting()
            made.stop(signal.SIGTERM)
        (folder / "receiver.env").chmod(0o604)
        (folder / "receiver.db").chmod(0o606)
        with Serving(folder) as started:
            started.greeting()
            started.process.send_signal(signal.SIGTERM)
            _, err = started.process.communicate(timeout=20)
    exposed = set(
        re.findall(r'event="file is open to every user" file=(\S+) todo="chmod o-rwx', err)
    )
    # SQLite gives its log what the database has.
    assert exposed == {"receiver.env", "receiver.db", "receiver.db-wal", "receiver.db-shm"}


@pytest.mark.parametrize("host", ["::", "0::0"])
def test_all_addresses_are_those_of_both_families(tmp_path: Path, host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with Serving(tmp_path, "--host", host, **TOKENS) as started:
        found = re.search(r"listens on http://\[[:0]+\]:([0-9]+)\. ", started.greeting())
        assert found is not None
        for address in ("127.0.0.1", "[::1]"):  # both are internal callers, whose page it is
            with urllib.request.urlopen(
                f"http://{address}:{found[1]}/readyz", timeout=20
            ) as answer:
                assert answer.status == 200
        started.stop(signal.SIGTERM)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_terminal_gets_tables_and_bars(command: Command, engine: Engine) -> None:
    fill(engine, message(message_id="m1"), reports=("m1 [red]ODD",))
    (command.folder / "a.csv").write_text("message_id,recipient\na,66812345678\nb,none\n")
    shown = on_a_terminal(command.folder, "status", "m1")
    assert "\x1b[1m" in shown and "[red]ODD 000" in shown
    fill(engine, *(message(message_id=f"n{n}") for n in range(3)), reports=("n0 DELIVERED",))
    figures = on_a_terminal(command.folder, "report", "--by", "provider,hour")
    assert "25.0%" in figures and "█" * 3 in figures
    assert "█" not in command("report").out
    recorded = on_a_terminal(command.folder, "record", "ants", "a.csv")
    assert "Recording" in recorded and "100%" in recorded
    assert "a.csv:3: recipient: expected a phone number" in recorded
    assert "recorded 1, repeated 0, rejected 0, bad 1" in recorded
    (command.folder / "log.txt").write_text("Transaction=a&Status=delivery\nnonsense\n")
    received = on_a_terminal(command.folder, "receive", "thaibulksms", "log.txt")
    assert "Receiving" in received and "100%" in received
    assert "received 1 (unreadable 0)" in received and "bad 1" in received


def on_a_terminal(folder: Path, *args: str) -> str:
    """Return what a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", *args],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        while part := _some(terminal):
            said += part
    process.wait()
    return said.decode()


def _some(terminal: io.FileIO) -> bytes:
    try:
        return terminal.read(4096)
    except OSError:  # how Linux says that nobody has the terminal open any more
        return b""


def test_a_table_keeps_ids_whole_and_folds_texts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    table = Table(
        columns=("id", "number", "text"),
        rows=[(ID, 7, "ไทย " * 20), ("x", None, "\x1b[1m")],
        title="A title\nof two lines",
        right=frozenset({"number"}),
        fold=frozenset({"text"}),
    )
    show(table)
    said = capsys.readouterr().out
    assert ID in said and "A title\\nof two lines" in said and "\\x1b[1m" in said
    assert len(said.splitlines()) > 5
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    show(table)
    assert len(capsys.readouterr().out.splitlines()) == 4
