"""`python -m tests.slow`: what honest callbacks wait beside slow and greedy clients, as a table."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from tests.serving import serving
from tests.slow.attacks import ATTACKS
from tests.slow.trial import NOTHING, TOOL, TOOLS, Trial, trial

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER: Final = (
    "| beside | connections | honest | refused | p50 ms | p99 ms | longest ms | peak MB |"
    " the others were answered |"
)


def row(done: Trial) -> str:
    """Return a trial as a row of a table."""
    answers = ", ".join(f"{count:,} of {what}" for what, count in sorted(done.answers.items()))
    numbers = (done.quantile(0.5), done.quantile(0.99), max(done.waits))
    times = " | ".join(f"{1000 * seconds:.0f}" for seconds in numbers)
    return (
        f"| {done.name} | {done.connections:,} | {len(done.waits):,} | {done.refused} | {times}"
        f" | {done.peak_mb:.0f} | {answers} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Try each, or those that are named; return 1 where somebody honest had to wait."""
    names = (NOTHING, *ATTACKS, *(TOOLS if TOOL else ()))
    parser = argparse.ArgumentParser(prog="python -m tests.slow", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[[], *names], help="of an attack; default: all")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--connections", type=int, help="instead of each attack's own number")
    parser.add_argument("--database", help="URL of an empty database; default: a new SQLite file")
    given = parser.parse_args(arguments)
    print(HEADER)
    print("|---" * HEADER.count(" | ") + "|---|")
    well = True
    for name in given.name or names:
        # No right token may be guessed away from the honest: they come from the same address.
        with serving(given.database) as server:
            done = trial(server, name, given.connections, given.seconds)
        print(row(done), flush=True)
        well &= done.is_well
    if not TOOL:
        print("slowhttptest was not run: apt-get install slowhttptest", file=sys.stderr)
    return 0 if well else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
