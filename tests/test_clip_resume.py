"""A clip whose painting was stopped or killed goes on with the same frames, and nothing is lost or left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from onestroke.cli.stopping import Stop
from onestroke.video import assembly, pipeline
from onestroke.video.painting import ClipPainter, Painted
from onestroke.video.reading import Film
from tests.clip_files import frame_times, make_clip, sound_hash
from tests.processes import ROOT, environment
from tests.test_clips import inside, paint

__all__ = ["inside"]
SIZE = 96, 128
"""Of clips that are compared: smaller ones x264 doesn't encode twice the same, given the same frames."""
PART = 7
"""Frames of a part in these tests."""


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "FRAMES", PART)


def frames_of(path: Path) -> np.ndarray:
    return np.stack([frame.rgb for frame in Film(path).frames()])


class Killed(BaseException):
    """What a test raises where a process would be killed."""


@pytest.mark.parametrize(
    ("after", "steady"),
    [
        (16, "0.5"),
        (7, "0"),
        *(pytest.param(a, s, marks=pytest.mark.slow) for a, s in ((3, "0"), (3, "0.5"), (16, "0"))),
    ],
)
def test_a_killed_run_goes_on_with_the_same_frames(
    after: int, steady: str, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(inside / "a.mp4", times=range(20), size=SIZE)
    assert paint("input=a.mp4", "output=whole.mp4", steady=steady) == 0
    with monkeypatch.context() as patched:
        counted = counting(patched, after)
        with pytest.raises(Killed):
            paint("input=a.mp4", "output=out.mp4", steady=steady)
    assert not (inside / "out.mp4").exists()
    with monkeypatch.context() as patched:
        counted = counting(patched, None)
        assert paint("input=a.mp4", "output=out.mp4", "resume=true", steady=steady) == 0
    assert counted[0] == 20 - PART * ((after - 1) // PART)  # whole parts are not painted again
    assert np.array_equal(frames_of(inside / "out.mp4"), frames_of(inside / "whole.mp4"))
    assert frame_times(inside / "out.mp4") == frame_times(path)
    assert sound_hash(inside / "out.mp4") == sound_hash(path)
    assert not list(inside.glob(".*"))


def counting(patched: pytest.MonkeyPatch, fatal: int | None) -> list[int]:
    """Count the frames that are painted, in a list of one number; painting the `fatal`-th raises Killed."""
    counted = [0]
    finish = ClipPainter.finish

    def counts(self: ClipPainter, painted: Painted) -> np.ndarray:
        counted[0] += 1
        if counted[0] == fatal:
            raise Killed
        return finish(self, painted)

    patched.setattr(ClipPainter, "finish", counts)
    return counted


def test_other_settings_are_not_gone_on_with(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_clip(inside / "a.mp4", times=range(9), audio=None)
    asked = iter([False] * 7 + [True] * 9)  # after each frame, and after the clip
    with monkeypatch.context() as patched:
        patched.setattr(Stop, "asked", property(lambda self: next(asked)))
        assert paint("input=a.mp4", "output=out.mp4") == 130
    assert len(frame_times(inside / "out.mp4")) == 8  # playable, as far as it was painted
    capsys.readouterr()
    assert paint("input=a.mp4", "output=out.mp4", "resume=true", "strength=0.9") == 2
    assert "another strength" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_leaves_a_playable_file_that_can_be_gone_on_with(inside: Path) -> None:
    path = make_clip(inside / "a.mp4", times=range(160))
    command = [sys.executable, str(ROOT / "infer.py"), "ckpt=a.safetensors", "style=udnie", "steady=0", "input=a.mp4"]
    running = subprocess.Popen(command, cwd=inside, env=environment(), stderr=subprocess.PIPE, text=True)
    folder = inside / ".a.udnie.mp4.parts"
    while not list(folder.glob("*.mp4")) and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=120)[1]
    assert running.returncode in (0, 130), said
    painted = frame_times(inside / "a.udnie.mp4")
    assert 0 < len(painted) <= 160 and painted == frame_times(path)[: len(painted)]
    if running.returncode == 130:
        assert "resume=true" in said
        resumed = subprocess.run(
            [*command, "resume=true"], cwd=inside, env=environment(), capture_output=True, text=True
        )
        assert resumed.returncode == 0, resumed.stderr
    assert frame_times(inside / "a.udnie.mp4") == frame_times(path)
    assert sound_hash(inside / "a.udnie.mp4") == sound_hash(path)
    assert not list(inside.glob(".*"))


def test_a_file_that_is_there_survives_a_failure(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(inside / "a.mp4", times=range(9), audio=None)
    (inside / "out.mp4").write_bytes(b"precious")

    def fail(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(assembly, "_pictures", fail)
    with pytest.raises(Killed):
        paint("input=a.mp4", "output=out.mp4", "overwrite=true")
    assert (inside / "out.mp4").read_bytes() == b"precious"
