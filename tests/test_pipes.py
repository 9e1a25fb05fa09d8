"""`onestroke ... | head`: who reads the output may leave before its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from onestroke.cli.pipes import piped
from tests.commands import ROOT, TINY
from tests.processes import Started, as_module, as_script

GALLERY = str(ROOT / "checkpoints" / "gallery.safetensors")


def run_unread(buffered: bool, run: Callable[..., None], *command: Any) -> None:
    """Run a command whose output nobody reads."""
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)
    raw = open(1, "wb", buffering=-1 if buffered else 0, closefd=False)
    sys.stdout = TextIOWrapper(raw, encoding="utf-8", write_through=not buffered)
    run(*command)


def unread(run: Callable[..., None], *command: Any, cwd: Path, buffered: bool = True) -> tuple[int, str]:
    """The exit code and stderr of a Python program whose output nobody reads."""
    done = Started(run_unread, buffered, run, *command, cwd=cwd).done()
    return done.returncode, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize(
    "command",
    [
        (as_module, "onestroke", "checkpoints", "show", GALLERY),
        (as_module, "onestroke", "--help"),
        (as_script, ROOT / "infer.py", "--help"),
        (as_script, ROOT / "train.py", "--cfg", "job"),
    ],
    ids=lambda command: " ".join(Path(word).name for word in command[1:]),
)
def test_a_command_ends_without_a_word_where_nobody_reads_on(command: tuple[Any, ...], tmp_path: Path) -> None:
    for buffered in (True, False):
        assert unread(*command, cwd=tmp_path, buffered=buffered) == (141, "")


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_training_goes_on_where_nobody_reads_on(tmp_path: Path) -> None:
    code, error = unread(as_script, ROOT / "train.py", *TINY, "steps=1", "init=null", cwd=tmp_path)
    assert code in (0, 141) and "Traceback" not in error
    assert (tmp_path / "checkpoints" / "starry_night.safetensors").is_file()


def test_another_pipe_s_end_is_an_error() -> None:
    def job() -> int:
        raise BrokenPipeError("of a worker")

    with pytest.raises(BrokenPipeError, match="of a worker"):
        piped(job)
    assert piped(lambda: 2) == 2
