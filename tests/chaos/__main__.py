"""Does harm to the receiver and counts what is lost: `python -m tests.chaos --help`."""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from tests.chaos import scene
from tests.chaos.rounds import ROUNDS

if TYPE_CHECKING:
    from collections.abc import Sequence

DATABASES: Final = ("sqlite", "postgresql")
COLUMNS: Final = (
    "round", "database", "sent", "acknowledged", "kept", "lost", "doubled", "wrong",
    "unreadable", "gap s", "down s", "took s",
)  # fmt: skip
TOLD: Final = 10
"""How many sentences about one round are printed; the JSON file has them all."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Do harm to a running receiver under load, and compare what it promised with"
        " what the database has. The exit code is 1 where anything was lost, doubled or wrong.",
    )
    parser.add_argument("--database", choices=[*DATABASES, "both"], default="both")
    parser.add_argument("--only", nargs="+", choices=list(ROUNDS), metavar="ROUND")
    parser.add_argument("--kills", type=int, default=30, help="in the round `kill`")
    parser.add_argument("--seconds", type=float, default=30, help="of the longest outage")
    parser.add_argument("--seed", type=int, default=None, help="of all that is random")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where failed rounds are kept")
    parser.add_argument("--list", action="store_true", help="name the rounds")
    return parser.parse_args(arguments)


def main() -> int:
    """Play what was chosen."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    return run(options())


def _leave(number: int, frame: object) -> NoReturn:  # noqa: ARG001
    sys.exit(128 + number)


def run(chosen: argparse.Namespace) -> int:
    """Play the chosen rounds one after the other, and print the table."""
    if chosen.list:
        for played in ROUNDS.values():
            print(f"{played.name:<14}  {', '.join(played.databases):<18}  {played.title}")
        return 0
    seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
    print(f"Seed {seed}: `--seed {seed}` draws the same numbers again.", flush=True)
    given = scene.Options(kills=chosen.kills, seconds=chosen.seconds, seed=seed)
    results: list[scene.Result] = []
    with tempfile.TemporaryDirectory(prefix="receiver-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own
        for database in DATABASES if chosen.database == "both" else (chosen.database,):
            results += [
                _play(played, database, folder, given, chosen.keep)
                for played in ROUNDS.values()
                if database in played.databases and played.name in (chosen.only or ROUNDS)
            ]
    print(table(results))
    if chosen.json:
        chosen.json.write_text(json.dumps(as_json(results, seed), indent=1) + "\n")
    return 1 if any(not result.verdict.good for result in results) else 0


def _play(
    played: scene.Round, database: str, folder: Path, given: scene.Options, keep: Path | None
) -> scene.Result:
    """Play one round; one that cannot go on has failed."""
    home = folder / f"{database}-{played.name}"
    print(f"{database} {played.name}: {played.title}", file=sys.stderr, flush=True)
    try:
        result = scene.play(played, database, home, given)
    except Exception as error:  # noqa: BLE001 - the rounds after it are to be played
        result = scene.Result(round=played.name, database=database, seed=given.seed)
        result.verdict.fault(f"could not go on: {type(error).__name__}: {error}")
    for sentence in result.verdict.told[:TOLD]:
        print(f"  {sentence}", file=sys.stderr, flush=True)
    if keep and not result.verdict.good:
        shutil.copytree(home, keep / home.name, dirs_exist_ok=True)
    shutil.rmtree(home, ignore_errors=True)
    return result


def table(results: Sequence[scene.Result]) -> str:
    """Return the results as aligned text."""
    lines = [list(COLUMNS)]
    for result in results:
        said = result.verdict
        numbers = (
            said.sent, said.acknowledged, said.kept, said.lost, said.doubled, said.wrong,
            said.unreadable,
        )  # fmt: skip
        seconds = (result.gap, result.down, result.seconds)
        cells = [f"{number:,}" for number in numbers] + [f"{second:.1f}" for second in seconds]
        lines.append([result.round, result.database, *cells])
        if result.skipped:
            lines[-1][2:] = [""] * len(cells)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    printed = []
    for place, line in enumerate(lines):
        cells = [
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        why = results[place - 1].skipped if place else ""
        printed.append(
            f"{cells[0]}  {cells[1]}  skipped: {why}" if why else "  ".join(cells).rstrip()
        )
    return "\n".join(printed)


def as_json(results: Sequence[scene.Result], seed: int) -> dict[str, Any]:
    """Return the results for a file."""
    return {"seed": seed, "rounds": [asdict(result) for result in results]}


if __name__ == "__main__":
    sys.exit(main())
