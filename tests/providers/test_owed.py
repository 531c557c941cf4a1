"""What a new provider still owes, in sentences: run this, and only this, while you write one.

.venv/bin/python -m pytest tests/providers/test_owed.py
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import pytest

from receiver.providers import PROVIDERS, Setting
from receiver.providers import provider as parts
from receiver.settings import provider_settings
from tests.kit import owed
from tests.kit.fixtures import load, wrong

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", PROVIDERS)
def test_nothing_is_owed(name: str) -> None:
    sentences = owed.owed(name)
    assert not sentences, f"{name} still owes:\n" + "\n".join(sentences)


def test_nothing_belongs_to_no_provider() -> None:
    sentences = [*owed.strangers()]
    assert not sentences, "\n".join(sentences)


# What is told to whoever forgets something.


@pytest.fixture
def newcomer(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Return ANTS's module under another name, as a provider that is written nowhere else."""
    module = types.ModuleType("newcomer", "No link.")
    module.__dict__.update({name: getattr(PROVIDERS["ants"], name) for name in parts.PARTS})
    monkeypatch.setattr(module, "TITLE", "Newcomer")
    monkeypatch.setitem(PROVIDERS, "newcomer", module)
    return module


def test_all_that_a_newcomer_owes_is_told_at_once(newcomer: types.ModuleType) -> None:
    assert newcomer.TITLE == "Newcomer"
    sentences = owed.owed("newcomer")
    for place in (
        "receiver/providers/newcomer.py: link the vendor's pages in the docstring",
        "tests/callbacks/newcomer/: put the bytes of at least one case there",
        "tests/sent/newcomer/: put the bytes of at least one case there",
        "receiver/simulator/actors/newcomer.py: write it",
        "README.md: name Newcomer in the first sentence",
        "README.md, Register: say in a paragraph where the URL of **Newcomer** is entered",
        "README.md, routes: add a row `| `/callbacks/newcomer/{token}` | POST | Newcomer |",
        "README.md, statuses: let the columns be ThaiBulkSMS, ",
        "README.md, settings: name `NEWCOMER` among what `<PROVIDER>` is",
        f"README.md, one minute: it records {100 * len(PROVIDERS)} messages now",
        "docs/sql.md: a row of `provider` says",
        "pyproject.toml: name Newcomer in the description",
        "pyproject.toml: add 'newcomer' to the keywords",
        "tests/fuzz/shapes.py, BATCHES: ",
        "tests/fuzz/promises.py, REDACTIONS: ",
        "tests/product/test_leaks.py, SENT: ",
    ):
        assert any(sentence.startswith(place) for sentence in sentences), place


def test_a_module_without_one_of_its_parts(newcomer: types.ModuleType) -> None:
    assert parts.whole("newcomer", newcomer).TITLE == "Newcomer"
    del newcomer.PROOFS, newcomer.redact
    with pytest.raises(TypeError) as error:
        parts.whole("newcomer", newcomer)
    assert str(error.value) == (
        "receiver/providers/newcomer.py lacks PROOFS, redact: see Provider in"
        " receiver/providers/provider.py for what each is"
    )


@pytest.mark.parametrize("twice", ["tokens", "allowed_ips", "key", "own"])
def test_a_setting_that_is_declared_twice(
    newcomer: types.ModuleType, monkeypatch: pytest.MonkeyPatch, twice: str
) -> None:
    key = Setting(name="key", shown=False, shared="secret")
    again = Setting(name=twice, shown=False, shared=None)
    monkeypatch.setattr(newcomer, "SETTINGS", (key, again))
    with pytest.raises(ValueError, match=f"^newcomer: the setting {twice} is declared twice;"):
        provider_settings.settings_of("newcomer")


def test_a_setting_that_is_declared_is_not_lost(
    newcomer: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Setting(name="key", shown=False, shared="secret")
    monkeypatch.setattr(newcomer, "SETTINGS", (key,))
    model = provider_settings.settings_of("newcomer")
    assert model.model_validate({"key": " value "}).own("key") == "value"
    assert model().own("key") == ""
    with pytest.raises(ValueError, match="extra_forbidden"):
        model.model_validate({"another": "value"})


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a.json"], "a: write a.expected.json, which says what a.json means"),
        (["a.expected.json"], "a.expected.json: expected one file of bytes beside it, there is"),
        (
            ["a.expected.json", "a.form", "a.json"],
            "a.expected.json: expected one file of bytes beside it, there are a.form and a.json",
        ),
        (["a.expected.json", "a.json"], "a.expected.json: say its content_type, method, source"),
    ],
)
def test_a_file_without_its_other(tmp_path: Path, names: list[str], sentence: str) -> None:
    folder = tmp_path / "callbacks" / "newcomer"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("{}")
    (told,) = wrong("callbacks", "newcomer", tmp_path)
    assert told.startswith(f"tests/callbacks/newcomer/{sentence}")
    assert len(load("callbacks", tmp_path)) == (len(names) == 2)


def test_what_belongs_to_no_provider(tmp_path: Path) -> None:
    providers = tmp_path / "receiver" / "providers"
    for folder in (providers, tmp_path / "receiver" / "simulator" / "actors"):
        folder.mkdir(parents=True)
        (folder / "newcomer.py").write_text('TITLE: Final = "Newcomer"\n')
    (tmp_path / "tests" / "callbacks" / "other").mkdir(parents=True)
    (tmp_path / "tests" / "sent").mkdir()
    assert [*owed.strangers(tmp_path)] == [
        "receiver/providers/__init__.py: add 'newcomer' to the names in PROVIDERS",
        "tests/callbacks/other/: write receiver/providers/other.py, which reads it",
    ]
