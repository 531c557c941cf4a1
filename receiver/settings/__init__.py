"""Settings, read once and frozen, and the callback URLs that follow from them."""

from __future__ import annotations

from receiver.settings.destinations import EventSettings
from receiver.settings.field_types import Secret, age
from receiver.settings.settings import (
    FILE,
    Settings,
    declared,
    names,
    origins,
    read_settings,
    statuses,
)
from receiver.settings.urls import (
    BOUND,
    CallbackUrl,
    callback_urls,
    described,
    is_loopback,
    warnings,
    without_token,
)

__all__ = [
    "BOUND",
    "FILE",
    "CallbackUrl",
    "EventSettings",
    "Secret",
    "Settings",
    "age",
    "callback_urls",
    "declared",
    "described",
    "is_loopback",
    "names",
    "origins",
    "read_settings",
    "statuses",
    "warnings",
    "without_token",
]
