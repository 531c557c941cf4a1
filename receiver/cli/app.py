"""The command line's application, and what its commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from receiver.domain import Status
    from receiver.settings import Settings


app = typer.Typer(
    name="receiver",
    help="Receives SMS delivery reports and keeps them, joined to the messages you sent.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
callbacks_app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
app.add_typer(callbacks_app, name="callbacks")
templates_app = typer.Typer(
    help="EngageLab's message templates. Example: receiver templates list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(templates_app, name="templates")

Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file; receiver.env if there is one.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
OlderThan = Annotated[str | None, typer.Option(help="Such as 400d or 12h.")]


def fail(sentence: str, code: int = 1) -> int:
    """Print a sentence to stderr, after what stands on stdout; return the exit code."""
    from receiver.display import printable

    with suppress(OSError):  # `main` reports a full disk behind stdout
        sys.stdout.flush()
    with suppress(OSError):
        typer.echo(f"receiver: {printable(sentence)}", err=True)
    return code


@contextmanager
def opened(config: Path | None) -> Iterator[tuple[Settings, Engine]]:
    """Read the settings, and connect to the database, which must be there."""
    from receiver.database import existing
    from receiver.settings import read_settings

    settings = read_settings(config)
    engine = existing(settings.database_url)
    try:
        yield settings, engine
    finally:
        engine.dispose()


@contextmanager
def reading(config: Path | None) -> Iterator[tuple[Settings, Connection]]:
    """Do the same, with a connection that only reads."""
    from receiver.database import READ

    with (
        opened(config) as (settings, engine),
        engine.execution_options(**READ).connect() as connection,
    ):
        yield settings, connection


def known_provider(name: str) -> str:
    """Return a provider's name as it is in URLs. Wrong usage otherwise."""
    from receiver.providers import PROVIDERS

    if name.lower() not in PROVIDERS:
        raise typer.BadParameter(f"PROVIDER: expected one of: {', '.join(PROVIDERS)}")
    return name.lower()


def known_outcomes(options: Sequence[str]) -> list[str]:
    """Return outcomes, however they were listed. Wrong usage where one is none."""
    from receiver.ingest import OUTCOMES

    outcomes = [word.strip().lower() for words in options for word in words.split(",")]
    if not set(outcomes) <= set(OUTCOMES):
        raise typer.BadParameter(f"--outcome: expected some of: {', '.join(OUTCOMES)}")
    return outcomes


def confirm(question: str) -> None:
    """Ask on a terminal; elsewhere nobody can be asked, which is wrong usage."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here; add --yes")
    if not typer.confirm(question, err=True):
        raise typer.Exit(fail("Nothing was erased."))


def ages(options: Mapping[str, str | None]) -> dict[str, timedelta | None]:
    """Return the ages that options give, by their setting. Wrong usage where one is no age."""
    from receiver.settings import age

    by_setting: dict[str, timedelta | None] = {}
    for name, text in options.items():
        try:
            if text is not None:
                by_setting[name] = age(text)
        except ValueError as error:
            option = name.removeprefix("purge_").replace("_", "-")
            raise typer.BadParameter(f"--{option}: {error}") from None
    return by_setting


def known_words(file: str) -> Mapping[str, Mapping[str, Status]]:
    """Return the statuses of a status map file. Wrong usage where it is none."""
    from receiver.settings import statuses

    try:
        return statuses(file)
    except ValueError as error:
        raise typer.BadParameter(f"--status-map: {error}") from None
