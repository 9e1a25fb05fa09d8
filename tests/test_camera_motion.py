"""Flow where a picture is plain: it follows the camera and the surroundings; before a still camera nothing moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onestroke.evaluation.stability import MOTIONS, warp
from onestroke.video.flow import motion
from tests.test_flow import frame, scene, shifted

pytest.importorskip("cv2", reason="needs the extra video")

INSIDE = (slice(16, -16), slice(16, -16))
PLAIN = (slice(50, 110), slice(60, 140))


def with_plain_middle() -> torch.Tensor:
    """A scene with a plain area in the middle, (1, 3, 160, 200)."""
    picture = scene().clone()
    picture[..., 40:120, 50:150] = 0.4
    return picture


def noisy(picture: torch.Tensor, seed: int) -> np.ndarray:
    grain = torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))
    return frame((picture + 0.01 * grain).clamp(0, 1))


def exact(matrix: torch.Tensor) -> np.ndarray:
    """Offsets of a camera's motion, (160, 200, 2)."""
    y, x = np.mgrid[:160, :200].astype(np.float64) - np.array([79.5, 99.5])[:, None, None]
    offsets: np.ndarray = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix.numpy().T - np.stack([x, y], axis=-1)
    return offsets


@pytest.mark.parametrize("matrix", [shifted(1.3, 0.65), shifted(-5.0, 2.5), MOTIONS["zoom"](2), MOTIONS["rotation"](2)])
def test_a_plain_area_moves_with_the_camera(matrix: torch.Tensor) -> None:
    found = motion(noisy(with_plain_middle(), 0), noisy(warp(with_plain_middle(), matrix), 1))
    error = found.back - exact(matrix)
    assert np.abs(error[PLAIN]).max() < 0.12
    assert np.sqrt(np.square(error[INSIDE]).mean()) < 0.06
    assert np.abs(error[INSIDE].mean(axis=(0, 1))).max() < 0.05, "a bias adds up over frames"


@pytest.mark.parametrize("seed", range(3))
def test_before_a_still_camera_nothing_moves_but_what_moves(seed: int) -> None:
    assert not motion(noisy(with_plain_middle(), seed), noisy(with_plain_middle(), seed + 10)).back.any()
    before, layer = scene(6), scene(16)
    now = before.clone()
    before[..., 40:120, 50:130], now[..., 40:120, 53:133] = layer[..., 40:120, 50:130], layer[..., 40:120, 50:130]
    back = motion(noisy(before, seed), noisy(now, seed + 10)).back
    assert np.abs(back[55:105, 70:115] - [-3, 0]).mean() < 0.2, "a layer keeps its own motion"
    assert not back[130:, 20:-20].any()


def test_without_any_contrast_nothing_moves() -> None:
    plain = torch.full((1, 3, 96, 128), 0.5)
    found = motion(noisy(plain, 0), noisy(plain, 1))
    assert np.isfinite(found.back).all()
    assert np.abs(found.back).max() < 0.5
