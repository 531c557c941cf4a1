"""Synchronisation of message templates: calls to the provider, each followed by the mirror."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from receiver.database import transact
from receiver.display import printable, progress
from receiver.domain import TemplateError
from receiver.messages.templates import mirror
from receiver.messages.templates.client import PROVIDER, Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from receiver.messages.templates.client import Draft
    from receiver.messages.templates.mirror import Template
    from receiver.settings import Settings


@contextmanager
def calling(settings: Settings) -> Iterator[Client]:
    """Open a connection to the provider's template interface."""
    client = Client(settings)
    try:
        yield client
    finally:
        client.close()


def sync(client: Client, engine: Engine) -> str:
    """Mirror what the provider has; return what that was, in words.

    All pages are read before anything is written. What is not among them is marked as deleted,
    unless pages were missing.
    """
    began = datetime.now(UTC)
    templates: dict[str, Template] = {}
    pages = client.list()
    first, total = next(pages, ([], 0))
    with progress("Fetching", total) as advance:
        for page in chain([first], (page for page, _ in pages)):
            templates |= {template.template_id: template for template in page}
            advance(len(page))

    def work(connection: Connection) -> int:
        mirror.keep(connection, PROVIDER, list(templates.values()), began)
        if len(templates) < total:
            return 0
        deleted = mirror.known_ids(connection, PROVIDER) - templates.keys()
        return mirror.drop(connection, PROVIDER, deleted, began)

    deleted = transact(engine, work)
    if len(templates) < total:
        raise TemplateError(
            f"EngageLab has {total} templates and listed {len(templates)}; those are mirrored."
            " Try again."
        )
    return f"mirrored {len(templates)}, deleted {deleted}"


def create(client: Client, engine: Engine, draft: Draft) -> Template:
    """Make a template, and mirror it."""
    began = datetime.now(UTC)
    template = client.create(draft)
    transact(engine, lambda connection: mirror.keep(connection, PROVIDER, [template], began))
    return template


def refresh(client: Client, engine: Engine, template_id: str) -> Template | None:
    """Mirror one template after it was changed; None, and a warning, where that fails.

    The change is made: a command that did what it was told does not fail for its mirror.
    """
    began = datetime.now(UTC)
    try:
        template = client.get(template_id)
    except TemplateError as error:
        sys.stderr.write(f"receiver: {printable(error)} Run `receiver templates sync` later.\n")
        return None
    transact(engine, lambda connection: mirror.keep(connection, PROVIDER, [template], began))
    return template


def delete(client: Client, engine: Engine, template_id: str) -> None:
    """Delete a template, there and in the mirror."""
    client.delete(template_id)
    now = datetime.now(UTC)
    transact(engine, lambda connection: mirror.drop(connection, PROVIDER, [template_id], now))
