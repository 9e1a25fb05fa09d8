"""A recurrent style gets its last painting when a clip is painted: moved, and not after a cut, nor before it began."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("av")

from onestroke import Stylizer
from onestroke.video import pipeline
from onestroke.video.flow import Motion
from onestroke.video.last_painting import LastPainting, moved
from tests.clip_files import make_clip
from tests.test_clip_resume import SIZE, Killed, counting, frames_of
from tests.test_clips import paint
from tests.test_recurrent import frame, recurrent, saved


def panned(x: int, y: int, cut: bool = False) -> Motion:
    """A motion by whole pixels."""
    trust = np.random.default_rng(x + 5).random((40, 56), np.float32)
    return Motion(np.full((40, 56, 2), (x, y), np.float32), trust, cut)


def test_a_painting_is_moved_to_where_its_content_is() -> None:
    picture = frame(0, 40, 56, 3)
    assert np.array_equal(moved(picture, panned(0, 0).back), picture)
    assert np.array_equal(moved(picture, panned(3, -2).back)[2:, :-3], picture[:-2, 3:])


def test_each_frame_is_painted_with_the_last_painting_and_afresh_after_a_cut(tmp_path: Path) -> None:
    frames = Stylizer(saved(tmp_path / "s.safetensors", recurrent()), device="cpu").frames(40, 56)
    clip, motions = (
        [frame(n, 40, 56, 3) for n in range(5)],
        [None, panned(1, 0), panned(2, 3), panned(1, 1, True), None],
    )
    painter = LastPainting(frames)
    found = []
    for picture, motion in zip(clip, motions, strict=True):
        found.append(painter(picture, motion).copy())
        if len(found) == 1:
            painter(picture, motion)[:] = 0  # which changes nothing for the next one
    expected = [frames(clip[0])]
    for n in (1, 2):
        motion = motions[n]
        assert motion is not None
        expected.append(frames(clip[n], past=(moved(expected[-1], motion.back), motion.trust)))
    expected += [frames(clip[3]), frames(clip[4])]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not np.array_equal(found[2], frames(clip[2]))


def test_a_killed_run_goes_on_with_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "FRAMES", 4)
    saved(tmp_path / "a.safetensors", recurrent())
    make_clip(tmp_path / "a.mp4", times=range(9), audio=None, size=SIZE)
    assert paint("input=a.mp4", "output=whole.mp4", style="s") == 0
    with monkeypatch.context() as patched:
        counting(patched, 7)
        with pytest.raises(Killed):
            paint("input=a.mp4", "output=out.mp4", style="s")
    with monkeypatch.context() as patched:
        counted = counting(patched, None)
        assert paint("input=a.mp4", "output=out.mp4", "resume=true", style="s") == 0
    assert counted == [5]
    whole = frames_of(tmp_path / "whole.mp4")
    assert np.array_equal(frames_of(tmp_path / "out.mp4"), whole)
    alone = Stylizer(tmp_path / "a.safetensors", device="cpu").frames(*whole.shape[1:3])
    last = alone(frames_of(tmp_path / "a.mp4")[-1])
    assert float(np.abs(last.astype(float) - whole[-1]).mean()) > 3, "it was painted with its past"
