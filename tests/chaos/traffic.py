"""What is sent: both providers' callbacks and an application's records, every id new in the run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

START: Final = 1_790_000_000
"""Unix time of the first report; each next one is a second later."""
WORDS: Final = {
    "thaibulksms": {"delivery": "delivered", "failed": "undeliverable", "expired": "expired"},
    "ants": {
        "DELIVERED": "delivered",
        "UNDELIVERED": "undeliverable",
        "EXPIRED": "expired",
        "REJECTED": "rejected",
    },
}
INTERIM: Final = {"thaibulksms": "sent", "ants": "PENDING"}
SPREAD: Final = 3.0
"""Seconds over which the requests about one message are sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One report about one message, or (`word` empty) one record of it."""

    provider: str
    message: str
    transaction: str | None = None
    """The report's transaction id; ThaiBulkSMS has the message's id there."""
    word: str = ""
    time: str = ""
    status: str = ""

    @property
    def key(self) -> tuple[str | None, ...]:
        """Return what the row in delivery_report must say."""
        message = self.message if self.provider == "ants" else None
        return self.provider, self.transaction, message, self.word, self.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One request, which may be sent many times, and what it states."""

    id: str
    kind: str
    """`report`, `unreadable` or `record`."""
    provider: str
    method: str = "POST"
    query: str = ""
    body: bytes = b""
    content_type: str = "application/json"
    statements: tuple[Statement, ...] = ()

    @property
    def digest(self) -> str:
        """Return what tells this callback's bytes from any other's."""
        return request_digest(self.provider, self.query, self.body)


def request_digest(provider: str, query: str, body: bytes) -> str:
    """Return a digest of the bytes of a callback, as they are sent and as they are kept."""
    return hashlib.sha256(f"{provider}\n{query}\n".encode() + body).hexdigest()[:32]


class Traffic:
    """Makes requests without end; `run` tells one run's ids from another's."""

    def __init__(self, run: str, random: Random) -> None:
        self.run = run
        self.random = random
        self.count = 0

    def number(self) -> int:
        """Return the next number."""
        self.count += 1
        return self.count

    def bundle(self) -> list[tuple[float, Item]]:
        """Return the next requests, each with the seconds to wait before it is sent."""
        provider = self.random.choice(("thaibulksms", "ants"))
        size = self.random.choice((1, 1, 2, 5))
        messages = [f"{self.run}-{self.number():06d}" for _ in range(size)]
        early = self.random.random() < 0.25
        wait = SPREAD if early else 0
        items = [(wait, record) for record in self._records(provider, messages)]
        items += [
            (self.random.uniform(0, SPREAD), report) for report in self._reports(provider, messages)
        ]
        if self.random.random() < 0.3:
            items.append((0, self._unreadable(provider)))
        return [again for wait, item in items for again in self._repeated(wait, item)]

    def _repeated(self, wait: float, item: Item) -> Iterator[tuple[float, Item]]:
        """Send some items again: at the same moment, or later."""
        yield wait, item
        share = 0.8 if item.kind == "unreadable" else 0.2
        while self.random.random() < share:
            yield wait + self.random.choice((0, self.random.uniform(0, SPREAD))), item
            share /= 1.5

    def _records(self, provider: str, messages: list[str]) -> Iterator[Item]:
        """Record messages together or one by one."""
        together = self.random.random() < 0.5
        for part in [messages] if together else [[message] for message in messages]:
            listed = [{"message_id": message, "recipient": _recipient(message)} for message in part]
            yield Item(
                id=f"record-{part[0]}",
                kind="record",
                provider=provider,
                body=json.dumps({"provider": provider, "messages": listed}).encode(),
                statements=tuple(Statement(provider=provider, message=m) for m in part),
            )

    def _reports(self, provider: str, messages: list[str]) -> Iterator[Item]:
        """Report each message, some of them twice: on its way, then its end."""
        last = [(m, self.random.choice(list(WORDS[provider]))) for m in messages]
        interim = [(m, INTERIM[provider]) for m in messages if self.random.random() < 0.4]
        if provider == "thaibulksms":
            for message, word in interim + last:
                yield self._thaibulksms(message, word)
            return
        for said in (interim, last):
            if said and self.random.random() < 0.5:
                yield self._ants(said)
            else:
                yield from (self._ants([one]) for one in said)

    def _thaibulksms(self, message: str, word: str) -> Item:
        number = self.number()
        time = str(START + number)
        values = {"Transaction": message, "Status": word, "Time": time}
        status = WORDS["thaibulksms"].get(word, "enroute")
        statement = Statement(
            provider="thaibulksms", message=message, transaction=message, word=word, time=time,
            status=status,
        )  # fmt: skip
        given: dict[str, Any] = self.random.choice(
            (
                {"method": "GET", "query": urlencode(values), "content_type": ""},
                {
                    "body": urlencode(values).encode(),
                    "content_type": "application/x-www-form-urlencoded",
                },
                {"body": json.dumps(values).encode()},
            )
        )
        return Item(
            id=f"report-{number}", kind="report", provider="thaibulksms", statements=(statement,),
            **given,
        )  # fmt: skip

    def _ants(self, said: list[tuple[str, str]]) -> Item:
        number = self.number()
        bulk = f"{self.run}-bulk-{number}"
        time = f"2026-11-21T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.25"
        details = [
            {
                "messageId": message,
                "to": _recipient(message),
                "doneDate": time,
                "status": {"code": "000", "name": word, "description": "chaos"},
            }
            for message, word in said
        ]
        is_xml = self.random.random() < 0.4
        body = _xml(bulk, details) if is_xml else json.dumps({"bulkId": bulk, "details": details})
        return Item(
            id=f"report-{number}",
            kind="report",
            provider="ants",
            body=body.encode(),
            content_type=f"application/{'xml' if is_xml else 'json'}",
            statements=tuple(
                Statement(
                    provider="ants", message=message, transaction=bulk, word=word, time=time,
                    status=WORDS["ants"].get(word, "enroute"),
                )
                for message, word in said
            ),
        )  # fmt: skip

    def _unreadable(self, provider: str) -> Item:
        """Make a body that lost its end, or a query without its status."""
        number = self.number()
        id_ = f"unreadable-{number}"
        if provider == "thaibulksms" and self.random.random() < 0.5:
            query = urlencode({"Transaction": f"{self.run}-{id_}"})
            return Item(
                id=id_, kind="unreadable", provider=provider, method="GET", query=query,
                content_type="",
            )  # fmt: skip
        body = f'{{"details": [{{"messageId": "{self.run}-{id_}'.encode()
        return Item(id=id_, kind="unreadable", provider=provider, body=body)


def _recipient(message: str) -> str:
    return f"668{int(message.rpartition('-')[2]):08d}"


def _xml(bulk: str, details: list[dict[str, Any]]) -> str:
    inside = "".join(f"<detail>{_elements(detail)}</detail>" for detail in details)
    return (
        '<?xml version="1.0" encoding="utf-16"?>'
        f"<CALLBACK><bulkId>{bulk}</bulkId><details>{inside}</details></CALLBACK>"
    )


def _elements(values: dict[str, Any]) -> str:
    return "".join(
        f"<{name}>{_elements(value) if isinstance(value, dict) else value}</{name}>"
        for name, value in values.items()
    )
