"""Commands about what came in: receive, callbacks, replay."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from receiver.cli.app import (
    Config,
    DryRun,
    app,
    callbacks_app,
    known_outcomes,
    known_provider,
    opened,
    reading,
)


@app.command()
def receive(
    provider: Annotated[
        str | None, typer.Argument(metavar="PROVIDER", help="Whose callbacks they are.")
    ] = None,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="`-` is stdin.")
    ] = None,
    *,
    config: Config = None,
    account: Annotated[str, typer.Option(help="Which of your accounts they are for.")] = "",
    spool: Annotated[
        Path | None, typer.Option(help="A spool file instead, also a damaged one.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Take in callbacks that were saved elsewhere, to fill a gap.

    A file holds one body as it came, or a log with query strings or JSON in its lines: of nginx,
    Apache, Caddy or PHP, packed or not; or URLs. Lines without a callback are listed as bad. Known
    reports are counted as repeats. What can be read of a spool file is taken in with --spool; doing
    that again changes nothing.

    Example: receiver receive thaibulksms access.log --dry-run
    """
    from receiver.maintenance import receive_files
    from receiver.messages import record_files
    from receiver.server import configure

    if (spool is None) == (provider is None) or (provider is not None and not files):
        raise typer.BadParameter("expected PROVIDER and FILE, or --spool FILE")
    name = known_provider(provider) if provider is not None else ""
    if name and (problem := record_files.problem(name, {"account": account})):
        raise typer.BadParameter(problem)
    configure()
    with opened(config) as (settings, engine):
        if spool is not None:
            bad = receive_files.receive_spool(engine, settings, spool, dry_run=dry_run)
        else:
            bad = receive_files.receive_files(
                engine, settings, name, account, files or [], dry_run=dry_run
            )
    if bad:
        raise typer.Exit(1)


@callbacks_app.callback()
def callbacks(
    ctx: typer.Context,
    config: Config = None,
    outcome: Annotated[
        list[str] | None, typer.Option(help="read, partial or unreadable; may be given twice.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 20,
) -> None:
    """List the callbacks that were kept, or show one.

    Example: receiver callbacks --outcome unreadable
    """
    if ctx.invoked_subcommand is not None:
        return
    from receiver.cli import listing
    from receiver.display import show
    from receiver.ingest import kept_callbacks

    outcomes = known_outcomes(outcome or [])
    with reading(config) as (settings, connection):
        rows = kept_callbacks(connection, outcomes, limit)
    show(listing.callbacks(rows, settings.timezone))


@callbacks_app.command("show")
def callbacks_show(
    ctx: typer.Context,
    callback_id: Annotated[str, typer.Argument(metavar="ID")],
    config: Config = None,
    body: Annotated[bool, typer.Option("--body", help="Write the body's bytes, no more.")] = False,
) -> None:
    """Show all that was kept of one callback.

    Example: receiver callbacks show 019a6b1e-7c1b-7000-8000-0123456789ab --body > body.json
    """
    from receiver.cli import listing
    from receiver.display import MAX_SHOWN
    from receiver.ingest import kept_callback

    outer = ctx.parent.params["config"] if ctx.parent is not None else None
    with reading(config or outer) as (_, connection):
        row = kept_callback(connection, callback_id, head=None if body else MAX_SHOWN)
    if body:
        sys.stdout.buffer.write(row["body"])
        sys.stdout.buffer.flush()
    else:
        typer.echo("\n".join(listing.callback(row)))


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID")] = None,
    config: Config = None,
    outcome: Annotated[
        list[str] | None, typer.Option(help="read, partial or unreadable; may be given twice.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Read kept callbacks again after a fix: by default those unreadable or partial.

    New reports are added, and what is derived of known ones is written again.

    Example: receiver replay --outcome unreadable --dry-run
    """
    from receiver.cli import listing
    from receiver.display import progress
    from receiver.ingest import Interpreter, kept_ids
    from receiver.maintenance import replay as rebuild
    from receiver.server import configure

    chosen: dict[str, Sequence[str]] = {"outcomes": known_outcomes(outcome or rebuild.REREAD)}
    if ids and outcome:
        raise typer.BadParameter("expected ids or --outcome, not both")
    configure()
    with opened(config) as (settings, engine):
        chosen["ids"] = kept_ids(engine, ids or [])
        interpreter, texts = Interpreter.from_settings(settings), settings.message_text
        with progress("Reading again", rebuild.count_callbacks(engine, **chosen)) as advance:
            done = rebuild.replay(
                engine, interpreter, texts, **chosen, dry_run=dry_run, progress=advance
            )
    typer.echo(listing.replayed(done, dry_run=dry_run))
