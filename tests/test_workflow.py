"""The workflow of continuous integration calls what is there, on each Python that is supported."""

from __future__ import annotations

import importlib
import os
import re
from typing import Any

import pytest

from tests.commands import ROOT

yaml: Any = importlib.import_module("yaml")  # of OmegaConf, which would take ${{ }} for its own
JOBS: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
LINES = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]


def project() -> dict[str, Any]:
    tomllib: Any = pytest.importorskip("tomllib")  # Python 3.11
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_scripts_that_are_called_are_there_and_in_the_documents() -> None:
    scripts = {line.split()[0] for line in LINES if line.startswith("./")}
    assert scripts == {"./scripts/test.sh", "./scripts/quickstart.sh", "./scripts/lowest.sh"}
    documents = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK), script
        assert script in documents, script
    known = set(re.findall(r"^    (\w+)=\*\)", (ROOT / "scripts" / "quickstart.sh").read_text(), re.MULTILINE))
    (quickstart,) = (line.split() for line in LINES if "quickstart" in line)
    assert {argument.split("=")[0] for argument in quickstart[1:]} <= known


def test_other_commands_are_those_of_the_documents() -> None:
    others = [line for line in LINES if not line.startswith("./")]
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert others == ["python -m pip install -e '.[docs]'", "mkdocs build --strict"]
    assert "pip install -e '.[docs]'" in contributing and others[1] in contributing
    assert {"docs", "dev", "demo", "test"} <= project()["optional-dependencies"].keys()


def test_every_python_and_system_is_tested() -> None:
    matrix = JOBS["tests"]["strategy"]["matrix"]
    assert project()["requires-python"] == f">={matrix['python'][0]}"
    minors = [int(version.removeprefix("3.")) for version in matrix["python"]]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert matrix["os"] == JOBS["quickstart"]["strategy"]["matrix"]["os"]
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]


def test_lowest_versions_are_tested_on_a_python_that_has_them() -> None:
    (given,) = (
        step["with"]["python-version"] for step in JOBS["lowest"]["steps"] if "python-version" in step.get("with", {})
    )
    low, high = re.findall(r"\((3, \d+)\)", (ROOT / "scripts" / "lowest.sh").read_text())[:2]
    assert [int(n) for n in low.split(", ")] <= [int(n) for n in given.split(".")] < [int(n) for n in high.split(", ")]
