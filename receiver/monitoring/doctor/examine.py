"""Health checks of `receiver doctor`, all of them in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.domain import ReceiverError
from receiver.monitoring.doctor import local, public_url
from receiver.monitoring.doctor.finding import not_ok
from receiver.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from receiver.monitoring.doctor.finding import Finding


def examine(file: Path | None) -> Iterator[Finding]:
    """Examine everything; where the settings cannot be read there is nothing else to examine."""
    try:
        settings = read_settings(file)
    except ReceiverError as error:
        todo = "correct it in the settings file, or in the environment"
        yield not_ok("settings", str(error).rstrip("."), todo)
        return
    yield from local.settings_read(settings, file)
    yield from local.secrets(settings)
    yield from local.spool(settings)
    yield from local.private(settings, file)
    yield from local.database(settings)
    yield from public_url.examine(settings)
