"""A real PgBouncer before the tests' PostgreSQL, with its own defaults."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import make_url

from tests.kit.proxies import free_port
from tests.kit.serving import READY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

PGBOUNCER: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(server: str, **settings: object) -> Iterator[str]:
    """Run one; give a URL through it, whose database is to be replaced.

    `settings` are those of its configuration that are not as PgBouncer has them by itself.
    """
    assert PGBOUNCER is not None
    url = make_url(server)
    host = str(url.query["host"])
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "any",  # who may connect is no matter here
            **settings,
        }
        words = "".join(f"{key} = {value}\n" for key, value in lines.items())
        target = f"* = host={host} port={url.port or 5432} user={url.username}"
        file = folder / "pgbouncer.ini"
        file.write_text(f"[databases]\n{target}\n[pgbouncer]\n{words}")
        # It does not run as root; the server's socket is in a folder of the server's user.
        user = ["-u", Path(host).owner()] if os.geteuid() == 0 else []
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [PGBOUNCER, *user, str(file)], stdout=log, stderr=log, cwd=folder
            )
            try:
                until = time.monotonic() + READY_SECONDS
                while not _listens(port):
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < until, (folder / "log").read_text()
                    time.sleep(0.02)
                yield f"postgresql://{url.username}@127.0.0.1:{port}/"
            finally:
                process.kill()
                process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
