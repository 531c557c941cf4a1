"""How much a body may hold: what is counted while it is read, so that reading stops early.

The largest batch that is documented is 500 numbers (ThaiBulkSMS's send call; ANTS names no number,
EngageLab neither), of some 15 names each. Every bound leaves room for ten to twenty times of that;
what the costliest bodies within them take is a table in docs/security.md.
"""

from __future__ import annotations

from typing import Final

MAX_ITEMS: Final = 5_000
"""How many items a body may hold."""
MAX_VALUES: Final = 100_000
"""How many values JSON may hold in all, and how many elements and attributes XML."""
MAX_ELEMENTS_DEEP: Final = 50
"""How deep the elements of XML may be nested."""
MAX_DEPTH: Final = 100
"""How deep the lists and objects of JSON may be nested."""
MAX_TAG: Final = 2**16
"""How many bytes of one tag or comment of XML are waited for."""
MAX_FORBIDDEN: Final = 500_000
"""How many characters that XML forbids are made good in a body: texts in a foreign charset."""
MAX_REPAIRS: Final = 50_000
"""How many references and stray `&` and `<` are made good in XML."""
MAX_FIELDS: Final = 1000
"""How many parameters a form or a query may hold."""
MAX_FORM: Final = 2**20
"""How many bytes a form may have, urlencoded or multipart: one report has some hundred."""
