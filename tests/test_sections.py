"""Sections of a clip: painted one by one they are the whole clip, frame by frame and part by part."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs pip install 'onestroke[video]'")
from onestroke.fleet.shares import Share, division
from onestroke.video import pipeline
from onestroke.video.flow import Motion, motion
from onestroke.video.reading import Film, Frame
from onestroke.video.sections import SECONDS, Section, Starts
from onestroke.video.selection import SeekError
from tests.clip_files import frame_times, make_clip, make_scenes, packets_of
from tests.test_clip_resume import Killed, counting, frames_of
from tests.test_clips import inside, paint

__all__ = ["inside"]
BASE = Fraction(1, 8)
NOTHING = np.zeros(0, np.float32)


def moving(cuts: set[int], begin: int, times: list[int]) -> Iterator[tuple[Frame, Motion | None]]:
    """Frames from the `begin`-th on, with a cut before some, as they come from a decoder."""
    for number in range(begin, len(times)):
        rgb = np.full((1, 1, 3), number % 256, np.uint8)
        movement = None if number == begin else Motion(NOTHING, NOTHING, number in cuts)
        yield Frame(rgb, None, times[number], 1, number), movement


def parts(found: Iterator[tuple[Frame, Motion | None]], most: int) -> list[list[int]]:
    """The frames of each part, as painting divides them."""
    starts, whole = Starts(BASE), list[list[int]]()
    for frame, movement in found:
        if starts(frame, movement) or len(whole[-1]) == most:
            whole.append([])
        whole[-1].append(frame.pts)
    return whole


@pytest.mark.parametrize("seed", range(40))
def test_parts_of_all_sections_are_those_of_the_clip(seed: int) -> None:
    random = np.random.default_rng(seed)
    times = [int(time) for time in np.cumsum(random.integers(1, 4, 400)) - 1]
    cuts = set(np.flatnonzero(random.random(400) < random.choice([0.003, 0.03, 0.3])).tolist())
    whole = parts(moving(cuts, 0, times), most=17)
    count, length = int(random.integers(2, 9)), SECONDS * int(random.integers(1, 4))
    joined, sections = list[list[int]](), [Share(number, count, length, "").section for number in range(count)]
    for section in sections:
        limit = (section.begin or 0) / BASE
        before = max((number for number, time in enumerate(times) if time < limit), default=0)
        joined += parts(section.frames(moving(cuts, before, times), BASE), most=17)
    assert joined == whole and sections[0].begin is None
    filled = [one for one in sections if one.first is not None]
    assert [one.after for one in filled] == [*(one.first for one in filled[1:]), None]
    assert all(one.after is None for one in sections if one.first is None)


def test_a_section_without_a_cut_is_empty_and_a_late_clip_has_none() -> None:
    times = list(range(200))
    section = Section(5, 10)
    assert not list(section.frames(moving(set(), 39, times), BASE)) and section.first is None
    late = moving(set(), 0, [time + 50 for time in times])
    with pytest.raises(SeekError):
        list(Section(None, 5).frames(late, BASE))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, (0, 5)), (9.9, (1, 5)), (12, (2, 5)), (60, (12, 5)), (150, (10, 15)), (900, (45, 20)), (7200, (240, 30))],
)
def test_films_are_divided_by_their_length(seconds: float, expected: tuple[int, int]) -> None:
    assert division(seconds) == expected


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"bf": "3", "g": "30"}),
        ("a.mkv", "libx264", {"x264-params": "open-gop=1:keyint=24:bframes=3"}),
        ("a.mov", "libx265", {"x265-params": "log-level=none:open-gop=1:keyint=20:bframes=4"}),
        ("a.webm", "libvpx-vp9", {"g": "25"}),
        ("a.mkv", "mpeg4", {"g": "12", "bf": "2"}),
    ],
)
def test_frames_since_a_time_are_those_of_the_whole_clip(
    name: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    times = [time for time in range(130) if time % 7]
    path = make_clip(tmp_path / name, times, base=BASE, codec=codec, options=options, audio=None)
    whole = list(Film(path).frames())
    base = Film(path).clip.time_base
    for since in (2, 5, 10, 15):
        found = list(Film(path, since=since).frames())
        first = next(place for place, frame in enumerate(whole) if frame.pts * base >= since)
        assert len(found) == len(whole) - first + 1
        for frame, expected in zip(found, whole[first - 1 :], strict=True):
            assert (frame.pts, frame.duration) == (expected.pts, expected.duration)
            assert np.array_equal(frame.rgb, expected.rgb)
    assert len(list(Film(path, since=20).frames())) == 1, "the last one before, of a clip that ends earlier"


def test_what_can_t_be_decoded_from_its_middle_is_told(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", range(60), base=BASE, audio=None, options={"flags": "+ilme+ildct"})
    late = make_clip(tmp_path / "b.mp4", range(60, 90), base=BASE, audio=None)
    for film in (Film(path, since=5), Film(late, since=5)):
        with pytest.raises(SeekError):
            list(film.frames())


def test_a_part_begins_at_the_first_cut_in_five_seconds(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "FRAMES", 15)
    path = make_scenes(inside / "a.webm", cuts=(8, 22, 39, 44), frames=50)
    frames = frames_of(path)
    assert [n for n in range(1, 50) if motion(frames[n - 1], frames[n]).cut] == [8, 22, 39, 44]
    assert paint("input=a.webm", "output=whole.webm", steady="0.5") == 0
    keys = [time for time, key, _ in packets_of(inside / "whole.webm") if key]
    assert keys == [Fraction(number, 4) for number in (0, 15, 22, 37, 44)]
    with monkeypatch.context() as patched:
        counting(patched, 40)
        with pytest.raises(Killed):
            paint("input=a.webm", "output=out.webm", steady="0.5")
    assert paint("input=a.webm", "output=out.webm", "resume=true", steady="0.5") == 0
    assert packets_of(inside / "out.webm") == packets_of(inside / "whole.webm")
    assert frame_times(inside / "out.webm") == frame_times(path)
