"""Steady painting: with a painter that flickers at each frame, and with motion that is known."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from onestroke.errors import UserError
from onestroke.evaluation.stability import warp
from onestroke.video import kept_paintings
from onestroke.video.flow import Motion
from onestroke.video.kept_paintings import KeptPaintings
from onestroke.video.steady import DEFAULT, Steady
from tests.test_flow import frame, scene, shifted

pytest.importorskip("cv2", reason="needs the extra video")

H, W = 96, 120
PHOTO = scene(0, H, W)


class Flickering:
    """Paints each frame with other strokes: the frame at half its contrast, and stripes at a random place.

    seen: what was painted. made: the paintings.
    """

    def __init__(self, same: bool = False) -> None:
        self.random = np.random.default_rng(0)
        self.same = same
        self.seen: list[np.ndarray] = []
        self.made: list[np.ndarray] = []

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        assert picture.dtype == np.uint8 and picture.flags.c_contiguous
        self.seen.append(picture.copy())
        phase = 0.0 if self.same else self.random.uniform(0, 2 * np.pi)
        stripes = 40 * np.sin(np.arange(picture.shape[1]) / 2 + phase)[None, :, None]
        self.made.append(np.clip(picture * 0.5 + 60 + stripes, 0, 255).astype(np.uint8))
        return self.made[-1]


def moving(x: float, y: float, *, cut: bool = False, height: int = H, width: int = W) -> Motion:
    back = np.broadcast_to(np.array([x, y], np.float32), (height, width, 2)).copy()
    return Motion(back, np.ones((height, width), np.float32), cut)


def pan(count: int, x: float, y: float = 0.0) -> list[np.ndarray]:
    return [frame(warp(PHOTO, shifted(x * t, y * t))) for t in range(count)]


def change(paintings: list[np.ndarray], shift: Callable[[np.ndarray], np.ndarray], gap: int = 1) -> float:
    """The RMS difference inside between each painting and that before, moved along."""
    inside = (slice(12, -12), slice(24, -24))
    pairs = zip(paintings, paintings[gap:], strict=False)
    return float(np.sqrt(np.mean([np.square(b.astype(float) - shift(a))[inside].mean() for a, b in pairs])))


@pytest.mark.parametrize("motion", [None, moving(1, 0), moving(0, 0, cut=True)])
def test_amount_zero_paints_each_frame_for_itself(motion: Motion | None) -> None:
    paint = Flickering()
    steady = Steady(paint, 0)
    for shown in pan(4, 1):
        assert steady(shown, motion) is paint.made[-1]
        assert np.array_equal(paint.seen[-1], shown)


def test_amount_zero_needs_no_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert Steady(Flickering(), 0)(frame(PHOTO), None).any()
    with pytest.raises(UserError, match=r"pip install 'onestroke\[video\]'"):
        Steady(Flickering(), DEFAULT)


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan")])
def test_amounts_outside_are_refused(amount: float) -> None:
    with pytest.raises(ValueError, match="not from 0 to 1"):
        Steady(Flickering(), amount)


def test_a_clip_that_stands_still_stays_the_same_painting() -> None:
    steady = Steady(Flickering(same=True))
    paintings = [steady(frame(PHOTO), moving(0, 0)) for _ in range(60)]
    assert all(np.array_equal(paintings[0], each) for each in paintings)


@pytest.mark.parametrize("amount", [0.25, DEFAULT, 1.0])
def test_strokes_move_along(amount: float) -> None:
    frames, paint = pan(16, 1), Flickering()
    steady = Steady(paint, amount)
    paintings = [steady(each, moving(1, 0) if i else None) for i, each in enumerate(frames)]

    def along(picture: np.ndarray) -> np.ndarray:
        return np.roll(picture, -1, axis=1)

    alone = change(paint.made, along)
    assert alone > 30
    assert change(paintings, along) < alone / 3
    assert change(paintings, lambda picture: picture) > alone / 3, "strokes stand still and the scene moves below them"


def test_each_painting_is_sampled_once_so_that_no_blur_builds_up() -> None:
    frames, paint = pan(9, 0.5), Flickering()
    steady = Steady(paint, 1)
    paintings = [steady(each, moving(0.5, 0) if i else None) for i, each in enumerate(frames)]
    inside = (slice(12, -12), slice(24, -24))
    moved = np.roll(paint.made[0], -4, axis=1).astype(float)
    # what is left of it, pixels of which a stripe is up to 40 levels high
    assert np.sqrt(np.square(paintings[8] - moved)[inside].mean()) < 4


def test_tracking_corrects_a_flow_that_is_wrong() -> None:
    frames, paint = pan(17, 0.5), Flickering()
    steady = Steady(paint, 1)
    paintings = [steady(each, moving(0.42, 0) if i else None) for i, each in enumerate(frames)]
    inside = (slice(12, -12), slice(24, -24))
    off = [np.square(paintings[16] - np.roll(paint.made[0], -s, axis=1).astype(float))[inside].mean() for s in (8, 7)]
    assert off[0] < off[1] / 2, "16 frames of 0.42 pixels are 6.7 pixels, and the scene moved by 8"


def test_a_cut_starts_afresh() -> None:
    paint = Flickering()
    steady = Steady(paint)
    for i in range(5):
        steady(frame(PHOTO), moving(0, 0) if i else None)
    other = frame(scene(9, H, W))
    assert np.array_equal(steady(other, moving(0, 0, cut=True)), paint.made[-1])
    assert np.array_equal(paint.seen[-1], other), "nothing is averaged over a cut"
    steady.restart()
    assert np.array_equal(steady(frame(PHOTO), moving(0, 0)), paint.made[-1])


def test_another_size_starts_afresh() -> None:
    paint = Flickering()
    steady = Steady(paint)
    steady(frame(PHOTO), None)
    small = np.ascontiguousarray(frame(PHOTO)[:51, :33])
    assert np.array_equal(steady(small, moving(0, 0, height=51, width=33)), paint.made[-1])
    assert steady(small, moving(0, 0, height=51, width=33)).shape == small.shape


@pytest.mark.parametrize("why", ["flow", "look"])
def test_what_comes_into_view_is_renewed(why: str) -> None:
    paint = Flickering()
    steady = Steady(paint)
    steady(frame(PHOTO), None)
    uncovered = (slice(30, 70), slice(40, 90))
    still = moving(0, 0)
    shown = frame(PHOTO)
    if why == "flow":
        still.trust[uncovered] = 0
    else:
        shown[uncovered] = 255 - shown[uncovered]
    painted = steady(shown, still)
    middle = (slice(34, 66), slice(44, 86))
    assert np.array_equal(painted[middle], paint.made[1][middle])
    assert np.array_equal(painted[:10], paint.made[0][:10])


def test_strokes_are_renewed_in_time_and_not_all_at_once() -> None:
    paint = Flickering()
    steady = Steady(paint)
    paintings = [steady(frame(PHOTO), moving(0, 0) if i else None).astype(float) for i in range(60)]
    jumps = [np.sqrt(np.square(b - a).mean()) for a, b in itertools.pairwise(paintings)]
    alone = np.sqrt(np.square(paint.made[1].astype(float) - paint.made[0]).mean())
    assert max(jumps) < alone / 3
    assert max(jumps[:15]) < 1, "nothing is renewed before its time"
    kept = np.abs(paintings[-1] - paint.made[0]).max(axis=2) < 2
    assert kept.mean() < 0.3


def test_noise_is_averaged_along_the_flow() -> None:
    random = np.random.default_rng(1)
    paint = Flickering(same=True)
    steady = Steady(paint)
    clean = frame(PHOTO).astype(float)
    for i in range(12):
        noisy = np.clip(clean + random.normal(0, 3, clean.shape), 0, 255).astype(np.uint8)
        steady(noisy, moving(0, 0) if i else None)
    left = np.sqrt(np.square(paint.seen[-1] - clean).mean())
    assert left < 0.55 * np.sqrt(np.square(noisy - clean).mean())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 40), (33, 35)])
def test_every_size_is_painted(height: int, width: int) -> None:
    shown = np.ascontiguousarray(frame(PHOTO)[:height, :width])
    steady = Steady(Flickering())
    for i in range(9):
        painted = steady(shown, moving(0.3, -0.2, height=height, width=width) if i else None)
        assert painted.shape == shown.shape and painted.dtype == np.uint8


def test_memory_is_bounded_whatever_the_amount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_paintings, "_MEMORY", 10 * H * W * 5)
    assert KeptPaintings(H, W, 63).count == 10
    paint = Flickering()
    steady = Steady(paint, 1)
    painted = [steady(frame(PHOTO), moving(0, 0) if i else None) for i in range(40)]
    newest = np.stack(paint.made[-10:]).astype(float)
    gap = np.abs(newest - painted[-1]).max(axis=3).min(axis=0)
    assert (gap < 40).mean() > 0.9, "no pixel points to a painting that is no longer kept"


def test_pixels_of_many_paintings_are_sampled_at_once() -> None:
    kept = KeptPaintings(9, 11, 7)
    paintings = [np.random.default_rng(i).integers(0, 256, (9, 11, 3), np.uint8) for i in range(10)]
    for number, painting in enumerate(paintings):
        kept.add(number, painting, painting)
    x, y = np.meshgrid(np.arange(11, dtype=np.float32), np.arange(9, dtype=np.float32))
    numbers = np.random.default_rng(0).integers(3, 10, (9, 11))
    found = kept.painted(x, y, (numbers % kept.count).astype(np.uint8))
    expected = np.stack(paintings)[numbers, y.astype(int), x.astype(int)]
    assert np.array_equal(found, expected)


def test_sampling_at_a_border_never_reaches_the_next_painting() -> None:
    kept = KeptPaintings(16, 16, 9)
    for number in range(9):
        level = np.full((16, 16, 3), 255 * (number % 2), np.uint8)
        kept.add(number, level, level)
    for at in (0.0, 0.5, 14.5, 15.0):
        place = np.full((16, 16), at, np.float32)
        slot = np.full((16, 16), 4, np.uint8)
        assert not kept.painted(place, place, slot).any()


def test_frames_at_half_size_lie_where_the_paintings_do() -> None:
    kept = KeptPaintings(H, W, 5)
    shown = frame(PHOTO)
    kept.add(0, shown, shown)
    y, x = np.mgrid[:H, :W].astype(np.float32)
    found = kept.frames(x, y, np.zeros((H, W), np.uint8))
    assert np.array_equal(found, kept.halved(shown))
    exact = torch.nn.functional.avg_pool2d(torch.from_numpy(shown).permute(2, 0, 1).float(), 2).permute(1, 2, 0)
    assert np.abs(found - exact.numpy()).mean() < 4


def test_it_goes_on_from_a_state_as_if_nothing_had_been() -> None:
    frames = pan(14, 1.3, 0.4)
    paint = Flickering(same=True)
    whole, first, second = Steady(paint), Steady(paint), Steady(paint)
    paintings = [whole(each, moving(1.3, 0.4) if i else None) for i, each in enumerate(frames)]
    for i, each in enumerate(frames[:7]):
        first(each, moving(1.3, 0.4) if i else None)
    second.restore(first.state())
    for i in range(7, 14):
        assert np.array_equal(second(frames[i], moving(1.3, 0.4)), paintings[i])
    second.restore({})
    assert np.array_equal(second(frames[5], moving(1.3, 0.4)), paint.made[-1])
    assert not Steady(paint).state() and not Steady(paint, 0).state()
