"""Mirror of the provider's message templates, as far as it told us.

It tells by its answers (read at a time of ours) and by callbacks (decided at a time of its own).
Whatever the order in which they are written, the later one stays. Functions take a
connection inside a write transaction and leave commit and roll-back to the caller.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, case, or_, select, update

from receiver.database import upsert
from receiver.database.tables import message_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from receiver.domain import Approval, TemplateReview


KEY: Final = ("template_id", "provider")
APPROVED: Final = ("approval", "approval_message", "approval_at")
"""What a review changes; all else is the provider's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A message template as the provider has it; what it did not say is None. Times are aware."""

    template_id: str
    name: str | None = None
    content: str | None = None
    template_type: str | None = None
    msg_type: str | None = None
    sign_id: str | None = None
    approval: Approval | None = None
    approval_message: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


def review(
    connection: Connection, provider: str, reviews: Iterable[tuple[TemplateReview, datetime]]
) -> None:
    """Keep what was decided about templates, and when; the latest decision stays.

    Of two at one time the later word of the alphabet stays, so that no order matters.
    """
    rows = [
        {
            "provider": provider,
            "template_id": review_.template_id,
            "approval": review_.approval.value,
            "approval_message": review_.message,
            "approval_at": at,
        }
        for review_, at in reviews
    ]
    if not rows:
        return
    stored, insert = message_template.c, upsert(connection, message_template)
    new = insert.excluded
    later = or_(
        stored.approval_at.is_(None),
        new.approval_at > stored.approval_at,
        and_(new.approval_at == stored.approval_at, new.approval > stored.approval),
    )
    statement = insert.on_conflict_do_update(
        index_elements=KEY, set_={name: new[name] for name in APPROVED}, where=later
    )
    # In the order of their ids, so that two receivers wait, and do not deadlock.
    connection.execute(statement, sorted(rows, key=lambda row: str(row["template_id"])))


def keep(
    connection: Connection, provider: str, templates: Sequence[Template], read_at: datetime
) -> None:
    """Keep templates as the provider answered them at an aware time.

    An answer read later stays, and so does an approval that was decided after this was read.
    """
    if not templates:
        return
    stored, insert = message_template.c, upsert(connection, message_template)
    new = insert.excluded
    later = or_(stored.approval_at.is_(None), new.approval_at >= stored.approval_at)
    rows = [
        asdict(template)
        | {
            "provider": provider,
            "approval": template.approval and template.approval.value,
            "approval_at": read_at,
            "mirrored_at": read_at,
            "deleted_at": None,
        }
        for template in sorted(templates, key=lambda template: template.template_id)
    ]
    changes: dict[str, Any] = {
        name: case((later, new[name]), else_=stored[name]) if name in APPROVED else new[name]
        for name in rows[0]
        if name not in KEY
    }
    statement = insert.on_conflict_do_update(
        index_elements=KEY,
        set_=changes,
        where=or_(stored.mirrored_at.is_(None), new.mirrored_at >= stored.mirrored_at),
    )
    connection.execute(statement, rows)


def drop(connection: Connection, provider: str, ids: Iterable[str], read_at: datetime) -> int:
    """Mark templates as deleted that the provider no longer had; return how many.

    What was told of one after that time leaves it as it is.
    """
    table = message_template.c
    statement = (
        update(message_template)
        .where(
            table.provider == provider,
            table.deleted_at.is_(None),
            or_(table.mirrored_at.is_(None), table.mirrored_at <= read_at),
            or_(table.approval_at.is_(None), table.approval_at <= read_at),
        )
        .values(deleted_at=read_at)
    )
    return sum(
        connection.execute(statement.where(table.template_id == template_id)).rowcount
        for template_id in sorted(ids)
    )


def known_ids(connection: Connection, provider: str) -> set[str]:
    """Return the ids of the templates that are not marked as deleted."""
    table = message_template.c
    statement = select(table.template_id).where(
        table.provider == provider, table.deleted_at.is_(None)
    )
    return set(connection.execute(statement).scalars())
