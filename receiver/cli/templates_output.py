"""Output of `receiver templates`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver.display import Table, local, printable, show
from receiver.messages.templates import APPROVALS, TYPES, Client

if TYPE_CHECKING:
    from datetime import tzinfo

    from receiver.messages.templates import Template


NAMES: Final = {number: word for word, number in TYPES.items()}


def listed(client: Client, zone: tzinfo, approval: str, name: str) -> None:
    """Print the provider's templates, all or those that are asked for."""
    filters = {"approval_status": APPROVALS[approval]} if approval else {}
    filters |= {"template_name": name} if name else {}
    show(
        Table(
            columns=("id", "name", "type", "approval", f"changed ({zone})", "content"),
            rows=[
                (
                    template.template_id,
                    template.name,
                    NAMES.get(template.template_type or "", template.template_type),
                    template.approval,
                    local(template.updated_at, zone),
                    template.content,
                )
                for page, _ in client.list(**filters)
                for template in page
            ],
            fold=frozenset({"content"}),
        )
    )


def described(template: Template, zone: tzinfo) -> list[str]:
    """Return all that is known of a template, line by line."""
    details = {
        "id": template.template_id,
        "name": template.name,
        "type": NAMES.get(template.template_type or "", template.template_type),
        "approval": template.approval or "unknown",
        "reason": template.approval_message,
        "signature": template.sign_id,
        "made": local(template.created_at, zone),
        "changed": local(template.updated_at, zone),
        "content": template.content,
    }
    return [f"{name + ':':<11}{printable(value)}" for name, value in details.items() if value]
