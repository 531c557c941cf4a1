"""Files of bytes as providers send them, each beside what it must mean.

tests/callbacks/<provider>/<case>.<kind> is a body (or, as `.query`, a URL's query), and
<case>.expected.json what is read from it; tests/sent/<provider>/ holds answers to send calls alike.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from receiver.domain.callback import Callback

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS: Final = Path(__file__).resolve().parents[1]
FOLDERS: Final = {"callbacks": {"source", "method", "content_type"}, "sent": {"source"}}
"""Where the files are, and what every expected one says beside what is read."""
EXPECTED: Final = ".expected.json"


class Case(NamedTuple):
    """A file of bytes and what is expected of it."""

    provider: str
    name: str
    kind: str
    body: bytes
    expected: dict[str, Any]

    @property
    def callback(self) -> Callback:
        query = self.expected.get("query", "")
        return Callback(
            provider=self.provider,
            method=self.expected["method"],
            content_type=self.expected["content_type"],
            query=self.body.decode("ascii") if self.kind == "query" else query,
            body=b"" if self.kind == "query" else self.body,
        )


def load(folder: str, tests: Path = TESTS) -> list[Case]:
    """Return the pairs there are; `wrong` says which files are none."""
    cases = []
    for place in sorted((tests / folder).glob("*")):
        for name, files in by_case(place).items():
            body, expected = pair(files)
            if body is not None and expected is not None:
                said = json.loads(expected.read_text("utf-8"))
                cases.append(Case(place.name, name, body.suffix[1:], body.read_bytes(), said))
    return cases


def by_case(place: Path) -> dict[str, list[Path]]:
    """Return the files of a folder by the case they belong to."""
    cases: dict[str, list[Path]] = {}
    for path in sorted(path for path in place.glob("*") if path.is_file()):
        name = path.name.removesuffix(EXPECTED) if path.name.endswith(EXPECTED) else path.stem
        cases.setdefault(name, []).append(path)
    return cases


def pair(files: list[Path]) -> tuple[Path | None, Path | None]:
    """Return the bytes and the expected file of a case; None for what is not there just once."""
    bodies = [path for path in files if not path.name.endswith(EXPECTED)]
    expected = [path for path in files if path.name.endswith(EXPECTED)]
    return bodies[0] if len(bodies) == 1 else None, expected[0] if expected else None


def wrong(folder: str, provider: str, tests: Path = TESTS) -> Iterator[str]:
    """Yield a sentence for everything that is amiss with a provider's files."""
    place = tests / folder / provider
    where = f"tests/{folder}/{provider}"
    cases = by_case(place)
    if not cases:
        yield f"{where}/: put the bytes of at least one case there, and what they mean"
    for name, files in cases.items():
        body, expected = pair(files)
        if expected is None:
            yield f"{where}/{name}: write {name}{EXPECTED}, which says what {files[0].name} means"
            continue
        if body is None:
            bodies = [path.name for path in files if path != expected]
            there = f"there are {' and '.join(bodies)}" if bodies else "there is none"
            yield f"{where}/{expected.name}: expected one file of bytes beside it, {there}"
            continue
        try:
            said = json.loads(expected.read_text("utf-8"))
        except ValueError as error:
            yield f"{where}/{expected.name}: expected JSON: {error}"
            continue
        if lacking := FOLDERS[folder] - said.keys():
            yield f"{where}/{expected.name}: say its {', '.join(sorted(lacking))}"
        elif not re.search("documented|seen|inferred|unknown|made up", said["source"]):
            yield (
                f"{where}/{expected.name}: let `source` say whether it is documented, seen,"
                " inferred, unknown or made up"
            )
