"""Types of settings' values: secrets, pairs, networks, ages, shares."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)
from pydantic_settings import (
    NoDecode,
)

from receiver.domain import keepable

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from receiver.providers import Agreement

Network = IPv4Network | IPv6Network


def comma_separated(value: object) -> object:
    """Split a list at its commas; empty items are nothing."""
    if isinstance(value, str):
        return tuple(item for part in value.split(",") if (item := part.strip()))
    return value


def _network(value: object) -> object:
    if isinstance(value, str):
        try:
            return ip_network(unquote(value), strict=False)
        except ValueError:
            raise ValueError("expected addresses or networks, such as 10.0.0.0/8") from None
    return value


def _hook(value: str) -> str | None:
    if not value:
        return None
    try:
        parts = urlsplit(value)
        right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # whose words repeat the value
        right = False
    if not right:
        raise ValueError("expected a URL that starts with https:// or http://")
    return value


def _url(value: str) -> str:
    if not _hook(value):
        raise ValueError("expected a URL that starts with https:// or http://")
    if "?" in value or "#" in value:
        raise ValueError("expected a URL without ? and #, since paths are put behind it")
    return value.rstrip("/")


def _plain(value: str) -> str:
    value = value.strip()
    if not value.isprintable():
        raise ValueError("expected one line of text")
    return value


class Secret(BaseModel):
    """A secret, and the name it goes by: an account, a key's name, a user. Never shown."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: Annotated[str, Field(repr=False)]

    @property
    def masked(self) -> str:
        """Return enough to tell two secrets apart."""
        return f"{self.value[:4]}…" if len(self.value) >= 12 else "…"  # noqa: PLR2004


def _decoded(text: str) -> str:
    """Decode percents; bytes that are no text are refused, since no caller could ever send them."""
    try:
        text = unquote(text, errors="strict")
        text.encode()
    except UnicodeError:
        raise ValueError("expected text in UTF-8, percent-encoded where needed") from None
    return text


def _secret(value: object) -> object:
    """Read `value` or `name:value`, both percent-decoded."""
    if not isinstance(value, str):
        return value
    name, colon, secret = value.partition(":") if ":" in value else ("", "", value)
    name, secret = _decoded(name), _decoded(secret)
    if not secret or (colon and keepable(name) != name):
        raise ValueError("expected values, or name:value, separated by commas")
    return {"name": name, "value": secret}


def _pair(value: object) -> object:
    """Read `user:password`, both percent-decoded."""
    if not isinstance(value, str):
        return value
    name, colon, secret = value.partition(":")
    if not colon or not name:
        raise ValueError("expected user:password, separated by commas")
    return {"name": _decoded(name), "value": _decoded(secret)}


Secrets = Annotated[
    tuple[Annotated[Secret, BeforeValidator(_secret)], ...],
    NoDecode,
    BeforeValidator(comma_separated),
]
Pairs = Annotated[
    tuple[Annotated[Secret, BeforeValidator(_pair)], ...],
    NoDecode,
    BeforeValidator(comma_separated),
]
Networks = Annotated[
    tuple[Annotated[Network, BeforeValidator(_network)], ...],
    NoDecode,
    BeforeValidator(comma_separated),
]


Share = Annotated[float, Field(gt=0, le=1)]
"""A difference of two shares, each between 0 and 1."""
Plain = Annotated[str, AfterValidator(_plain), Field(repr=False)]
"""One value as it is written, and never shown."""
Hook = Annotated[str, AfterValidator(_hook)] | None
"""A URL of anybody's; None where there is none."""
BaseUrl = Annotated[str, AfterValidator(_url)] | None
"""A URL that paths are put behind; None where there is none."""


_AGE: Final = re.compile(r"([1-9][0-9]{0,4})([hd])")


def age(text: str) -> timedelta | None:
    """Return `400d` or `12h` as a duration; None for an empty text.

    Raises ValueError with what was expected.
    """
    if not text:
        return None
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError("expected a number of days or hours, such as 400d or 12h")
    return timedelta(**{"hours" if match[2] == "h" else "days": int(match[1])})


Age = Annotated[
    timedelta | None, BeforeValidator(lambda value: age(value) if isinstance(value, str) else value)
]


# What a setting says of itself.


class Disclosure(NamedTuple):
    """Who may see a setting, and who must have the same."""

    shown: bool
    """Whether `receiver doctor` shows the value as it is. Where not, a list of secrets is shown by
    their beginnings, and the database's URL without its password."""
    shared: Agreement | None
    """How receivers of one database compare it; None where each may have its own."""


def setting(default: Any, *, shown: bool, shared: Agreement | None, **more: Any) -> Any:
    """Return a field of settings, which has to say both; see Disclosure."""
    said = Disclosure(shown, shared)._asdict()
    return Field(default, json_schema_extra=said, repr=shown, **more)


def disclosure(field: FieldInfo) -> Disclosure:
    """Return what a field says of itself. Raises TypeError where it says nothing."""
    if not isinstance(field.json_schema_extra, dict):
        raise TypeError("declare it with `setting(…, shown=…, shared=…)`")
    return Disclosure(**field.json_schema_extra)  # type: ignore[arg-type]
