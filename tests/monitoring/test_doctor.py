"""`receiver doctor` at real receivers, behind a real nginx: what is right, and each wrong."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import func, insert, select, text

from receiver.database.tables.callbacks import callback
from receiver.database.tables.operations import receiver_setting
from receiver.domain.callback import Callback
from receiver.ingest.interpret import Interpreter, read
from receiver.ingest.store import keep
from receiver.monitoring import peers
from receiver.monitoring.doctor import filesystem
from receiver.monitoring.doctor.public_url import SelfTestResult, clock, forwarded
from receiver.providers import PROVIDERS
from receiver.settings.settings import Settings, read_settings
from tests.conftest import DIALECTS
from tests.kit.commands import SECRETS, TOKENS, Command, Done
from tests.kit.serving import ROOT, serving
from tests.web.test_app import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.conftest import Databases
    from tests.kit.serving import Server

NAME: Final = "sms.example.com"
LONG: Final = TOKENS | {"RECEIVER_ANTS_BASIC_AUTH": "ants:pass-word-of-ants"}
SHM: Final = Path("/dev/shm")

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx here")


@pytest.fixture
def doctor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run the command in this process; the name of the public URL is this machine's."""
    resolve = socket.getaddrinfo

    def at_home(host: Any, *more: Any, **named: Any) -> Any:
        ours = host in {NAME, NAME.encode()}
        return resolve("127.0.0.1" if ours else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", at_home)
    folder = tmp_path / "doctor"
    folder.mkdir()
    return Command(monkeypatch, folder, capsys, **LONG)


def wrong(done: Done) -> list[tuple[str, str, str]]:
    """Return what is not ok: the check, what is said, and what to do."""
    assert done.err == ""
    found = json.loads(done.out)
    bad = [(f["check"], f["said"], f["todo"]) for f in found["findings"] if not f["ok"]]
    assert done.code == (1 if bad else 0)
    assert found["ok"] == (not bad)
    assert all(todo for _, _, todo in bad)
    assert not any(secret in done.out for secret in SECRETS)
    assert "pass-word-of-ants" not in done.out
    return bad


def the_one(done: Done, check: str) -> tuple[str, str]:
    """Return the one thing that is wrong with a check."""
    (found,) = ((said, todo) for name, said, todo in wrong(done) if name == check)
    return found


@contextmanager
def nginx(folder: Path, server: Server, *directives: str) -> Iterator[int]:
    """Start nginx with HTTPS in front of a receiver; yield its port."""
    folder.mkdir(exist_ok=True)
    if not (folder / "key.pem").exists():
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            f"/CN={NAME}",
        ]
        command += ["-addext", f"subjectAltName=DNS:{NAME}", "-days", "2"]
        command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
        subprocess.run(command, check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    temporary = "".join(
        f"{name}_temp_path {folder / name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(f"""
        daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
        http {{ access_log off; {temporary}
          server {{
            listen 127.0.0.1:{port} ssl;
            ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;
            location / {{ return 404; }}
            location /callbacks/ {{ proxy_pass {server.url}; {" ".join(directives)} }}
          }}
        }}""")
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        eventually(lambda: listens(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "said").read_text()
        yield port
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


ADDS: Final = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"


@pytest.fixture
def behind(
    doctor: Command, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Done]]:
    """Give a way to have it examine a receiver behind nginx, by its public name."""
    with ExitStack() as stack:

        def examine(*directives: str, dialect: str = "sqlite", **settings: str) -> Done:
            url = databases.make(dialect)
            server = stack.enter_context(serving(url, **LONG | settings))
            port = stack.enter_context(nginx(tmp_path / "nginx", server, *directives))
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nginx" / "certificate.pem"))
            doctor.set(RECEIVER_DATABASE_URL=url, RECEIVER_PUBLIC_URL=f"https://{NAME}:{port}")
            noted = select(func.count()).select_from(receiver_setting)
            eventually(lambda: _scalar(databases, url, noted))
            done = doctor("doctor", "--format", "json")
            assert _scalar(databases, url, select(func.count()).select_from(callback)) == 0
            return done

        yield examine


def _scalar(databases: Databases, url: str, statement: Any) -> Any:
    with databases.open(url).connect() as connection:
        return connection.execute(statement).scalar()


# All that is right.


@needs_nginx
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.usefixtures("with_fsync")
def test_all_is_well(behind: Callable[..., Done], doctor: Command, dialect: str) -> None:
    done = behind(ADDS, dialect=dialect)
    assert wrong(done) == []
    found = json.loads(done.out)["findings"]
    said = [finding["said"] for finding in found]
    checks = {finding["check"] for finding in found}
    assert checks == {
        "settings", "tokens", "spool", "database", "clock", "receivers", "https",
        "public URL", "forwarded", "files",
    }  # fmt: skip
    assert sum("leads to this receiver" in one for one in said) == len(PROVIDERS)
    assert sum(one.endswith("is set as here") for one in said) == 1
    assert "through the proxy at 127.0.0.1 this caller is seen as 127.0.0.1" in said
    assert "RECEIVER_ANTS_BASIC_AUTH=ants:pass… (from the environment)" in said
    # The same for people: plain where it is piped.
    done = doctor("doctor")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert {line.partition(" ")[0] for line in done.out.splitlines()} == {"ok"}


def test_from_where_a_setting_is_and_secrets_are_masked(doctor: Command) -> None:
    file = doctor.folder / "receiver.env"
    file.write_text(
        "RECEIVER_TIMEZONE=UTC\nRECEIVER_DATABASE_URL=postgresql://a:secr3t@127.0.0.1:1/b\n"
    )
    doctor.set(RECEIVER_MESSAGE_TEXT="keep")
    done = doctor("doctor")
    assert done.code == 1
    for line in (
        "RECEIVER_TIMEZONE=UTC (from receiver.env)",
        "RECEIVER_MESSAGE_TEXT=keep (from the environment)",
        "RECEIVER_DATABASE_URL=postgresql://a:***@127.0.0.1:1/b (from receiver.env)",
        "RECEIVER_THAIBULKSMS_TOKENS=otp:toke… (from the environment)",
    ):
        assert f"ok      settings: {line}\n" in done.out
    assert "secr3t" not in done.out + done.err


def test_on_a_terminal_it_is_in_colour(databases: Databases, tmp_path: Path) -> None:
    parent, child = pty.openpty()
    outside = {k: v for k, v in os.environ.items() if not k.startswith("RECEIVER_")}
    given = LONG | {"RECEIVER_DATABASE_URL": databases.make("sqlite"), "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", "doctor"],
        cwd=tmp_path, env=outside | {"PYTHONPATH": str(ROOT)} | given, stdout=child, stderr=child,
    )  # fmt: skip
    os.close(child)
    said = b""
    try:
        while piece := os.read(parent, 65536):
            said += piece
    except OSError:  # the other side is closed
        pass
    os.close(parent)
    assert process.wait() == 1
    assert b"\x1b[32mok" in said
    assert b"31mnot ok" in said


# One wrong thing of each.


def test_a_setting_that_is_wrong(doctor: Command) -> None:
    doctor.set(RECEIVER_TIMEZONE="Bangkok/Asia")
    said, todo = the_one(doctor("doctor", "--format", "json"), "settings")
    assert said.startswith("RECEIVER_TIMEZONE: expected the name of a time zone")
    assert "settings file" in todo


def test_tokens_that_are_short_shared_or_missing(doctor: Command) -> None:
    doctor.set(RECEIVER_ANTS_TOKENS="short,also-short", RECEIVER_API_KEYS="k" * 20)
    doctor.set(RECEIVER_ENGAGELAB_TOKENS="k" * 20)
    found = [(said, todo) for check, said, todo in wrong(doctor("doctor", "--format", "json"))
             if check == "tokens"]  # fmt: skip
    assert [said for said, _ in found] == [
        "RECEIVER_ANTS_TOKENS: 2 of 2 have under 16 characters",
        "the same secret is in RECEIVER_ENGAGELAB_TOKENS and RECEIVER_API_KEYS",
    ]
    for name in TOKENS:
        doctor.set(**{name: ""})
    said, _ = the_one(doctor("doctor", "--format", "json"), "tokens")
    assert said.startswith("no provider has a token")


@pytest.mark.usefixtures("with_fsync")
def test_a_database_that_is_not_there_away_or_of_another_revision(
    doctor: Command, engine: Engine
) -> None:
    doctor.set(RECEIVER_DATABASE_URL="sqlite:///nowhere.db")
    assert "There is no database at" in the_one(doctor("doctor", "--format", "json"), "database")[0]
    doctor.set(RECEIVER_DATABASE_URL="postgresql://x:pa55word@127.0.0.1:1/x")
    done = doctor("doctor", "--format", "json")
    assert "The database cannot be used" in the_one(done, "database")[0]
    assert "pa55word" not in done.out
    doctor.set(RECEIVER_DATABASE_URL=engine.url.render_as_string(hide_password=False))
    assert "database" not in {check for check, *_ in wrong(doctor("doctor", "--format", "json"))}
    with engine.begin() as connection:
        connection.execute(text("UPDATE receiver_version SET version_num = '0001'"))
    said, todo = the_one(doctor("doctor", "--format", "json"), "database")
    assert "0001" in said
    assert "receiver migrate" in todo


def test_a_database_that_may_only_be_read(doctor: Command, databases: Databases) -> None:
    url = databases.make("postgresql")
    name = url.rpartition("/")[2].partition("?")[0]
    databases.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    doctor.set(RECEIVER_DATABASE_URL=url)
    assert "read-only" in the_one(doctor("doctor", "--format", "json"), "database")[0]


def test_a_spool_that_cannot_be_written(doctor: Command) -> None:
    doctor.set(RECEIVER_SPOOL_PATH="nowhere/spool.db")
    said, todo = the_one(doctor("doctor", "--format", "json"), "spool")
    assert "cannot be written: No such file" in said
    assert "RECEIVER_SPOOL_PATH" in todo
    doctor.set(RECEIVER_SPOOL_PATH="")
    assert "spool" not in {check for check, *_ in wrong(doctor("doctor", "--format", "json"))}


@pytest.mark.skipif(filesystem.kind(SHM) != "tmpfs", reason="there is no tmpfs at /dev/shm")
def test_files_in_memory(doctor: Command, databases: Databases, tmp_path: Path) -> None:
    with ExitStack() as gone:
        folder = SHM / tmp_path.name
        folder.mkdir()
        gone.callback(shutil.rmtree, folder)
        kept = Path(databases.make("sqlite").removeprefix("sqlite:///"))
        shutil.copyfile(kept, folder / "receiver.db")
        doctor.set(
            RECEIVER_SPOOL_PATH=str(folder / "spool.db"),
            RECEIVER_DATABASE_URL=f"sqlite:///{folder}/receiver.db",
        )
        done = doctor("doctor", "--format", "json")
        for check in ("spool", "database"):
            said, todo = the_one(done, check)
            assert "memory, and gone with the next start (tmpfs)" in said
            assert "a disk that stays" in todo


def test_files_that_others_can_read(doctor: Command) -> None:
    with ExitStack() as gone:
        folder = Path(gone.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        inner = folder / "with space [1]"
        inner.mkdir()
        inner.chmod(0o755)
        database, spool = inner / "receiver.db", inner / "spool.2.db"
        for file in (database, spool):
            file.touch(0o600)
        doctor.set(
            RECEIVER_SPOOL_PATH=str(inner / "spool.db"),
            RECEIVER_DATABASE_URL=f"sqlite:///{database}",
        )

        def said() -> list[tuple[str, str]]:
            done = doctor("doctor", "--format", "json")
            return [(said, todo) for check, said, todo in wrong(done) if check == "files"]

        folder.chmod(0o755)
        assert said() == []
        database.chmod(0o640)  # a group is somebody's choice
        spool.chmod(0o604)
        words = "can be read or changed by every user of this machine"
        assert said() == [(f"{spool} {words}", f"chmod o-rwx '{spool}'")]
        folder.chmod(0o700)  # there is no way in
        assert said() == []


MOUNTED: Final = r"""22 1 0:1 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a
23 22 0:2 / /var/lib rw - ext4 /dev/vda1 rw
24 22 0:3 / /var/lib/receiver rw - nfs4 nas:/x rw
25 22 0:4 / /with\040space rw master:3 shared:4 - xfs /dev/sdb rw
26 22 0:5 / /over rw - ext4 /dev/vdb rw
27 26 0:6 / /over rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/receiver/spool.db", "overlay"),
        ("/var/lib/spool.db", "ext4"),
        ("/var/library/spool.db", "overlay"),
        ("/var/lib/receiver/spool.db", "nfs4"),
        ("/with space/spool.db", "xfs"),
        ("/over/spool.db", "tmpfs"),
    ],
)
def test_on_what_a_file_is(path: str, kind: str) -> None:
    assert filesystem.kind_in(MOUNTED, Path(path)) == kind
    assert (kind in filesystem.UNSUITABLE) == (kind in {"overlay", "nfs4", "tmpfs"})


def test_a_clock_that_is_wrong(doctor: Command, engine: Engine) -> None:
    doctor.set(RECEIVER_DATABASE_URL=engine.url.render_as_string(hide_password=False))
    early = Callback(
        provider="ants", account="", method="POST", query="", content_type="", body=b"[",
        remote_addr="192.0.2.1", received_at=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    with engine.begin() as connection:
        keep(connection, [read(early, Interpreter.from_settings(Settings()))])
    said, todo = the_one(doctor("doctor", "--format", "json"), "clock")
    assert "from now" in said
    assert "set-ntp" in todo


@pytest.mark.parametrize(
    ("seconds", "words"), [(4, None), (-4, None), (60, "60 s ahead of"), (-60, "60 s behind")]
)
def test_clocks_that_differ(seconds: int, words: str | None) -> None:
    found = clock("its clock", timedelta(seconds=seconds))
    assert found.ok == (words is None)
    assert (words or "") in found.said


def test_no_public_url_and_nobody_there(doctor: Command, databases: Databases) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    doctor.set(RECEIVER_DATABASE_URL=databases.make("sqlite"))
    doctor.set(RECEIVER_PUBLIC_URL=f"http://{NAME}:{port}")
    found = wrong(doctor("doctor", "--format", "json"))
    assert [check for check, *_ in found] == ["https", *["public URL"] * len(PROVIDERS)]
    assert all("not reached: Connection refused" in said for _, said, _ in found[1:])
    doctor.set(RECEIVER_PUBLIC_URL=f"http://localhost:{port}")
    found = wrong(doctor("doctor", "--format", "json"))
    assert "nobody else" in found[0][1]
    doctor.set(RECEIVER_PUBLIC_URL=f"https://{NAME}:{port}/{'x' * 100}")
    found = wrong(doctor("doctor", "--format", "json"))
    assert any("takes at most 150" in said and "shorten" in todo for _, said, todo in found)


@needs_nginx
def test_a_certificate_nobody_trusts(
    behind: Callable[..., Done], doctor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind(ADDS)
    monkeypatch.delenv("SSL_CERT_FILE")
    found = wrong(doctor("doctor", "--format", "json"))
    assert len(found) == len(PROVIDERS)
    assert all("the certificate is not right" in said for _, said, _ in found)


@needs_nginx
@pytest.mark.parametrize(
    ("directives", "settings", "said"),
    [
        (["proxy_set_header X-Forwarded-For '';"], {}, "does not say who calls it"),
        ([], {}, "does not say who calls it"),  # the caller's own header, as it came
        ([ADDS], {"RECEIVER_TRUSTED_PROXIES": "10.9.9.9"}, "is not believed who calls it"),
        (
            ["proxy_set_header X-Forwarded-For '$remote_addr, $http_x_forwarded_for';"],
            {},
            "believed whatever it says",
        ),
        ([ADDS], {"RECEIVER_TRUSTED_PROXIES": "0.0.0.0/0"}, "believed whatever it says"),
        (["proxy_set_header X-Forwarded-For somebody;"], {}, "is no address"),
    ],
)
def test_a_proxy_that_does_not_say_who_calls(
    behind: Callable[..., Done],
    doctor: Command,
    directives: list[str],
    settings: dict[str, str],
    said: str,
) -> None:
    doctor.set(**settings)
    assert said in the_one(behind(*directives, **settings), "forwarded")[0]


@needs_nginx
@pytest.mark.parametrize(
    ("directives", "said"),
    [
        (["return 403;"], "answered 403"),
        (["rewrite ^/callbacks/(.*) /elsewhere/$1 break;"], "answered 404"),
        (["proxy_set_header X-Receiver-Self-Test '';"], "answered 200, but not by"),
        (["proxy_pass http://127.0.0.1:1;"], "does not reach the receiver"),
    ],
)
def test_a_proxy_that_leads_elsewhere(
    behind: Callable[..., Done], directives: list[str], said: str
) -> None:
    if directives[0].startswith("proxy_pass"):
        directives = ["rewrite_log off; }", "location ~ ^/callbacks/ {", directives[0]]
    found = wrong(behind(*directives))
    assert len(found) == len(PROVIDERS)
    assert all(said in one for _, one, _ in found)


def test_other_tokens_or_keys_than_the_receiver(doctor: Command, databases: Databases) -> None:
    url = databases.make("sqlite")
    with serving(url, **LONG) as server:
        doctor.set(RECEIVER_DATABASE_URL=url, RECEIVER_PUBLIC_URL=server.url)
        doctor.set(RECEIVER_ANTS_TOKENS="another-token-of-ants-0123456789")
        found = [said for check, said, _ in wrong(doctor("doctor", "--format", "json"))
                 if check == "public URL"]  # fmt: skip
        assert ["answered 401" in one for one in found] == [False, True]
        doctor.set(**LONG | {"RECEIVER_API_KEYS": "another-key-0123456789"})
        found = [said for check, said, _ in wrong(doctor("doctor", "--format", "json"))
                 if check == "public URL"]  # fmt: skip
        assert sum("answered 200, but not by this receiver's proof" in one for one in found) == len(
            PROVIDERS
        )


# Other receivers.


@pytest.mark.parametrize("dialect", DIALECTS)
def test_receivers_that_are_set_otherwise(
    doctor: Command, databases: Databases, dialect: str
) -> None:
    url = databases.make(dialect)
    other = {"RECEIVER_TIMEZONE": "UTC", "RECEIVER_ENGAGELAB_TOKENS": "other-token-0123456789"}
    with ExitStack() as stack:
        stack.enter_context(serving(url, **LONG))
        if dialect == "postgresql":  # SQLite has one receiver
            stack.enter_context(serving(url, **LONG | other))
        else:
            doctor.set(**other)
        count = select(func.count(receiver_setting.c.receiver.distinct()))
        eventually(lambda: _scalar(databases, url, count) == (1 if dialect == "sqlite" else 2))
        doctor.set(RECEIVER_DATABASE_URL=url)
        said, todo = the_one(doctor("doctor", "--format", "json"), "receivers")
        here, there = (
            ("Asia/Bangkok", "UTC") if dialect == "postgresql" else ("UTC", "Asia/Bangkok")
        )
        assert f"RECEIVER_TIMEZONE ({there} there, {here} here)" in said
        assert "RECEIVER_ENGAGELAB_TOKENS" in said
        assert "RECEIVER_ANTS" not in said
        assert "give all the same" in todo
        doctor.set(**LONG | {"RECEIVER_API_KEYS": "other-key-0123456789"})
        found = wrong(doctor("doctor", "--format", "json"))
        assert all("RECEIVER_API_KEYS" in said for check, said, _ in found if check == "receivers")


def test_no_secret_is_in_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in LONG.items():
        monkeypatch.setenv(name, value)
    noted = peers.shared(read_settings())
    assert not any(secret in value for value in noted.values() for secret in SECRETS)
    assert noted == peers.shared(read_settings())
    assert set(LONG) < set(noted)
    # Without the API key nobody can try out what a password could be: every digest needs it.
    monkeypatch.setenv("RECEIVER_API_KEYS", "another-0123456789")
    other = peers.shared(read_settings())
    assert {name for name in noted if noted[name] == other[name]}.isdisjoint(LONG)
    assert noted["RECEIVER_TIMEZONE"] == other["RECEIVER_TIMEZONE"] == "Asia/Bangkok"


def test_notes_are_renewed_and_old_ones_go(engine: Engine) -> None:
    now = datetime(2026, 11, 22, 5, tzinfo=UTC)
    with engine.begin() as connection:
        connection.execute(
            insert(receiver_setting),
            [
                {"receiver": "gone", "setting": "A", "value": "1", "noted_at": now - timedelta(2)},
                {"receiver": "one", "setting": "OLD", "value": "1", "noted_at": now},
            ],
        )
        peers.note(connection, "one", {"A": "1", "B": "2"}, now)
        peers.note(connection, "two", {"A": "1"}, now)
        peers.note(connection, "one", {"A": "3", "B": "2"}, now + timedelta(minutes=5))
        found = [tuple(note)[:3] for note in peers.notes(connection, now)]
        assert found == [("one", "A", "3"), ("one", "B", "2"), ("two", "A", "1")]
        found = [tuple(note)[:3] for note in peers.notes(connection, now + timedelta(minutes=1))]
        assert found == [("one", "A", "3"), ("one", "B", "2")]
        assert connection.execute(select(func.count()).select_from(receiver_setting)).scalar() == 3


def test_a_direct_line_needs_no_header() -> None:
    seen = SelfTestResult(
        direct=True, peer="192.0.2.7", address="192.0.2.7", forwarded_for="", ahead=timedelta()
    )
    assert forwarded(Settings(), seen).ok
