"""Commands on what is kept: erase, purge, rebuild, copy."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from receiver.cli.app import Config, DryRun, OlderThan, ages, app, confirm, known_words, opened


@app.command()
def erase(
    recipient: Annotated[
        str, typer.Option(help="A phone number, written in any way; `-` reads it from stdin.")
    ],
    config: Config = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a phone number from all that is kept; what was counted stays.

    It asks first on a terminal, and wants --yes anywhere else. Other people of this machine can see
    what stands on a command line: with `-` the number does not.

    Example: receiver erase --recipient 0812345678
    """
    from receiver.cli import listing
    from receiver.display import progress
    from receiver.domain import msisdn
    from receiver.maintenance import erasure

    number = msisdn(sys.stdin.readline().strip() if recipient == "-" else recipient)
    if number is None:
        raise typer.BadParameter("--recipient: expected a phone number such as 0812345678")
    with opened(config) as (settings, engine):
        if not yes:
            confirm(f"Erase {number} ({erasure.count_messages(engine, number)} messages)?")
        total = erasure.count_rows(engine) if sys.stderr.isatty() else None
        with progress("Erasing", total) as advance:
            done = erasure.erase_all(engine, settings, number, progress=advance)
    typer.echo(listing.erased(done))
    for sentence in listing.not_erased(done):
        typer.echo(sentence, err=True)


@app.command()
def purge(
    config: Config = None,
    older_than: OlderThan = None,
    callbacks_older_than: OlderThan = None,
    unreadable_older_than: OlderThan = None,
    dry_run: DryRun = False,
) -> None:
    """Delete what is old, in small portions: nobody has to stop for it.

    --older-than: messages by sent_at with all their reports, reports of no message by received_at,
    and their callbacks. The other two: callbacks by their age; those of them that could not be read
    and may hold message texts. What is not given is as set (RECEIVER_PURGE_…); the counts by the
    hour stay.

    Example: receiver purge --older-than 400d --callbacks-older-than 30d --dry-run
    """
    from receiver.cli import listing
    from receiver.display import progress
    from receiver.maintenance import retention

    options = {
        "purge_older_than": older_than,
        "purge_callbacks_older_than": callbacks_older_than,
        "purge_unreadable_older_than": unreadable_older_than,
    }
    with opened(config) as (settings, engine):
        limits = retention.Limits.set(settings.model_copy(update=ages(options)), datetime.now(UTC))
        if dry_run:
            typer.echo(listing.purged(retention.count(engine, limits), dry_run=True))
            return
        total = retention.count(engine, limits).total() if sys.stderr.isatty() else None
        with progress("Deleting", total) as advance:
            done = retention.purge(engine, limits, progress=advance)
    typer.echo(listing.purged(done, dry_run=False))


@app.command("rebuild")
def rebuild_(
    config: Config = None,
    dry_run: DryRun = False,
    status_map: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With --dry-run: instead of RECEIVER_STATUS_MAP."),
    ] = None,
) -> None:
    """Derive every report, link and status again, under today's settings.

    Example: receiver rebuild --dry-run --status-map new.toml
    """
    from receiver.cli.listing import rebuilt
    from receiver.display import progress, show
    from receiver.ingest import Interpreter
    from receiver.maintenance import rebuild

    if status_map is not None and not dry_run:
        raise typer.BadParameter(
            "--status-map: expected --dry-run, too; to keep what it gives, name the file in"
            " RECEIVER_STATUS_MAP"
        )
    overrides = {} if status_map is None else {"status_map": known_words(status_map)}
    with (
        opened(config) as (settings, engine),
        progress("Deriving again", rebuild.count_rows(engine)) as advance,
    ):
        interpreter = Interpreter.from_settings(settings.model_copy(update=overrides))
        done = rebuild.rebuild(engine, interpreter, dry_run=dry_run, progress=advance)
    summary, changes = rebuilt(done, dry_run=dry_run)
    if changes.rows:
        show(changes)
    typer.echo(summary)


@app.command()
def copy(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="Of the other database.")],
    config: Config = None,
) -> None:
    """Copy all that is kept into another database, which is empty and has been migrated.

    Stop the receiver first. Both are compared at the end. A copy that was cut off goes on when it
    is run again.

    Example: receiver copy --to postgresql://receiver@127.0.0.1/receiver
    """
    from receiver.maintenance import copy as copying
    from receiver.settings import read_settings

    copying.copy(read_settings(config), to)
