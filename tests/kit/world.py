"""A small world for alarms to look at: messages, their reports and callbacks, days of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import insert

from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.monitoring.alarms import evaluate
from receiver.settings.settings import Settings
from receiver.settling import settle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Engine

    from receiver.domain.alarm import Alarm

NOW: Final = datetime(2025, 6, 18, 5, 30, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
MINUTE: Final = timedelta(minutes=1)
SECOND: Final = timedelta(seconds=1)
BEGUN: Final = NOW - timedelta(minutes=30)
"""When the hour of NOW began."""
PROVIDERS: Final = {"ants": {"tokens": "secret-of-ants"}}


class World:
    """A database at NOW, in which things have happened."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.number = count(1)

    def send(
        self,
        at: datetime,
        messages: int = 20,
        *,
        every: timedelta = SECOND,
        **values: Any,
    ) -> None:
        """Send messages from a time on."""
        self.send_at([at + n * every for n in range(messages)], **values)

    def send_at(
        self,
        times: Iterable[datetime],
        *,
        status: str | None = "delivered",
        took: float | timedelta = 5,
        report: dict[str, Any] | None = None,
        **values: Any,
    ) -> None:
        """Send messages and have each reported; not where `status` is None.

        The report comes, and says it was delivered, after `took`; `report` changes what it says.
        """
        rows, reports = [], []
        for sent_at in times:
            number = next(self.number)
            rows.append(
                {"provider": "ants", "account": "", "recipient": "66811111111",
                 "message_id": f"m{number}", "sent_at": sent_at} | values
            )  # fmt: skip
            if status is not None:
                reports.append(self._report(number, sent_at, status, took) | (report or {}))
        with self.engine.begin() as connection:
            connection.execute(insert(sent_message), rows)
            if reports:
                connection.execute(insert(delivery_report), reports)
        settle.settle_all(self.engine)

    def report(self, at: datetime, reports: int = 20, **values: Any) -> None:
        """Let reports come, one a second before a time, that belong to no message of ours."""
        rows = [
            self._report(next(self.number), at - n * SECOND, "delivered", 0) | values
            for n in range(reports)
        ]
        with self.engine.begin() as connection:
            connection.execute(insert(delivery_report), rows)
        settle.settle_all(self.engine)

    def _report(
        self, number: int, at: datetime, status: str, took: float | timedelta
    ) -> dict[str, Any]:
        came = at + (took if isinstance(took, timedelta) else timedelta(seconds=took))
        return {
            "callback_id": str(UUID(int=number)), "position": 0, "provider": "ants",
            "message_id": f"m{number}", "provider_status": status.upper(), "status": status,
            "provider_time": "2025-06-18 12:00:00", "digest": number.to_bytes(16, "big"),
            "received_at": came, "done_at": came,
        }  # fmt: skip

    def call(self, at: datetime, outcome: str = "read", **values: Any) -> None:
        """Let a callback come."""
        row = {
            "id": str(UUID(int=next(self.number))), "provider": "ants", "method": "POST",
            "body": b"", "received_at": at, "outcome": outcome,
        }  # fmt: skip
        with self.engine.begin() as connection:
            connection.execute(insert(callback), row | values)

    def week(self, skip: int = 0, days: int = 8, **values: Any) -> None:
        """Let 24 messages be sent and delivered in each hour of the last days, but the newest."""
        hours = [BEGUN - n * HOUR for n in range(skip, days * 24)]
        self.send_at([at + n * MINUTE for at in hours for n in range(24)], **values)

    def examine(self, now: datetime = NOW, **settings: Any) -> list[Alarm]:
        """Look."""
        given = Settings(**({"providers": PROVIDERS} | settings))
        with self.engine.connect() as connection:
            return evaluate.evaluate_all(connection, given, now)

    def find(self, name: str, now: datetime = NOW, **settings: Any) -> Iterator[Alarm]:
        """Return the alarms of a name."""
        return (alarm for alarm in self.examine(now, **settings) if alarm.name == name)

    def one(self, name: str, now: datetime = NOW, **settings: Any) -> Alarm:
        """Return the only alarm of a name."""
        (alarm,) = self.find(name, now, **settings)
        return alarm
