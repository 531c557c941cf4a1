"""Templates: the six calls from the command line, and the mirror that they and callbacks keep."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select

from receiver.database.tables.messages import message_template
from receiver.domain.errors import UnreadableError
from receiver.messages.templates import client
from receiver.messages.templates.client import Draft
from tests.kit.commands import ROOT, TOKENS, Command, process
from tests.kit.fake_engagelab import HTML, INVALID, KEY, USER, fake_engagelab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.kit.fake_engagelab import Fake

NOW: Final = datetime(2026, 11, 21, 3, tzinfo=UTC)


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fake_engagelab() as running:
        yield running


@pytest.fixture
def command(
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fake: Fake,
    url: str,
) -> Command:
    monkeypatch.setattr(client, "WAITS_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(client, "RESPONSE_SECONDS", 1.0)
    return Command(
        monkeypatch,
        tmp_path,
        capsys,
        **TOKENS,
        RECEIVER_DATABASE_URL=url,
        RECEIVER_ENGAGELAB_URL=fake.url,
        RECEIVER_ENGAGELAB_SMS_USER=USER,
        RECEIVER_ENGAGELAB_SMS_KEY=KEY,
    )


def mirrored(engine: Engine, **where: Any) -> list[Any]:
    same = [message_template.c[name] == value for name, value in where.items()]
    with engine.connect() as connection:
        found = select(message_template).where(*same).order_by(message_template.c.template_id)
        return list(connection.execute(found))


MAKE: Final = ("templates", "create", "--name", "bill", "--content", "Dear %name%", "--type")


# The six calls


def test_the_six_calls(command: Command, fake: Fake, engine: Engine) -> None:
    made = command(*MAKE, "notice", "--sign-id", 7, "--sign-pos", "suffix")
    assert (made.code, made.err) == (0, "")
    assert "name:      bill" in made.out and "approval:  unsubmitted" in made.out
    assert fake.calls("POST") == [
        ("/v1/templates", {"template_name": "bill", "template_content": "Dear %name%",
                           "template_type": "1", "sign_id": 7, "sign_pos": "1"}),
    ]  # fmt: skip
    (row,) = mirrored(engine)
    assert (row.provider, row.template_id, row.name) == ("engagelab", "100", "bill")
    assert (row.approval, row.template_type, row.sign_id) == ("unsubmitted", "1", "7")
    assert row.created_at == datetime(2016, 8, 25, 6, 27, 48, tzinfo=UTC)
    assert row.updated_at == datetime(2017, 3, 29, 6, 27, 48, tzinfo=UTC)

    assert command("templates", "submit", 100).out == "Submitted; approval: pending.\n"
    assert mirrored(engine)[0].approval == "pending"
    fake.templates[100] |= {"approval_status": -1, "approval_message": "no sender\x1b"}
    shown = command("templates", "show", 100)
    assert "approval:  rejected" in shown.out and "reason:    no sender\\x1b" in shown.out

    changed = command("templates", "update", 100, "--content", "Dear all", "--submit")
    assert changed.out == "Changed; approval: pending.\n"
    assert fake.calls("PUT")[0][1] == {"template_content": "Dear all", "submit": True}
    assert mirrored(engine)[0].content == "Dear all"

    lines = command("templates", "list").out.splitlines()
    assert lines[0].startswith("id ") and lines[1].split()[:4] == [
        "100", "bill", "notice", "pending",
    ]  # fmt: skip
    assert len(command("templates", "list", "--approval", "approved").out.splitlines()) == 1
    assert len(command("templates", "list", "--name", "il").out.splitlines()) == 2

    assert command("templates", "delete", 100, "--yes").out == "Deleted 100.\n"
    assert fake.templates == {}
    assert mirrored(engine)[0].deleted_at is not None


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_command_in_a_process_of_its_own(command: Command, fake: Fake, url: str) -> None:
    settings = {
        "RECEIVER_DATABASE_URL": url,
        "RECEIVER_ENGAGELAB_URL": fake.url,
        "RECEIVER_ENGAGELAB_SMS_USER": USER,
        "RECEIVER_ENGAGELAB_SMS_KEY": KEY,
    }
    fake.add()
    done = process(command.folder, "templates", "sync", settings=settings)
    assert (done.code, done.out, done.err) == (0, "mirrored 1, deleted 0\n", "")
    asked = process(command.folder, "templates", "delete", 100, settings=settings)
    assert asked.code == 2 and "add --yes" in asked.sentence
    assert 100 in fake.templates


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", True), (b"\n", True), (b"y\n", False)])
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_delete_asks_on_a_terminal(
    command: Command, fake: Fake, answer: bytes, *, left: bool
) -> None:
    fake.add()
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    done = subprocess.run(
        [sys.executable, "-m", "receiver", "templates", "delete", "100"],
        cwd=command.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert "Delete template 100?" in done.stderr
    assert (100 in fake.templates) is left
    assert ("receiver: Nothing was deleted.\n" in done.stderr) is left
    assert done.returncode == int(left)
    assert done.stdout.strip() == ("" if left else "Deleted 100.")


def test_sync_pages_through_all_of_them(command: Command, fake: Fake, engine: Engine) -> None:
    for _ in range(250):
        fake.add(approval_status=1)
    assert command("templates", "sync").out == "mirrored 250, deleted 0\n"
    offsets = [path for path, _ in fake.calls("GET")]
    assert [o.partition("offset=")[2].partition("&")[0] for o in offsets] == ["0", "100", "200"]
    assert len(mirrored(engine, approval="approved")) == 250

    del fake.templates[200]
    fake.templates[201]["approval_status"] = -1
    assert command("templates", "sync").out == "mirrored 249, deleted 1\n"
    assert mirrored(engine, template_id="200")[0].deleted_at is not None
    assert mirrored(engine, template_id="201")[0].approval == "rejected"
    fake.add()  # 349: another one with the number after the last
    assert command("templates", "sync").out == "mirrored 249, deleted 0\n"


def test_sync_with_nothing_there(command: Command, engine: Engine) -> None:
    assert command("templates", "sync").out == "mirrored 0, deleted 0\n"
    assert mirrored(engine) == []


def test_a_page_that_is_missing_deletes_nothing(
    command: Command, fake: Fake, engine: Engine
) -> None:
    fake.add()
    fake.add()
    assert command("templates", "sync").code == 0
    fake.fail(200, json.dumps({"result": [fake.templates[100]], "total": 2}).encode())
    fake.fail(200, b'{"result": [], "total": 2}')
    assert command("templates", "sync").sentence.startswith("EngageLab has 2 templates and listed")
    assert [row.deleted_at for row in mirrored(engine)] == [None, None]


# What goes wrong there


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, HTML, "EngageLab answered 200, and no sense: body: expected JSON"),
        (403, HTML, "EngageLab answered 403, and no sense: body: expected JSON"),
        (200, INVALID, "EngageLab answered 200, and no sense: body: expected JSON, got something"),
        (200, b"", "EngageLab answered 200, and no sense"),
        (200, b"[]", "EngageLab answered 200, and no sense: body: expected an object"),
        (200, b"{}", "EngageLab's answer: result: expected an object, got nothing"),
        (200, b'{"result": {}}', "EngageLab's answer: result.template_id: expected text"),
        (200, b'{"code": 33001, "message": "no"}', "EngageLab answered 200: 33001: no."),
        (400, b'{"code": 33001, "message": "\x1b[1mno"}', "EngageLab answered 400: 33001: "),
        (302, b"{}", "EngageLab answered 302: no reason."),
    ],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_answer_that_is_none(
    command: Command, fake: Fake, status: int, body: bytes, said: str
) -> None:
    fake.fail(status, body)
    done = command("templates", "show", 123)
    assert (done.code, done.out) == (1, "")
    assert done.sentence.startswith(said)
    assert "\x1b" not in done.err and KEY not in done.err


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_documented_errors_are_shown_in_words(command: Command, fake: Fake) -> None:
    assert command("templates", "show", 5).sentence == (
        "EngageLab answered 400: 33001: The template does not exist."
    )
    command.set(RECEIVER_ENGAGELAB_SMS_KEY="wrong-key-0123456789")
    done = command("templates", "list")
    assert done.sentence == (
        "EngageLab answered 401: 30000: Authentication failed."
        " Look at RECEIVER_ENGAGELAB_SMS_USER and …_SMS_KEY."
    )
    assert len(fake.asked) == 2
    command.set(RECEIVER_ENGAGELAB_SMS_KEY="")
    assert command("templates", "list").sentence == (
        "No user of template calls: set RECEIVER_ENGAGELAB_SMS_KEY."
    )


@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_is_busy_or_broken_is_asked_again_and_not_for_ever(
    command: Command, fake: Fake, status: int
) -> None:
    fake.add()
    fake.fail(status, n=3)
    assert command("templates", "show", 100).code == 0
    assert len(fake.asked) == 4
    fake.fail(status, HTML, n=10)
    assert command("templates", "show", 100).sentence.startswith(f"EngageLab answered {status}")
    assert len(fake.asked) == 8
    fake.failures.clear()
    fake.fail(status, n=1)
    assert command(*MAKE, "code").code == 1
    assert len(fake.calls("POST")) == 1  # never a second create


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_server_that_hangs_or_is_not_there(command: Command, fake: Fake) -> None:
    fake.hangs = True
    assert command("templates", "show", 1).sentence == "EngageLab did not answer in time."
    done = command(*MAKE, "code")
    assert done.sentence == (
        "EngageLab did not answer in time. It may have been done: look before you try again."
    )
    assert len(fake.calls("POST")) == 1
    command.set(RECEIVER_ENGAGELAB_URL="http://127.0.0.1:1")
    assert command("templates", "sync").sentence == "EngageLab cannot be reached (ConnectError)."


def test_a_change_is_made_even_if_the_mirror_cannot_follow(
    command: Command, fake: Fake, engine: Engine
) -> None:
    fake.add()
    fake.fail(200, b"{}")  # the answer to submit
    fake.fail(404, HTML)
    done = command("templates", "submit", 100)
    assert (done.code, done.out) == (0, "Submitted; approval: unknown.\n")
    assert done.err.endswith("Run `receiver templates sync` later.\n")
    assert mirrored(engine) == []


# What is not even sent


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "x" * 65), "--name: expected 1 to 64 characters, got 65"),
        (("--name", " "), "--name: expected 1 to 64 characters"),
        (("--content", "x" * 513), "--content: expected 1 to 512 characters, got 513"),
        (("--content", ""), "--content: expected 1 to 512 characters, got 0"),
        (("--content", "【ACME】 hi"), "--content: expected none of 【 】 [ ] in it"),
        (("--content", "[ACME] hi"), "--content: expected none of"),
        (("--type", "3"), "--type: expected one of: code, notice, marketing"),
        (("--sign-pos", "middle"), "--sign-pos: expected one of: prefix, suffix"),
    ],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_providers_rules_are_checked_first(
    command: Command, fake: Fake, arguments: tuple[str, str], said: str
) -> None:
    for call in ((*MAKE, "code"), ("templates", "update", "100")):
        done = command(*call, *arguments)
        assert done.code == 2
        assert done.sentence.startswith(said)
    assert fake.asked == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_wrong_usage(command: Command, fake: Fake) -> None:
    for id_ in ("", "../sign", "1/submit", "1?x", "ก", "%2e%2e"):
        for call in ("show", "submit"):
            done = command("templates", call, id_)
            assert (done.code, done.out) == (2, "")
            assert done.sentence.startswith("ID: expected letters, digits, - and _")
    assert command("templates", "update", 1).sentence.startswith("expected something to change")
    assert command("templates", "list", "--approval", "fine").code == 2
    assert command("templates", "delete", 1).sentence.startswith("nobody can be asked here")
    assert command("templates").code == 2
    assert fake.asked == []


def test_drafts_at_their_limits() -> None:
    Draft(name="x" * 64, content="ก" * 512, type="code", sign_pos="prefix")
    with pytest.raises(UnreadableError):
        Draft(content="ก" * 513)
    assert Draft().as_json() == {}
