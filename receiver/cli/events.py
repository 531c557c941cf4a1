"""Commands on applications that are told of changes: events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from receiver.cli.app import Config, app, fail, opened, reading
from receiver.domain import EventError, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from receiver.settings import EventSettings, Settings


events_app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
app.add_typer(events_app, name="events")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As in RECEIVER_EVENTS_<NAME>_URL.")]


@events_app.callback()
def events(
    ctx: typer.Context,
    config: Config = None,
    format_: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Show which applications are told of changes, how far each is, and what it refused.

    Example: receiver events
    """
    if ctx.invoked_subcommand is not None:
        return
    if format_ not in {"table", "json"}:
        raise typer.BadParameter("--format: expected one of: table, json")
    from receiver.display import Table, local, show
    from receiver.outbound import store

    with reading(config) as (settings, connection):
        rows = [_line(name, settings, found) for name, found in _all(settings, connection).items()]
    if format_ == "json":
        from receiver.display import json_values

        text = json.dumps(rows, default=json_values.jsonable, indent=2)
        typer.echo(text)
        return
    table = Table(
        columns=tuple(store.COLUMNS), right=frozenset({"lag", "sent", "failed", "aside"}),
        fold=frozenset({"problem"}),
    )  # fmt: skip
    for row in rows:
        shown = {**row, "taken_at": local(row["taken_at"], settings.timezone)}
        table.rows.append(["-" if shown[c] is None else shown[c] for c in store.COLUMNS])
    show(table)


def _all(settings: Settings, connection: Any) -> Mapping[str, Any]:
    from receiver.outbound import store

    return dict.fromkeys(settings.events) | store.standings(connection)


def _line(name: str, settings: Settings, found: Any) -> dict[str, Any]:
    """Return what is shown of a destination; one that never ran has only a name."""
    from receiver.outbound import store

    row = dict.fromkeys(store.COLUMNS) | {"name": name, "state": "not begun"}
    if found is not None:
        row |= store.shown(found)
        if name not in settings.events:
            row["state"] = "not set any more"
    return row


@events_app.command()
def secret() -> None:
    """Make a secret for RECEIVER_EVENTS_<NAME>_SECRETS, and for your application.

    Example: receiver events secret
    """
    from receiver.outbound import new_secret

    typer.echo(new_secret())


@events_app.command("test")
def send_example(name: Name, config: Config = None) -> None:
    """Send an example, marked as one, and say what came of it.

    Example: receiver events test app
    """
    from receiver.outbound import Outcome, send_test
    from receiver.settings import read_settings

    answer = send_test(name, _known(read_settings(config), name))
    if answer.outcome is not Outcome.TAKEN:
        raise typer.Exit(fail(f"{name} did not take it: {answer.problem}."))
    typer.echo(f"{name} took it.")


@events_app.command()
def resume(name: Name, config: Config = None) -> None:
    """Send again at once, also to one that is off since it answered 410.

    Example: receiver events resume app
    """
    from receiver.database import transact
    from receiver.outbound import store

    with opened(config) as (settings, engine):
        _known(settings, name)
        transact(engine, lambda c: store.resume(c, name))
    typer.echo(f"{name} is sent to again.")


@events_app.command()
def replay(
    name: Name,
    *,
    config: Config = None,
    since: Annotated[
        str | None, typer.Option(help="All changes since: 90m, 24h, 7d, or a date (Bangkok's).")
    ] = None,
    message: Annotated[
        list[str] | None, typer.Option("--id", help="The message with this id or reference.")
    ] = None,
    set_aside: Annotated[bool, typer.Option("--set-aside", help="All that it refused.")] = False,
) -> None:
    """Send changes again, as the messages are now; `serve` does it.

    Example: receiver events replay app --since 2h
    """
    from receiver.cli import figures
    from receiver.database import transact
    from receiver.outbound import store

    if sum((since is not None, bool(message), set_aside)) != 1:
        raise typer.BadParameter("expected one of --since, --id and --set-aside")
    start = None
    try:
        start = None if since is None else figures.start(since, datetime.now(UTC))
    except UnreadableError as error:
        raise typer.BadParameter(str(error)) from None
    with opened(config) as (settings, engine):
        _known(settings, name)
        if start is not None:
            at = start
            transact(engine, lambda c: store.replay_since(c, name, at))
            typer.echo(f"{name} is told again of all that changed since.")
        elif message:
            sought = message
            count = transact(engine, lambda c: store.replay_named(c, name, sought))
            typer.echo(f"{name} is told again of {count}.")
        else:
            count = transact(engine, lambda c: store.replay_set_aside(c, name))
            typer.echo(f"{name} is told again of {count}.")


def _known(settings: Settings, name: str) -> EventSettings:
    """Return what is set for a destination. Raises EventError where nothing is."""
    if name not in settings.events:
        names = ", ".join(settings.events) or "none is set"
        raise EventError(f"{name}: no such destination; expected one of RECEIVER_EVENTS_…: {names}")
    return settings.events[name]
