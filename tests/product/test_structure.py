"""Packages: each has a face, and nobody reaches past it."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.product.test_docs import read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
RECEIVER: Final = ROOT / "receiver"
FACES: Final = sorted(path.parent for path in RECEIVER.rglob("__init__.py"))
TOP: Final = sorted(path.name for path in RECEIVER.iterdir() if (path / "__init__.py").exists())


class Import(NamedTuple):
    """A name that a file takes from a module of ours."""

    file: Path
    line: int
    module: str
    name: str


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(files: Path = RECEIVER) -> Iterator[Import]:
    for file in sorted(files.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("receiver."):
                for alias in node.names:
                    yield Import(file, node.lineno, node.module or "", alias.name)


def package_of(module: str) -> Path:
    """Return the folder whose face stands before a module: its own where it is a package."""
    path = ROOT.joinpath(*module.split("."))
    return path if path.is_dir() else path.parent


def test_nobody_reaches_past_a_face() -> None:
    past = [
        f"{taken.file.relative_to(ROOT)}:{taken.line} takes {taken.name} from {taken.module}:"
        f" take it from {name_of(package_of(taken.module))}, and add it to __all__ there"
        for taken in imports()
        if not ROOT.joinpath(*taken.module.split(".")).is_dir()
        and package_of(taken.module) not in taken.file.parents
        and package_of(taken.module) != RECEIVER
    ]
    assert not past, "\n".join(past)


@pytest.mark.parametrize("folder", FACES, ids=name_of)
def test_a_face_says_what_lives_there_and_what_may_be_touched(folder: Path) -> None:
    face = importlib.import_module(name_of(folder))
    assert face.__doc__, f"{name_of(folder)}: its __init__ wants a docstring"
    if folder == RECEIVER:
        return
    assert hasattr(face, "__all__"), f"{name_of(folder)}: its __init__ wants __all__"
    assert not [name for name in face.__all__ if not hasattr(face, name)]


def test_a_face_offers_nothing_that_nobody_takes() -> None:
    taken = {(taken.module, taken.name) for taken in imports()}
    taken |= {(taken.module, taken.name) for taken in imports(ROOT / "tests")}
    taken |= {("receiver.cli", "main")}  # the console script
    idle = [
        f"{name_of(folder)}.{name}"
        for folder in FACES
        if folder not in {RECEIVER, RECEIVER / "providers"}
        for name in importlib.import_module(name_of(folder)).__all__
        if (name_of(folder), name) not in taken
    ]
    assert not idle, f"take these out of __all__: {', '.join(idle)}"


def test_the_only_order_that_is_written_is_the_linters() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (layers,) = (
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    placed = [name.strip() for layer in layers for name in layer.split("|")]
    assert sorted(placed) == TOP


def test_every_package_is_in_the_guide_with_a_line_of_its_own() -> None:
    text = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    shape = next(block.text for block in read_blocks(text) if block.heading == "The shape")
    named = re.findall(r"^(\w+)/ ", shape, re.MULTILINE)
    assert sorted(named) == TOP


def test_no_module_is_longer_than_can_be_read_at_once() -> None:
    long = {
        name_of(path): lines
        for path in RECEIVER.rglob("*.py")
        if (lines := len(path.read_text("utf-8").splitlines())) > 500
    }
    assert not long, f"split these: {long}"
