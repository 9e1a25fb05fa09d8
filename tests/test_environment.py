"""The shell scripts that set up a virtual environment: whose package is tested in it, and at which versions."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from tests.commands import ROOT

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

# Stands in for pip: writes down what it is asked for and, as an editable install does, has Python find ./src.
PIP = """
import os, sys, sysconfig
site = sysconfig.get_paths()["purelib"]
if sys.argv[1] == "install":
    with open(os.path.join(sys.prefix, "asked"), "a") as log:
        print(*sys.argv[1:], file=log)
    with open(os.path.join(site, "onestroke.pth"), "w") as path:
        print(os.path.join(os.getcwd(), "src"), file=path)
"""
PYTEST = "import sys; print('pytest', *sys.argv[1:])"


class Environment:
    """A virtual environment of its own, whose pip and pytest are stand-ins.

    Args:
        path: where it is made.
    """

    def __init__(self, path: Path) -> None:
        venv.create(path, with_pip=False)
        self.path = path
        (self.site,) = path.glob("lib/python*/site-packages")
        for name, code in (("pip", PIP), ("pytest", PYTEST)):
            (self.site / name).mkdir()
            (self.site / name / "__main__.py").write_text(code)

    def holds(self, checkout: Path, extra: str = "dev") -> None:
        """As if it had been set up by a checkout."""
        (self.site / "onestroke.pth").write_text(f"{checkout / 'src'}\n")
        shutil.copy(checkout / "pyproject.toml", self.path / f".onestroke-{extra}")

    def asked(self) -> list[str]:
        """What pip was asked for, a line a call."""
        log = self.path / "asked"
        return log.read_text().splitlines() if log.exists() else []


def clone(folder: Path) -> Path:
    """A checkout with an empty package."""
    (folder / "src" / "onestroke").mkdir(parents=True)
    (folder / "src" / "onestroke" / "__init__.py").touch()
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copy(ROOT / "pyproject.toml", folder / "pyproject.toml")
    return folder


def bash(code: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = ["bash", "-euo", "pipefail", "-c", code]
    return subprocess.run(command, cwd=cwd, env=kept | variables, capture_output=True, text=True, check=False)


def set_up(
    checkout: Path, environment: Environment, extra: str = "dev", **variables: str
) -> subprocess.CompletedProcess[str]:
    """environment.sh, and the file of the package that Python then finds as the last line."""
    there = "\"$python\" -c 'import onestroke; print(onestroke.__file__)'"
    code = f". '{checkout}/scripts/environment.sh' {extra}; {there}"
    return bash(code, checkout, VIRTUAL_ENV=str(environment.path), **variables)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return clone(tmp_path / "my clone")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return clone(tmp_path / "other")


def test_another_clone_s_package_is_replaced(environment: Environment, mine: Path, other: Path) -> None:
    environment.holds(other)
    done = set_up(mine, environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(mine / "src" / "onestroke" / "__init__.py")
    assert f"in place of {other / 'src' / 'onestroke'}" in done.stdout
    assert len(environment.asked()) == 1 and environment.asked()[0].endswith("-e .[dev]")


def test_a_copy_that_is_not_linked_to_the_checkout_is_replaced(environment: Environment, mine: Path) -> None:
    environment.holds(mine)
    (environment.site / "onestroke.pth").unlink()
    shutil.copytree(mine / "src" / "onestroke", environment.site / "onestroke")
    done = set_up(mine, environment)
    assert len(environment.asked()) == 1
    # this stand-in leaves the copy where it is, as nothing but pip itself can tell what it installed
    assert done.returncode == 2 and str(environment.site / "onestroke") in done.stderr


def test_nothing_is_installed_twice(environment: Environment, mine: Path, tmp_path: Path) -> None:
    environment.holds(mine)
    assert set_up(mine, environment).returncode == 0
    (tmp_path / "link").symlink_to(mine)  # the same place by another name
    assert set_up(tmp_path / "link", environment).returncode == 0
    assert environment.asked() == []
    with (mine / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert [set_up(mine, environment).returncode for _ in range(2)] == [0, 0]
    assert len(environment.asked()) == 1


def test_several_extras_are_installed_at_once(environment: Environment, mine: Path) -> None:
    for extra in ("dev,browser", "browser", "dev", "dev,browser"):
        assert set_up(mine, environment, extra).returncode == 0
    (asked,) = environment.asked()
    assert asked.endswith("-e .[dev,browser]")
    assert set_up(mine, environment, "dev,demo").returncode == 0
    assert len(environment.asked()) == 2


def test_a_path_that_hides_this_checkout_is_told(environment: Environment, mine: Path, other: Path) -> None:
    environment.holds(mine)
    done = set_up(mine, environment, PYTHONPATH=str(other / "src"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(other / "src" / "onestroke") in line and "PYTHONPATH" in line


def test_an_environment_of_windows_is_found(environment: Environment, mine: Path) -> None:
    environment.holds(mine)
    real = environment.path / "bin"
    (environment.path / "Scripts").mkdir()
    python = environment.path / "Scripts" / "python.exe"  # which ends its lines as Windows does
    python.write_text(f'#!/bin/bash\nset -o pipefail\n"{real}/python" "$@" | sed \'s/$/\\r/\'\n')
    python.chmod(0o755)
    done = set_up(mine, environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(mine / "src" / "onestroke" / "__init__.py")]
    assert environment.asked() == []


def test_the_lowest_versions_are_those_of_pyproject(tmp_path: Path, mine: Path) -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    made = Environment(tmp_path / "made")
    # in place of the system's Python, which would make an environment with the real pip
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "python3"
    stand_in.write_text(f'#!/bin/sh\n[ "$1" = -c ] || ln -s "{made.path}" .venv-lowest\n')
    stand_in.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = bash("scripts/lowest.sh -k losses", mine, PATH=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "pytest -n auto --dist loadfile -k losses"
    (asked,) = made.asked()
    assert asked.endswith("-c .venv-lowest/constraints.txt -e .[test]")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    floors = {one.replace(">=", "==") for one in wanted if re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", one)}
    # each requirement has one, or one version alone, or is ours
    assert all(">=" in one or "==" in one or one.startswith("onestroke[") for one in wanted)
    assert set((made.path / "constraints.txt").read_text().split()) == floors
    assert "torch" in {floor.split("==")[0] for floor in floors}
    assert bash("scripts/lowest.sh", mine, PATH=path).returncode == 0
    assert len(made.asked()) == 1
