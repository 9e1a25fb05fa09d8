"""`onestroke ... | head`: who reads the output may leave before its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onestroke.cli.pipes import piped
from tests.commands import ROOT, TINY, environment

GALLERY = str(ROOT / "checkpoints" / "gallery.safetensors")


def unread(*command: str, cwd: Path, buffered: bool = True) -> tuple[int, str]:
    """The exit code and stderr of a Python program whose output nobody reads."""
    variables = {**environment(), "PYTHONUNBUFFERED": "" if buffered else "1"}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=variables, stdout=write, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    os.close(write)
    return done.returncode, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize(
    "command",
    [
        ("-m", "onestroke", "checkpoints", "show", GALLERY),
        ("-m", "onestroke", "--help"),
        (str(ROOT / "infer.py"), "--help"),
        (str(ROOT / "train.py"), "--cfg", "job"),
    ],
    ids=lambda command: " ".join(Path(word).name for word in command),
)
def test_a_command_ends_without_a_word_where_nobody_reads_on(command: tuple[str, ...], tmp_path: Path) -> None:
    for buffered in (True, False):
        assert unread(*command, cwd=tmp_path, buffered=buffered) == (141, "")


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_training_goes_on_where_nobody_reads_on(tmp_path: Path) -> None:
    code, error = unread(str(ROOT / "train.py"), *TINY, "steps=1", "init=null", cwd=tmp_path)
    assert code in (0, 141) and "Traceback" not in error
    assert (tmp_path / "checkpoints" / "starry_night.safetensors").is_file()


def test_another_pipe_s_end_is_an_error() -> None:
    def job() -> int:
        raise BrokenPipeError("of a worker")

    with pytest.raises(BrokenPipeError, match="of a worker"):
        piped(job)
    assert piped(lambda: 2) == 2
