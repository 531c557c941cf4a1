"""The files of deploy/: nginx and Caddy before a real receiver, the unit, the container."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from receiver.settings.settings import Settings
from tests.kit import proxies
from tests.kit.commands import ROOT
from tests.kit.proxies import HOST, proxying
from tests.kit.serving import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.proxies import Proxy

DEPLOY: Final = ROOT / "deploy"
UNIT: Final = (DEPLOY / "receiver.service").read_text("utf-8")
DOCKERFILE: Final = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE: Final = (DEPLOY / "compose.yaml").read_text("utf-8")
LIMIT: Final = Settings.model_fields["max_body_bytes"].default
CHUNKED: Final = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
HURRY: Final = {
    "nginx": {
        "client_header_timeout 10s": "client_header_timeout 1s",
        "client_body_timeout   10s": "client_body_timeout 1s",
        "proxy_read_timeout    30s": "proxy_read_timeout 1s",
    },
    "caddy": {
        "read_header 10s": "read_header 1s",
        "read_body 30s": "read_body 11s",  # not before the receiver's ten
        "response_header_timeout 30s": "response_header_timeout 1s",
    },
}


PATH: Final = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
"""Where programs are, those that came as Python packages too."""


def needs(program: str) -> pytest.MarkDecorator:
    missing = shutil.which(program, path=PATH) is None
    return pytest.mark.skipif(missing, reason=f"there is no {program} here")


BOTH: Final = [pytest.param(kind, marks=needs(kind)) for kind in proxies.CONFIGURATIONS]


# What stands in front.


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module", params=BOTH)
def proxy(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp(request.param)
    with proxying(request.param, folder, server.url) as running:
        yield running


@pytest.fixture(params=BOTH)
def hurried(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[Proxy]:
    """Give a proxy whose patience is a second each time."""
    with proxying(request.param, tmp_path, server.url, HURRY[request.param]) as running:
        yield running


def report(message: str) -> bytes:
    detail = {"messageId": message, "to": "66812345678", "status": {"name": "DELIVERED"}}
    return json.dumps({"details": [detail]}).encode()


def callbacks(server: Server, where: str, *values: object) -> list[Any]:
    connection = sqlite3.connect(server.folder / "receiver.db")
    try:
        return connection.execute(
            f"SELECT remote_addr FROM callback WHERE {where}", values
        ).fetchall()
    finally:
        connection.close()


def test_a_callback_comes_through_with_its_senders_address(proxy: Proxy, server: Server) -> None:
    path = f"/callbacks/ants/{server.tokens['ants']}"
    before = len(callbacks(server, "remote_addr = '127.0.0.2'"))
    for lie in (
        {},
        {"X_Forwarded_For": "203.0.113.9"},
        {"X_Forwarded_For": "10.0.0.1, 203.0.113.9"},
    ):
        body = report(os.urandom(8).hex())
        assert proxy.ask(path, body, source="127.0.0.2", **lie)[0] == 200
    assert len(callbacks(server, "remote_addr = '127.0.0.2'")) == before + 3
    assert not callbacks(server, "remote_addr LIKE '203.%' OR remote_addr LIKE '10.%'")


def test_a_query_comes_through_as_it_was(proxy: Proxy, server: Server) -> None:
    query = f"Transaction={os.urandom(4).hex()}%2F%20x&Status=delivery&Time=2026-11-21+10:00:00"
    path = f"/callbacks/thaibulksms/{server.tokens['thaibulksms']}?{query}"
    assert proxy.ask(path, method="GET") == (200, b"OK")
    assert callbacks(server, "query = ?", query)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/messages", "/messages?reference=x", "/readyz", "/healthz", "/metrics",
        "/callbacks", "//readyz", "/./readyz", "/callbacks/../readyz", "/callbacks/..%2freadyz",
        "/callbacks/%2e%2e/readyz", "/callbacks/ants/../../readyz", "/x/../readyz", "/READYZ",
        "/callbacks/..;/readyz", "/callbacks\\..\\readyz", "/callbacks/%00/../readyz",
    ],
)  # fmt: skip
def test_nothing_but_callbacks_is_to_be_had(proxy: Proxy, path: str) -> None:
    status, said = proxy.ask(path, method="GET")
    assert status in {400, 404}
    assert b"ready" not in said.lower()
    assert b"details" not in said


def test_an_address_of_another_form_reaches_nothing_else(proxy: Proxy) -> None:
    for target in (f"https://{HOST}/readyz", "http://127.0.0.1:8000/readyz", "*"):
        with proxy.line() as line:
            line.sendall(
                f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
            )
            answer = line.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        # To a name that is not its own Caddy says nothing at all, with a 200.
        assert re.match(rb"HTTP/1.1 (400|404) ", head) or not body


def test_what_the_receiver_refuses_is_refused_in_its_words(proxy: Proxy) -> None:
    for path, status in (("/callbacks/ants/wrong", 401), ("/callbacks/nobody/x", 404)):
        answered, said = proxy.ask(path, b"{}")
        assert answered == status
        assert json.loads(said)["status"] == status


def test_the_longest_body_is_the_receivers(proxy: Proxy, server: Server) -> None:
    path = f"/callbacks/ants/{server.tokens['ants']}"
    status, said = proxy.ask(path, b"x" * LIMIT)
    assert (status, "callback" in json.loads(said)) == (400, True)  # kept, as unreadable
    kept = len(callbacks(server, "TRUE"))
    with proxy.line() as line:
        head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
        line.sendall(head.encode())
        with suppress(OSError):  # some close before all is sent
            line.sendall(b"x" * (LIMIT + 1))
        assert b" 413 " in line.recv(65536).splitlines()[0]
    assert len(callbacks(server, "TRUE")) == kept


@pytest.mark.parametrize(
    "part",
    [
        "POST /callbacks/ants/{token} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\nx",
        "POST /callbacks/ants/{token} HTTP/1.1\r\nHost: {host}\r\nX-",
        "",
    ],
    ids=["body", "headers", "nothing"],
)
def test_who_is_slow_is_sent_away(hurried: Proxy, server: Server, part: str) -> None:
    kept = len(callbacks(server, "TRUE"))
    with hurried.line() as line:
        line.sendall(part.format(token=server.tokens["ants"], host=HOST).encode())
        said = b""
        with suppress(ConnectionResetError):
            said = line.recv(65536)  # an answer, or the end
    assert re.match(rb"HTTP/1.1 40[08] |$", said)
    assert len(callbacks(server, "TRUE")) == kept


def test_a_receiver_that_hangs_or_is_gone_is_a_5xx_and_logs_no_token(tmp_path: Path) -> None:
    for kind in (name for name in proxies.CONFIGURATIONS if shutil.which(name)):
        folder = tmp_path / kind
        folder.mkdir()
        with serving() as own, proxying(kind, folder, own.url, HURRY[kind]) as hurried:
            path = f"/callbacks/ants/{own.tokens['ants']}"
            own.process.send_signal(signal.SIGSTOP)
            try:
                hangs, _ = hurried.ask(path, report("hangs"))
            finally:
                own.process.send_signal(signal.SIGCONT)
            own.stop()
            gone, _ = hurried.ask(path, report("gone"))
            assert {hangs, gone} <= {502, 504}
            assert own.tokens["ants"].encode() not in hurried.written()
            assert b"66812345678" not in hurried.written()


def test_no_token_is_in_what_the_proxy_wrote(proxy: Proxy, server: Server) -> None:
    path = f"/callbacks/ants/{server.tokens['ants']}"
    assert proxy.ask(path, report("x"))[0] == 200
    with suppress(OSError):  # who says too much may be cut off before the answer
        assert proxy.ask(path + "/" + "x" * 20_000, report("x"))[0] in {401, 404, 414}
    for line in (
        f"GET {path} HTTP/9.9\r\n\r\n",
        f"GET {path}\r\n\r\n",
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: nine\r\n\r\n",
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n{CHUNKED}",
        f"BREW {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    ):
        with proxy.line(timeout=5) as opened, suppress(TimeoutError, ConnectionResetError):
            opened.sendall(line.encode())
            opened.recv(65536)
    assert server.tokens["ants"].encode() not in proxy.written()


@needs("nginx")
def test_nginx_logs_who_when_and_what_came_of_it(server: Server, tmp_path: Path) -> None:
    with proxying("nginx", tmp_path, server.url) as proxy:
        path = f"/callbacks/ants/{server.tokens['ants']}"
        assert proxy.ask(path, report("logged"), source="127.0.0.3")[0] == 200
    (line,) = (tmp_path / "receiver.log").read_text().splitlines()
    assert re.fullmatch(r"127\.0\.0\.3 \[[^]]+\] POST 200 [\d.]+", line)


def test_plain_http_on_the_port_of_https_gets_nothing(proxy: Proxy, server: Server) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as line:
        path = f"/callbacks/ants/{server.tokens['ants']}"
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert b" 400 " in line.recv(65536).splitlines()[0]


@pytest.mark.parametrize("kind", BOTH)
def test_an_expired_certificate_is_believed_by_nobody(
    server: Server, tmp_path: Path, kind: str
) -> None:
    """The receiver never sees such a call: only a look at the certificate tells."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with (
        proxying(kind, tmp_path, server.url, not_after=yesterday) as proxy,
        pytest.raises(ssl.SSLCertVerificationError, match="expired"),
    ):
        proxy.ask(f"/callbacks/ants/{server.tokens['ants']}", report("expired"))
    assert not callbacks(server, "CAST(body AS TEXT) LIKE '%expired%'")


# The unit.


@needs("systemd-analyze")
def test_systemd_takes_the_unit_and_finds_it_tight(tmp_path: Path) -> None:
    program = "/opt/receiver/bin/receiver"
    assert f"ExecStart={program} serve " in UNIT
    unit = tmp_path / "receiver.service"
    unit.write_text(UNIT.replace(program, "/bin/true"))
    verify = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "receiver.service" not in done.stderr  # unknown words are warnings only
    secure = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager"]
    done = subprocess.run([*secure, str(unit)], capture_output=True, text=True, check=False)
    if "Failed to connect" in done.stderr or "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze does not judge a file")
    assert done.returncode == 0, done.stdout


def test_the_unit_says_what_is_asked_of_it() -> None:
    said = dict(re.findall(r"^(\w+)=(.*)$", UNIT, re.MULTILINE))
    wanted = {
        "NoNewPrivileges": "yes", "PrivateTmp": "yes", "ProtectSystem": "strict",
        "StateDirectory": "receiver", "UMask": "0077", "CapabilityBoundingSet": "",
    }  # fmt: skip
    assert said.items() >= wanted.items()
    assert said["WorkingDirectory"] == f"/var/lib/{said['StateDirectory']}"


# The container. No engine runs here: its steps are taken by hand.


@needs("hadolint")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(
        ["hadolint", str(DEPLOY / "Dockerfile")],
        env=os.environ | {"PATH": PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, one line each."""
    whole = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    parted = (line.partition(" ") for line in whole.splitlines() if line)
    return [(word, rest) for word, _, rest in parted]


def given(word: str) -> list[str]:
    """Return what stands after an instruction of the last stage."""
    said = instructions()
    last = max(index for index, (name, _) in enumerate(said) if name == "FROM")
    assert last > 0  # several stages: what building leaves is not in it
    return [rest for name, rest in said[last:] if name == word]


def test_the_context_of_the_build_is_enough_to_install_it(tmp_path: Path) -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split()
    kept = {name.removeprefix("!") for name in ignore if name.startswith("!")}
    assert ignore[0] == "*"
    copied = [
        rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--" not in rest
    ]
    names = {name for group in copied for name in group}
    assert names == kept
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(tmp_path)]
    subprocess.run(build, cwd=tmp_path, capture_output=True, check=True)
    assert list((tmp_path / "dist").glob("receiver-*.whl"))


def test_the_image_is_nobodys_and_its_health_check_works(server: Server) -> None:
    assert given("USER") == ["10001:10001"]
    assert given("VOLUME") == ['["/data"]']
    assert given("WORKDIR") == ["/data"]
    (check,) = given("HEALTHCHECK")
    code = json.loads(check[check.index("[") :])[-1]
    assert "http://127.0.0.1:8000/healthz" in code
    up = code.replace("http://127.0.0.1:8000", server.url)
    assert subprocess.run([sys.executable, "-c", up], check=False).returncode == 0
    down = code.replace("8000", str(proxies.free_port()))
    run = subprocess.run([sys.executable, "-c", down], capture_output=True, check=False)
    assert run.returncode != 0


def test_it_runs_where_only_its_volume_can_be_written(tmp_path: Path) -> None:
    """As `read_only: true` and `ProtectSystem=strict` have it: every mount but two is read-only."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    data = tmp_path / "data"
    data.mkdir()
    script = f"""
        mount --make-rprivate / && mount --bind {data} {data} || exit 77
        cut -d' ' -f2 /proc/mounts | sort -ru | while read -r place; do
            case "$place" in {data}|/proc*|/sys*|/dev*) ;;
            *) mount -o remount,bind,ro "$place" 2>/dev/null ;; esac
        done
        if touch {tmp_path}/x 2>/dev/null; then exit 77; fi
        cd {data} && exec {sys.executable} -m receiver serve --port 0 >stdout 2>stderr
    """
    outside = {k: v for k, v in os.environ.items() if not k.startswith("RECEIVER_")}
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script],
        env=outside | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        (data / "stdout").touch()
        running = Server(process=process, folder=data, tokens={}, api_key="")
        with suppress(AssertionError):
            running.wait_until_ready()
        if process.poll() == 77:
            pytest.skip("no mounts can be made here")
        assert running.url, running.stderr()
        running.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert {path.name for path in data.iterdir()} >= {"receiver.env", "receiver.db"}


@needs("docker-compose")
def test_compose_takes_the_file() -> None:
    check = ["docker-compose", "-f", str(DEPLOY / "compose.yaml"), "config"]
    environment = {k: v for k, v in os.environ.items() if k != "POSTGRES_PASSWORD"}
    without = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
    assert without.returncode == 1
    assert "POSTGRES_PASSWORD" in without.stderr
    done = subprocess.run(
        check,
        env=environment | {"POSTGRES_PASSWORD": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_compose_is_as_tight_as_the_unit() -> None:
    for line in (
        "read_only: true", 'cap_drop: ["ALL"]', "no-new-privileges:true", "127.0.0.1:8000:8000",
        "condition: service_healthy", 'volumes: ["receiver:/data"]',
    ):  # fmt: skip
        assert line in COMPOSE, line
    gateway = re.search(r"gateway: (\S+)", COMPOSE)
    assert gateway is not None
    assert f'RECEIVER_TRUSTED_PROXIES: "127.0.0.1,::1,{gateway[1]}"' in COMPOSE
    names = set(re.findall(r"^ +(RECEIVER_\w+):", COMPOSE, re.MULTILINE))
    assert {name.removeprefix("RECEIVER_").lower() for name in names} <= set(Settings.model_fields)
