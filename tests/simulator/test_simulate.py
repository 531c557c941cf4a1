"""`receiver simulate`: what it plays, and what a real receiver makes of it."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select, text

from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.domain.errors import UnreadableError
from receiver.providers import PROVIDERS
from receiver.settings.settings import read_settings
from receiver.settling import settle
from receiver.simulator.actors import ACTORS
from receiver.simulator.plan import known_faults, plan
from receiver.simulator.run import target
from receiver.simulator.script import FAULTS
from tests.kit.commands import TOKENS, Command
from tests.kit.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from receiver.simulator.script import Play

START: Final = datetime(2026, 11, 21, 10, tzinfo=UTC)
SECRET: Final = {**TOKENS, "RECEIVER_ANTS_BASIC_AUTH": "ants:pass%3Aword"}
"""What the receiver and the one who plays are both told."""


def play(provider: str, *faults: str, run: str = "7", count: int = 40) -> Play:
    return plan(provider, account="otp", run=run, count=count, faults=faults, start=START)


# The play.


@pytest.mark.parametrize("provider", ACTORS)
def test_the_same_play_is_the_same_requests(provider: str) -> None:
    assert play(provider, *FAULTS) == play(provider, *FAULTS)
    assert play(provider, *FAULTS) != play(provider, *FAULTS, run="8")


@pytest.mark.parametrize("provider", ACTORS)
def test_ids_say_that_they_are_simulated(provider: str) -> None:
    made = play(provider, *FAULTS)
    assert len(made.statuses) == 40
    assert all(id_.startswith("sim-7-") for id_ in made.statuses)


KINDS: Final = {
    "": {"records", "reports"},
    "repeats": {"records", "reports", "repeats"},
    "reorder": {"records", "reports"},
    "early": {"records", "reports"},
    "unknown": {"records", "reports", "unknown words"},
    "bad-item": {"records", "reports", "bad items"},
    "truncated": {"records", "reports", "truncated"},
    "encodings": {"records", "reports", "encodings"},
}


def kinds_of(provider: str, fault: str) -> set[str]:
    """Return what is sent with a fault, which changes nothing where its actor has none such."""
    return KINDS[fault if fault in ACTORS[provider].faults else ""]


@pytest.mark.parametrize("provider", ACTORS)
@pytest.mark.parametrize("fault", KINDS)
def test_a_fault_is_played_when_it_is_asked_for(provider: str, fault: str) -> None:
    made = play(provider, *filter(None, [fault]))
    assert {request.kind for request in made.requests} == kinds_of(provider, fault)
    assert (made.requests[0].kind != "records") == (fault == "early")


@pytest.mark.parametrize("provider", ACTORS)
@pytest.mark.parametrize("fault", FAULTS)
def test_one_message_is_enough_for_a_fault(provider: str, fault: str) -> None:
    made = play(provider, fault, count=1)
    kinds = [request.kind for request in made.requests]
    assert set(kinds) >= kinds_of(provider, fault) - {"reports"}
    assert (kinds[0] != "records") == (fault == "early")


def test_reordering_changes_the_order_and_nothing_else() -> None:
    usual, other = play("thaibulksms"), play("thaibulksms", "reorder")
    assert usual.statuses == other.statuses
    assert usual.requests != other.requests


def test_faults_are_read() -> None:
    assert known_faults("") == frozenset()
    assert known_faults(" Early ,repeats,") == {"early", "repeats"}
    assert known_faults("all") == frozenset(FAULTS)
    with pytest.raises(UnreadableError, match="expected some of: repeats, reorder"):
        known_faults("early,late")


# The command, against a real receiver.


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(monkeypatch, tmp_path, capsys, **SECRET)


def columns(engine: Engine, *wanted: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(*wanted)))


def test_the_database_holds_what_was_played(command: Command, url: str, engine: Engine) -> None:
    with serving(url, **SECRET) as server:
        played = ("simulate", "--faults", "all", "--count", 40, "--rate", 0, "--seed", 7)
        done = command(*played, "--url", server.url)
    assert (done.code, done.err) == (0, "")
    assert not any(secret.rpartition(":")[2] in done.out for secret in SECRET.values())
    settle.settle_all(engine)
    expected = {name: play(name, *FAULTS, run=f"7-{name}") for name in ACTORS}
    table = sent_message.c
    rows = columns(engine, table.provider, table.message_id, table.status, table.account)
    for name, made in expected.items():
        own = [row for row in rows if row.provider == name]
        assert {row.message_id: row.status for row in own} == made.statuses
        assert {row.account for row in own} == {"otp" if name == "thaibulksms" else ""}
    check_answers(done.out, expected)
    check_callbacks(engine, expected)
    check_sql(done.out, engine)


def check_answers(out: str, expected: dict[str, Play]) -> None:
    """Compare what is printed of each kind with what was sent and was to be answered."""
    lines = [line.split("  ") for line in out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == ["provider", "sent", "requests", "200", "201", "400"]
    for name, made in expected.items():
        counts = Counter((request.kind, request.expected) for request in made.requests)
        for kind in {request.kind for request in made.requests}:
            answered = [str(counts[kind, status]) for status in (200, 201, 400)]
            total = str(sum(map(int, answered)))
            assert [name, kind, total, *answered] in cells


def check_callbacks(engine: Engine, expected: dict[str, Play]) -> None:
    """Check that what could not be read is kept, and no report is without its message."""
    requests = [request for made in expected.values() for request in made.requests]
    outcomes = Counter(row.outcome for row in columns(engine, callback.c.outcome))
    assert outcomes["unreadable"] == sum(request.expected == 400 for request in requests)
    assert outcomes["partial"] >= sum(request.kind == "bad items" for request in requests)
    reports = columns(engine, delivery_report.c.sent_message_id, delivery_report.c.repeats)
    assert None not in {report.sent_message_id for report in reports}
    assert sum(report.repeats for report in reports) > 0


def check_sql(out: str, engine: Engine) -> None:
    """Run the SQL that is printed; it must find what is said of it."""
    said = dict(zip(out.splitlines(), out.splitlines()[1:], strict=False))
    for name in ACTORS:
        (line,) = (line for line in said if line.startswith(f"{name}: "))
        with engine.connect() as connection:
            found = list(connection.execute(text(said[line])))
        assert {f"{count} {status}" for status, _, count in found} == set(
            line.partition(" finds ")[2].rstrip(":").split(", ")
        )
        assert sum(count for _, _, count in found) == 40


def test_one_provider_alone_and_again(command: Command, url: str, engine: Engine) -> None:
    with serving(url, **SECRET) as server:
        once = ("simulate", "ANTS", "--url", f"{server.url}/", "--count", 5, "--seed", 1, "--rate")
        assert command(*once, 1000).code == 0
        assert command(*once, 0).code == 0
    assert {row.provider for row in columns(engine, sent_message.c.provider)} == {"ants"}
    assert len(columns(engine, sent_message.c.id)) == 5


HOOK: Final = {
    "RECEIVER_ENGAGELAB_SMSHOOK_KEY": "app-key-0123456789",
    "RECEIVER_ENGAGELAB_SMSHOOK_SECRET": "hook-secret-0123456789",
}
CONSOLE: Final = {
    "RECEIVER_ENGAGELAB_CALLBACK_USERNAME": "user-0123456789",
    "RECEIVER_ENGAGELAB_CALLBACK_SECRET": "console-secret-0123456789",
    "RECEIVER_ENGAGELAB_AUTHORIZATION": "Token fixed-0123456789",
}


@pytest.mark.parametrize(
    ("proofs", "hooked"),
    [({}, {True, False}), (HOOK, {True}), (CONSOLE, {False}), (HOOK | CONSOLE, {True, False})],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_callbacks_are_signed_as_the_receiver_demands(
    command: Command, url: str, engine: Engine, proofs: dict[str, str], hooked: set[bool]
) -> None:
    command.set(**proofs)
    with serving(url, **SECRET, **proofs) as server:
        played = ("simulate", "engagelab", "--count", 6, "--rate", 0, "--faults", "all")
        done = command(*played, "--url", server.url)
        said = done.out + server.stdout() + server.stderr()
    assert (done.code, done.err) == (0, "")
    assert not any(value in said for value in proofs.values())
    ids = columns(engine, sent_message.c.message_id)
    assert {"$" in row.message_id for row in ids} == hooked


def test_what_was_refused_is_told(command: Command) -> None:
    with serving(**SECRET) as server:
        to = ("simulate", "--url", server.url, "--count", 3, "--rate", 0)
        command.set(RECEIVER_ANTS_TOKENS="wrong-token-0123456789")
        done = command(*to, "ants")
        assert done.code == 1
        assert done.sentence.endswith(" requests were answered in an unexpected way.")
        assert "401" in done.out
        command.set(RECEIVER_API_KEYS="wrong-key-0123456789")
        done = command(*to, "thaibulksms")
        assert done.code == 1
        assert done.sentence.startswith("Recording was answered 401: Expected `Authorization:")
        assert "wrong-key" not in done.out + done.err


@pytest.fixture
def stranger() -> Iterator[str]:
    """Give the URL of a server that is no receiver."""

    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_is_no_receiver_is_left_alone(command: Command, stranger: str) -> None:
    done = command("simulate", "--url", stranger)
    assert (done.code, done.out) == (1, "")
    assert done.sentence == f"What listens at {stranger} is no receiver."


def test_nobody_listens(command: Command) -> None:
    done = command("simulate", "--url", "http://127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert done.sentence == (
        "Nothing answers at http://127.0.0.1:1: Connection refused."
        " Start `receiver serve`, or give --url."
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nobody"], f"PROVIDER: expected one of: {', '.join(PROVIDERS)}."),
        (["--url", "https://sms.example.com"], "--url: sms.example.com is not this machine;"),
        (["--url", "http://10.0.0.1:8000"], "--url: 10.0.0.1 is not this machine;"),
        (["--url", "sms.example.com"], "--url: expected a URL such as http://127.0.0.1:8000."),
        (["--url", "http://127.0.0.1:port"], "--url: expected a URL such as"),
        (["--faults", "gremlins"], "--faults: expected some of: repeats,"),
        (["--count", "0"], "Invalid value for '--count':"),
    ],
)
def test_wrong_usage(command: Command, args: list[str], said: str) -> None:
    done = command("simulate", *args)
    assert done.code == 2
    assert done.sentence.startswith(said)


def test_without_secrets_there_is_nothing_to_play(command: Command) -> None:
    command.monkeypatch.delenv("RECEIVER_ANTS_TOKENS")
    assert command("simulate", "ants").sentence == (
        "No token is configured: set RECEIVER_ANTS_TOKENS."
    )
    command.monkeypatch.delenv("RECEIVER_API_KEYS")
    assert command("simulate").sentence == "No API key is configured: set RECEIVER_API_KEYS."
    for name in PROVIDERS:
        command.monkeypatch.delenv(f"RECEIVER_{name.upper()}_TOKENS", raising=False)
    assert command("simulate").sentence.startswith("No token is configured. Run `receiver serve`")


@pytest.mark.parametrize(
    ("public", "expected"),
    [
        (None, "http://127.0.0.1:8000"),
        ("https://sms.example.com", "http://127.0.0.1:8000"),
        ("http://localhost:9000/sms", "http://localhost:9000/sms"),
    ],
)
def test_the_default_is_this_machine(command: Command, public: str | None, expected: str) -> None:
    command.set(**({"RECEIVER_PUBLIC_URL": public} if public else {}))
    assert target(None, read_settings(), allowed=False).url == expected


@pytest.mark.usefixtures("command")  # which keeps our own settings out of it
def test_elsewhere_when_it_is_wanted() -> None:
    where = "https://sms.example.com/in"
    assert target(f"{where}/", read_settings(), allowed=True).url == where
