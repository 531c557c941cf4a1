"""Alarms: whether something is to be done, and what, as a value that checks itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from receiver.domain.times import utc_text


class State(StrEnum):
    """Whether there is something to do; too little data is not known, and never raised."""

    RAISED = "raised"
    CLEAR = "clear"
    NOT_KNOWN = "not known"


class AlarmKey(NamedTuple):
    """The identity of an alarm: its rule, and whom it is about; '' where it is about nobody."""

    name: str
    provider: str = ""
    account: str = ""

    def raised(self, since: datetime, sentence: str, advice: str) -> Alarm:
        """Return the alarm raised since an aware time, with what is wrong and what to do."""
        return Alarm(
            **self._asdict(), state=State.RAISED, since=since, sentence=sentence, advice=advice
        )

    def clear(self, sentence: str) -> Alarm:
        """Return the alarm as not raised, with what was seen."""
        return Alarm(**self._asdict(), state=State.CLEAR, sentence=sentence)

    def not_known(self, sentence: str) -> Alarm:
        """Return the alarm as undecided: there is too little data, and the sentence says which."""
        return Alarm(**self._asdict(), state=State.NOT_KNOWN, sentence=sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One alarm, as it stands. No phone number, no message text and no secret is in it.

    `provider` and `account` are '' where it is not about one. `since` is aware, and there where it
    is raised; so is `advice`, what to do.
    """

    name: str
    provider: str = ""
    account: str = ""
    state: State
    sentence: str
    since: datetime | None = None
    advice: str = ""

    def __post_init__(self) -> None:
        is_raised = self.state is State.RAISED
        if is_raised != (self.since is not None) or is_raised != bool(self.advice):
            raise ValueError("expected since and advice where it is raised, and nowhere else")
        if self.since is not None and self.since.tzinfo is None:
            raise ValueError("expected an aware time")

    @property
    def key(self) -> AlarmKey:
        """Return its identity, which stays the same while its state changes."""
        return AlarmKey(self.name, self.provider, self.account)

    @property
    def is_raised(self) -> bool:
        """Say whether there is something to do."""
        return self.state is State.RAISED

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object; the time in ISO 8601 with Z, or null."""
        since = None if self.since is None else utc_text(self.since)
        return asdict(self) | {"state": self.state.value, "since": since}
