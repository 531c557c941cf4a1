"""docs/dependencies.md lists the licence of everything that is installed with the receiver."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parents[2]
TEXT: Final = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
# What older metadata say in place of SPDX's names.
SPDX: Final = {
    "MIT License": "MIT", "BSD License": "BSD-3-Clause", "ISC License": "ISC",
    "ISC License (ISCL)": "ISC", "Apache Software License": "Apache-2.0",
}  # fmt: skip


def listed() -> dict[str, str]:
    """Return the page's table: each package and its licence."""
    return dict(re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+?) \|", TEXT, re.MULTILINE))


def installed() -> dict[str, Distribution]:
    """Return what our dependencies bring, by their metadata, as far as it is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    found: dict[str, Distribution] = {}
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # for another system or Python
            continue
        for line in found[name].requires or []:
            needed = Requirement(line)
            extras = ("", *wanted.extras)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                again = re.sub(r"[-_.]+", "-", needed.name).lower() in found
                waiting += [] if again else [needed]
    return found


def licence(package: Distribution) -> str:
    """Return the SPDX expression of a package, as its metadata say."""
    metadata = package.metadata
    said: str = (metadata.get_all("License-Expression") or metadata.get_all("License") or [""])[0]
    if not said or "\n" in said:
        classifiers = metadata.get_all("Classifier") or []
        said = next(c.split(" :: ")[-1] for c in classifiers if c.startswith("License"))
    return SPDX.get(said, said)


def test_every_package_and_its_licence_is_listed() -> None:
    found = {name: licence(package) for name, package in installed().items()}
    assert len(found) > 30
    table = listed()
    assert {name: table.get(name) for name in found} == found


def test_nothing_is_listed_that_nothing_needs() -> None:
    assert listed().keys() <= installed().keys()


def test_no_licence_binds_what_uses_the_receiver() -> None:
    """LGPL is for the driver of PostgreSQL alone, which is loaded and not changed."""
    strict = {name for name, words in listed().items() if "GPL" in words}
    assert strict == {"psycopg", "psycopg-binary"}
