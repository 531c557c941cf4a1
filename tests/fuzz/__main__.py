"""Fuzzes every parser and a running receiver: `python -m tests.fuzz --help`."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import coverage

from receiver.providers import PROVIDERS
from tests.fuzz import seeds, strangers

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
PARSERS: Final = [f"{name}.{what}" for name in PROVIDERS for what in ("parse", "parse_sent")]
REQUESTS: Final = "requests"
SECONDS: Final = 20
"""How long one input may take, on a machine that has other work too."""
MEGABYTES: Final = 1000


class FoundError(Exception):
    """A fuzzer found an input that breaks a promise."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one target."""

    name: str
    runs: int
    seconds: float
    more: str

    def __str__(self) -> str:
        """Return a line of a table in Markdown."""
        return f"| `{self.name}` | {self.runs:,} | {self.seconds:,.0f} s | {self.more} |"


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Look for bytes that break a promise. The parsers are fuzzed by atheris, which"
        " follows the code's branches (pip install -e '.[test,fuzz]'); requests go to a receiver"
        " in a process of its own.",
    )
    parser.add_argument("target", nargs="*", choices=[[], *PARSERS, REQUESTS], help="all of them")
    parser.add_argument("--runs", type=int, default=100_000, metavar="N", help="of each target")
    parser.add_argument(
        "--folder", type=Path, help="keep what was found there, and go on with it the next time"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, print a table; the exit code is 1 where a promise was broken."""
    chosen = options(arguments)
    targets = chosen.target or [*PARSERS, REQUESTS]
    if targets != [REQUESTS] and importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install -e '.[test,fuzz]'", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = chosen.folder or Path(name)
        print("| target | executions | time | lines and branches covered |\n|---|---|---|---|")
        try:
            for target in targets:
                print(fuzz(target, chosen.runs, folder / target), flush=True)
            if data := list(folder.glob("*/coverage")):
                print(f"\nTogether: {shares(data)}")
        except (FoundError, AssertionError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def fuzz(name: str, runs: int, folder: Path) -> Result:
    """Fuzz one target. Raises FoundError, or AssertionError, with the input."""
    begun = time.monotonic()
    if name == REQUESTS:
        answered = strangers.run(runs)
        return Result(name, runs, time.monotonic() - begun, f"{answered:,} answers, no 5xx")
    atheris(name, runs, folder)
    return Result(name, runs, time.monotonic() - begun, covered(name, folder))


def atheris(name: str, runs: int, folder: Path) -> None:
    """Run a target under atheris; what it finds worth keeping is in the folder."""
    from tests.fuzz.targets import TARGETS

    found = TARGETS[name].seeds()
    for inner in ("seeds", "corpus", "found"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    for seed in found:
        (folder / "seeds" / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in seeds.words(found)]
    (folder / "words").write_text("\n".join(lines) + "\n")
    command = [
        *(sys.executable, "-m", "tests.fuzz.engine", name),
        *(str(folder / "corpus"), str(folder / "seeds")),
        f"-atheris_runs={runs}",
        f"-max_len={seeds.LARGEST}",
        f"-timeout={SECONDS}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-dict={folder / 'words'}",
        f"-artifact_prefix={folder / 'found'}/",
    ]
    with (folder / "log").open("wb") as log:
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)
    said = (folder / "log").read_text("utf-8", "replace")
    if f"Done {runs} in " not in said or any((folder / "found").iterdir()):
        raise FoundError(f"{name}: {said[-4000:]}")


def covered(name: str, folder: Path) -> str:
    """Return how much of the code the inputs reach, when all are run once more."""
    program = (
        "import pathlib, sys; from tests.fuzz.targets import TARGETS\n"
        "for path in sys.argv[2:]:\n"
        "    for file in sorted(pathlib.Path(path).iterdir()):\n"
        "        TARGETS[sys.argv[1]].run(file.read_bytes())\n"
    )
    data, script = folder / "coverage", folder / "again.py"
    script.write_text(program)
    command = ["coverage", "run", "--branch", f"--data-file={data}", "--source=receiver.providers"]
    again = [str(script), name, str(folder / "corpus"), str(folder / "seeds")]
    subprocess.run(
        [sys.executable, "-m", *command, *again],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        check=True,
        capture_output=True,
    )
    return shares([data])


def shares(data: Sequence[Path]) -> str:
    """Return what share of the lines and branches of each module was run."""
    measured = coverage.Coverage(data_file=None, branch=True)
    measured.combine([str(path) for path in data], keep=True)
    said = []
    for module in sorted((ROOT / "receiver" / "providers").glob("[a-z]*.py")):
        share = measured.report(include=str(module), file=io.StringIO())
        said.append(f"{module.stem} {share:.0f} %")
    return ", ".join(said)


if __name__ == "__main__":
    sys.exit(main())
