"""Sampling of pictures between pixels, against shifts by Fourier's transform."""

from __future__ import annotations

import numpy as np
import pytest

from onestroke.video.sampling import moved, sharply, with_curvature

cv2 = pytest.importorskip("cv2", reason="needs pip install 'onestroke[video]'")

SIDE = 64
INSIDE = np.s_[8:-8, 8:-8]


def textures(x: float, y: float) -> np.ndarray:
    """A grey texture of waves at least three pixels long, repeated beyond its edges, moved by a part of a pixel."""
    random = np.random.default_rng(0)
    spectrum = np.fft.fft2(random.standard_normal((SIDE, SIDE)))
    across, down = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE))
    spectrum[np.hypot(across, down) > 1 / 3] = 0
    waves = np.fft.ifft2(spectrum * np.exp(2j * np.pi * (across * x + down * y))).real
    return np.repeat((127.5 + 40 * waves)[..., None], 3, axis=2)


def offsets(x: float, y: float) -> np.ndarray:
    back: np.ndarray = np.broadcast_to(np.array([x, y], np.float32), (SIDE, SIDE, 2))
    return back


def sampled(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    across, down = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32))
    places = across + np.float32(x), down + np.float32(y)
    return sharply(cv2, with_curvature(cv2, picture), places, places)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shift", [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (0.3, 0.7), (-2.25, 1.5)])
def test_a_texture_keeps_its_contrast_between_pixels(shift: tuple[float, float], dtype: type) -> None:
    picture, expected = textures(0, 0).round().clip(0, 255).astype(dtype), textures(*shift)[INSIDE]
    ours, linear = sampled(picture, *shift)[INSIDE], moved(picture, offsets(*shift))[INSIDE]
    assert ours.dtype == dtype and ours.shape == expected.shape
    errors = [np.sqrt(np.square(each.astype(float) - expected).mean()) for each in (ours, linear)]
    assert errors[0] < 0.85 * errors[1]
    assert abs(ours.std() / expected.std() - 1) < 0.08 < 0.11 < 1 - linear.std() / expected.std()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_on_pixels_a_picture_stays_as_it_is(dtype: type) -> None:
    picture: np.ndarray = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(dtype)
    assert np.array_equal(sampled(picture, 3, -2)[INSIDE], np.roll(picture, (2, -3), (0, 1))[INSIDE])


def test_second_differences_are_those_of_the_luma() -> None:
    grey = np.zeros((5, 5, 3), np.float32)
    grey[2, 2] = 10
    assert np.allclose(with_curvature(cv2, grey)[..., 3][1:4, 1:4], [[0, 10, 0], [10, -40, 10], [0, 10, 0]], atol=1e-3)
