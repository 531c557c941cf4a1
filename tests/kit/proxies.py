"""A real nginx or Caddy before a real receiver, with the files of deploy/ and a certificate."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trustme

from tests.kit.serving import READY_SECONDS, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

HOST: Final = "sms.example.com"
NGINX: Final = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
CADDY: Final = (ROOT / "deploy" / "Caddyfile").read_text("utf-8")
ANSWER_SECONDS: Final = 20


def changed(text: str, changes: Mapping[str, str]) -> str:
    """Replace what cannot be as it is on a machine that runs tests; all of it must be there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def write_certificate(folder: Path, authority: trustme.CA, not_after: datetime | None) -> None:
    """Write `fullchain.pem` and `privkey.pem`, as Let's Encrypt's client calls them."""
    issued = authority.issue_cert(HOST, not_after=not_after)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(folder / "fullchain.pem"), append=True)
    issued.private_key_pem.write_to_path(str(folder / "privkey.pem"))


@dataclass(slots=True)
class Proxy:
    """A proxy that listens with HTTPS on 127.0.0.1."""

    folder: Path
    port: int
    authority: trustme.CA
    process: subprocess.Popen[bytes]

    def line(self, source: str = "127.0.0.1", timeout: float = ANSWER_SECONDS) -> ssl.SSLSocket:
        """Connect from an address of this machine, and believe its certificate or raise."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        plain = socket.create_connection(
            ("127.0.0.1", self.port), timeout=timeout, source_address=(source, 0)
        )
        try:
            return context.wrap_socket(plain, server_hostname=HOST)
        except ssl.SSLError:
            plain.close()
            raise

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        *,
        method: str = "POST",
        source: str = "127.0.0.1",
        **headers: str,
    ) -> tuple[int, bytes]:
        """Ask as a provider does; return status and body."""
        connection = http.client.HTTPConnection(HOST)
        connection.sock = self.line(source)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def written(self) -> bytes:
        """Return all that it wrote anywhere."""
        files = [
            path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".pem"
        ]
        return b"".join(p.read_bytes() for p in files if p.name not in {"nginx.conf", "Caddyfile"})


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def nginx_configuration(
    folder: Path, port: int, upstream: str, seconds: Mapping[str, str]
) -> list[str]:
    """Write what nginx needs around deploy/nginx.conf; return the command."""
    site = changed(
        NGINX,
        {
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            f"/etc/letsencrypt/live/{HOST}": str(folder),
            "/var/log/nginx": str(folder),
            "http://127.0.0.1:8000": upstream,
            **seconds,
        },
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = " ".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    user = "user root root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} pid {folder / 'pid'}; daemon off; events {{}}\nhttp {{ {folders}\n{site}\n}}\n"
    )
    errors = f"error_log {folder / 'start.log'};"
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", errors]


def caddy_configuration(
    folder: Path, port: int, upstream: str, seconds: Mapping[str, str]
) -> list[str]:
    """Write deploy/Caddyfile with a port and a certificate of its own; return the command."""
    own = f"admin off\n\tauto_https disable_redirects\n\tstorage file_system {folder / 'caddy'}"
    site = changed(
        CADDY,
        {
            "\tlog default {": f"\t{own}\n\tlog default {{",
            f"{HOST} {{": f"{HOST}:{port} {{\n\tbind 127.0.0.1\n"
            f"\ttls {folder / 'fullchain.pem'} {folder / 'privkey.pem'}",
            "reverse_proxy 127.0.0.1:8000": f"reverse_proxy {upstream.removeprefix('http://')}",
            **seconds,
        },
    )
    (folder / "Caddyfile").write_text(site)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


CONFIGURATIONS: Final = {"nginx": nginx_configuration, "caddy": caddy_configuration}


@contextmanager
def proxying(
    kind: str,
    folder: Path,
    upstream: str,
    seconds: Mapping[str, str] | None = None,
    *,
    not_after: datetime | None = None,
) -> Iterator[Proxy]:
    """Run a proxy before a receiver; `seconds` replaces times in its file.

    Its certificate is right until `not_after`, or for years.
    """
    authority = trustme.CA()
    write_certificate(folder, authority, not_after)
    port = free_port()
    command = CONFIGURATIONS[kind](folder, port, upstream, seconds or {})
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | {"HOME": str(folder)}
        )
    try:
        until = time.monotonic() + READY_SECONDS
        while True:
            assert process.poll() is None, (folder / "output.log").read_text()
            assert time.monotonic() < until, (folder / "output.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.01)
        yield Proxy(folder, port, authority, process)
    finally:
        process.terminate()
        process.wait(READY_SECONDS)
