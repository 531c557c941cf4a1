"""Health check of the public URL: a signed self-test sent to each callback URL, from outside.

No proxy on the way out is used: providers use none of ours.
"""

from __future__ import annotations

import json
import secrets
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import httpx2

from receiver.http_client import HttpClient, explain
from receiver.monitoring.doctor.finding import not_ok, ok
from receiver.providers import PROVIDERS
from receiver.security import self_test, within
from receiver.settings import BOUND, callback_urls, is_loopback, warnings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from receiver.monitoring.doctor.finding import Finding
    from receiver.settings import CallbackUrl, Settings


URL: Final = "public URL"
MAX_SECONDS: Final = 10.0
"""The seconds that one self-test may take."""
MAX_RESPONSE_BYTES: Final = 64 * 1024
"""The bytes of a response that are read, at most; ours has some hundred."""
MAX_CLOCK_DIFFERENCE: Final = timedelta(seconds=5)
"""How far two clocks may be apart and still agree."""
PROXY_ADVICE: Final = "see that the receiver runs, and where the proxy leads"
SETTINGS_ADVICE: Final = (
    "run this with the receiver's own settings, start the receiver again after a change of them,"
    " and let the proxy pass path and headers on as they came"
)
ANSWERS: Final = {
    200: ("answered 200, but not by this receiver's proof", SETTINGS_ADVICE),
    401: ("answered 401, so the token is not known there", SETTINGS_ADVICE),
    404: ("answered 404", "let the proxy pass /callbacks/ on, with its path as it came"),
    429: ("answered 429, so the token is not known there", SETTINGS_ADVICE),
    502: ("answered 502, so the proxy does not reach the receiver", PROXY_ADVICE),
    503: ("answered 503", PROXY_ADVICE),
    504: ("answered 504, so the proxy does not reach the receiver", PROXY_ADVICE),
}
"""What is wrong, and what to do, by the status that came instead of the receiver's proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestResult:
    """What the receiver says arrived of one self-test."""

    direct: bool
    """Whether it saw the very connection that was made, so that nothing stands between."""
    peer: str
    address: str
    forwarded_for: str
    ahead: timedelta
    """How far its clock is ahead of ours, about."""


class UnprovenError(Exception):
    """What was answered instead of a proof, and what to do about it: two texts."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Ask every callback URL; say what is wrong with it, or with what stands before it."""
    yield public_url(settings)
    result = None
    context = ssl.create_default_context()
    with HttpClient(MAX_SECONDS, MAX_RESPONSE_BYTES, trust_env=False, verify=context) as client:
        for url in callback_urls(settings, BOUND):
            for warning in warnings(url):
                if "characters" in warning:
                    message, _, todo = warning.partition("; ")
                    yield not_ok(URL, f"{url.masked}: {message}", todo)
            try:
                result = ask(client, settings, url)
            except UnprovenError as error:
                message, todo = error.args
                yield not_ok(URL, f"{url.masked}: {message}", todo)
            else:
                yield ok(URL, f"{url.masked} leads to this receiver")
    if result is not None:
        yield forwarded(settings, result)
        yield clock("the receiver's clock", result.ahead)


def public_url(settings: Settings) -> Finding:
    """Say whether providers could reach the URL, and whether anybody between can read along."""
    url = settings.public_url
    if url is None:
        return not_ok(URL, "RECEIVER_PUBLIC_URL is not set", "set it to how providers reach you")
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        todo = "set RECEIVER_PUBLIC_URL to a name that providers can reach"
        return not_ok(URL, "RECEIVER_PUBLIC_URL is this machine's own, for nobody else", todo)
    if parts.scheme != "https":
        todo = "put nginx or Caddy with a certificate in front, and say https:// in it"
        return not_ok("https", "tokens and phone numbers can be read on the way", todo)
    return ok("https", "RECEIVER_PUBLIC_URL is https")


def ask(client: HttpClient, settings: Settings, url: CallbackUrl) -> SelfTestResult:
    """Send a self-test to one URL. Raises UnprovenError where no proof comes back."""
    token = unquote(url.whole.rpartition("/")[2])
    key = settings.api_keys[0].value if settings.api_keys else token
    began = datetime.now(UTC)
    header = self_test.question(key, url.provider, token, began, secrets.token_hex(8))
    headers = {self_test.HEADER: header, "X-Forwarded-For": self_test.FORGED_ADDRESS}
    method = "POST" if "POST" in PROVIDERS[url.provider].METHODS else "GET"
    try:
        response = client.exchange(method, url.whole, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise UnprovenError(f"not reached: {explain(error)}", PROXY_ADVICE) from None
    arrived = _json(response.body)
    if arrived.get("proof") != self_test.proof(key, url.provider, token, header):
        status = response.status
        raise UnprovenError(*ANSWERS.get(status, (f"answered {status}", PROXY_ADVICE)))
    half = (datetime.now(UTC) - began) / 2
    return SelfTestResult(
        direct=response.own_address == (arrived["peer"], arrived["peer_port"]),
        peer=str(arrived["peer"]),
        address=str(arrived["address"]),
        forwarded_for=", ".join(arrived["forwarded_for"]),
        ahead=datetime.fromisoformat(arrived["time"]) - began - half,
    )


def forwarded(settings: Settings, result: SelfTestResult) -> Finding:
    """Say whether the receiver knows who calls, and whether a caller can pretend to be another."""
    check = "forwarded"
    if result.direct:
        return ok(check, "no proxy stands between here and the receiver")
    entries = [entry.strip() for entry in result.forwarded_for.split(",")]
    if set(entries) <= {self_test.FORGED_ADDRESS, ""}:
        todo = "let it add the caller: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for"
        return not_ok(check, f"the proxy at {result.peer} does not say who calls it", todo)
    if not within(result.peer, settings.trusted_proxies):
        todo = f"add {result.peer} to RECEIVER_TRUSTED_PROXIES"
        return not_ok(check, f"the proxy at {result.peer} is not believed who calls it", todo)
    believed = within(self_test.FORGED_ADDRESS, settings.trusted_proxies)
    if entries[-1] == self_test.FORGED_ADDRESS or believed:
        todo = "let the proxy add the caller's address at the right"
        if believed:
            todo = "name the proxies in RECEIVER_TRUSTED_PROXIES, and no networks of callers"
        return not_ok(check, "a caller is believed whatever it says its address is", todo)
    if result.address == "unknown":
        todo = "let the proxy send addresses, separated by commas, in X-Forwarded-For"
        return not_ok(check, "what the proxy says of the caller is no address", todo)
    # From a proxy's own machine we are a proxy too, and believed who called us.
    caller = entries[-1] if result.address == self_test.FORGED_ADDRESS else result.address
    return ok(check, f"through the proxy at {result.peer} this caller is seen as {caller}")


def clock(whose: str, ahead: timedelta) -> Finding:
    """Compare a clock with this machine's."""
    seconds = ahead.total_seconds()
    if abs(ahead) <= MAX_CLOCK_DIFFERENCE:
        return ok("clock", f"{whose} and this machine's agree")
    direction = "ahead of" if seconds > 0 else "behind"
    todo = "keep the clocks of both machines right: timedatectl set-ntp true"
    return not_ok("clock", f"{whose} is {abs(seconds):.0f} s {direction} this machine's", todo)


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
