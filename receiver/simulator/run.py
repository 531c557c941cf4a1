"""Plays a provider against a running receiver, over real HTTP, and says what it answered.

What is sent is planned in plan.py. Whoever answers must be this machine, or allowed by name.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import httpx2

from receiver.display import Table, printable, progress, show
from receiver.domain import ReceiverError, SettingsError, Status, UnreadableError
from receiver.http_client import HttpClient, explain
from receiver.providers import PROVIDERS, demands
from receiver.settings import BOUND, is_loopback
from receiver.simulator.actors import ACTORS
from receiver.simulator.plan import plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from receiver.settings import Settings
    from receiver.simulator.script import Play, Request


TIMEOUT: Final = 30
"""Seconds that one request may take."""
MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer; that to 1,000 recorded messages has some hundred."""
AGO: Final = timedelta(minutes=2)
"""When the messages are said to have been sent, so that no report is in the future."""
LOOK: Final = (
    "SELECT status, report_id IS NULL AS silent, count(*) FROM sent_message"
    " WHERE message_id LIKE 'sim-{run}-%' GROUP BY 1, 2;"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A running receiver: where it is, and what opens its doors."""

    url: str
    settings: Settings


def target(url: str | None, settings: Settings, *, allowed: bool) -> Target:
    """Return where to play: by default this machine. Raises UnreadableError for anywhere else."""
    public = settings.public_url or ""
    url = url or (public if is_loopback(urlsplit(public).hostname or "") else BOUND)
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise UnreadableError(f"--url: expected a URL such as {BOUND}")
    if not allowed and not is_loopback(parts.hostname or ""):
        raise UnreadableError(
            f"--url: {parts.hostname} is not this machine; simulated reports would go into its"
            " database. Add --yes if that is what you want"
        )
    return Target(url=url.rstrip("/"), settings=settings)


@dataclass(slots=True)
class Client:
    """Sends requests to a receiver, one after the other, and counts what it answers."""

    target: Target
    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """By provider, kind and HTTP status."""
    unexpected: int = 0
    http: HttpClient = field(
        default_factory=lambda: HttpClient(TIMEOUT, MAX_ANSWER, trust_env=False)
    )

    def perform(self, play: Play, rate: float, advance: Callable[[int], None]) -> None:
        """Send a whole play, at most `rate` requests a second."""
        began = time.monotonic()
        for number, request in enumerate(play.requests):
            if rate:
                time.sleep(max(0.0, began + number / rate - time.monotonic()))
            status, detail = self.send(play.provider, request)
            self.answers[play.provider, request.kind, status] += 1
            if status != request.expected:
                self.unexpected += 1
                if request.kind == "records":
                    raise ReceiverError(f"Recording was answered {status}: {printable(detail)}")
            advance(1)

    def send(self, provider: str, request: Request) -> tuple[int, str]:
        """Send one request; return the answer's status and its detail."""
        settings = self.target.settings
        headers = {"Content-Type": request.content_type} if request.content_type else {}
        if request.path == "/messages":
            path = request.path
            headers["Authorization"] = f"Bearer {settings.api_keys[0].value}"
        else:
            own = settings.provider(provider)
            path = f"/callbacks/{provider}/{quote(own.tokens[0].value, safe='')}{request.path}"
            if own.basic_auth:
                pair = f"{own.basic_auth[0].name}:{own.basic_auth[0].value}".encode()
                headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
            for scheme in request.schemes:
                values = [own.own(setting.name) for setting in scheme.settings]
                if all(values):
                    headers |= scheme.sign(values, datetime.now(UTC), secrets.token_hex(8))
        return self._exchange(request.method, path, request.body, headers)

    def _exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        """Exchange one request for an answer; where the connection breaks, once more."""
        for attempt in (1, 2):
            try:
                response = self.http.exchange(
                    method, self.target.url + path, content=body, headers=headers
                )
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                if attempt == 1 and isinstance(error, httpx2.NetworkError | httpx2.ProtocolError):
                    continue
                raise ReceiverError(
                    f"Nothing answers at {self.target.url}: {explain(error)}."
                ) from None
            return response.status, _detail(response.body)
        raise AssertionError  # pragma: no cover

    def check(self) -> None:
        """Raise ReceiverError unless a receiver listens here."""
        try:
            status, _ = self._exchange("GET", "/healthz", b"", {})
        except ReceiverError as error:
            raise ReceiverError(f"{error} Start `receiver serve`, or give --url.") from None
        if status != HTTPStatus.OK:
            raise ReceiverError(f"What listens at {self.target.url} is no receiver.")

    def close(self) -> None:
        """Close the connection."""
        self.http.close()


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body).get("detail", ""))
    except (ValueError, AttributeError):
        return ""


def run(
    target: Target,
    providers: Sequence[str] | None,
    *,
    count: int,
    rate: float,
    faults: Iterable[str],
    seed: int | None,
) -> None:
    """Play providers, those with tokens if none is named; say what was sent and answered."""
    names = _castable(target.settings, providers)
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    stage = Client(target)
    try:
        stage.check()
    except ReceiverError:
        stage.close()
        raise
    start = datetime.now(target.settings.timezone) - AGO
    plays = []
    for name in names:
        account = target.settings.provider(name).tokens[0].name
        run = f"{seed}-{name}"
        groups = _groups(target.settings, name)
        plays.append(
            plan(
                name,
                account=account,
                run=run,
                count=count,
                faults=faults,
                start=start,
                groups=groups,
            )
        )
    try:
        with progress("Playing", sum(len(play.requests) for play in plays)) as advance:
            for play in plays:
                stage.perform(play, rate, advance)
    finally:
        stage.close()
        if stage.answers:
            show(_table(stage.answers))
    sys.stdout.writelines(f"{line}\n" for line in _epilogue(plays, seed))
    if stage.unexpected:
        raise ReceiverError(f"{stage.unexpected} requests were answered in an unexpected way.")


def _castable(settings: Settings, providers: Sequence[str] | None) -> list[str]:
    """Return the providers that can be played. Raises SettingsError where none can."""
    named = providers or [n for n in ACTORS if settings.provider(n).tokens]
    if not named:
        raise SettingsError("No token is configured. Run `receiver serve` once to make some.")
    for name in named:
        if name not in ACTORS:
            raise SettingsError(f"{name} cannot be played yet; expected: {', '.join(ACTORS)}.")
        if not settings.provider(name).tokens:
            raise SettingsError(f"No token is configured: set RECEIVER_{name.upper()}_TOKENS.")
    if not settings.api_keys:
        raise SettingsError("No API key is configured: set RECEIVER_API_KEYS.")
    return list(named)


def _groups(settings: Settings, provider: str) -> list[int]:
    """Return the groups of proofs that are set, which are those that get in; none means all."""
    value, groups = settings.provider(provider).own, PROVIDERS[provider].PROOFS
    return [index for index, group in enumerate(groups) if demands([group], value)]


def _table(answers: Counter[tuple[str, str, int]]) -> Table:
    """Return what was sent and how it was answered."""
    statuses = sorted({status for _, _, status in answers})
    columns = ("provider", "sent", "requests", *(str(status) for status in statuses))
    table = Table(columns=columns, right=frozenset(columns[2:]))
    for provider, kind in sorted({(p, k) for p, k, _ in answers}):
        counts = [answers[provider, kind, status] for status in statuses]
        table.rows.append((provider, kind, sum(counts), *counts))
    return table


def _epilogue(plays: Sequence[Play], seed: int) -> Iterator[str]:
    yield f"Seed {seed}: `--seed {seed}` plays the same again, at a new time."
    for play in plays:
        counts = Counter(play.statuses.values())
        summary = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
        yield f"{play.provider}: a second from now this finds {summary}:"
        yield "  " + LOOK.format(run=f"{seed}-{play.provider}")
