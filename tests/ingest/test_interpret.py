"""From bytes to a reading: what holds whatever a provider's module does, and whose words count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from receiver.domain.callback import Callback
from receiver.domain.status import SHARED_STATUSES, Status
from receiver.ingest import interpret
from receiver.ingest.interpret import Interpreter
from receiver.providers import PROVIDERS
from receiver.settings.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

BODIES: Final = {
    "ants": b'{"details": [{"messageId": "m", "status": {"name": "DELIVERED"}, "text": "1234"}]}',
    "engagelab": b'{"rows": [{"message_id": "m", "status": {"message_status": "delivered"}}]}',
    "thaibulksms": b"Transaction=m&Status=delivery",
    "movider": b"status=OK&message_id=m",
    "infobip": b'{"results": [{"messageId": "m", "status": {"groupName": "DELIVERED"}}]}',
    "ais": b"CMD=DLVRREP&SMID=m&STATUS=OK&DETAIL=DELIVRD",
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_redaction_that_raises_is_not_done_and_costs_no_report(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Callback:
        raise ZeroDivisionError

    arrived = Callback(provider=provider, method="POST", body=BODIES[provider], redacted=True)
    monkeypatch.setattr(PROVIDERS[provider], "redact", fail)
    reading = interpret.redact_and_read(arrived, Interpreter.from_settings(Settings()), "drop")
    assert reading.callback.redacted is False
    assert (reading.callback.body, reading.outcome) == (BODIES[provider], "read")
    assert [derived.status for _, derived in reading.reports] == [Status.DELIVERED]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_users_words_go_before_ours(provider: str, tmp_path: Path) -> None:
    own = next(iter(PROVIDERS[provider].STATUSES))  # in the provider's table,
    shared = next(iter(SHARED_STATUSES.keys() - PROVIDERS[provider].STATUSES.keys()))
    path = tmp_path / "map.toml"
    words = (own, shared, "entirely new")
    path.write_text(f"[{provider}]\n" + "".join(f'"{word}" = "deleted"\n' for word in words))
    meant = Interpreter.from_settings(Settings(status_map=str(path))).statuses
    assert [meant[provider][word] for word in words] == [Status.DELETED] * 3
    other = next(name for name in PROVIDERS if name != provider)
    assert meant[other] == {**SHARED_STATUSES, **PROVIDERS[other].STATUSES}
