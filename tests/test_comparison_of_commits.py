"""The comparison of a working tree with another commit."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.commands import ROOT, command


@pytest.fixture(scope="module")
def same() -> ModuleType:
    """scripts/same.py, imported."""
    spec = importlib.util.spec_from_file_location("same", ROOT / "scripts" / "same.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["same"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}, "x: equal to the bit, 2 of 2\n"),
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, "x: DIFFERENT, 1 of 2, first b\n"),
        ({"a": "1", "b": "2"}, {"a": "1"}, "x: DIFFERENT, only one of the two has b\n"),
        ({}, {}, "x: DIFFERENT, there is nothing to compare\n"),
    ],
)
def test_it_says_what_differs(
    before: dict[str, str], now: dict[str, str], says: str, same: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path("base")
    assert same.equal("x", lambda tree: before if tree == base else now, base) == ("equal" in says)
    assert capsys.readouterr().out == says


def test_paintings_of_all_files_that_ship_are_asked_for(same: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, tuple[str, ...]]] = []

    def run(tree: Path, *arguments: str) -> str:
        asked.append((tree, arguments))
        return '{"a": {"{}": "1"}}'

    monkeypatch.setattr(same, "run", run)
    assert same.paintings(Path("tree")) == {"a {}": "1"}
    ((tree, (script, *files)),) = asked
    assert (tree, Path(script).name) == (Path("tree"), "same_paintings.py")
    assert {Path(file) for file in files} == set((ROOT / "checkpoints").glob("*.safetensors"))


def test_a_file_is_painted_at_the_settings_that_it_has(tmp_path: Path) -> None:
    done = command("scripts/same_paintings.py", str(ROOT / "checkpoints" / "udnie_realtime.safetensors"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "{}" in done.stdout and "great_wave:0.4" not in done.stdout


def test_an_unknown_commit_is_one_sentence(tmp_path: Path) -> None:
    done = command("scripts/same.py", "base=no_such_commit", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "base=no_such_commit: git has no such commit" in done.stderr
