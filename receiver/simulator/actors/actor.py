"""A provider as the simulator plays it: its answers to send calls, and its callbacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from receiver.simulator.script import FAULTS, STRANGE, Message, ReportedStatus, Request, Script


def halved(request: Request) -> Request:
    """Return a request that lost the second half of its body, or of its query where it has none."""
    if request.body:
        return replace(request, body=request.body[: len(request.body) // 2])
    return replace(request, path=request.path[: len(request.path) // 2])


def _as_it_is(base: str, _recipient: str, _group: int) -> str:
    return base


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """How a provider speaks."""

    words: Sequence[str]
    """Its words for what became of a message in the end,"""
    weights: Sequence[int]
    """and how often each comes."""
    interim: str = ""
    """Its word for what is not the end; empty where it has none."""
    interim_share: float = 0.0
    """How many messages have a report with that word first."""
    at_once: int = 1
    """Items in one callback, at most."""
    response: Callable[[Script, Sequence[Message]], object]
    """Makes its answer to the send call of messages: an object, a list, or text."""
    callback: Callable[[Script, Sequence[ReportedStatus], int, bool], Request]
    """Makes the callback of items, at its place among the play's callbacks, with an item in it
    beside the others that cannot be read where that is asked for."""
    identify: Callable[[str, str, int], str] = _as_it_is
    """Makes a message's id of what is to be in it, its recipient and its group of proofs."""
    faults: Sequence[str] = FAULTS
    """The faults it can be played with: no `bad-item` where a callback has one item, no `encodings`
    where it is ASCII."""
    cut: Callable[[Request], Request] = halved
    """Makes of a request one that broke off, and from which nothing can be read."""

    def truncated(self, request: Request) -> Request:
        """Return a request that broke off: it is answered 400, and kept."""
        return replace(self.cut(request), kind="truncated", expected=400)


def kind_of(*words: str) -> str:
    """Return the kind of a request that says these words."""
    return "unknown words" if STRANGE in words else "reports"


def json_request(kind: str, document: object = None, body: bytes = b"") -> Request:
    """Return a POST of JSON: of a document, or of a body that is encoded already."""
    body = body or json.dumps(document).encode()
    return Request(kind=kind, method="POST", path="", body=body, content_type="application/json")
