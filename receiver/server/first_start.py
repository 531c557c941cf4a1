"""First start: tokens and an API key are made, written down, and shown."""

from __future__ import annotations

import os
import secrets
import sys
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect

from receiver.database import READ, opening
from receiver.domain import SettingsError
from receiver.ingest import callbacks
from receiver.providers import PROVIDERS
from receiver.settings import callback_urls, read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from receiver.settings import Settings

ADVICE: Final = "Set RECEIVER_<PROVIDER>_TOKENS to the secret in the URL your provider calls."


def has_received(engine: Engine) -> bool:
    """Say whether the database holds a callback."""
    file = opening.sqlite_file(engine)
    if file is not None and not file.exists():
        return False
    with engine.execution_options(**READ).connect() as connection:
        return inspect(connection).has_table("callback") and callbacks.has_callbacks(connection)


def make_tokens(settings: Settings, file: Path, config: Path | None) -> Settings:
    """Write new tokens, and an API key where there is none, to the settings file; read it."""
    names = [f"RECEIVER_{provider.upper()}_TOKENS" for provider in PROVIDERS]
    if not settings.api_keys:
        names.append("RECEIVER_API_KEYS")
    text = "".join(f"{name}={secrets.token_urlsafe(24)}\n" for name in names)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as written:
            written.write(text)
    except OSError as error:
        raise SettingsError(
            f"No token is configured, and {file} cannot be written: {error.strerror}. {ADVICE}"
        ) from None
    sys.stdout.write(f"First start: wrote new tokens and an API key to {file}. Keep that file.\n")
    return read_settings(config)


def greeting(settings: Settings, own: str, *, whole: bool) -> list[str]:
    """Return what `serve` says when it is ready."""
    lines = [f"receiver listens on {own}. Register with your providers:"]
    for url in callback_urls(settings, own):
        name = f"{url.title} ({url.account})" if url.account else url.title
        lines.append(f"  {name:<12} {url.whole if whole else url.masked}")
    lines.append("`receiver urls` prints them whole and says where they go.")
    return lines
