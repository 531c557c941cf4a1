"""Output of `receiver check`: every alarm, as text or JSON, and what to do about those raised."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from receiver.display import Table, printable, show, shown, title
from receiver.domain import State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from receiver.domain import Alarm


FORMATS: Final = ("text", "json")
ORDER: Final = (State.RAISED, State.NOT_KNOWN, State.CLEAR)
STYLES: Final = {
    State.RAISED.value: "bold red",
    State.CLEAR.value: "green",
    State.NOT_KNOWN.value: "dim",
}


def alarms_json(alarms: Sequence[Alarm]) -> str:
    """Return alarms as a JSON document, with how many are raised."""
    document = {
        "raised": sum(alarm.is_raised for alarm in alarms),
        "alarms": [alarm.as_json() for alarm in alarms],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def text(alarms: Sequence[Alarm], zone: tzinfo) -> None:
    """Print alarms, those that are raised first, and what to do about them below."""
    columns = ("state", "alarm", "of", "what")
    made = Table(columns=columns, fold=frozenset({"what"}), styles=STYLES)
    for alarm in sorted(alarms, key=lambda alarm: (ORDER.index(alarm.state), alarm.key)):
        of = title(alarm.provider, alarm.account) or "-"
        made.rows.append((alarm.state, alarm.name, of, alarm.sentence))
    show(made)
    for alarm in alarms:
        if alarm.is_raised and alarm.since is not None:
            about = f" of {title(alarm.provider, alarm.account)}" if alarm.provider else ""
            head = f"{alarm.name}{about}, since {shown(alarm.since, zone)}:"
            block = [head, *(f"  {line}" for line in alarm.advice.splitlines())]
            sys.stdout.writelines(f"{printable(line)}\n" for line in ("", *block))
