"""Settings: read once from the environment and a file, checked, frozen.

Every error names the setting and what was expected, and never its value.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta, tzinfo
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveInt,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from receiver.domain import SettingsError, Status
from receiver.providers import PROVIDERS, schemes
from receiver.settings.destinations import EVENTS, EventSettings, check_once, events
from receiver.settings.field_types import (
    Age,
    BaseUrl,
    Disclosure,
    Hook,
    Networks,
    Secrets,
    Share,
    comma_separated,
    disclosure,
    setting,
)
from receiver.settings.provider_settings import MODELS, ByProvider

if TYPE_CHECKING:
    from dotenv.parser import Binding
    from pydantic.fields import FieldInfo

    from receiver.settings.provider_settings import ProviderSettings


PREFIX: Final = "receiver_"
FILE: Final = "receiver.env"
# Kubernetes describes a service called "receiver" in variables of its own.
KUBERNETES: Final = ("receiver_port", "receiver_service_")


def _zone(value: object) -> object:
    if isinstance(value, str):
        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("expected the name of a time zone, such as Asia/Bangkok") from None
    return value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("expected names without scheme, port and path, separated by commas")
    return value.lower()


_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")


Names = Annotated[
    tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, BeforeValidator(comma_separated)
]


def statuses(file: str) -> dict[str, dict[str, Status]]:
    """Read a status map file, TOML: by provider, its words in lower case and our statuses.

    Raises ValueError with what was expected, and where in the file.
    """
    try:
        tables = tomllib.loads(Path(file).read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except ValueError as error:
        position = _POSITION.search(str(error))
        raise ValueError(f"expected a TOML file{f' {position[0]}' if position else ''}") from None
    return {provider: _words_of(provider, words) for provider, words in tables.items()}


_POSITION: Final = re.compile(r"\(at [a-z0-9, ]*\)$")


def _words_of(provider: str, words: object) -> dict[str, Status]:
    if provider not in PROVIDERS or not isinstance(words, dict):
        raise ValueError(f"[{provider}]: expected a table of one of: {', '.join(PROVIDERS)}")
    try:
        return {word.strip().lower(): Status(status) for word, status in words.items()}
    except ValueError:
        raise ValueError(f"[{provider}]: expected one of: {', '.join(Status)}") from None


def _status_map(value: object) -> object:
    return statuses(value) if isinstance(value, str) and value else value or {}


LOOPBACK: Final = (ip_network("127.0.0.1/32"), ip_network("::1/128"))
INTERNAL: Final = tuple(
    ip_network(n)
    for n in (
        "127.0.0.0/8",
        "::1/128",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Loopback and private networks."""


class Settings(BaseSettings):
    """Everything that can be set; see the README's table."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    database_url: str = setting("sqlite:///receiver.db", shown=False, shared=None)
    migrate: Literal["auto", "off"] = setting("auto", shown=True, shared=None)
    public_url: BaseUrl = setting(None, shown=True, shared=None)
    api_keys: Secrets = setting((), shown=False, shared="secret")
    internal_ips: Networks = setting(INTERNAL, shown=True, shared=None)
    internal_hosts: Names = setting((), shown=True, shared=None)
    trusted_proxies: Networks = setting(LOOPBACK, shown=True, shared=None)
    max_body_bytes: PositiveInt = setting(8_388_608, shown=True, shared="value")
    max_unreadable_bytes: PositiveInt = setting(268_435_456, shown=True, shared=None)
    message_text: Literal["drop", "keep"] = setting("drop", shown=True, shared="value")
    timezone: Annotated[tzinfo, NoDecode, BeforeValidator(_zone)] = setting(
        ZoneInfo("Asia/Bangkok"), shown=True, shared="value"
    )
    spool_path: str = setting("receiver-spool.db", shown=True, shared=None)
    spool_max_bytes: PositiveInt = setting(4 * 1024**3, shown=True, shared=None)
    purge_older_than: Age = setting(None, shown=True, shared=None)
    purge_callbacks_older_than: Age = setting(None, shown=True, shared=None)
    purge_unreadable_older_than: Age = setting(timedelta(days=7), shown=True, shared=None)
    status_map: Annotated[
        Mapping[str, Mapping[str, Status]], NoDecode, BeforeValidator(_status_map)
    ] = setting({}, shown=False, shared="digest")
    alarm_url: Hook = setting(None, shown=False, shared=None)
    alarm_every: PositiveInt = setting(60, shown=True, shared=None)
    alarm_messages: PositiveInt = setting(20, shown=True, shared=None)
    alarm_days: Annotated[int, Field(ge=2, le=31)] = setting(7, shown=True, shared=None)
    alarm_rate_drop: Share = setting(0.2, shown=True, shared=None)
    alarm_slower: Annotated[float, Field(ge=1)] = setting(3, shown=True, shared=None)
    alarm_unmatched_rise: Share = setting(0.2, shown=True, shared=None)
    alarm_settling_seconds: PositiveInt = setting(60, shown=True, shared=None)
    alarm_clock_seconds: PositiveInt = setting(120, shown=True, shared=None)
    alarm_events_seconds: PositiveInt = setting(300, shown=True, shared=None)
    providers: ByProvider = Field(default_factory=dict)
    events: Mapping[str, EventSettings] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, and read each provider's own names."""
        for source in (env_settings, dotenv_settings):
            if isinstance(source, EnvSettingsSource):
                source.env_vars = {n: v for n, v in source.env_vars.items() if is_set(n, v)}
        return (
            init_settings,
            _Providers(settings_cls, env_settings, dotenv_settings),
            env_settings,
            dotenv_settings,
        )

    def provider(self, name: str) -> ProviderSettings:
        """Return what is set for a provider."""
        return self.providers.get(name) or MODELS[name]()

    @property
    def has_tokens(self) -> bool:
        """Say whether any provider can get in."""
        return bool(self.receiving)

    @property
    def receiving(self) -> frozenset[str]:
        """Return the providers that can get in."""
        return frozenset(name for name, settings in self.providers.items() if settings.tokens)


class _Providers(PydanticBaseSettingsSource):
    """Reads RECEIVER_<PROVIDER>_<NAME> for every provider there is, and refuses unknown names."""

    def __init__(self, settings_cls: type[BaseSettings], *sources: object) -> None:
        super().__init__(settings_cls)
        self.values: dict[str, str] = {}
        for source in reversed(sources):
            if isinstance(source, EnvSettingsSource):
                self.values |= {k: v for k, v in source.env_vars.items() if v is not None}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Satisfy the base class; the whole is read at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return {"providers": {name: {field: text}}, "events": {name: {field: text}}}."""
        unknown = sorted(
            name.upper()
            for name in self.values
            if name.startswith(PREFIX)
            and name not in names()
            and not name.startswith((*KUBERNETES, EVENTS))
        )
        if unknown:
            raise SettingsError(f"{', '.join(unknown)}: no such setting. Is it misspelt?")
        return {
            "providers": {provider: self._of(provider) for provider in PROVIDERS},
            "events": events(self.values),
        }

    def _of(self, provider: str) -> dict[str, str]:
        """Return what is set for a provider. Raises SettingsError for half a proof."""
        own = {
            field: self.values[name]
            for field in MODELS[provider].model_fields
            if (name := f"{PREFIX}{provider}_{field}") in self.values
        }
        proofs = schemes(PROVIDERS[provider])
        for proof in proofs:
            needed = [setting.name for setting in proof.settings]
            missing = [field for field in needed if not own.get(field)]
            if missing and len(missing) < len(needed):
                prefix = f"{PREFIX}{provider}_".upper()
                present = " and ".join(prefix + f.upper() for f in needed if f not in missing)
                lacking = ", ".join(prefix + f.upper() for f in missing)
                raise SettingsError(f"{lacking}: expected a value, since {present} has one.")
        if own.get("basic_auth"):
            beside = [
                setting.name
                for proof in proofs
                if "authorization" in proof.headers
                for setting in proof.settings
                if own.get(setting.name)
            ]
            if beside:
                both = ("basic_auth", *beside)
                named = " and ".join(f"{PREFIX}{provider}_{field}".upper() for field in both)
                raise SettingsError(
                    f"{named}: expected only one of them, since both are looked for in the one"
                    " Authorization header of a callback."
                )
        return own


MEANT_EMPTY: Final = frozenset(
    f"{PREFIX}{field}"
    for field in (
        "spool_path",
        "purge_older_than",
        "purge_callbacks_older_than",
        "purge_unreadable_older_than",
    )
)
"""Settings whose emptiness is documented to mean none."""


def is_set(name: str, value: str | None) -> bool:
    """Say whether a variable is set, by its name in lower case; an empty one mostly is not.

    `RECEIVER_ANTS_BASIC_AUTH=`, as compose makes it of a variable that nobody set, must not take
    away the password that `receiver.env` demands of a caller.
    """
    return name in MEANT_EMPTY or bool(value and value.strip())


class Declared(NamedTuple):
    """A setting that there is."""

    name: str
    """As it is set, in lower case."""
    provider: str | None
    """Whose it is; None where it is no provider's."""
    field: str
    """What it is called within the settings it belongs to."""

    @property
    def path(self) -> str:
        """Return where it is in Settings."""
        return f"providers.{self.provider}.{self.field}" if self.provider else self.field

    @property
    def info(self) -> FieldInfo:
        """Return the field as it is declared."""
        owner = MODELS[self.provider] if self.provider else Settings
        return owner.model_fields[self.field]

    @property
    def disclosure(self) -> Disclosure:
        """Return who may see it, and who must have the same."""
        try:
            return disclosure(self.info)
        except TypeError as error:
            raise TypeError(f"{self.name.upper()}: {error}") from None

    def value(self, settings: Settings) -> Any:
        """Return what it is set to."""
        return getattr(settings.provider(self.provider) if self.provider else settings, self.field)


def declared() -> list[Declared]:
    """Return every setting there is."""
    return [
        *(
            Declared(f"{PREFIX}{field}", None, field)
            for field in Settings.model_fields
            if field not in {"providers", "events"}
        ),
        *(
            Declared(f"{PREFIX}{provider}_{field}", provider, field)
            for provider, model in MODELS.items()
            for field in model.model_fields
        ),
    ]


def names() -> dict[str, Declared]:
    """Return every setting by its name in lower case.

    Those of destinations are not among them, since these may have any name.
    """
    return {setting.name: setting for setting in declared()}


def origins(file: Path | None = None) -> dict[str, str]:
    """Return where each setting that is set comes from: a file's name, or the environment.

    The names are in lower case; the file is one that `read_settings` reads without an error.
    """
    path = file or Path(FILE)
    by_name: dict[str, str] = {}
    if path.exists():
        written = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
        by_name = {n.lower(): str(path) for n, v in written.items() if is_set(n.lower(), v)}
    by_name |= {n.lower(): "the environment" for n, v in os.environ.items() if is_set(n.lower(), v)}
    return {name: by_name[name] for name in names() if name in by_name}


def read_settings(file: Path | None = None, *, must_exist: bool = True) -> Settings:
    """Read the settings from the environment and from a file, `receiver.env` if none is named.

    Raises SettingsError for an unknown name, a senseless value, a named file that is missing or
    a file that cannot be read.
    """
    path = file or Path(FILE)
    if file is not None and must_exist and not file.exists():
        raise SettingsError(f"{file}: no such file.")
    if path.exists():
        _check_file(path)
    check_once(os.environ, "environment")
    try:
        return Settings(_env_file=path, _env_file_encoding="utf-8-sig")
    except ValidationError as error:
        raise SettingsError(" ".join(_problems(error))) from None


def _check_file(path: Path) -> None:
    """Refuse what would be passed over in silence, and with it the setting that was meant."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path}: the file cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: expected a text file of NAME=value lines.") from None
    check_once((line.key for line in parse_stream(StringIO(text)) if line.key), str(path))
    for line in parse_stream(StringIO(text)):
        if line.error or "\0" in line.original.string or (line.key and line.value is None):
            blank = line.original.string.partition(line.original.string.strip())[0]
            number = line.original.line + blank.count("\n")
            raise SettingsError(f"{path}, line {number}: expected NAME=value.")
        if line.key and line.key.lower().startswith(PREFIX) and not _verbatim(line):
            raise SettingsError(
                f"{path}: {line.key}: expected a value without a comment behind it, and without"
                " \\ where it stands in quotes."
            )
    written = dotenv_values(stream=StringIO(text), interpolate=False)
    for name, value in dotenv_values(stream=StringIO(text)).items():
        if name.lower().startswith(PREFIX) and value != written[name]:
            raise SettingsError(f"{path}: {name}: expected a value without ${{…}}.")


def _verbatim(line: Binding) -> bool:
    """Say whether the value is what stands in the file: nothing cut off, nothing unescaped."""
    written = line.original.string.partition("=")[2].strip()
    quote = written[:1]
    if quote in {"'", '"'}:
        return written.startswith(f"{quote}{line.value}{quote}")
    return written == line.value


def _problems(error: ValidationError) -> list[str]:
    """Return one sentence per wrong setting, without its value."""
    fields = {setting.path: setting.name.upper() for setting in declared()}
    problems = []
    for problem in error.errors(include_input=False, include_url=False, include_context=True):
        where = ".".join(str(p) for p in problem["loc"] if not isinstance(p, int))
        where = where.removesuffix(".name").removesuffix(".value")
        if where.startswith("events."):
            where = f"{PREFIX}{where.replace('.', '_')}".upper()
        name = next((n for f, n in fields.items() if where.lower() in {f, n.lower()}), where)
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{name}: {message}.".replace("Input should be", "expected"))
    return problems
