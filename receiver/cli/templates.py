"""Commands on EngageLab's message templates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.app import Config, fail, opened, templates_app
from receiver.domain import UnreadableError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from receiver.messages.templates import Client


TemplateId = Annotated[str, typer.Argument(metavar="ID")]
Name = Annotated[str | None, typer.Option("--name", help="At most 64 characters.")]
Content = Annotated[str | None, typer.Option("--content", help="At most 512, no 【】 or [].")]
Type = Annotated[str | None, typer.Option("--type", help="code, notice or marketing.")]
SignId = Annotated[int | None, typer.Option("--sign-id", help="Of the signature.")]
SignPos = Annotated[str | None, typer.Option("--sign-pos", help="prefix or suffix.")]
Submit = Annotated[bool | None, typer.Option("--submit", help="Hand it in for review at once.")]


@contextmanager
def usage() -> Iterator[None]:
    """Turn what cannot be meant into wrong usage."""
    try:
        yield
    except UnreadableError as error:
        raise typer.BadParameter(f"--{error}" if str(error)[0].islower() else str(error)) from None


@contextmanager
def changing(config: Path | None) -> Iterator[tuple[Client, Engine]]:
    """Connect to the provider, and to the database that mirrors its templates."""
    from receiver.messages.templates import synchronise

    with usage(), opened(config) as (settings, engine), synchronise.calling(settings) as client:
        yield client, engine


@templates_app.command("list")
def templates_list(
    config: Config = None,
    approval: Annotated[str, typer.Option(help="pending, approved, rejected or unsubmitted.")] = "",
    name: Annotated[str, typer.Option(help="Part of a name.")] = "",
) -> None:
    """List the provider's templates, as it answers them now.

    Example: receiver templates list --approval rejected
    """
    from receiver.cli import templates_output
    from receiver.messages.templates import APPROVALS, synchronise
    from receiver.settings import read_settings

    if approval and approval not in APPROVALS:
        raise typer.BadParameter(f"--approval: expected one of: {', '.join(APPROVALS)}")
    settings = read_settings(config)
    with synchronise.calling(settings) as client:
        templates_output.listed(client, settings.timezone, approval, name)


@templates_app.command("show")
def templates_show(template_id: TemplateId, config: Config = None) -> None:
    """Show one template, as the provider answers it now.

    Example: receiver templates show 123
    """
    from receiver.cli import templates_output
    from receiver.messages.templates import synchronise
    from receiver.settings import read_settings

    settings = read_settings(config)
    with usage(), synchronise.calling(settings) as client:
        template = client.get(template_id)
    typer.echo("\n".join(templates_output.described(template, settings.timezone)))


@templates_app.command("sync")
def templates_sync(config: Config = None) -> None:
    """Mirror the provider's templates into the table message_template.

    Example: receiver templates sync
    """
    from receiver.messages.templates import synchronise

    with opened(config) as (settings, engine), synchronise.calling(settings) as client:
        typer.echo(synchronise.sync(client, engine))


@templates_app.command("create")
def templates_create(
    name: Annotated[str, typer.Option("--name", help="At most 64 characters.")],
    content: Annotated[str, typer.Option("--content", help="At most 512, no 【】 or [].")],
    type_: Annotated[str, typer.Option("--type", help="code, notice or marketing.")],
    *,
    config: Config = None,
    sign_id: SignId = None,
    sign_pos: SignPos = None,
    submit: Submit = None,
) -> None:
    """Make a template. It is sent once: a second try could make a second one.

    Example: receiver templates create --name bill --content "Dear %name%" --type notice
    """
    from receiver.cli import templates_output
    from receiver.messages.templates import Draft, synchronise

    with usage():
        draft = Draft(
            name=name,
            content=content,
            type=type_,
            sign_id=sign_id,
            sign_pos=sign_pos,
            submit=submit,
        )
    with opened(config) as (settings, engine), synchronise.calling(settings) as client:
        template = synchronise.create(client, engine, draft)
    typer.echo("\n".join(templates_output.described(template, settings.timezone)))


@templates_app.command("submit")
def templates_submit(template_id: TemplateId, config: Config = None) -> None:
    """Hand a template in for review.

    Example: receiver templates submit 123
    """
    from receiver.messages.templates import synchronise

    with changing(config) as (client, engine):
        client.submit(template_id)
        template = synchronise.refresh(client, engine, template_id)
    typer.echo(f"Submitted; approval: {template.approval if template else 'unknown'}.")


@templates_app.command("update")
def templates_update(
    template_id: TemplateId,
    *,
    config: Config = None,
    name: Name = None,
    content: Content = None,
    type_: Type = None,
    sign_id: SignId = None,
    sign_pos: SignPos = None,
    submit: Submit = None,
) -> None:
    """Change a template. Anything but a new name takes its approval away.

    Example: receiver templates update 123 --content "Dear %name%" --submit
    """
    from receiver.messages.templates import Draft, synchronise

    with usage():
        draft = Draft(
            name=name,
            content=content,
            type=type_,
            sign_id=sign_id,
            sign_pos=sign_pos,
            submit=submit,
        )
    if not draft.as_json():
        raise typer.BadParameter("expected something to change, such as --name")
    with changing(config) as (client, engine):
        client.update(template_id, draft)
        template = synchronise.refresh(client, engine, template_id)
    typer.echo(f"Changed; approval: {template.approval if template else 'unknown'}.")


@templates_app.command("delete")
def templates_delete(
    template_id: TemplateId,
    config: Config = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a template. It asks first on a terminal, and wants --yes anywhere else.

    Example: receiver templates delete 123 --yes
    """
    from receiver.messages.templates import synchronise

    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody can be asked here; add --yes to delete")
        if not typer.confirm(f"Delete template {template_id}?", err=True):
            raise typer.Exit(fail("Nothing was deleted."))
    with changing(config) as (client, engine):
        synchronise.delete(client, engine, template_id)
    typer.echo(f"Deleted {template_id}.")
