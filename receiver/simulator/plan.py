"""What `receiver simulate` plays: every request a provider would send, made before any is sent.

A play is a plain value: the same provider, run, count, faults and start are the same requests.
Nothing of it concerns a real phone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

from receiver.domain import UnreadableError
from receiver.providers import PROVIDERS
from receiver.simulator.actors import ACTORS, Actor
from receiver.simulator.script import FAULTS, PREFIX, STRANGE, Message, Play, Request, Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


RECORDED_AT_ONCE: Final = 100


def known_faults(text: str) -> frozenset[str]:
    """Read `--faults`. Raises UnreadableError."""
    names = {name.strip().lower() for name in text.split(",") if name.strip()}
    if not names <= {*FAULTS, "all"}:
        raise UnreadableError(f"--faults: expected some of: {', '.join(FAULTS)}, all")
    return frozenset(FAULTS if "all" in names else names)


def plan(
    provider: str,
    *,
    account: str,
    run: str,
    count: int,
    faults: Iterable[str],
    start: datetime,
    groups: Sequence[int] = (),
) -> Play:
    """Write the play of one provider; `run` tells one play's ids from another's.

    `groups` are the provider's groups of proofs that get in; none means all there are.
    """
    actor = ACTORS[provider]
    script = Script(
        provider=provider,
        account=account,
        run=run,
        count=count,
        faults=frozenset(faults) & frozenset(actor.faults),
        start=start,
        random=Random(f"{provider} {run}"),  # noqa: S311 - nobody is to be kept from guessing it
        groups=groups or range(max(1, len(PROVIDERS[provider].PROOFS))),
    )
    messages = list(_messages(script, actor))
    early = [message for message in messages if message.early]
    others = [message for message in messages if not message.early]
    scenes = [
        *_troubled(script, actor, _reports(script, actor, early)),
        *_records(script, actor, messages),
        *_troubled(script, actor, _reports(script, actor, others)),
    ]
    statuses = {message.id: message.status(provider) for message in messages}
    return Play(provider=provider, requests=scenes, statuses=statuses)


def _messages(script: Script, actor: Actor) -> Iterator[Message]:
    for number in range(script.count):
        last = script.random.choices(actor.words, actor.weights)[0]
        if script.is_struck("unknown", number):
            last = STRANGE
        words = [(last, script.start + timedelta(seconds=script.random.randint(2, 60)))]
        if actor.interim and script.random.random() < actor.interim_share:
            words.insert(0, (actor.interim, script.start + timedelta(seconds=1)))
        recipient = f"66800{number:06d}"
        yield Message(
            id=actor.identify(
                f"{PREFIX}{script.run}-{number:06d}",
                recipient,
                script.groups[number % len(script.groups)],
            ),
            recipient=recipient,
            words=tuple(words),
            early=script.is_struck("early", number),
        )


def _records(script: Script, actor: Actor, messages: Sequence[Message]) -> Iterator[Request]:
    """Record the messages by what the provider would have answered to the send calls."""
    for part in _parts(messages, RECORDED_AT_ONCE):
        document = {
            "provider": script.provider,
            "response": actor.response(script, part),
            "sender": "SIM",
            "tag": "simulate",
            "sent_at": script.start.isoformat(timespec="milliseconds"),
        } | ({"account": script.account} if script.account else {})
        yield Request(
            kind="records",
            method="POST",
            path="/messages",
            body=json.dumps(document).encode(),
            content_type="application/json",
            expected=201,
        )


def _reports(script: Script, actor: Actor, messages: Sequence[Message]) -> list[Request]:
    """Report the messages, in the order of time or, with that fault, in none."""
    statements = sorted(
        ((time, number, word) for number, m in enumerate(messages) for word, time in m.words),
    )
    if "reorder" in script.faults:
        script.random.shuffle(statements)
    scenes: list[Request] = []
    for part in _parts(statements, actor.at_once):
        reports = [(messages[number], word, time) for time, number, word in part]
        item_is_bad = script.is_struck("bad-item", len(scenes))
        scenes.append(actor.callback(script, reports, len(scenes), item_is_bad))
    return scenes


def _troubled(script: Script, actor: Actor, requests: Sequence[Request]) -> Iterator[Request]:
    """Inject faults: truncated and repeated requests."""
    for index, request in enumerate(requests):
        if script.is_struck("truncated", index):
            yield actor.truncated(request)
        yield request
        if script.is_struck("repeats", index):
            yield replace(request, kind="repeats")


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
