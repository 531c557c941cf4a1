"""Runs one target under atheris, in a process of its own, since it ends that process."""

from __future__ import annotations

import importlib
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTRUMENTED: Final = ("receiver.providers", "receiver.domain.report")


def main(arguments: Sequence[str]) -> None:
    """Fuzz the target that is named first; what follows is libFuzzer's."""
    name, *options = arguments
    atheris: Any = importlib.import_module("atheris")  # the extra `fuzz`: not for every Python
    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from tests.fuzz.targets import TARGETS

    run = TARGETS[name].run

    def once(data: bytes) -> None:
        run(data)

    atheris.Setup([name, *options], once)
    with suppress(SystemExit):
        atheris.Fuzz()
    signal.setitimer(signal.ITIMER_REAL, 0)  # libFuzzer's, which would go off while we end


if __name__ == "__main__":
    main(sys.argv[1:])
