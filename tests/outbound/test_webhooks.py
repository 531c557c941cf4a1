"""What is sent is signed, bounded, and goes nowhere it must not, whatever the other side does."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook

from receiver.outbound import webhooks
from receiver.outbound.follower import Outcome
from receiver.outbound.webhooks import Webhooks, document, new_secret, send_test
from receiver.settings.destinations import EventSettings
from tests.kit.application import SECRET, application

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW: Final = datetime(2025, 6, 18, 5, 30, tzinfo=UTC)
BODY: Final = document(NOW, [{"message_id": "ก"}])


def settings(url: str, **values: Any) -> EventSettings:
    return EventSettings(**({"url": url, "secrets": SECRET} | values))


@contextmanager
def sender(url: str, **values: Any) -> Iterator[Webhooks]:
    made = Webhooks("app", settings(url, **values))
    try:
        yield made
    finally:
        made.close()


@contextmanager
def server(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Give the URL of a server whose connections behave as they are told, after the request."""
    stop = threading.Event()

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            behave(connection, stop)

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=one, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def hang(_: socket.socket, stop: threading.Event) -> None:
    stop.wait(60)


def trickle(connection: socket.socket, stop: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not stop.wait(0.05):
        connection.sendall(b"X: y\r\n")


def reset(connection: socket.socket, _: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def ten_megabytes(connection: socket.socket, _: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(10_000_000))


def long_head(connection: socket.socket, _: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2_000_000)


def no_http(connection: socket.socket, _: threading.Event) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n")


@pytest.mark.parametrize(
    ("behave", "outcome", "problem"),
    [
        (hang, Outcome.AGAIN, "no answer within 0.6 s"),
        (trickle, Outcome.AGAIN, "no answer within 0.6 s"),
        (reset, Outcome.AGAIN, "Connection reset by peer"),
        (long_head, Outcome.AGAIN, ""),
        (no_http, Outcome.AGAIN, ""),
        (ten_megabytes, Outcome.TAKEN, ""),
    ],
)
def test_a_server_that_misbehaves_costs_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
    behave: Callable[[socket.socket, threading.Event], None],
    outcome: Outcome,
    problem: str,
) -> None:
    slow = behave in {hang, trickle}
    monkeypatch.setattr(webhooks, "SECONDS", 0.6 if slow else 20.0)
    with server(behave) as url, sender(url) as to:
        began = time.monotonic()
        answer = to.post("msg_1", BODY)
        assert time.monotonic() - began < 15
    assert answer.outcome is outcome
    assert problem in answer.problem
    assert url not in answer.problem


def test_nobody_listens() -> None:
    with sender("http://127.0.0.1:1/secret") as to:
        assert to.post("msg_1", BODY).problem == "Connection refused"


@contextmanager
def tls(authority: trustme.CA, certificate: trustme.LeafCert) -> Iterator[ssl.SSLContext]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with authority.cert_pem.tempfile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", file)
        yield context


def test_a_certificate_is_looked_at() -> None:
    authority = trustme.CA()
    good = authority.issue_cert("127.0.0.1", "localhost")
    expired = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1))
    other = authority.issue_cert("example.com")
    for certificate, outcome, problem in (
        (good, Outcome.TAKEN, ""),
        (expired, Outcome.AGAIN, "certificate has expired"),
        (other, Outcome.AGAIN, "certificate is not valid for '127.0.0.1'"),
    ):
        with tls(authority, certificate) as context, application(context) as app:
            with sender(app.url) as to:
                answer = to.post("msg_1", BODY)
            if certificate is good:
                # By its name, which is what the certificate is of, over any of its addresses.
                with sender(app.url.replace("127.0.0.1", "localhost")) as to:
                    assert to.post("msg_2", BODY).outcome is Outcome.TAKEN
        assert (answer.outcome, problem in answer.problem) == (outcome, True), answer
    with application() as app, sender(app.url.replace("http:", "https:")) as to:
        assert to.post("msg_1", BODY).outcome is Outcome.AGAIN


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/", "http://[fd00:ec2::254]/", "http://100.100.100.200/",
        "http://[::ffff:169.254.169.254]/", "http://168.63.129.16/", "http://[64:ff9b::a9fe:a9fe]/",
    ],
)  # fmt: skip
def test_the_metadata_of_a_cloud_is_no_destination(url: str) -> None:
    with pytest.raises(ValidationError, match="no address of a cloud's metadata"):
        settings(url)


def test_no_name_leads_to_the_metadata_of_a_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolve(host: str, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "shop.example":
            return [*real("127.0.0.1", port, *args, **kwargs),
                    *real("169.254.169.254", port, *args, **kwargs)]  # fmt: skip
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    # Numbers that a resolver reads and ours does not, among them.
    for host in ("shop.example", "2852039166", "0xa9fea9fe", "169.254.43518"):
        with sender(f"http://{host}:1/") as to:
            answer = to.post("msg_1", BODY)
        assert answer.outcome is Outcome.AGAIN
        assert "metadata" in answer.problem, host


def test_a_redirect_is_not_followed() -> None:
    with application() as elsewhere, application() as app:
        for status in (301, 302, 303, 307, 308):
            app.answer = lambda _, s=status: (s, {"Location": elsewhere.url})  # type: ignore[misc]
            with sender(app.url) as to:
                assert to.post("msg_1", BODY).problem == f"answered {status}"
        assert (len(app.posts), elsewhere.posts) == (5, [])


def test_each_of_several_secrets_verifies() -> None:
    old, new = new_secret(), new_secret()
    with (
        application(secret=old) as app,
        sender(app.url, secrets=f"{new},{old}") as to,
    ):
        assert to.post("msg_1", BODY).outcome is Outcome.TAKEN
        (post,) = app.posts
    for secret in (old, new):
        assert Webhook(secret).verify(post.body, dict(post.headers)) == json.loads(BODY)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(new_secret()).verify(post.body, dict(post.headers))


def test_an_example_says_that_it_is_one() -> None:
    with application() as app:
        assert send_test("app", settings(app.url)).outcome is Outcome.TAKEN
        (post,) = app.posts
    body = json.loads(post.body)
    assert (body["type"], body["data"]["test"]) == ("message.status", True)
    (message,) = body["data"]["messages"]
    assert (message["id"], message["status"]) == (0, "delivered")
