"""The documents say what is there: files, links, options and commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from onestroke.cli import evaluate_options, export, infer_options, live_options, train
from tests.commands import ROOT
from tests.running import composed

DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
TOOLS = {
    "evaluate.py": evaluate_options.Options,
    "export.py": export.Options,
    "infer.py": infer_options.Options,
    "live.py": live_options.Options,
}


def commands(name: str) -> Iterator[tuple[Path, list[str]]]:
    """The arguments of every command `python <name>` in the documents' code."""
    for path in DOCUMENTS:
        if path.name == "ablation.md":
            continue  # what was typed then, at the commits that it names
        for line in re.findall(rf"python {re.escape(name)}([^\n`]*)", path.read_text(encoding="utf-8")):
            yield path, shlex.split(line.split("  ")[0], comments=True)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 170


def test_the_file_map_is_the_tree() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text[text.index("src/onestroke/\n") :].split("\ntests/")[0]
    named = set(re.findall(r"\b([a-z_]+(?:\.py|/))(?=[ :;,\n]|$)", "\n".join(block.splitlines()[1:])))
    package = ROOT / "src" / "onestroke"
    there = {path.name + "/" * path.is_dir() for path in package.iterdir()}
    rooms = {entry for entry in there if not entry.startswith(("__", "assets")) and entry != "py.typed"}
    assert rooms <= named, rooms - named
    inside = {path.name + "/" * path.is_dir() for path in package.rglob("*")}
    assert named <= inside, named - inside


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_training_commands_compose() -> None:
    found = 0
    for path, arguments in commands("train.py"):
        if path.name == "extending.md":
            continue  # where a reader's own parts are made up
        given = [one for one in arguments if ("=" in one or one.startswith("~")) and "..." not in one]
        given = [one for one in given if not one.startswith(("hydra/", "hydra.")) and "interval(" not in one]
        given = [re.sub(r"^([\w.]+)=([^,\[(]+),.*", r"\1=\2", argument) for argument in given]  # of a sweep, the first
        if any(argument.startswith("resume=") for argument in given):
            continue
        photos = any(argument.startswith(("data=", "experiment=full")) for argument in given)
        photos &= "data=webdataset" not in given
        composed(*["data.root=/photos"] * photos, *map(train.added, given))
        found += 1
    assert found >= 10


@pytest.mark.parametrize("tool", TOOLS)
def test_options_of_other_commands_exist(tool: str) -> None:
    found, known = list(commands(tool)), {field.name for field in fields(TOOLS[tool])}
    assert found
    for path, arguments in found:
        for key in (argument.split("=")[0] for argument in arguments if "=" in argument):
            assert key in known, f"{path.name}: {key}"
