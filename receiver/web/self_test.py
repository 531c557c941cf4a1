"""Self-test endpoint: the receiver's own question through its public URL, and what arrived."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from receiver.security import self_test

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from receiver.settings import Settings
    from receiver.web.callers import CallerCheck


class SelfTest:
    """Answers `receiver doctor`, which asks whether the URL that providers call leads here."""

    def __init__(self, settings: Settings, callers: CallerCheck) -> None:
        self.settings = settings
        self.callers = callers

    def answer(self, request: Request) -> Response | None:
        """Answer what is asked at a provider's URL; None where it is no such question, or forged.

        The header is in `receiver.security.self_test.HEADER`.
        """
        name = request.path_params["provider"]
        token = self.callers.token(request, name)
        if token is None:
            return None
        keys = [key.value for key in self.settings.api_keys] or [token.value]
        header, now = request.headers[self_test.HEADER], datetime.now(UTC)
        proof = self_test.answer(keys, name, token.value, header, now)
        if proof is None:
            return None
        peer = request.client
        arrived = {
            "proof": proof,
            "time": now.isoformat(),
            "peer": peer and peer.host,
            "peer_port": peer and peer.port,
            "address": self.callers.address(request),
            "forwarded_for": [h[:1000] for h in request.headers.getlist("x-forwarded-for")][:10],
        }
        return JSONResponse(arrived, headers={"Cache-Control": "no-store"})
