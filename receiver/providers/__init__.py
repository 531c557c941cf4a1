"""The providers we can read, one module each.

A provider is a module of pure functions, bytes in and values out, with this shape:

    TITLE: str                              what people call it
    REGISTER: str                           where its callback URL is entered
    MAX_URL: int | None                     the most characters its callback URL may have
    METHODS: frozenset[str]                 the HTTP methods its callbacks may use (HEAD not named)
    STATUSES: Mapping[str, Status]          its words, in lower case, and ours
    is_probe(callback) -> bool              a request that says nothing and wants a 200
    SETTINGS: Sequence[str]                 its settings beside those that every provider has
    PROOFS: Sequence[Sequence[str]]         schemes of security.py: all of one group are asked for,
                                            of several groups that are set any one
    SECRETS: bool                           whether `redact` blanks secrets, and so always must
    decode(callback) -> Body                bytes to values, once for what follows
    parse(body) -> list[Report | TemplateReview | Unreadable]
    redact(callback, body) -> Callback      blanks message texts or secrets; sets `redacted`
    parse_sent(response, recipients) -> list[SentMessage]

A new provider is one module and one line here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, cast

from receiver.providers import ants, decoding, engagelab, reading, thaibulksms
from receiver.providers.decoding import BLANK, Body, decode, is_xml, read_json, read_xml
from receiver.providers.proofs import SCHEMES, demands, expected, prove
from receiver.providers.reading import Id, IdIfAny, LongWords, Row, Words
from receiver.providers.times import DATE_ALONE, FAR, NO_FORM, UNCERTAIN, form, parse_time, why_not

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from receiver.domain import Callback, Item, SentMessage, Status


class Provider(Protocol):
    """What every provider module offers; see the top of this file."""

    TITLE: str
    REGISTER: str
    MAX_URL: int | None
    METHODS: frozenset[str]
    STATUSES: Mapping[str, Status]
    SETTINGS: Sequence[str]
    PROOFS: Sequence[Sequence[str]]
    SECRETS: bool

    def is_probe(self, callback: Callback) -> bool:
        """Say whether this is the provider's empty probe: nothing to keep, answer 200."""

    def decode(self, callback: Callback) -> Body:
        """Decode query and body, without message texts or secrets.

        Raises UnreadableError where they cannot be decoded, or hold more than any provider sends.
        """

    def parse(self, body: Body) -> list[Item]:
        """Read every report; raises UnreadableError where the body as a whole has none to read.

        An empty list means: readable, and not about the delivery of an SMS.
        """

    def parse_sent(self, response: object, recipients: Sequence[str] = ()) -> list[SentMessage]:
        """Read the provider's answer to a send call: an object, a list, or text holding either.

        `recipients` are the numbers it was sent to, which count where the answer names nobody.
        Raises ProviderRefusalError in the provider's words, UnreadableError with the field.
        """

    def redact(self, callback: Callback, body: Body | None) -> Callback:
        """Return the callback without message texts or secrets; None is a body without decoding.

        `redacted` says whether that is certain.
        """


PROVIDERS: Final[Mapping[str, Provider]] = {
    "thaibulksms": cast("Provider", thaibulksms),
    "ants": cast("Provider", ants),
    "engagelab": cast("Provider", engagelab),
}

__all__ = [
    "BLANK",
    "DATE_ALONE",
    "FAR",
    "NO_FORM",
    "PROVIDERS",
    "SCHEMES",
    "UNCERTAIN",
    "Body",
    "Id",
    "IdIfAny",
    "LongWords",
    "Provider",
    "Row",
    "Words",
    "decode",
    "decoding",
    "demands",
    "engagelab",
    "expected",
    "form",
    "is_xml",
    "parse_time",
    "prove",
    "read_json",
    "read_xml",
    "reading",
    "why_not",
]
