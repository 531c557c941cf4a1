"""Settings of providers: three that every provider has, and those that each declares itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, GetPydanticSchema, create_model
from pydantic_core.core_schema import typed_dict_field, typed_dict_schema

from receiver.providers import PROVIDERS, own_settings
from receiver.settings.field_types import BaseUrl, Networks, Pairs, Plain, Secrets, setting

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


class ProviderSettings(BaseModel):
    """What is set for one provider, as RECEIVER_<PROVIDER>_<NAME>: what every provider has."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tokens: Secrets = setting(
        (),
        shown=False,
        shared="secret",
        description="path secrets, each `secret` or `account:secret`; any one is right",
    )
    basic_auth: Pairs = setting(
        (),
        shown=False,
        shared="secret",
        description="`user:password` pairs; one must be right too",
    )
    allowed_ips: Networks = setting(
        (), shown=True, shared="digest", description="addresses or networks; empty: any"
    )

    def own(self, name: str) -> str:
        """Return a setting that the provider declares itself; empty where it is not set.

        Raises AttributeError where it declares none of that name.
        """
        return getattr(self, name) or ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it be handed to workers, where its class is another that was made the same way."""
        name = next(name for name, model in MODELS.items() if model is type(self))
        return _restore, (name, self.__dict__, self.model_fields_set)


def _restore(name: str, values: dict[str, Any], given: set[str]) -> ProviderSettings:
    return MODELS[name].model_construct(given, **values)


KINDS: Final[Mapping[str, tuple[Any, Any]]] = {"text": (Plain, ""), "url": (BaseUrl, None)}
"""Of a setting that a provider declares: its type, and what it is where it is not set."""


def settings_of(name: str) -> type[ProviderSettings]:
    """Return the settings of one provider: what all have, and its own.

    Raises ValueError where two are of one name, of which one would be lost.
    """
    fields: dict[str, Any] = {}
    for own in own_settings(PROVIDERS[name]):
        if own.name in fields or hasattr(ProviderSettings, own.name) or own.name in COMMON:
            raise ValueError(
                f"{name}: the setting {own.name} is declared twice; give one another name"
            )
        kind, default = KINDS[own.kind]
        fields[own.name] = (kind, setting(default, shown=own.shown, shared=own.shared))
    return create_model(f"{name}_settings", __base__=ProviderSettings, **fields)


COMMON: Final = tuple(ProviderSettings.model_fields)
"""The settings that every provider has."""
MODELS: Final[Mapping[str, type[ProviderSettings]]] = {
    name: settings_of(name) for name in PROVIDERS
}
"""The settings of each provider."""


def _by_provider(_source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
    fields = {
        name: typed_dict_field(handler.generate_schema(model), required=False)
        for name, model in MODELS.items()
    }
    return typed_dict_schema(fields, extra_behavior="forbid")


ByProvider = Annotated[Mapping[str, ProviderSettings], GetPydanticSchema(_by_provider)]
"""Settings by the name of their provider, each of its provider's own model."""
