"""Sessions of the operator's page: a cookie that names one, signed with a key of the API key.

Nothing is kept on the server, so every receiver with the same API keys accepts it, and a key that
is taken out of RECEIVER_API_KEYS takes its sessions with it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from itsdangerous import BadData, URLSafeSerializer, URLSafeTimedSerializer

from receiver.security import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from receiver.security import Named


COOKIE: Final = "receiver_session"
SECONDS: Final = 12 * 60 * 60
"""How long a session lasts: a working day, and a night."""
ENDED_MAX: Final = 10_000
"""Sessions that were ended, and whose cookie could still be shown, that a process remembers."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who logged in: the name of the API key, and the session's own id."""

    name: str
    id: str


class Sessions:
    """Begins, reads and ends sessions. A cookie's text is data of a stranger until it is proven."""

    def __init__(self, keys: Iterable[Named]) -> None:
        self._keys = tuple(keys)
        self._signers = [(key.name, _signer(key)) for key in self._keys]
        self._ended: OrderedDict[str, float] = OrderedDict()
        together = "\n".join(sorted(key.value for key in self._keys)) or secrets.token_hex()
        self._secret = _derived(together, "forms").hex()

    @property
    def secret(self) -> str:
        """Return what the marks against forged forms are signed with: the same on all receivers."""
        return self._secret

    def begin(self, name: str, key: str) -> str | None:
        """Return the cookie's text for a name and an API key that belong together, else None.

        A key without a name goes with an empty one.
        """
        secret = find(self._keys, key)
        if secret is None or not hmac.compare_digest(secret.name.encode(), name.encode()):
            return None
        return _signer(secret).dumps([secret.name, secrets.token_urlsafe(12)])

    def read(self, cookie: str) -> Session | None:
        """Return who showed this cookie; None where it is forged, expired, ended or revoked."""
        for name, signer in self._signers:
            try:
                signed_name, id_ = signer.loads(cookie, max_age=SECONDS)
            except (BadData, ValueError, TypeError):
                continue
            if signed_name == name and id_ not in self._ended:
                return Session(name, id_)
        return None

    def forms(self, session: Session | None) -> URLSafeSerializer:
        """Return what signs the marks against forged forms of a session; None: of no session."""
        return URLSafeSerializer(self.secret, salt=f"forms {session and session.id}")

    def end(self, session: Session) -> None:
        """Accept a session no more, in this process; elsewhere its cookie is gone, or expires."""
        now = time.monotonic()
        while self._ended and (
            len(self._ended) >= ENDED_MAX or now - next(iter(self._ended.values())) > SECONDS
        ):
            self._ended.popitem(last=False)
        self._ended[session.id] = now


def _signer(key: Named) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        _derived(key.value, "session"),
        salt="receiver.session",
        signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
    )


def _derived(secret: str, purpose: str) -> bytes:
    """Return a key for one purpose, from which the secret cannot be learnt."""
    return hmac.new(secret.encode(), f"receiver {purpose}".encode(), hashlib.sha256).digest()
