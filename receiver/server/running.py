"""What `receiver serve` does: bind, make tokens on a first start, greet, and serve until told.

With several workers the parent does all but serve; each worker has its own engine and spool.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from receiver.database import opening, passes, reason, schema
from receiver.domain import ReceiverError, SchemaError, SettingsError, UnavailableError
from receiver.ingest.spool import Spool
from receiver.maintenance import Nightly
from receiver.monitoring.doctor import local
from receiver.server.first_start import ADVICE, greeting, has_received, make_tokens
from receiver.server.logs import configure, never_waiting
from receiver.server.supervisor import supervise
from receiver.settings import FILE, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from receiver.settings import Settings


log = structlog.get_logger(__name__)

GRACE_SECONDS: Final = 5
"""The seconds that requests under way may take to end after SIGTERM."""
SWITCH_SECONDS: Final = 0.001
"""The seconds that one thread may keep Python from the others: under a flood the writer asks for it
a dozen times for each batch, and Python's own 5 ms made legitimate callbacks wait for 0.5 s
(measured)."""
GARBAGE_EVERY: Final = (700, 10, 100)
"""The gc thresholds: generation 0 as usual, since large bodies must go; full collections rarely,
since each paused the loop for 0.3 s at 5,000 connections (measured)."""
RECEIVE_BYTES: Final = 256 * 1024
"""What the kernel may take from a connection that nobody reads, about; by itself it takes 32 MB.
Enough for 1 MB a second from the other side of the world."""


def serve(config: Path | None, host: str, port: int, workers: int) -> None:
    """Bring everything into place, then receive until SIGTERM or SIGINT."""
    settings = read_settings(config, must_exist=False)
    engine = opening.connect(settings.database_url)
    try:
        check_workers(engine, workers)
        file = config or Path(FILE)
        first = not settings.has_tokens
        if first:
            check_first(engine, file)
        # Bound before anything is written: a port in use changes nothing.
        with listen(host, port) as listener, ExitStack() as stack:
            own = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
            stack.enter_context(opening.alone(engine, own))
            stack.enter_context(never_waiting())
            configure()
            spool, away = prepare_with_spool(settings, engine)
            if first:
                settings = make_tokens(settings, file, config)
            warn_of_exposed(settings, config)
            stops = remember_stops()
            lines = greeting(settings, own, whole=first)
            if away is not None and spool is not None:
                lines.append(f"{away} Callbacks are kept in {spool.path} until it is back.")
            sys.stdout.writelines(f"{line}\n" for line in lines)
            sys.stdout.flush()
            if workers == 1:
                run(settings, engine, spool, listener, stops, away=away)
                return
            if spool is not None:
                spool.close()
            engine.dispose()
            with counting_together():
                supervise(workers, work, settings, listener, stops)
    finally:
        engine.dispose()


@contextmanager
def counting_together() -> Iterator[None]:
    """Give the workers a folder to count in, so that each can tell of all (see metrics.py)."""
    try:
        made = tempfile.TemporaryDirectory(prefix="receiver-metrics-")
    except OSError as error:
        raise SettingsError(
            f"--workers: there is no folder for temporary files ({error.strerror}). Set TMPDIR."
        ) from None
    with made as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield


def work(settings: Settings, listener: socket.socket, number: int) -> None:
    """Be one of several workers: receive until SIGTERM on the socket they share."""
    from receiver.statistics import count_as

    stops = remember_stops()
    with never_waiting():
        configure()
        count_as(number)
        engine = opening.connect(settings.database_url)
        try:
            spool, away = prepare_with_spool(settings, engine, known=True)
            run(settings, engine, spool, listener, stops, away=away)
        except (ReceiverError, SQLAlchemyError) as error:
            log.error("worker cannot start", reason=reason(error))
            sys.exit(1)
        finally:
            engine.dispose()


def check_workers(engine: Engine, workers: int) -> None:
    """Raise SettingsError for more than one worker on SQLite, which has one writer."""
    if workers > 1 and opening.sqlite_file(engine):
        raise SettingsError("--workers: more than one worker needs PostgreSQL.")


def listen(host: str, port: int) -> socket.socket:
    """Bind the address; `::` is every address of both families.

    Raises SettingsError where it is taken, or none of ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        both = ip_address(host) == IPv6Address("::") and socket.has_dualstack_ipv6()
    except ValueError:  # a name
        both = False
    try:
        return socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        reason = (error.strerror or "no such address").partition(" (while ")[0]
    except UnicodeError:
        reason = "no such address"
    raise SettingsError(f"Cannot listen on {host} port {port}: {reason}.")


def prepare(settings: Settings, engine: Engine) -> None:
    """Bring the schema up to date, or see that it is, where that is not our business."""
    file = opening.sqlite_file(engine)
    if settings.migrate == "auto":
        schema.upgrade(engine)
    elif file is not None and not file.exists():
        raise SchemaError(
            f"There is no database at {file}, and RECEIVER_MIGRATE is off. Run `receiver migrate`."
        )
    opening.check(engine)


def prepare_with_spool(
    settings: Settings, engine: Engine, *, known: bool = False
) -> tuple[Spool | None, str | None]:
    """Prepare database and spool; say why the database is away, where the spool stands in for it.

    It does where it has seen this database in order, or that is known. Otherwise what went wrong
    is raised. Without a spool, by RECEIVER_SPOOL_PATH, the first is None.
    """
    path = Path(settings.spool_path).absolute() if settings.spool_path else None
    if path is not None and path == opening.sqlite_file(engine):
        raise SettingsError("RECEIVER_SPOOL_PATH: expected another file than the database.")
    name = opening.identity(engine)
    try:
        prepare(settings, engine)
    except (UnavailableError, SQLAlchemyError) as error:
        is_away = isinstance(error, UnavailableError) or passes(error)
        if not is_away or path is None or not (known or path.exists()):
            raise
        spool = Spool(path, settings.spool_max_bytes)
        if not known and not spool.has_seen(name):
            raise
        message = opening.explain(error) if isinstance(error, SQLAlchemyError) else str(error)
        return spool, f"{message}."
    if path is None:
        return None, None
    spool = Spool(path, settings.spool_max_bytes)
    spool.note(name)
    return spool, None


def check_first(engine: Engine, file: Path) -> None:
    """Raise SettingsError where this is no first start: new tokens would turn providers away."""
    if os.path.lexists(file):
        raise SettingsError(f"No token is configured, neither in {file} nor outside. {ADVICE}")
    if has_received(engine):
        raise SettingsError(f"No token is configured, but callbacks were received. {ADVICE}")


def warn_of_exposed(settings: Settings, config: Path | None) -> None:
    """Log which files of tokens and numbers every user of this machine can read."""
    for path in local.exposed(settings, config):
        log.warning(
            "file is open to every user", file=str(path), todo=f"chmod o-rwx {quote(str(path))}"
        )


def remember_stops() -> list[int]:
    """Return the list in which every SIGTERM and SIGINT is kept from now on; none ends us."""
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stops.append(number))
    return stops


def tune() -> None:
    """Tune thread switching and gc for latency."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is there by now stays
    gc.set_threshold(*GARBAGE_EVERY)


def run(
    settings: Settings,
    engine: Engine,
    spool: Spool | None,
    listener: socket.socket,
    stops: list[int],
    *,
    away: str | None,
) -> None:
    """Serve until SIGTERM or SIGINT; both end it cleanly, also one that came before it began.

    `away` says why the database could not be prepared, where it could not; it will be.
    """
    import uvicorn

    from receiver.monitoring.alarms import AlarmWorker
    from receiver.outbound import Outbound
    from receiver.server.composition import compose
    from receiver.server.http_limits import allow_connections
    from receiver.server.http_protocol import Protocol

    # Each connection inherits it.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    tune()

    class Server(uvicorn.Server):
        async def main_loop(self) -> None:
            if not stops:
                await super().main_loop()

    again = functools.partial(prepare, settings, engine)
    receiver = compose(settings, engine, spool, prepare=again, away=away)
    edge, writer = receiver.edge, receiver.writer

    class Spoken(Protocol):
        most = allow_connections()
        turned_away = staticmethod(edge.no_http)

    config = uvicorn.Config(
        edge.app(),
        log_config=None,
        access_log=False,  # it would print tokens and phone numbers
        proxy_headers=False,  # X-Forwarded-For is read by ourselves, from trusted proxies only
        server_header=False,
        lifespan="on",
        http=Spoken,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    nightly = Nightly(engine, settings)
    nightly.start()
    watch = AlarmWorker(settings, engine, spool, lambda: writer.state().why)
    watch.start()
    outbound = Outbound(engine, settings)
    outbound.start()
    # While it runs uvicorn has the signals; it raises them again after a clean stop, which would
    # end us with 143 if they were not remembered only.
    Server(config).run(sockets=[listener])
    outbound.stop()
    watch.stop()
    nightly.stop()
