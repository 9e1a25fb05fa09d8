"""`onestroke` and its subcommands."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from onestroke import __version__
from onestroke.cli import infer, train
from onestroke.cli.main import COMMANDS, listing, main
from tests.commands import ROOT, environment


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_each_subcommand_says_how_it_is_used(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: ") and f"onestroke {name} " in told
    assert main(name.split()) == 2
    assert capsys.readouterr().out == told


def test_all_are_listed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    for given, code in (([], 2), (["--help"], 0), (["-h"], 0), (["help"], 0)):
        assert main(given) == code
        lines = capsys.readouterr().out.splitlines()
        assert [line[2:21].strip() for line in lines if line.startswith("  ")] == list(COMMANDS)
        assert all(len(line) <= 120 for line in lines)
    for given, code in ((["checkpoints"], 2), (["checkpoints", "--help"], 0)):
        assert main(given) == code
        told = capsys.readouterr().out
        assert told == listing("checkpoints") and "infer" not in told
        named = [line[2:21].strip() for line in told.splitlines() if line.startswith("  ")]
        assert named == [name for name in COMMANDS if name.startswith("checkpoints ")] and len(named) > 1
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"onestroke {__version__}\n"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["inferr", "input=a"], "there is no command 'inferr': did you mean 'infer'?"),
        (["checkpoint", "show"], "there is no command 'checkpoint': did you mean 'checkpoints'"),
        (["checkpoints", "shwo", "a"], "there is no command 'checkpoints shwo': did you mean 'show'?"),
        (["zzz"], "there is no command 'zzz': known are cache, checkpoints,"),
        (["infer show", "a"], "there is no command 'infer show'"),
        (["style=udnie"], "there is no command 'style=udnie'"),
        ([""], "there is no command ''"),
    ],
)
def test_a_misspelt_subcommand_is_told(given: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("onestroke: ") and said.err.count("\n") == 1
    assert told in said.err


def test_a_subcommand_gets_its_arguments_and_gives_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def called(arguments: list[str]) -> int:
        seen.append(arguments)
        return 7

    monkeypatch.setattr(infer, "main", called)
    monkeypatch.setattr(sys, "argv", ["onestroke", "infer", "a=b c"])
    assert (main(), main(["infer", "x=1", "y"])) == (7, 7)
    assert seen == [["a=b c"], ["x=1", "y"]]


def test_training_is_given_what_hydra_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def called() -> int:
        seen.append(list(sys.argv))
        return 0

    monkeypatch.setattr(train, "main", called)
    monkeypatch.setattr(sys, "argv", ["onestroke", "train", "style=udnie", "-m"])
    assert main() == 0
    # the other processes of a training are started with what Hydra was given, and nothing before it
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(sys, "argv", ["onestroke", "style=udnie", "hydra.run.dir=x"])
    assert main() == 0
    assert seen == [["onestroke", "style=udnie", "-m"], ["onestroke", "style=udnie", "hydra.run.dir=x"]]


def test_every_subcommand_is_there() -> None:
    for called in COMMANDS.values():
        assert callable(getattr(importlib.import_module(f"onestroke.cli.{called.module}"), called.function))


def test_the_list_needs_no_torch() -> None:
    code = "import sys; from onestroke.cli.main import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0
