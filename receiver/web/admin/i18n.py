"""Thai and English: the library's own words and ours, in one catalogue (translations/th.po)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

from babel.core import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from starlette_admin import i18n

LANGUAGES: Final = ("en", "th")
CATALOGUE: Final = Path(__file__).parent / "translations" / "th.po"


def install() -> None:
    """Teach the library Thai, which it does not speak."""
    if "th" in i18n.translations:
        return
    with CATALOGUE.open("rb") as opened:
        catalogue = read_po(opened, locale="th")
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    i18n.translations["th"] = Translations(compiled, domain="admin")
    i18n.SUPPORTED_LOCALES.append("th")


def preferred(accepted: str) -> str:
    """Return which of our languages an Accept-Language header asks for; English for none."""
    languages = [
        (-_quality(rest), name.strip().replace("-", "_"))
        for name, _, rest in (part.partition(";") for part in accepted[:1000].split(","))
    ]
    names = [name for _, name in sorted(languages, key=lambda pair: pair[0])]
    return str(negotiate_locale(names, LANGUAGES) or LANGUAGES[0])


def _quality(parameter: str) -> float:
    try:
        return float(parameter.strip().removeprefix("q=") or 1)
    except ValueError:
        return 0.0
