"""Optical flow, on motion that is known, and what is a cut and what is none."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from onestroke.errors import UserError
from onestroke.evaluation.stability import MOTIONS, warp
from onestroke.scenes.compositions import render
from onestroke.video.flow import motion

pytest.importorskip("cv2", reason="needs the extra video")


def smooth(seed: int = 0, height: int = 160, width: int = 200) -> torch.Tensor:
    """A made-up scene, with plain parts, (1, 3, H, W) in [0, 1]."""
    square = torch.from_numpy(render(7, seed, max(height, width)).copy()).permute(2, 0, 1)[None].float() / 255
    return square[..., :height, :width].contiguous()


def scene(seed: int = 0, height: int = 160, width: int = 200) -> torch.Tensor:
    """A made-up scene whose plain parts are rough, so that the motion of each pixel can be seen."""
    total = 0.3 * smooth(seed, height, width)
    generator = torch.Generator().manual_seed(seed)
    for cell, share in ((8, 0.2), (16, 0.2), (32, 0.3)):
        coarse = torch.rand(1, 1, height // cell + 2, width // cell + 2, generator=generator)
        total += share * torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    return total.clamp(0, 1)


def frame(picture: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray((picture[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def shifted(x: float, y: float) -> torch.Tensor:
    return torch.tensor([[1.0, 0.0, x], [0.0, 1.0, y]], dtype=torch.float64)


MIDDLE = (slice(20, -20), slice(20, -20))


@pytest.mark.parametrize(("x", "y"), [(0.4, -0.3), (1.5, 0.75), (-6.0, 3.5), (14.0, 0.0)])
def test_a_translation_is_recovered(x: float, y: float) -> None:
    found = motion(frame(scene()), frame(warp(scene(), shifted(x, y))))
    error = np.linalg.norm(found.back[MIDDLE] - [x, y], axis=-1)
    assert np.sqrt(np.square(error).mean()) < 0.15
    assert np.linalg.norm((found.back[MIDDLE] - [x, y]).mean(axis=(0, 1))) < 0.12, "a bias adds up over frames"
    assert found.trust[MIDDLE].mean() > 0.99
    assert not found.cut


@pytest.mark.parametrize("name", ["zoom", "rotation"])
def test_zoom_and_rotation_are_recovered(name: str) -> None:
    matrix = MOTIONS[name](2)
    found = motion(frame(scene()), frame(warp(scene(), matrix)))
    y, x = np.mgrid[:160, :200].astype(np.float64) - np.array([79.5, 99.5])[:, None, None]
    exact = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix.numpy().T - np.stack([x, y], axis=-1)
    assert np.abs(exact[MIDDLE]).max() > 0.5
    assert np.sqrt(np.square(found.back - exact)[MIDDLE].sum(axis=-1).mean()) < 0.12


def test_of_the_same_frame_nothing_moves() -> None:
    found = motion(frame(scene()), frame(scene()))
    assert not found.back.any()
    assert (found.trust == 1).all()


def test_what_was_hidden_is_not_trusted() -> None:
    back, layer = frame(scene(6)), frame(scene(16))
    before, now = back.copy(), back.copy()
    before[40:120, 50:130], now[40:120, 66:146] = layer[40:120, 50:130], layer[40:120, 50:130]
    trust = motion(before, now).trust
    assert trust[50:110, 53:63].mean() < 0.4, "uncovered"
    assert trust[50:110, 80:136].mean() > 0.6, "the layer itself"
    assert trust[130:155, 20:180].mean() > 0.95


def test_what_comes_into_view_is_not_trusted() -> None:
    trust = motion(frame(scene()), frame(warp(scene(), shifted(10.0, 0.0)))).trust
    assert trust[:, -8:].mean() < 0.2
    assert trust[30:-30, 30:-30].mean() > 0.99


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_cut_is_found(seed: int) -> None:
    assert motion(frame(smooth(0)), frame(smooth(seed))).cut


def test_fades_flashes_and_fast_pans_are_no_cuts() -> None:
    before, after = frame(scene()), frame(warp(scene(), shifted(2.0, 1.0)))

    def lit(gain: float, lift: float = 0.0) -> np.ndarray:
        return np.clip(after * gain + lift, 0, 255).astype(np.uint8)

    black, white = np.zeros_like(before), np.full_like(before, 255)
    for now in (lit(0.5), lit(1.5, 40), black, white, frame(warp(scene(), shifted(20.0, 0.0)))):
        assert not motion(before, now).cut
    for start in (black, white):
        assert not motion(start, after).cut


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (31, 40), (33, 35), (97, 131)])
def test_every_size_has_a_motion(height: int, width: int) -> None:
    before = frame(scene(0, 128, 320))[:height, :width]
    found = motion(before, before)
    assert (found.back.shape, found.trust.shape) == ((height, width, 2), (height, width))
    assert found.back.dtype == np.float32 and found.trust.dtype == np.float32
    assert not found.back.any() and not found.cut


def test_threads_find_the_same() -> None:
    pairs = [(frame(scene(i)), frame(warp(scene(i), shifted(i, 1.0)))) for i in range(6)]
    alone = [motion(*pair).back for pair in pairs]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda pair: motion(*pair).back, pairs))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_without_opencv_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"cv2 is needed for this: pip install 'onestroke\[video\]'"):
        motion(frame(scene()), frame(scene()))
