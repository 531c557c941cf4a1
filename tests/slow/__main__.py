"""`python -m tests.slow`: what honest callbacks wait beside slow and greedy clients, as a table."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from tests.kit.proxies import proxying
from tests.kit.serving import serving
from tests.slow.attacks import ATTACKS
from tests.slow.trial import NOTHING, TOOL, TOOLS, Trial, Where, quantile, trial

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER: Final = (
    "| beside | connections | honest | refused | p50 ms | p99 ms | longest ms |"
    " batches p99 ms | peak MB |"
    " the others were answered |"
)


def row(done: Trial) -> str:
    """Return a trial as a row of a table."""
    answers = ", ".join(f"{count:,} of {what}" for what, count in sorted(done.answers.items()))
    numbers = (*(quantile(done.waits, share) for share in (0.5, 0.99, 1)),)
    numbers += (quantile(done.batches, 0.99),)
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
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--nginx", action="store_true", help="through nginx with deploy/nginx.conf")
    parser.add_argument("--away", action="store_true", help="hold the SQLite file locked meanwhile")
    given = parser.parse_args(arguments)
    print(HEADER)
    print("|---" * HEADER.count(" | ") + "|---|")
    well = True
    for name in given.name or names:
        # No right token may be guessed away from the honest: they come from the same address.
        with ExitStack() as stack:
            workers = ["--workers", str(given.workers)]
            server = stack.enter_context(serving(given.database, arguments=workers))
            where = None
            if given.nginx:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="nginx-")))
                folder.chmod(0o755)
                where = Where(stack.enter_context(proxying("nginx", folder, server.url)).port, True)
            if given.away:
                lock = stack.enter_context(closing(sqlite3.connect(server.folder / "receiver.db")))
                lock.execute("BEGIN EXCLUSIVE")
            done = trial(server, name, given.connections, given.seconds, where)
            if given.away:
                lock.rollback()
        print(row(done), flush=True)
        well &= done.is_well
    if not TOOL:
        print("slowhttptest was not run: apt-get install slowhttptest", file=sys.stderr)
    return 0 if well else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
