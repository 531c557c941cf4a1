"""docs/webhooks.md: its examples receive from a running receiver, and take nothing forged."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

import pytest

from receiver.outbound.webhooks import new_secret
from tests.kit.serving import ROOT, Server, serving

if TYPE_CHECKING:
    from pathlib import Path

PAGE: Final = (ROOT / "docs" / "webhooks.md").read_text("utf-8")
PATIENCE: Final = 60
EXAMPLES: Final[dict[str, tuple[str, Callable[[str, int], list[str]]]]] = {
    "php": ("told.php", lambda file, port: ["php", "-S", f"127.0.0.1:{port}", file]),
    "python": ("told.py", lambda file, port: [sys.executable, file, str(port)]),
    "js": ("told.js", lambda file, port: ["node", file, str(port)]),
}


def eventually(look: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < until
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def post(url: str, body: bytes, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, named)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def has_begun(server: Server) -> bool:
    """Say whether the destination is known; it is told of what changes from then on."""
    with closing(sqlite3.connect(server.folder / "receiver.db", timeout=PATIENCE)) as database:
        return bool(database.execute("SELECT count(*) FROM event_destination").fetchone()[0])


def deliver(server: Server, reference: str) -> None:
    """Record a message, and have the provider report that it was delivered."""
    message = {"message_id": reference, "recipient": "66812345678", "reference": reference}
    body = json.dumps({"provider": "ants", "messages": [message]}).encode()
    key = f"Bearer {server.api_key}"
    kind = "application/json"
    assert post(f"{server.url}/messages", body, Authorization=key, Content_Type=kind) in {200, 201}
    detail = {
        "messageId": reference, "to": "66812345678", "status": {"name": "DELIVERED"},
        "doneDate": "2026-11-21T10:00:00.00",
    }  # fmt: skip
    callback = json.dumps({"details": [detail]}).encode()
    url = f"{server.url}/callbacks/ants/{server.tokens['ants']}"
    assert post(url, callback, Content_Type=kind) in {200, 201}


@pytest.mark.parametrize("language", EXAMPLES)
def test_an_example_is_told_by_a_running_receiver(language: str, tmp_path: Path) -> None:
    name, command = EXAMPLES[language]
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / name).write_text(code)
    port, secret = free_port(), new_secret()
    arguments = command(name, port)
    if shutil.which(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed")
    url, log = f"http://127.0.0.1:{port}/told", tmp_path / "told.log"
    log.touch()
    process = subprocess.Popen(
        arguments, cwd=tmp_path, env=os.environ | {"WEBHOOK_SECRET": secret},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually(lambda: listens(port))
        events = {"RECEIVER_EVENTS_APP_URL": url, "RECEIVER_EVENTS_APP_SECRETS": secret}
        with serving(**events) as server:
            eventually(lambda: has_begun(server))
            deliver(server, "order-7")
            eventually(lambda: log.read_text() == "order-7 delivered\n")
            deliver(server, "order-8")
            eventually(lambda: log.read_text() == "order-7 delivered\norder-8 delivered\n")
        now = str(int(time.time()))
        forged = {"webhook_id": "msg_1", "webhook_timestamp": now}
        body = b'{"data":{"messages":[{"reference":"x","status":"y"}]}}'
        assert post(url, body, **forged, webhook_signature="v1,AAAA") == 401
        assert post(url, body) == 401
        assert "x" not in log.read_text()
    finally:
        process.kill()
        process.wait()
