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
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
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
from receiver.providers import PROVIDERS, SCHEMES
from receiver.settings.field_types import (
    Age,
    Networks,
    Pairs,
    Plain,
    Secrets,
    Share,
    comma_separated,
)

if TYPE_CHECKING:
    from dotenv.parser import Binding
    from pydantic.fields import FieldInfo


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


def _hook(value: str) -> str | None:
    if not value:
        return None
    try:
        parts = urlsplit(value)
        right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # whose words repeat the value
        right = False
    if not right:
        raise ValueError("expected a URL that starts with https:// or http://")
    return value


def _url(value: str) -> str:
    if not _hook(value):
        raise ValueError("expected a URL that starts with https:// or http://")
    if "?" in value or "#" in value:
        raise ValueError("expected a URL without ? and #, since paths are put behind it")
    return value.rstrip("/")


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("expected names without scheme, port and path, separated by commas")
    return value.lower()


_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")


Names = Annotated[
    tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, BeforeValidator(comma_separated)
]


class ProviderSettings(BaseModel):
    """What is set for one provider, as RECEIVER_<PROVIDER>_<NAME>.

    The first are every provider's; of the others each provider names its own in `SETTINGS`.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    tokens: Secrets = Field(
        (), description="path secrets, each `secret` or `account:secret`; any one is right"
    )
    basic_auth: Pairs = Field((), description="`user:password` pairs; one must be right too")
    allowed_ips: Networks = Field((), description="addresses or networks; empty: any")

    smshook_key: Plain = ""
    smshook_secret: Plain = ""
    callback_username: Plain = ""
    callback_secret: Plain = ""
    authorization: Plain = ""
    sms_user: Plain = ""
    sms_key: Plain = ""
    url: Annotated[str, AfterValidator(_url)] | None = None


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


class Settings(BaseSettings):
    """Everything that can be set; see the README's table."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    database_url: str = Field("sqlite:///receiver.db", repr=False)
    migrate: Literal["auto", "off"] = "auto"
    public_url: Annotated[str, AfterValidator(_url)] | None = None
    api_keys: Secrets = ()
    internal_ips: Networks = tuple(
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
    internal_hosts: Names = ()
    trusted_proxies: Networks = (ip_network("127.0.0.1/32"), ip_network("::1/128"))
    max_body_bytes: PositiveInt = 8_388_608
    max_unreadable_bytes: PositiveInt = 268_435_456
    message_text: Literal["drop", "keep"] = "drop"
    timezone: Annotated[tzinfo, NoDecode, BeforeValidator(_zone)] = ZoneInfo("Asia/Bangkok")
    spool_path: str = "receiver-spool.db"
    spool_max_bytes: PositiveInt = 4 * 1024**3
    purge_older_than: Age = None
    purge_callbacks_older_than: Age = None
    purge_unreadable_older_than: Age = timedelta(days=7)
    status_map: Annotated[
        Mapping[str, Mapping[str, Status]], NoDecode, BeforeValidator(_status_map)
    ] = Field(default_factory=dict)
    alarm_url: Annotated[str, AfterValidator(_hook)] | None = Field(None, repr=False)
    alarm_every: PositiveInt = 60
    alarm_messages: PositiveInt = 20
    alarm_days: Annotated[int, Field(ge=2, le=31)] = 7
    alarm_rate_drop: Share = 0.2
    alarm_slower: Annotated[float, Field(ge=1)] = 3
    alarm_unmatched_rise: Share = 0.2
    alarm_settling_seconds: PositiveInt = 60
    alarm_clock_seconds: PositiveInt = 120
    providers: Mapping[str, ProviderSettings] = Field(default_factory=dict)

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
        return self.providers.get(name) or ProviderSettings()

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
        """Return {"providers": {name: {field: text}}}."""
        unknown = sorted(
            name.upper()
            for name in self.values
            if name.startswith(PREFIX) and name not in names() and not name.startswith(KUBERNETES)
        )
        if unknown:
            raise SettingsError(f"{', '.join(unknown)}: no such setting. Is it misspelt?")
        return {"providers": {provider: self._of(provider) for provider in PROVIDERS}}

    def _of(self, provider: str) -> dict[str, str]:
        """Return what is set for a provider. Raises SettingsError for half a proof."""
        own = {
            field: self.values[name]
            for field in fields(provider)
            if (name := f"{PREFIX}{provider}_{field}") in self.values
        }
        for name in (name for group in PROVIDERS[provider].PROOFS for name in group):
            needed = SCHEMES[name].settings
            missing = [field for field in needed if not own.get(field)]
            if missing and len(missing) < len(needed):
                prefix = f"{PREFIX}{provider}_".upper()
                present = " and ".join(prefix + f.upper() for f in needed if f not in missing)
                lacking = ", ".join(prefix + f.upper() for f in missing)
                raise SettingsError(f"{lacking}: expected a value, since {present} has one.")
        both = [field for field in SAME_HEADER if own.get(field)]
        if len(both) > 1:
            named = " and ".join(f"{PREFIX}{provider}_{field}".upper() for field in both)
            raise SettingsError(
                f"{named}: expected only one of them, since both are looked for in the one"
                " Authorization header of a callback."
            )
        return own


COMMON: Final = ("tokens", "basic_auth", "allowed_ips")
"""The settings that every provider has."""
SAME_HEADER: Final = ("basic_auth", "authorization")
"""The settings of one provider that no callback could satisfy together."""


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


def fields(provider: str) -> tuple[str, ...]:
    """Return the fields of ProviderSettings that a provider has."""
    return (*COMMON, *PROVIDERS[provider].SETTINGS)


def names() -> dict[str, str]:
    """Return every setting's name in lower case, and the name of its field."""
    own = {f"{PREFIX}{field}": field for field in Settings.model_fields if field != "providers"}
    return own | {
        f"{PREFIX}{provider}_{field}": f"providers.{provider}.{field}"
        for provider in PROVIDERS
        for field in fields(provider)
    }


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
    fields = {field: name.upper() for name, field in names().items()}
    problems = []
    for problem in error.errors(include_input=False, include_url=False, include_context=True):
        where = ".".join(str(p) for p in problem["loc"] if not isinstance(p, int))
        where = where.removesuffix(".name").removesuffix(".value")
        name = next((n for f, n in fields.items() if where.lower() in {f, n.lower()}), where)
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{name}: {message}.".replace("Input should be", "expected"))
    return problems
