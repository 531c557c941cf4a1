"""Commands as people run them: quickly, in this process, or for real, in one of their own."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from receiver.cli import run
from receiver.providers import PROVIDERS
from tests.kit import preloaded

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).resolve().parents[2]
TOKENS: Final = {
    **{f"RECEIVER_{name.upper()}_TOKENS": f"token-of-{name}-0123456789" for name in PROVIDERS},
    "RECEIVER_THAIBULKSMS_TOKENS": "otp:token-of-thaibulksms-0123456789",
    "RECEIVER_API_KEYS": "shop:key-0123456789abcdef0123456789",
}
SECRETS: Final = tuple(value.rpartition(":")[2] for value in TOKENS.values())


@dataclass(frozen=True, slots=True)
class Done:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """Return the one sentence of an error, which must be all there is on stderr."""
        assert self.err.startswith("receiver: "), self.err
        assert self.err.endswith("\n"), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("receiver: ").rstrip()


class Command:
    """Runs commands in this process, in a folder of their own, with the settings it is given."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        folder: Path,
        capture: pytest.CaptureFixture[str],
        **settings: str,
    ) -> None:
        for name in [n for n in os.environ if n.upper().startswith("RECEIVER_")]:
            monkeypatch.delenv(name)
        monkeypatch.chdir(folder)
        self.monkeypatch = monkeypatch
        self.folder = folder
        self.capture = capture
        self.set(**settings)

    def set(self, **settings: str) -> None:
        """Set settings for all that follows."""
        for name, value in settings.items():
            self.monkeypatch.setenv(name, value)

    def __call__(self, *args: object) -> Done:
        """Run a command."""
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            run.main([str(arg) for arg in args])
        said = self.capture.readouterr()
        assert "Traceback" not in said.err, said.err
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, said.out, said.err)


def process(
    folder: Path, *args: object, settings: Mapping[str, str] | None = None, stdin: bytes = b""
) -> Done:
    """Run the command in a process of its own, warnings being errors."""
    outside = {k: v for k, v in os.environ.items() if not k.upper().startswith("RECEIVER_")}
    environment = outside | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    with tempfile.TemporaryDirectory(prefix="command-") as name:
        files = [Path(name, stream) for stream in ("stdin", "stdout", "stderr")]
        files[0].write_bytes(stdin)
        started = preloaded.start(
            [str(arg) for arg in args],
            folder,
            environment | dict(settings or {}),
            preloaded.Streams(*files),
        )
        try:
            code = started.wait(600)
        finally:
            started.kill()
        said = Done(code, *(file.read_bytes().decode() for file in files[1:]))
    assert "Traceback" not in said.err, said.err
    return said
