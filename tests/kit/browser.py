"""A real browser: the system's Chromium, driven by Playwright, which brings none of its own."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ROOT: Final = Path(__file__).resolve().parents[2]
SHOTS: Final = Path(os.environ.get("SCREENSHOTS") or ROOT / "build" / "screenshots")


def executable() -> str | None:
    """Return the path of a browser of the system; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser without a window. Skips the test where the system has none."""
    path = executable()
    if path is None:
        pytest.skip("there is no Chromium here: apt install chromium")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as started:
        made = started.chromium.launch(executable_path=path, args=arguments)
        try:
            yield made
        finally:
            made.close()


def shots() -> Path:
    """Return the folder for screenshots, made if it is missing; git does not look into it."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS
