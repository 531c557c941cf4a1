"""The short form of the fuzzing: `python -m tests.fuzz --help` is the long one."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings

from receiver.domain.callback import Callback
from receiver.domain.errors import UnreadableError
from receiver.domain.report import Report, Unreadable
from receiver.providers import PROVIDERS, json_document, xml_document
from receiver.providers.bounds import MAX_VALUES
from tests.fuzz import seeds, shapes, strangers
from tests.fuzz.cost import HOSTILE, LARGEST, MAX_BYTES, Hostile, peak, seconds, work
from tests.fuzz.growth import COSTLY, Costly
from tests.fuzz.mutation import mutated
from tests.fuzz.promises import BrokenPromiseError, check, check_sent
from tests.fuzz.targets import TARGETS, check_spoiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.domain.report import Item
    from receiver.providers.decoding import Body

ROOT: Final = Path(__file__).resolve().parents[2]
QUICK: Final = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


# Bytes


@pytest.mark.parametrize("name", TARGETS)
def test_every_promise_is_kept_of_the_seeds_and_their_mutations(name: str) -> None:
    target = TARGETS[name]
    found = target.seeds()
    words = seeds.words(found)
    dice = random.Random(name)  # the same each time
    for seed in found:
        target.run(seed)
        for _ in range(10):
            data = mutated(dice, seed, found, words)
            try:
                target.run(data)
            except Exception as error:
                error.add_note(f"The input was {data!r}")
                raise


# Shapes


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_item_is_answered_for_and_a_bad_one_costs_only_itself(name: str) -> None:
    @QUICK
    @given(shapes.spoiled(name))
    def holds(drawn: tuple[shapes.Batch, shapes.Batch, list[int]]) -> None:
        check_spoiled(*drawn)

    holds()


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_promise_is_kept_of_torn_bytes(name: str) -> None:
    @QUICK
    @given(shapes.torn(name))
    def holds(callback: Callback) -> None:
        check(callback)

    holds()


# The promises can be broken

BATCH: Final = json.dumps(
    {"details": [{"messageId": str(n), "text": "x", "status": {"name": "X"}} for n in range(3)]}
).encode()
WHOLE: Final = Callback(provider="ants", method="POST", body=BATCH)


def raising(_body: Body) -> list[Item]:
    raise ValueError("a parser's own")


def dropping(body: Body, parse: Callable[[Body], list[Item]]) -> list[Item]:
    return parse(body)[:-1]


def swallowing(body: Body, parse: Callable[[Body], list[Item]]) -> list[Item]:
    return [
        Unreadable(position=item.position, reason="x: could not be read (KeyError)")
        for item in parse(body)
    ]


def half_a_character(body: Body, parse: Callable[[Body], list[Item]]) -> list[Item]:
    reports = [item for item in parse(body) if isinstance(item, Report)]
    for report in reports:  # past the value, which would not have it
        object.__setattr__(report, "sender", "\ud800")
    return [*reports]


@pytest.mark.parametrize("wrong", [raising, dropping, swallowing, half_a_character])
def test_a_parser_that_breaks_a_promise_is_found_out(
    wrong: Callable[..., list[Item]], monkeypatch: pytest.MonkeyPatch
) -> None:
    check(WHOLE)
    given_ = () if wrong is raising else (PROVIDERS["ants"].parse,)
    monkeypatch.setattr(PROVIDERS["ants"], "parse", lambda c: wrong(c, *given_))
    with pytest.raises((BrokenPromiseError, ValueError)):
        check(WHOLE)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda c, _: replace(c, redacted=True),
        lambda c, _: replace(c, redacted=False),
        lambda c, _: replace(c, redacted=True, body=c.body.replace(b'"x"', b'""', 2)),
        lambda c, _: replace(c, redacted=True, body=c.body.replace(b'"text": "x", ', b"")),
        lambda c, _: replace(c, redacted=True, body=c.body.replace(b'"X"', b'""')),
        lambda c, _: replace(c, redacted=True, account="x"),
    ],
    ids=range(6),
)
def test_a_redaction_that_breaks_a_promise_is_found_out(
    wrong: Callable[[Callback, Body | None], Callback], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PROVIDERS["ants"], "redact", wrong)
    with pytest.raises(BrokenPromiseError):
        check(WHOLE)


def test_an_answer_that_loses_a_message_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    body = (ROOT / "tests/sent/thaibulksms/v2-documented.json").read_bytes()
    check_sent("thaibulksms", body)
    parse_sent = PROVIDERS["thaibulksms"].parse_sent
    monkeypatch.setattr(PROVIDERS["thaibulksms"], "parse_sent", lambda *a: parse_sent(*a)[1:])
    with pytest.raises(BrokenPromiseError):
        check_sent("thaibulksms", body)


# Requests, and the command


@pytest.mark.long
def test_requests_of_strangers_are_never_our_fault(url: str) -> None:
    assert strangers.run(150, url) > 75


def fuzz(*arguments: str) -> str:
    """Run the command; it must find nothing."""
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_the_command_fuzzes_requests() -> None:
    assert "| `requests` | 20 |" in fuzz("requests", "--runs", "20")


@pytest.mark.long
def test_the_command_fuzzes_parsers(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="the extra `fuzz` is not installed")
    said = fuzz("ants.parse_sent", "--runs", "500", "--folder", str(tmp_path))

    assert "| `ants.parse_sent` | 500 |" in said
    assert re.search(r"Together: ants [1-9][0-9] %", said)


def test_an_answer_that_is_our_fault_is_found_out() -> None:
    assert strangers.statuses(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" + LENGTH) == [200]
    with pytest.raises(BrokenPromiseError, match="no HTTP"):
        strangers.statuses(b"Traceback")


LENGTH: Final = b"Content-Length: 2\r\n\r\nOK"


# Time and memory

SMALL: Final = 256
LARGE: Final = 8 * SMALL


def each_costly(test: Any) -> Any:
    return pytest.mark.parametrize("costly", COSTLY, ids=lambda c: f"{c.provider}-{c.name}")(test)


@pytest.mark.long
@each_costly
def test_time_grows_with_the_body_and_no_faster(costly: Costly) -> None:
    """Eight times the body takes eight times as long; were it quadratic, sixty-four times."""
    small = max(seconds(costly.callback(SMALL)), 0.0005)  # what is quicker is too quick to tell
    large = seconds(costly.callback(LARGE))

    assert large < 24 * small, f"{small * 1000:.2f} ms became {large * 1000:.2f} ms"


@pytest.mark.long
@each_costly
def test_memory_grows_with_the_body_and_no_faster(costly: Costly) -> None:
    work(costly.callback(SMALL))  # what is loaded at the first time is none of its
    small, large = peak(costly.callback(SMALL // 4)), peak(costly.callback(LARGE // 4))

    assert large < 12 * max(small, 10_000), f"{small} bytes became {large}"


# What the largest bodies cost


def each_hostile(test: Any) -> Any:
    return pytest.mark.parametrize("hostile", HOSTILE, ids=lambda h: f"{h.provider}-{h.name}")(test)


@pytest.mark.long
@each_hostile
def test_four_times_a_hostile_body_takes_four_times_as_long(hostile: Hostile) -> None:
    """Bodies of 0.5 and 2 MB, and none may take sixteen times as long."""
    small = max(seconds(hostile.callback(500_000), 2), 0.005)  # what is quicker tells nothing
    large = seconds(hostile.callback(2_000_000), 2)

    assert large < 10 * small, f"{small * 1000:.0f} ms became {large * 1000:.0f} ms"


@pytest.mark.long
@each_hostile
def test_the_largest_body_takes_little_memory(hostile: Hostile) -> None:
    assert peak(hostile.callback(LARGEST)) < MAX_BYTES


def test_elements_are_counted_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    met = 0
    down = xml_document._Reader._down  # noqa: SLF001

    def counting(reader: Any, tag: str, attributes: list[str]) -> None:
        nonlocal met
        met += 1
        down(reader, tag, attributes)

    monkeypatch.setattr(xml_document._Reader, "_down", counting)  # noqa: SLF001
    with pytest.raises(UnreadableError, match="at most 100000 elements and attributes, got more"):
        xml_document.decode_xml("<a>" + "<b/>" * 1_990_000 + "</a>")
    assert met == MAX_VALUES + 1


@pytest.mark.parametrize(
    "text",
    [
        "{" + ",".join(f'"m{n}":1' for n in range(780_000)) + "}",
        '["' + '","' * 200_000 + '"]',
        "[" + "1," * 100_000 + "1]",
        "[" + "[]," * 50_000 + "1]",
        "[" * 101 + "]" * 101,
    ],
    ids=["names", "texts", "numbers", "lists", "depth"],
)
def test_json_is_counted_before_it_is_decoded(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("it is decoded")

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", decode)
    with pytest.raises(UnreadableError, match="at most 100"):
        json_document.decode_json(text)
