"""Commands that run a receiver: serve, migrate, urls."""

from __future__ import annotations

from typing import Annotated

import typer

from receiver.cli.app import Config, app


@app.command()
def serve(
    config: Config = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; several need PostgreSQL.")] = 1,
) -> None:
    """Receive callbacks, keep them and settle what they mean.

    Example: receiver serve --host 0.0.0.0 --port 8000
    """
    from receiver.server import running

    running.serve(config, host, port, workers)


@app.command()
def migrate(
    config: Config = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL, change nothing.")] = False,
) -> None:
    """Bring the database's schema up to date.

    Example: receiver migrate --sql > schema.sql
    """
    from receiver.database import opening, schema
    from receiver.settings import read_settings

    engine = opening.connect(read_settings(config).database_url)
    if sql:
        typer.echo(schema.sql(engine.dialect.name))
        return
    changed = schema.upgrade(engine)
    made = schema.make_indexes(engine)
    with engine.connect() as connection:
        revision = schema.current(connection)
    engine.dispose()
    typer.echo(f"The schema is {'now' if changed else 'already'} at revision {revision}.")
    if made:
        typer.echo(f"Made the indexes {', '.join(made)}.")


@app.command()
def urls(config: Config = None) -> None:
    """Print the callback URLs to register with your providers, secrets and all.

    Example: receiver urls
    """
    from receiver.domain import SettingsError
    from receiver.settings import BOUND, callback_urls, described, read_settings, without_token

    settings = read_settings(config)
    registered = list(callback_urls(settings, BOUND))
    if not registered:
        raise SettingsError("No token is configured. Run `receiver serve` once to make some.")
    paragraphs = ["\n".join(described(url)) for url in registered]
    if lacking := without_token(settings):
        paragraphs.append("\n".join(f"{sentence}." for sentence in lacking))
    typer.echo("\n\n".join(paragraphs))
