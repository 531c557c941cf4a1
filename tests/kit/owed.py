"""Everything a provider owes, beside what the interpreter sees: a sentence for each that lacks.

Nothing is run but functions of ours: no server, no database, no fuzzing. So it takes a second, and
can be asked while the provider is being written.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from receiver.domain.status import SHARED_STATUSES, Status
from receiver.providers import PROVIDERS, own_settings, schemes
from receiver.settings.settings import declared
from receiver.simulator.actors import ACTORS
from receiver.simulator.plan import plan
from receiver.simulator.script import FAULTS
from tests.fuzz import cost, growth, promises, shapes
from tests.kit.fixtures import FOLDERS, TESTS, load, wrong
from tests.product import test_leaks as leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROOT: Final = TESTS.parent
README: Final = (ROOT / "README.md").read_text("utf-8")
PLAYED: Final = 100
"""Messages of each provider that `receiver simulate` plays where nothing else is said."""


def strangers(root: Path = ROOT) -> Iterator[str]:
    """Yield a sentence for what belongs to no provider: a module, files, an actor."""
    modules = {
        path.stem
        for path in (root / "receiver" / "providers").glob("*.py")
        if re.search(r"^TITLE\b", path.read_text("utf-8"), re.MULTILINE)
    }
    for name in sorted(modules - PROVIDERS.keys()):
        yield f"receiver/providers/__init__.py: add {name!r} to the names in PROVIDERS"
    for folder in FOLDERS:
        names = {path.name for path in (root / "tests" / folder).iterdir() if path.is_dir()}
        for name in sorted(names - PROVIDERS.keys() - modules):
            yield f"tests/{folder}/{name}/: write receiver/providers/{name}.py, which reads it"
    actors = {path.stem for path in (root / "receiver" / "simulator" / "actors").glob("*.py")}
    for name in sorted(actors - {"__init__", "actor"} - PROVIDERS.keys() - modules):
        yield f"receiver/simulator/actors/{name}.py: it plays no provider; delete or rename it"


def owed(name: str) -> list[str]:
    """Return a sentence for each thing that a provider still owes."""
    return [sentence for part in PARTS for sentence in part(name)]


def module(name: str) -> Iterator[str]:
    """Look at what the module says of the provider."""
    provider, where = PROVIDERS[name], f"receiver/providers/{name}.py"
    said = provider.__doc__ or ""
    if "https://" not in said and "No public document" not in said:
        yield f"{where}: link the vendor's pages in the docstring"
    if "HEAD" in provider.METHODS or not provider.METHODS:
        yield f"{where}: name in METHODS what callbacks use, without HEAD, which is ours"
    if "/" not in provider.ANSWER.media_type:
        yield f"{where}: give ANSWER a media type, such as application/json"
    for word, status in provider.STATUSES.items():
        if word != word.lower() or not isinstance(status, Status):
            yield f"{where}: STATUSES: write {word!r} in lower case, with a Status of ours"
    read = {
        report["provider_status"].lower()
        for case in load("callbacks")
        if case.provider == name
        for report in case.expected.get("reports", [])
    }
    for word in sorted(provider.STATUSES.keys() - read):
        yield f"tests/callbacks/{name}/: {word!r} of STATUSES is in no file; add one that says it"


def settings(name: str) -> Iterator[str]:
    """Look at what it declares of settings and proofs."""
    provider, where = PROVIDERS[name], f"receiver/providers/{name}.py"
    counts = Counter(setting.name for setting in declared())
    for setting in declared():
        if setting.provider == name and counts[setting.name] > 1:
            yield f"{where}: {setting.name.upper()} is another setting, too; rename one of them"
    for own in own_settings(provider):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", own.name):
            yield f"{where}: call the setting {own.name!r} in lower case and underscores"
    for own in (own for scheme in schemes(provider) for own in scheme.settings):
        if own.shown or own.shared != "secret":
            yield f"{where}: {own.name} is of a proof, so shown=False, shared='secret'"
    for group in provider.PROOFS:
        headers = Counter(header for scheme in group for header in scheme.headers)
        for header in sorted(header for header, count in headers.items() if count > 1):
            yield f"{where}: two schemes of one group in PROOFS read {header}; no callback has both"


def files(name: str) -> Iterator[str]:
    """Look at the files of bytes."""
    for folder in FOLDERS:
        yield from wrong(folder, name)


def simulated(name: str) -> Iterator[str]:
    """Look at its part of the simulator."""
    where = f"receiver/simulator/actors/{name}.py"
    actor = ACTORS.get(name)
    if actor is None:
        yield f"{where}: write it, with an ACTOR that says how the simulator plays the provider"
        return
    known = {**SHARED_STATUSES, **PROVIDERS[name].STATUSES}
    for word in (*actor.words, *filter(None, [actor.interim])):
        if word.lower() not in known:
            yield f"{where}: {word!r} is no word of the provider's; take one of its STATUSES"
    if len(actor.words) != len(actor.weights):
        yield f"{where}: give each of the words one weight"
    if unknown := set(actor.faults) - set(FAULTS):
        yield f"{where}: faults: expected some of {', '.join(FAULTS)}, got {', '.join(unknown)}"


def readme(name: str) -> Iterator[str]:
    """Look at its rows in the README."""
    provider = PROVIDERS[name]
    title, upper = provider.TITLE, name.upper()
    first = README.partition("\n\n")[2].partition("\n\n")[0]
    if title not in first:
        yield f"README.md: name {title} in the first sentence"
    register = README.partition("## Register")[2].partition("\n## ")[0]
    if f"**{title}**" not in register:
        yield f"README.md, Register: say in a paragraph where the URL of **{title}** is entered"
    if f"| `/callbacks/{name}/{{token}}` |" not in README:
        methods = " ".join(sorted(provider.METHODS))
        yield (
            "README.md, routes: add a row"
            f" `| `/callbacks/{name}/{{token}}` | {methods} | {title} | the token |`"
        )
    (heading,) = (line for line in README.splitlines() if line.startswith("| status | SMPP |"))
    titles = [cell.strip() for cell in heading.strip("|").split("|")][4:]
    if titles != [one.TITLE for one in PROVIDERS.values()]:
        yield (
            "README.md, statuses: let the columns be"
            f" {', '.join(one.TITLE for one in PROVIDERS.values())}, with the words of STATUSES"
        )
    listed = re.search(r"`<PROVIDER>` is ([^.]*)\.", README.replace("\n", " "))
    if listed is None or f"`{upper}`" not in listed[1]:
        yield f"README.md, settings: name `{upper}` among what `<PROVIDER>` is"
    for setting in own_settings(provider):
        if f"| `RECEIVER_{upper}_{setting.name.upper()}` |" not in README:
            yield f"README.md, settings: add a row for `RECEIVER_{upper}_{setting.name.upper()}`"
    yield from one_minute(name)


def one_minute(name: str) -> Iterator[str]:
    """Look at what the README prints of the simulated play."""
    minute = README.partition("## See it work in one minute")[2].partition("\n## ")[0]
    total = PLAYED * len(PROVIDERS)
    if f"records {total} messages" not in minute:
        yield f"README.md, one minute: it records {total} messages now"
    if name not in ACTORS:
        return
    made = plan(name, account="", run=f"1-{name}", count=PLAYED, faults=(), start=datetime.now(UTC))
    lines = [f"('{name}', '{s}', {n})" for s, n in sorted(Counter(made.statuses.values()).items())]
    written = [line for line in minute.splitlines() if line.startswith(f"('{name}', ")]
    if written != lines:
        yield f"README.md, one minute: let the output say of it {' '.join(lines)}"


def elsewhere(name: str) -> Iterator[str]:
    """Look where the names of all providers stand."""
    *first, last = (f"`{one}`" for one in PROVIDERS)
    row = f"{', '.join(first)} or {last}"
    for line in (ROOT / "docs" / "sql.md").read_text("utf-8").splitlines():
        if line.startswith("| `provider` | ") and " or `" in line and f"`{name}`" not in line:
            yield f"docs/sql.md: a row of `provider` says {line[15:60]!r}; let it say {row}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    if PROVIDERS[name].TITLE not in project["description"]:
        yield f"pyproject.toml: name {PROVIDERS[name].TITLE} in the description"
    if name not in project["keywords"]:
        yield f"pyproject.toml: add {name!r} to the keywords"


def tables(name: str) -> Iterator[str]:
    """Look at the tables of tests that know what no module tells."""
    for where, table, what in (
        ("tests/fuzz/shapes.py, BATCHES", shapes.BATCHES, "make callbacks of it"),
        ("tests/fuzz/shapes.py, KEYS", shapes.KEYS, "name the id without which an item is none"),
        ("tests/fuzz/promises.py, COUNTS", promises.COUNTS, "count the items of a body"),
        ("tests/fuzz/promises.py, REDACTIONS", promises.REDACTIONS, "say what redaction leaves"),
        ("tests/fuzz/promises.py, SENT", promises.SENT, "count the messages of a send answer"),
        ("tests/fuzz/growth.py", {c.provider for c in growth.COSTLY}, "add bodies that are large"),
        ("tests/fuzz/cost.py", {h.provider for h in cost.HOSTILE}, "add bodies that cost most"),
        ("tests/product/test_leaks.py, BODIES", leaks.BODIES, "write every field it may send"),
        ("tests/product/test_leaks.py, SENT", leaks.SENT, "write every field of a send answer"),
    ):
        if name not in table:
            yield f"{where}: {what}, under {name!r}"


PARTS: Final[tuple[Callable[[str], Iterator[str]], ...]] = (
    module, settings, files, simulated, readme, elsewhere, tables,
)  # fmt: skip
