"""The commands; thin. Each opens what it needs, calls one thing, and prints what came of it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from receiver.errors import ReceiverError, SchemaError, SettingsError, place

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from receiver.settings import Settings

app = typer.Typer(
    name="receiver",
    help="Receives SMS delivery reports and keeps them, joined to the messages you sent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file; receiver.env if there is one.")
]

GRACE_SECONDS: Final = 5
"""How long requests under way may take to end after SIGTERM."""


def main() -> None:
    """Run a command; say every error in one plain sentence and exit with 1."""
    try:
        app()
    except ReceiverError as error:
        fail(str(error))
    except BrokenPipeError:  # `receiver … | head` is no error
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - never a traceback for a user
        fail(database_trouble(error) or f"Something went wrong: {place(error)}.")


def fail(sentence: str) -> None:
    """Print a sentence to stderr and exit with 1."""
    typer.echo(f"receiver: {sentence}", err=True)
    sys.exit(1)


def database_trouble(error: Exception) -> str | None:
    """Return a sentence where the database is what failed."""
    from sqlalchemy.exc import SQLAlchemyError

    from receiver.database import reason

    if not isinstance(error, SQLAlchemyError):
        return None
    return f"The database cannot be used: {reason(error)}"


def read(config: Path | None) -> Settings:
    """Read the settings."""
    from receiver.settings import read_settings

    return read_settings(config)


def connect(settings: Settings) -> Engine:
    """Connect to the database. Raises SettingsError for a URL that is none."""
    from receiver import database

    return database.connect(database.parse_url(settings.database_url))


def existing(settings: Settings) -> Engine:
    """Connect to a database that must be there, with a schema this program can use."""
    from receiver import schema

    engine = connect(settings)
    file = sqlite_file(engine)
    if file is not None and not file.exists():
        raise SchemaError(f"There is no database at {file}. Run `receiver serve` first.")
    with engine.connect() as connection:
        warning = schema.check(connection)
    if warning:
        typer.echo(f"receiver: {warning}", err=True)
    return engine


def sqlite_file(engine: Engine) -> Path | None:
    """Return SQLite's file; None on PostgreSQL."""
    return Path(engine.url.database or "") if engine.dialect.name == "sqlite" else None


@app.command()
def serve(
    config: Config = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Receiving processes.")] = 1,
) -> None:
    """Receive callbacks, keep them and settle what they mean.

    Example: receiver serve --host 0.0.0.0 --port 8000
    """
    from receiver import schema
    from receiver.settings import read_settings

    settings = read_settings(config, must_exist=False)
    engine = connect(settings)
    if workers > 1:
        raise SettingsError(
            "--workers: more than one worker needs PostgreSQL."
            if sqlite_file(engine)
            else "--workers: this version runs one worker; start several receivers instead."
        )
    listener = listen(host, port)
    first = not settings.has_tokens
    if first:
        settings = make_tokens(settings, engine, config)
    if settings.migrate == "auto":
        schema.upgrade(engine)
    with engine.connect() as connection:
        warning = schema.check(connection)
    if warning:
        typer.echo(f"receiver: {warning}", err=True)
    bound = listener.getsockname()[1]
    own = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    for line in greeting(settings, own, whole=first):
        typer.echo(line)
    run(settings, engine, listener)


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything else is done, so that a port in use changes nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(f"Cannot listen on {host} port {port}: {error.strerror}.") from None


def run(settings: Settings, engine: Engine, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; both end it cleanly."""
    import uvicorn

    from receiver.app import create_app
    from receiver.logs import configure

    configure()
    config = uvicorn.Config(
        create_app(settings, engine),
        log_config=None,
        access_log=False,  # it would print tokens and phone numbers
        proxy_headers=False,  # X-Forwarded-For is read by ourselves, from trusted proxies only
        server_header=False,
        lifespan="on",
        http="httptools",
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # uvicorn raises the signal again after a clean stop, which would end us with 143.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvicorn.Server(config).run(sockets=[listener])
    engine.dispose()


def make_tokens(settings: Settings, engine: Engine, config: Path | None) -> Settings:
    """On a first start, make tokens and an API key and write them to the settings file.

    Anywhere else a missing token is an error: new tokens would turn every provider away.
    """
    from receiver.providers import PROVIDERS
    from receiver.settings import FILE, read_settings

    file = config or Path(FILE)
    advice = "Set RECEIVER_<PROVIDER>_TOKENS to the secret in the URL your provider calls."
    if os.path.lexists(file):
        raise SettingsError(f"No token is configured, neither in {file} nor outside. {advice}")
    if has_received(engine):
        raise SettingsError(f"No token is configured, but callbacks were received. {advice}")
    names = [f"RECEIVER_{provider.upper()}_TOKENS" for provider in PROVIDERS]
    if not settings.api_keys:
        names.append("RECEIVER_API_KEYS")
    lines = [f"{name}={secrets.token_urlsafe(24)}\n" for name in names]
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SettingsError(
            f"No token is configured, and {file} cannot be written: {error.strerror}. {advice}"
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as written:
        written.writelines(lines)
    typer.echo(f"First start: wrote new tokens and an API key to {file}. Keep that file.")
    return read_settings(config)


def has_received(engine: Engine) -> bool:
    """Say whether the database holds a callback."""
    from sqlalchemy import inspect

    from receiver import query

    file = sqlite_file(engine)
    if file is not None and not file.exists():
        return False
    with engine.connect() as connection:
        return inspect(connection).has_table("callback") and query.has_callbacks(connection)


def greeting(settings: Settings, own: str, *, whole: bool) -> list[str]:
    """Return what `serve` says when it is ready."""
    from receiver.urls import callback_urls

    lines = [f"receiver listens on {own}. Register with your providers:"]
    lines += [
        f"  {u.title:<12} {u.whole if whole else u.masked}" for u in callback_urls(settings, own)
    ]
    lines.append("`receiver urls` prints them whole and says where they go.")
    return lines


@app.command()
def migrate(
    config: Config = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL, change nothing.")] = False,
) -> None:
    """Bring the database's schema up to date.

    Example: receiver migrate --sql > schema.sql
    """
    from receiver import schema

    settings = read(config)
    engine = connect(settings)
    if sql:
        typer.echo(schema.sql(engine.dialect.name))
        return
    changed = schema.upgrade(engine)
    typer.echo(f"The schema is {'now' if changed else 'already'} at revision {schema.head()}.")
