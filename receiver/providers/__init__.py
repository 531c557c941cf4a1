"""The providers we can read, one module each; what one offers is `Provider`, in provider.py.

A new provider is one module and one line here, and its part of the simulator, in
receiver/simulator/actors/; docs/contributing.md says how, and `tests/providers/test_owed.py` what
is still missing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from receiver.providers import decoding, engagelab, reading
from receiver.providers.decoding import BLANK, Body, decode, is_xml, read_json, read_xml
from receiver.providers.proofs import Scheme, demands, expected, prove
from receiver.providers.provider import (
    Agreement,
    Answer,
    Provider,
    Setting,
    own_settings,
    schemes,
    whole,
)
from receiver.providers.reading import Id, IdIfAny, LongWords, Row, Words
from receiver.providers.times import DATE_ALONE, FAR, NO_FORM, UNCERTAIN, form, parse_time, why_not

if TYPE_CHECKING:
    from collections.abc import Mapping


PROVIDERS: Final[Mapping[str, Provider]] = {
    name: whole(name, import_module(f"{__name__}.{name}"))
    for name in (
        "thaibulksms",
        "ants",
        "engagelab",
        "movider",
        "infobip",
        "ais",
    )
}

__all__ = [
    "BLANK",
    "DATE_ALONE",
    "FAR",
    "NO_FORM",
    "PROVIDERS",
    "UNCERTAIN",
    "Agreement",
    "Answer",
    "Body",
    "Id",
    "IdIfAny",
    "LongWords",
    "Provider",
    "Row",
    "Scheme",
    "Setting",
    "Words",
    "decode",
    "decoding",
    "demands",
    "engagelab",
    "expected",
    "form",
    "is_xml",
    "own_settings",
    "parse_time",
    "prove",
    "read_json",
    "read_xml",
    "reading",
    "schemes",
    "why_not",
]
