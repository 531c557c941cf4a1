"""Callback URLs to register with each provider, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from receiver.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from receiver.settings.settings import Settings


BOUND: Final = "http://127.0.0.1:8000"
"""The base URL of what `serve` binds where neither host nor port is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackUrl:
    """One URL of one provider and account."""

    provider: str
    title: str
    account: str
    whole: str
    masked: str
    where: str
    """Where it goes: a page of the provider's dashboard, or a field of its send call."""


def callback_urls(settings: Settings, own: str) -> Iterator[CallbackUrl]:
    """Return every URL that providers may call; `own` is what `serve` binds."""
    base = settings.public_url or own
    for name, provider in PROVIDERS.items():
        for token in settings.provider(name).tokens:
            start = f"{base}/callbacks/{name}/"
            yield CallbackUrl(
                provider=name,
                title=provider.TITLE,
                account=token.name,
                whole=start + quote(token.value, safe=""),
                masked=start + token.masked,
                where=provider.REGISTER,
            )


def without_token(settings: Settings) -> list[str]:
    """Return a sentence for each provider that no URL is for, so that nobody wonders where it is.

    An update may bring a provider that a settings file written before knows nothing of.
    """
    return [
        f"{provider.TITLE} has no token, so its callbacks are refused; where you use it, set"
        f" RECEIVER_{name.upper()}_TOKENS to a secret of your own"
        for name, provider in PROVIDERS.items()
        if not settings.provider(name).tokens
    ]


def warnings(url: CallbackUrl) -> list[str]:
    """Return a sentence about each thing that a provider would stumble over; none has a secret."""
    parts = urlsplit(url.whole)
    longest = PROVIDERS[url.provider].MAX_URL
    problems = []
    if is_loopback(parts.hostname or ""):
        problems.append("no provider can reach a loopback address; set RECEIVER_PUBLIC_URL")
    if parts.scheme != "https":
        problems.append("http shows the token and the phone numbers to every network between")
    if longest is not None and len(url.whole) > longest:
        problems.append(
            f"{len(url.whole)} characters, and {url.title} takes at most {longest};"
            " shorten RECEIVER_PUBLIC_URL or the token"
        )
    return problems


def described(url: CallbackUrl) -> list[str]:
    """Return what `receiver urls` says of a URL: whose it is, the whole of it, where it goes."""
    account = f" (account {url.account})" if url.account else ""
    return [
        f"{url.title}{account}",
        f"  {url.whole}",
        f"  where: {url.where}",
        *(f"  warning: {warning}" for warning in warnings(url)),
    ]


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine itself, 0.0.0.0 and :: included."""
    try:
        address = ip_address(host)
    except ValueError:
        host = host.lower().rstrip(".")
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
