"""What a provider is: a module of pure functions, bytes in and values out, of the shape below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from receiver.domain import Callback, Item, SentMessage, Status
    from receiver.providers.decoding import Body
    from receiver.providers.proofs import Scheme


Agreement = Literal["value", "digest", "secret"]
"""How a setting on which all receivers of a database must agree stands in the notes they leave: as
it is, as a digest where it is long, or as an HMAC where it is a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting of one provider: RECEIVER_<PROVIDER>_<NAME>, empty where it is not set."""

    name: str
    """In lower case, without the prefix; no name of the settings that every provider has."""
    kind: Literal["text", "url"] = "text"
    """One line of text as it is written, or a URL that paths are put behind."""
    shown: bool
    """Whether `receiver doctor` shows its value; never of a secret."""
    shared: Agreement | None
    """How receivers compare it; None for what need not be the same, as only commands read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a provider wants to read in a 200: some try again after anything but a word of theirs.

    It is sent for every 200: kept, a repeat, a probe. What is kept and cannot be read stays a 400.
    """

    media_type: str = "text/plain"
    body: str = "OK"
    to_json: Answer | None = None
    """What it wants to read where it called with JSON, if that is something else."""


OK: Final = Answer()
"""For a provider that only looks at the status."""


class Provider(Protocol):
    """What every provider module offers."""

    TITLE: str
    """What people call it."""
    REGISTER: str
    """Where its callback URL is entered: a page of its dashboard, or a field of its send call."""
    MAX_URL: int | None
    """The most characters its callback URL may have."""
    METHODS: frozenset[str]
    """The HTTP methods its callbacks may use; HEAD is not named."""
    ANSWER: Answer
    """What its callbacks are answered; `OK` where it says nothing of that."""
    STATUSES: Mapping[str, Status]
    """Its words, in lower case, and ours."""
    PROOFS: Sequence[Sequence[Scheme]]
    """How its callbacks prove themselves beside the token: all schemes of one group that are set
    up are asked for; of several groups that are set up, any one."""
    SETTINGS: Sequence[Setting]
    """Its settings beside those that every provider has, and those that its proofs take."""
    SECRETS: bool
    """Whether `redact` blanks secrets, and so always must."""

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


PARTS: Final = (
    *Provider.__annotations__,
    *(name for name in vars(Provider) if callable(vars(Provider)[name]) and name[0] != "_"),
)
"""The names of all that a provider module offers."""


def whole(name: str, module: ModuleType) -> Provider:
    """Return a module as the provider it is. Raises TypeError that names the parts it lacks."""
    lacking = [part for part in PARTS if not hasattr(module, part)]
    if lacking:
        raise TypeError(
            f"receiver/providers/{name}.py lacks {', '.join(lacking)}:"
            " see Provider in receiver/providers/provider.py for what each is"
        )
    return cast("Provider", module)


def schemes(provider: Provider) -> list[Scheme]:
    """Return every way in which a provider's callbacks may prove themselves."""
    return [scheme for group in provider.PROOFS for scheme in group]


def own_settings(provider: Provider) -> list[Setting]:
    """Return the settings that a provider has beside those of all: its proofs' first."""
    needed = [setting for scheme in schemes(provider) for setting in scheme.settings]
    return list(dict.fromkeys((*needed, *provider.SETTINGS)))
