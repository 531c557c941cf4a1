"""Commands about what was sent: record, status, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from receiver.cli.app import Config, app, fail, known_provider, opened, reading
from receiver.domain import UnreadableError


@app.command()
def record(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Sent with.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="`-` is stdin.")],
    *,
    config: Config = None,
    account: Annotated[str | None, typer.Option(help="For messages that name none.")] = None,
    sender: Annotated[str | None, typer.Option(help="For messages that name none.")] = None,
    tag: Annotated[str | None, typer.Option(help="For messages that name none.")] = None,
    template_id: Annotated[str | None, typer.Option(help="For messages that name none.")] = None,
    sent_at: Annotated[
        str | None,
        typer.Option(help="2026-11-21T10:00:00+07:00, or in RECEIVER_TIMEZONE without +07:00."),
    ] = None,
) -> None:
    """Record sent messages: send responses, JSON Lines or CSV, told apart by content.

    A record has the columns of sent_message; the first row of CSV names them. Good rows are
    recorded, bad ones listed by line. Recording again changes nothing.

    Example: receiver record thaibulksms sent.csv --tag campaign-42
    """
    from receiver.messages import record_files

    provider = known_provider(provider)
    common = {"account": account, "sender": sender, "tag": tag, "sent_at": sent_at}
    common |= {"template_id": template_id}
    common = {name: value for name, value in common.items() if value is not None}
    if problem := record_files.problem(provider, common):
        raise typer.BadParameter(problem)
    with opened(config) as (settings, engine):
        bad = record_files.record_files(engine, settings, provider, common, files)
    if bad:
        raise typer.Exit(1)


@app.command()
def status(
    text: Annotated[str, typer.Argument(metavar="ID-OR-NUMBER")], config: Config = None
) -> None:
    """Show messages by id, reference or phone number, and what happened to them.

    Example: receiver status 0812345678
    """
    from receiver.cli import listing
    from receiver.display import show
    from receiver.messages import lookup

    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise typer.BadParameter("ID-OR-NUMBER: expected text in UTF-8")
    with reading(config) as (settings, connection):
        matches = lookup.anything(connection, text)
    for table in listing.messages(matches, settings.timezone):
        show(table)
        typer.echo()
    if matches.truncated:
        typer.echo(f"There are more than {lookup.MAX_FOUND}; these are the newest.", err=True)
    if not matches.messages:
        raise typer.Exit(fail("No message with this id, reference or number."))


@app.command()
def report(
    config: Config = None,
    since: Annotated[str, typer.Option(help="90m, 24h, 7d, or a date (Bangkok's).")] = "24h",
    by: Annotated[
        str, typer.Option(help="Any of provider,account,sender,tag,hour,day; '' is one total.")
    ] = "provider",
    format_: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Count what became of the messages sent since a time; list words we do not know.

    Example: receiver report --since 7d --by provider,day --format csv
    """
    from receiver.cli import figures

    try:
        options = figures.read_options(since, by, format_)
    except UnreadableError as error:
        raise typer.BadParameter(str(error)) from None
    with reading(config) as (settings, connection):
        figures.report(settings, connection, options)
