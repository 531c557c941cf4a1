"""How EngageLab's callbacks prove themselves: each generation's signature, and a fixed value.

https://www.engagelab.com/docs/SMS/SMSHook/Learn-about-SMSHook and
https://www.engagelab.com/docs/sms/api/callback document them.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from receiver.providers.proofs import Scheme, fixed_value, same
from receiver.providers.provider import Setting
from receiver.security import fresh

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


def smshook(headers: Mapping[str, str], secrets: Sequence[str], now: datetime) -> bool:
    """Say whether headers are signed as SMSHook's are, with the app key and secret known to us.

    The signature is the hex MD5 of timestamp, app key and secret (documented).
    """
    app_key, secret = secrets
    timestamp = headers.get("x-smshook-timestamp", "")
    signature = _smshook_signature(timestamp, app_key, secret)
    right = same(headers.get("x-smshook-appkey", ""), app_key)
    right &= same(headers.get("x-smshook-signature", "").lower(), signature)
    return right and fresh(timestamp, now)


def sign_smshook(secrets: Sequence[str], now: datetime, _nonce: str) -> dict[str, str]:
    """Return the headers that SMSHook signs with, at an aware time."""
    timestamp = str(int(now.timestamp() * 1000))
    return {
        "X-SMSHook-Timestamp": timestamp,
        "X-SMSHook-AppKey": secrets[0],
        "X-SMSHook-Signature": _smshook_signature(timestamp, *secrets),
        "X-SMSHook-Version": "1.0",
    }


def smshook_replay_keys(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what may come again with the same body only: the signature.

    It says nothing of the body, so that who overheard one could send any other with it. Two
    legitimate callbacks that were signed in the same millisecond have the same one: the second is
    refused, and comes again three minutes later (documented).
    """
    return (f"signature {headers.get('x-smshook-signature', '').lower()}",)


def _smshook_signature(timestamp: str, app_key: str, secret: str) -> str:
    text = f"{timestamp}{app_key}{secret}".encode("utf-8", "surrogatepass")
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def callback_id(headers: Mapping[str, str], secrets: Sequence[str], now: datetime) -> bool:
    """Say whether `X-CALLBACK-ID` is signed with the username and secret known to us.

    The signature is the hex HMAC-SHA256 of timestamp, nonce and username (documented).
    """
    username, secret = secrets
    fields = _parts(headers)
    timestamp, nonce = fields.get("timestamp", ""), fields.get("nonce", "")
    signature = _callback_signature(timestamp, nonce, username, secret)
    right = same(fields.get("username", ""), username)
    right &= same(fields.get("signature", "").lower(), signature)
    return right and bool(nonce) and fresh(timestamp, now)


def sign_callback(secrets: Sequence[str], now: datetime, nonce: str) -> dict[str, str]:
    """Return the header that a console callback signs with, at an aware time."""
    timestamp = str(int(now.timestamp()))
    signature = _callback_signature(timestamp, nonce, *secrets)
    fields = {
        "timestamp": timestamp,
        "nonce": nonce,
        "username": secrets[0],
        "signature": signature,
    }
    return {"X-CALLBACK-ID": ";".join(f"{name}={value}" for name, value in fields.items())}


def _callback_signature(timestamp: str, nonce: str, username: str, secret: str) -> str:
    text = f"{timestamp}{nonce}{username}".encode("utf-8", "surrogatepass")
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def callback_replay_keys(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what may come again with the same body only: the nonce, and the signature.

    Nothing parts the signed texts from one another, so a digit can be moved from the nonce to the
    timestamp: another nonce, and the same signature.
    """
    fields = _parts(headers)
    return f"nonce {fields.get('nonce', '')}", f"signature {fields.get('signature', '').lower()}"


def _parts(headers: Mapping[str, str]) -> dict[str, str]:
    """Read `name=value;…` in any order; none where a name stands there twice."""
    parts = [part.partition("=") for part in headers.get("x-callback-id", "").split(";")]
    fields = {name.strip().lower(): value.strip() for name, _, value in parts}
    return fields if len(fields) == len(parts) else {}


def _secret(name: str) -> Setting:
    return Setting(name=name, shown=False, shared="secret")


SMSHOOK: Final = Scheme(
    settings=(_secret("smshook_key"), _secret("smshook_secret")),
    headers=("x-smshook-timestamp", "x-smshook-appkey", "x-smshook-signature"),
    expected="`X-SMSHook-Signature`, `-AppKey` and `-Timestamp`, right and fresh",
    holds=smshook,
    sign=sign_smshook,
    replay_keys=smshook_replay_keys,
)
CALLBACK_ID: Final = Scheme(
    settings=(_secret("callback_username"), _secret("callback_secret")),
    headers=("x-callback-id",),
    expected="`X-CALLBACK-ID`, right and fresh",
    holds=callback_id,
    sign=sign_callback,
    replay_keys=callback_replay_keys,
)
AUTHORIZATION: Final = fixed_value("Authorization", _secret("authorization"))
