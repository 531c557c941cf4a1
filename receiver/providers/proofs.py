"""Proofs of providers: signatures and fixed values in the headers of their callbacks."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from receiver.security import fresh


def smshook(headers: Mapping[str, str], known: Sequence[str], now: datetime) -> bool:
    """Say whether headers are signed as SMSHook's are, with the app key and secret known to us.

    The signature is the hex MD5 of timestamp, app key and secret (documented).
    """
    app_key, secret = known
    timestamp = headers.get("x-smshook-timestamp", "")
    signature = _smshook_signature(timestamp, app_key, secret)
    right = _same(headers.get("x-smshook-appkey", ""), app_key)
    right &= _same(headers.get("x-smshook-signature", "").lower(), signature)
    return right and fresh(timestamp, now)


def sign_smshook(known: Sequence[str], now: datetime, _nonce: str) -> dict[str, str]:
    """Return the headers that SMSHook signs with, at an aware time."""
    timestamp = str(int(now.timestamp() * 1000))
    return {
        "X-SMSHook-Timestamp": timestamp,
        "X-SMSHook-AppKey": known[0],
        "X-SMSHook-Signature": _smshook_signature(timestamp, *known),
        "X-SMSHook-Version": "1.0",
    }


def smshook_marks(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what may come again with the same body only: the signature.

    It says nothing of the body, so that who overheard one could send any other with it. Two honest
    callbacks that were signed in the same millisecond have the same one: the second is refused, and
    comes again three minutes later (documented).
    """
    return (f"signature {headers.get('x-smshook-signature', '').lower()}",)


def _smshook_signature(timestamp: str, app_key: str, secret: str) -> str:
    text = f"{timestamp}{app_key}{secret}".encode("utf-8", "surrogatepass")
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def callback_id(headers: Mapping[str, str], known: Sequence[str], now: datetime) -> bool:
    """Say whether `X-CALLBACK-ID` is signed with the username and secret known to us.

    The signature is the hex HMAC-SHA256 of timestamp, nonce and username (documented).
    """
    username, secret = known
    said = _parts(headers)
    timestamp, nonce = said.get("timestamp", ""), said.get("nonce", "")
    signature = _callback_signature(timestamp, nonce, username, secret)
    right = _same(said.get("username", ""), username)
    right &= _same(said.get("signature", "").lower(), signature)
    return right and bool(nonce) and fresh(timestamp, now)


def sign_callback(known: Sequence[str], now: datetime, nonce: str) -> dict[str, str]:
    """Return the header that a console callback signs with, at an aware time."""
    timestamp = str(int(now.timestamp()))
    signature = _callback_signature(timestamp, nonce, *known)
    said = {"timestamp": timestamp, "nonce": nonce, "username": known[0], "signature": signature}
    return {"X-CALLBACK-ID": ";".join(f"{name}={value}" for name, value in said.items())}


def _callback_signature(timestamp: str, nonce: str, username: str, secret: str) -> str:
    text = f"{timestamp}{nonce}{username}".encode("utf-8", "surrogatepass")
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def callback_marks(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what may come again with the same body only: the nonce, and the signature.

    Nothing parts the signed texts from one another, so a digit can be moved from the nonce to the
    timestamp: another nonce, and the same signature.
    """
    said = _parts(headers)
    return f"nonce {said.get('nonce', '')}", f"signature {said.get('signature', '').lower()}"


def authorization(headers: Mapping[str, str], known: Sequence[str], _now: datetime) -> bool:
    """Say whether `Authorization` is the one fixed value known to us."""
    return _same(headers.get("authorization", ""), known[0])


def authorize(known: Sequence[str], _now: datetime, _nonce: str) -> dict[str, str]:
    """Return the header with the fixed value."""
    return {"Authorization": known[0]}


def _parts(headers: Mapping[str, str]) -> dict[str, str]:
    """Read `name=value;…` in any order; none where a name stands there twice."""
    parts = [part.partition("=") for part in headers.get("x-callback-id", "").split(";")]
    said = {name.strip().lower(): value.strip() for name, _, value in parts}
    return said if len(said) == len(parts) else {}


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), known.encode())


def _no_marks(_headers: Mapping[str, str]) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One way to prove who calls: the settings it takes, and what it asks of the headers.

    `sign` makes headers that hold; it is what `receiver simulate` calls with.
    """

    settings: tuple[str, ...]
    expected: str
    holds: Callable[[Mapping[str, str], Sequence[str], datetime], bool]
    sign: Callable[[Sequence[str], datetime, str], dict[str, str]]
    marks: Callable[[Mapping[str, str]], tuple[str, ...]] = _no_marks


SCHEMES: Final[Mapping[str, Scheme]] = {
    "smshook": Scheme(
        settings=("smshook_key", "smshook_secret"),
        expected="`X-SMSHook-Signature`, `-AppKey` and `-Timestamp`, right and fresh",
        holds=smshook,
        sign=sign_smshook,
        marks=smshook_marks,
    ),
    "callback_id": Scheme(
        settings=("callback_username", "callback_secret"),
        expected="`X-CALLBACK-ID`, right and fresh",
        holds=callback_id,
        sign=sign_callback,
        marks=callback_marks,
    ),
    "authorization": Scheme(
        settings=("authorization",),
        expected="`Authorization` with the value we know",
        holds=authorization,
        sign=authorize,
    ),
}

Demand = Sequence[tuple[Scheme, Sequence[str]]]
"""Schemes that must all hold, each with what we know."""


def demands(groups: Sequence[Sequence[str]], value: Callable[[str], str]) -> Sequence[Demand]:
    """Return the groups of schemes of which one is demanded, by what is set.

    `value` returns a setting, empty where it is not set. A scheme that lacks a setting is left
    out, and so is a group without schemes.
    """
    found = [
        [
            (scheme, values)
            for scheme in (SCHEMES[name] for name in group)
            if all(values := [value(setting) for setting in scheme.settings])
        ]
        for group in groups
    ]
    return [group for group in found if group]


def prove(
    demanded: Sequence[Demand], headers: Mapping[str, str], now: datetime
) -> tuple[str, ...] | None:
    """Return the marks of a demand that is met; None where none is. No demand is met by anything.

    `headers` have lower-case names; `now` is aware. A mark may come again with the same body only.
    """
    met: tuple[str, ...] | None = None if demanded else ()
    for demand in demanded:
        if all([scheme.holds(headers, known, now) for scheme, known in demand]):  # noqa: C419
            met = tuple(mark for scheme, _ in demand for mark in scheme.marks(headers))
    return met


def expected(demanded: Sequence[Demand]) -> str:
    """Return what would meet the demands, in words; empty where nothing is demanded."""
    said = [" and ".join(scheme.expected for scheme, _ in demand) for demand in demanded]
    return f"Expected {', or '.join(said)}." if said else ""
