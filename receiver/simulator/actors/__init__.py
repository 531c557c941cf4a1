"""The providers as the simulator plays them: one module each, of the name its provider has."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Final

from receiver.providers import PROVIDERS
from receiver.simulator.actors.actor import Actor

if TYPE_CHECKING:
    from collections.abc import Mapping

_THERE: Final = {module.name for module in iter_modules(__path__)}

ACTORS: Final[Mapping[str, Actor]] = {
    name: import_module(f"{__name__}.{name}").ACTOR for name in PROVIDERS if name in _THERE
}

__all__ = ["ACTORS", "Actor"]
