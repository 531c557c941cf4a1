"""The wheel holds all it needs and runs where nothing else is; dependencies are what is used."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit.serving import Server

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))[
    "project"
]

# Used by a package of ours, where they are: uvicorn's event loop, zoneinfo's tables.
BY_OTHERS: Final = {"uvloop", "tzdata"}


# The wheel.


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], cwd=folder, capture_output=True, check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new virtual environment; return the folder of its programs.

    Dependencies are those of the environment that runs the tests: their folders come last in its
    path, and no `.pth` file in there is followed, so an editable installation of ours is not seen.
    """
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    purelib = subprocess.check_output([python, "-c", where], text=True).strip()
    ours = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (Path(purelib) / "dependencies.pth").write_text("\n".join(ours))
    install = [str(python), "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
    subprocess.run([*install, str(wheel)], env=environment(), check=True)
    return folder / "bin"


def environment(**more: str) -> dict[str, str]:
    """Return an environment that leads to no checkout and holds no setting."""
    outside = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and not name.upper().startswith("RECEIVER_")
    }
    return outside | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | more


def test_wheel_holds_package_and_migrations(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    package = {f"receiver/{p.relative_to(ROOT / 'receiver')}" for p in sources("receiver")}
    migrations = {f"receiver/{p.relative_to(ROOT)}" for p in sources("migrations")}
    assert any(name.startswith("receiver/migrations/versions/0001_") for name in held)
    assert package | migrations <= held
    page = {
        path for path in (ROOT / "receiver" / "web" / "admin").rglob("*.*") if path.suffix != ".pyc"
    }
    assert {path.suffix for path in page} >= {".html", ".css", ".js", ".po", ".md"}
    assert {str(path.relative_to(ROOT)) for path in page} <= held
    assert "receiver/web/admin/static/uplot/LICENSE" in held
    assert not [name for name in held if not name.startswith("receiver")]
    assert not [name for name in held if "__pycache__" in name or "tests" in name]
    assert any(name.endswith("/LICENSE") for name in held)


def test_installed_package_is_the_wheels_own(programs: Path, tmp_path: Path) -> None:
    where = (
        "import receiver; from receiver.database import schema;"
        " print(receiver.__file__, schema.migrations_path())"
    )
    said = subprocess.check_output(
        [programs / "python", "-c", where], cwd=tmp_path, env=environment(), text=True
    )
    for path in said.split():
        assert Path(path).is_relative_to(programs.parent)


def test_installed_program_migrates(programs: Path, tmp_path: Path) -> None:
    for answer in ("now", "already"):
        done = subprocess.run(
            [programs / "receiver", "migrate"],
            cwd=tmp_path,
            env=environment(PYTHONWARNINGS="error"),
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"The schema is {answer} at revision" in done.stdout
        assert done.stderr == ""
    assert (tmp_path / "receiver.db").exists()


def test_installed_program_serves(programs: Path, tmp_path: Path) -> None:
    with (tmp_path / "stdout").open("wb") as out, (tmp_path / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [programs / "receiver", "serve", "--port", "0"],
            cwd=tmp_path,
            env=environment(PYTHONWARNINGS="error"),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    server = Server(process=process, folder=tmp_path, tokens={}, api_key="")
    try:
        server.wait_until_ready()
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=10) as answer:
            assert answer.status == 200
        server.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert (tmp_path / "receiver.env").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "receiver.db").exists()


# Dependencies.


def sources(name: str) -> list[Path]:
    return sorted((ROOT / name).rglob("*.py"))


def distribution(requirement: str) -> str:
    """Return the normal name of what a requirement asks for (PEP 503)."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def imported(*folders: str) -> dict[str, set[str]]:
    """Return the third-party distributions that a folder's modules import, and where.

    A module that several distributions bring is counted as each of them.
    """
    ours = {"receiver", "migrations", "tests"}
    brought = packages_distributions()
    found: dict[str, set[str]] = {}
    for path in [path for folder in folders for path in sources(folder)]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
            else:
                continue
            for module in {name.partition(".")[0] for name in modules}:
                if module in ours or module in sys.stdlib_module_names:
                    continue
                for name in brought.get(module, [f"nobody ({module})"]):
                    found.setdefault(distribution(name), set()).add(f"{path.name}: {module}")
    return found


DECLARED: Final = {distribution(requirement) for requirement in PROJECT["dependencies"]}
FOR_TESTS: Final = {
    distribution(requirement) for requirement in PROJECT["optional-dependencies"]["test"]
}


def test_every_import_is_declared() -> None:
    unknown = {n: w for n, w in imported("receiver", "migrations").items() if n not in DECLARED}
    assert not unknown


def test_every_import_of_the_tests_is_declared() -> None:
    declared = DECLARED | FOR_TESTS
    assert not {name: where for name, where in imported("tests").items() if name not in declared}


def test_every_dependency_is_used() -> None:
    used = imported("receiver").keys()
    assert DECLARED - used == BY_OTHERS
