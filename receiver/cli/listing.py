"""Output of the commands about the database: status, callbacks, replay, rebuild, purge, erase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from receiver.display import Table, body, local, printable, row_as_json
from receiver.domain import FAILED, Status, group_of
from receiver.maintenance import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import tzinfo

    from sqlalchemy import RowMapping

    from receiver.maintenance import Erased, Rebuilt, Replayed
    from receiver.messages import Found


DETAILS: Final = ("account", "transaction_id", "sender", "tag", "reference", "credit", "error")
"""The columns of a message that its headline shows beside ids and status, where they are filled."""
EVENT: Final = ("event", "status", "provider's words", "repeats", "callback")
COLOURS: Final = {
    Status.DELIVERED.value: "green",
    **dict.fromkeys((status.value for status in FAILED), "red"),
    Status.UNKNOWN.value: "yellow",
}
"""How a terminal shows a status."""
WORDS: Final = ("provider_status", "provider_code", "provider_description")


BODY: Final = frozenset({"body", "length"})
"""The columns that are shown as the body."""


def messages(matches: Found, zone: tzinfo) -> Iterator[Table]:
    """Return a table for each message, its events in order, and one of the unmatched reports."""
    for message in matches.messages:
        yield Table(
            title=headline(message),
            columns=(f"time ({zone})", *EVENT),
            rows=[_event(event, zone) for event in message["timeline"]],
            right=frozenset({"repeats"}),
            fold=frozenset({"provider's words"}),
            styles=COLOURS,
        )
    if matches.unmatched:
        yield Table(
            title="Reports that belong to no message we know of:",
            columns=(f"received ({zone})", "provider", "status", "provider's words", "callback"),
            rows=[
                (local(r["received_at"], zone), r["provider"], r["status"], _words(r),
                 r["callback_id"])
                for r in matches.unmatched
            ],
            fold=frozenset({"provider's words"}),
            styles=COLOURS,
        )  # fmt: skip


def headline(message: Mapping[str, Any]) -> str:
    """Return one line: what was sent, to whom, and where it is."""
    name = message["message_id"] or message["transaction_id"] or "(no id)"
    details = [f"{key} {message[key]}" for key in DETAILS if message[key] and message[key] != name]
    if message["conflicting"]:
        details.append("reported both delivered and failed")
    reported, refused = message["report_id"] is not None, message["error"] is not None
    group = group_of(message["status"], reported=reported, refused=refused)
    status = f"{message['status']}, no report yet" if group == "silent" else message["status"]
    to = message["recipient"] or "(erased)"
    summary = f"{message['provider']} {name} to {to}: {status}"
    return "; ".join([summary, *details])


def _event(event: Mapping[str, Any], zone: tzinfo) -> Sequence[object]:
    return (
        local(event["at"], zone),
        event["event"],
        event["status"],
        _words(event),
        event["repeats"] or "",
        event["callback_id"],
    )


def _words(report: Mapping[str, Any]) -> str:
    return " ".join(printable(report[name]) for name in WORDS if report[name])


def callbacks(rows: Iterable[RowMapping], zone: tzinfo) -> Table:
    """Return a table of kept callbacks."""
    made = Table(
        columns=("id", f"received ({zone})", "provider", "account", "outcome", "reports", "repeats",
                 "error"),
        right=frozenset({"reports", "repeats"}),
        fold=frozenset({"error"}),
    )  # fmt: skip
    for row in rows:
        error = "; ".join((row["error"] or "").splitlines())
        made.rows.append((
            row["id"], local(row["received_at"], zone), row["provider"], row["account"],
            row["outcome"], row["report_count"], row["repeats"], error,
        ))  # fmt: skip
    return made


def callback(row: RowMapping) -> list[str]:
    """Return everything that was kept of a callback, line by line; the head of its body last."""
    values = {name: value for name, value in row_as_json(row).items() if name not in BODY}
    values["error"] = "; ".join((row["error"] or "").splitlines())
    values["redacted"] = "yes" if row["redacted"] else "no"
    width = max(map(len, values)) + 1
    lines = [f"{name + ':':<{width}} {printable(value)}".rstrip() for name, value in values.items()]
    return [*lines, "", *body.readable_lines(row["body"], row["length"])]


def replayed(done: Replayed, *, dry_run: bool) -> str:
    """Say what came of reading callbacks again."""
    outcomes = "".join(f", {outcome} {done.outcomes[outcome]}" for outcome in sorted(done.outcomes))
    tried = " (tried only, nothing was changed)" if dry_run else ""
    return (
        f"callbacks {done.callbacks}{outcomes}; new reports {done.new_reports},"
        f" changed reports {done.changed_reports}{tried}"
    )


def purged(done: Mapping[str, int], *, dry_run: bool) -> str:
    """Say what was deleted, or would be."""
    counts = ", ".join(
        f"{name} {done.get(name, 0)}" for name in ("messages", "reports", "callbacks")
    )
    return f"{counts}{' would be deleted (nothing was)' if dry_run else ' deleted'}"


def erased(done: Erased) -> str:
    """Say where a number was found."""
    where = [f"{name} {count}" for name, count in done.rows.items() if count]
    where += [f"spool {done.spooled}"] if done.spooled else []
    return f"Erased from: {', '.join(where)}." if where else "The number is nowhere (any more)."


def not_erased(done: Erased) -> Iterator[str]:
    """Return a sentence for each spool file that was not searched, with what to do about it."""
    for name in done.held:
        yield (
            f"{name} is a running receiver's and was not looked into: if its /readyz shows that"
            " callbacks wait in the spool, run this again when they are in the database."
        )
    for name in done.damaged:
        yield (
            f"{name} cannot be changed: run `receiver receive --spool` with it, remove it, and run"
            " this again."
        )


def rebuilt(done: Rebuilt, *, dry_run: bool) -> tuple[str, Table]:
    """Say what came of deriving everything again, and what changed into what."""
    names = ("what", "provider", "from", "to", "rows", "examples")
    table = Table(columns=names, right=frozenset({"rows"}), fold=frozenset({"examples"}))
    order = {kind: position for position, kind in enumerate(KINDS)}
    for change in sorted(done.changes.counts, key=lambda change: (order[change.kind], change)):
        examples = ", ".join(done.changes.examples[change])
        table.rows.append((*change, done.changes.counts[change], examples))
    tried = " (tried only, nothing was changed)" if dry_run else ""
    others = (
        ("times", done.changed_times),
        ("numbers", done.changed_numbers),
        ("roll-ups", done.changed_rollups),
    )
    summary = (
        f"messages {done.messages}; changed: reports {done.changed_reports},"
        f" links {done.changed_links}, messages {done.changed_messages}"
        f"{''.join(f', {name} {number}' for name, number in others if number)}{tried}"
    )
    return summary, table
