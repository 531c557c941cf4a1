"""Peers: settings that must agree among receivers; each publishes digests for comparison.

No secret is published. What is secret stands there as an HMAC, and its key is made of the API keys
(where there are none, of the tokens) by scrypt, which who reads the database does not know.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import delete, func, select

from receiver.database import upsert
from receiver.database.tables import callback, receiver_setting
from receiver.providers import PROVIDERS
from receiver.settings import declared

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from receiver.providers import Agreement
    from receiver.settings import Secret, Settings


NOTE_EVERY: Final = timedelta(minutes=5)
"""How often a receiver publishes its settings again."""
CURRENT_FOR: Final = timedelta(minutes=12)
"""How old the published settings of a receiver that runs may be."""
STORED_FOR: Final = timedelta(days=1)
"""How long published settings stay."""


class Note(NamedTuple):
    """One published setting of one receiver: its value, or a digest of it, and when (aware)."""

    receiver: str
    setting: str
    value: str
    noted_at: datetime


def own_name() -> str:
    """Return the name of this receiver: its machine and its folder."""
    return f"{socket.gethostname()}:{Path.cwd()}"


def shared(settings: Settings) -> dict[str, str]:
    """Return what is published of each setting that must agree, by its name. Takes some 50 ms."""
    keys = settings.api_keys
    secrets = keys or [t for name in PROVIDERS for t in settings.provider(name).tokens]
    key = _key(secrets)
    return {
        setting.name.upper(): _NOTED[setting.disclosure.shared](
            setting.value(settings), setting.name, key
        )
        for setting in declared()
        if setting.disclosure.shared is not None
    }


def _value(value: Any, _name: str, _key: bytes) -> str:
    return str(value)


def _digest(value: Any, _name: str, _key: bytes) -> str:
    plain = dict(value) if isinstance(value, Mapping) else sorted(map(str, value))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:32]


def _hmac(value: Any, name: str, key: bytes) -> str:
    text = json.dumps([name, value if isinstance(value, str) else _pairs(value)])
    return hmac.new(key, text.encode(), "sha256").hexdigest()[:32]


_NOTED: Final[Mapping[Agreement, Callable[[Any, str, bytes], str]]] = {
    "value": _value,
    "digest": _digest,
    "secret": _hmac,
}


def _key(secrets: Any) -> bytes:
    text = json.dumps(_pairs(secrets)).encode()
    return hashlib.scrypt(text, salt=b"receiver settings", n=2**14, r=8, p=1, dklen=32)


def _pairs(secrets: tuple[Secret, ...]) -> list[tuple[str, str]]:
    return sorted((secret.name, secret.value) for secret in secrets)


def note(connection: Connection, name: str, values: Mapping[str, str], now: datetime) -> None:
    """Leave a receiver's note at an aware time, in the caller's write transaction; old ones go."""
    table = receiver_setting
    unset = (table.c.receiver == name) & table.c.setting.not_in(values)
    connection.execute(delete(table).where((table.c.noted_at < now - STORED_FOR) | unset))
    insert = upsert(connection, table)
    statement = insert.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={"value": insert.excluded.value, "noted_at": insert.excluded.noted_at},
    )
    rows = [Note(name, setting, value, now)._asdict() for setting, value in sorted(values.items())]
    connection.execute(statement, rows)


def notes(connection: Connection, since: datetime) -> list[Note]:
    """Return the notes that were left since an aware time."""
    table = receiver_setting.c
    columns = (table[name] for name in Note._fields)
    statement = (
        select(*columns).where(table.noted_at >= since).order_by(table.receiver, table.setting)
    )
    return [Note(*row) for row in connection.execute(statement)]


def clock(connection: Connection) -> datetime | None:
    """Return what PostgreSQL's clock says; None on SQLite, which has none of its own."""
    if connection.dialect.name != "postgresql":
        return None
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    return now if isinstance(now, datetime) else None


def latest_callback(connection: Connection) -> datetime | None:
    """Return when the newest callback came. Their ids are in the order of time."""
    newest = select(callback.c.received_at).order_by(callback.c.id.desc()).limit(1)
    return connection.execute(newest).scalar()
