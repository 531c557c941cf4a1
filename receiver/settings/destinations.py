"""Where changes are sent to: settings RECEIVER_EVENTS_<NAME>_URL and the like, of any name."""

from __future__ import annotations

import base64
import binascii
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode

from receiver.domain import SettingsError, Status
from receiver.security import is_metadata
from receiver.settings.field_types import comma_separated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


EVENTS: Final = "receiver_events_"
"""What the names of these settings begin with, in lower case."""
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what secrets begin with
SECRET_BYTES: Final = range(24, 65)
"""How long a secret is, as Standard Webhooks has it."""
MAX_BATCH: Final = 1000
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,49}")


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # whose words repeat the value
        right = False
    if not right or "#" in value:
        raise ValueError("expected a URL that starts with https:// or http://, without #")
    try:
        address = ip_address(parts.hostname or "")
    except ValueError:  # a name, which is looked at when it is known what it stands for
        return value
    if is_metadata(address):
        raise ValueError("expected no address of a cloud's metadata")
    return value


def _secret(value: str) -> str:
    encoded = value.removeprefix(SECRET_PREFIX)
    try:
        length = len(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if encoded == value or length not in SECRET_BYTES:
        raise ValueError(
            "expected whsec_ and 24 to 64 bytes in base64, separated by commas;"
            " `receiver events secret` makes one"
        )
    return value


def _status(value: str) -> str:
    if value not in list(Status):
        raise ValueError(f"expected some of: {', '.join(Status)}")
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(comma_separated)]


class EventSettings(BaseModel):
    """One destination of changes. A filter that is empty lets everything through."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_url), Field(repr=False)]
    secrets: Annotated[
        tuple[Annotated[str, AfterValidator(_secret)], ...],
        NoDecode,
        BeforeValidator(comma_separated),
        Field(min_length=1, repr=False),
    ]
    accounts: Words = ()
    tags: Words = ()
    statuses: Annotated[
        tuple[Annotated[str, AfterValidator(_status)], ...],
        NoDecode,
        BeforeValidator(comma_separated),
    ] = ()
    max_batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 100


def events(values: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return what is set, by destination and field; names of settings are in lower case.

    `receiver_events_my_app_max_batch` is the field `max_batch` of the destination `my_app`. Raises
    SettingsError for a name that is none, and for a destination without URL or secrets.
    """
    found: dict[str, dict[str, Any]] = {}
    for setting, value in values.items():
        if not setting.startswith(EVENTS):
            continue
        rest = setting.removeprefix(EVENTS)
        field = next((f for f in EventSettings.model_fields if rest.endswith(f"_{f}")), "")
        name = rest.removesuffix(f"_{field}")
        if not field or not _NAME.fullmatch(name):
            fields = ", ".join(f"_{f.upper()}" for f in EventSettings.model_fields)
            raise SettingsError(
                f"{setting.upper()}: no such setting. Expected RECEIVER_EVENTS_<NAME> and one of:"
                f" {fields}; the name has letters, digits and _ only."
            )
        found.setdefault(name, {})[field] = value
    for name, own in found.items():
        for field in ("url", "secrets"):
            if field not in own:
                raise SettingsError(
                    f"{setting_name(name, field)}: expected a value, since"
                    f" {setting_name(name, next(iter(own)))} has one."
                    + (" `receiver events secret` makes one." if field == "secrets" else "")
                )
    return found


def setting_name(name: str, field: str) -> str:
    """Return the setting of a destination's field."""
    return f"{EVENTS}{name}_{field}".upper()


def check_once(names: Iterable[str], where: str) -> None:
    """Raise SettingsError where a setting of a destination is there twice, in any letters.

    Two destinations of one name would otherwise become one, of which one half is the other's.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = name.lower()
        if key.startswith(EVENTS) and key in seen:
            both = name if seen[key] == name else f"{seen[key]} and {name}"
            raise SettingsError(
                f"{where}: {both}: set twice. Give each destination a name of its own."
            )
        seen[key] = name
