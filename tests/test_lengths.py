"""What is to be read stays short: files, functions, classes, and the files that the README names for the method."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import onestroke
from tests.commands import ROOT

PACKAGE = Path(onestroke.__file__).parent


def reading_list() -> list[Path]:
    """The files that the README names for whoever wants to read the whole method."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"To read the whole method: (.+?)\.\s", text, re.DOTALL)
    names = re.split(r",\s", sentence)
    return [ROOT / name if name.startswith("configs/") else PACKAGE / name for name in names]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_whole_method_is_read_in_1300_lines() -> None:
    files = reading_list()
    assert {"train.yaml", "run.py", "module.py", "objective.py", "gram.py", "conditioning.py", "residual.py", "vgg.py",
            "style.py", "stylizer.py"} == {path.name for path in files}  # fmt: skip
    assert sum(lines(path) for path in files) <= 1300


def test_files_have_300_lines_at_most_but_for_the_scenes() -> None:
    found = {path.relative_to(PACKAGE).as_posix(): lines(path) for path in PACKAGE.rglob("*.py")}
    assert {name: count for name, count in found.items() if count > 300 and not name.startswith("scenes/")} == {}


def test_functions_have_50_lines_at_most_and_classes_250() -> None:
    most = {ast.FunctionDef: 50, ast.AsyncFunctionDef: 50, ast.ClassDef: 250}
    long = [
        f"{path.name}: {node.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > most[type(node)]
    ]
    assert long == []
