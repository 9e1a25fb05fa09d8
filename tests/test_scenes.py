"""Made-up photos: the same everywhere, never twice, and natural in their statistics."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from onestroke.data import scenes
from onestroke.data.scenes import Scenes
from onestroke.scenes.compositions import render
from tests.processes import Started

Stack = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pictures() -> Stack:
    return np.stack([render(5, k, 96) for k in range(80)])


def _light(pictures: Stack) -> NDArray[np.float64]:
    return np.asarray(pictures.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def _kurtosis(light: NDArray[np.float64]) -> float:
    """Of horizontal differences over all pictures: 3 for anything Gaussian."""
    step = np.diff(light, axis=-1)
    step = step - step.mean()
    return float((step**4).mean() / (step**2).mean() ** 2)


def _slope(light: NDArray[np.float64]) -> float:
    """Of the mean power spectrum over frequency, both logarithmic."""
    size = light.shape[-1]
    window = np.hanning(size)[:, None] * np.hanning(size)
    centred = (light - light.mean(axis=(1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.fft2(centred)) ** 2).mean(axis=0)
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    edges = np.geomspace(4 / size, 0.45, 9)
    rings = [power[(radius >= a) & (radius < b)].mean() for a, b in pairwise(edges)]
    return float(np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(rings), 1)[0])


def _gaussian_noise(slope: float, count: int = 30, size: int = 96) -> NDArray[np.float64]:
    """Gaussian noise with a power spectrum f^slope: what the pictures must not be mistaken for."""
    rng = np.random.default_rng(0)
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    radius[0, 0] = 1
    spectrum = np.fft.fft2(rng.standard_normal((count, size, size))) * radius ** (slope / 2)
    return np.fft.ifft2(spectrum).real


def _digest(pairs: list[tuple[int, int]]) -> str:
    return hashlib.sha256(b"".join(render(s, k, 64).tobytes() for s, k in pairs)).hexdigest()


def _tell_digest(pairs: list[tuple[int, int]]) -> None:
    # backwards, so that what one picture leaves behind cannot help the next
    made = {pair: render(*pair, 64).tobytes() for pair in reversed(pairs)}
    print(hashlib.sha256(b"".join(made[pair] for pair in pairs)).hexdigest())


def test_the_same_arguments_give_the_same_bytes_in_any_order_and_process() -> None:
    pairs = [(0, k) for k in range(6)] + [(7, 3), (2**40, 1)]
    here = _digest(pairs)
    there = Started(_tell_digest, pairs, cwd=Path.cwd()).done()
    assert there.stdout.strip() == here == _digest(pairs)


def test_every_index_and_every_seed_gives_another_picture() -> None:
    made = {render(seed, k, 32).tobytes() for seed in (0, 1, 2) for k in range(12)}
    assert len(made) == 36


@pytest.mark.parametrize("size", [16, 17, 45, 128, 255])
def test_any_size(size: int) -> None:
    for index in range(6):
        picture = render(3, index, size)
        assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
        assert picture.flags.c_contiguous and picture.flags.writeable


def test_the_power_spectrum_falls_as_that_of_photos(pictures: Stack) -> None:
    # Photos of amplitude about 1/f have a power slope about -2; with the smooth grounds and sharp edges of
    # small pictures it is -2.55 on the photos this was tuned against, so -1.9 to -3 is natural.
    assert -3.0 < _slope(_light(pictures)) < -1.9
    assert _slope(_gaussian_noise(0.0)) > -0.5  # the measure itself tells noise apart


def test_differences_are_heavy_tailed(pictures: Stack) -> None:
    # Edges between calm surfaces: photos give about 15, Gaussian noise of any spectrum 3.
    assert _kurtosis(_light(pictures)) > 8
    assert _kurtosis(_gaussian_noise(0.0)) < 4 and _kurtosis(_gaussian_noise(-2.0)) < 4


def test_some_regions_are_flat_and_some_are_busy(pictures: Stack) -> None:
    step = np.abs(np.diff(_light(pictures), axis=2))
    flat = (step < 2).mean()
    assert 0.2 < flat < 0.6  # a third in photos
    calm = (step < 2).mean(axis=(1, 2))
    assert (calm > 0.7).mean() > 0.03 and (calm < 0.25).mean() > 0.1


def test_colours_vary_as_photos_do(pictures: Stack) -> None:
    means = pictures.reshape(len(pictures), -1, 3).mean(axis=1)
    assert np.all((means.mean(axis=0) > 70) & (means.mean(axis=0) < 175))
    assert np.all(means.std(axis=0) > 18)
    high, low = pictures.max(axis=3).astype(float), pictures.min(axis=3).astype(float)
    saturation = ((high - low) / np.maximum(high, 1)).mean(axis=(1, 2))
    assert 0.15 < saturation.mean() < 0.5
    assert saturation.std() > 0.08
    # Channels go together, as under natural light, yet are not one.
    joint = np.corrcoef(pictures.reshape(-1, 3)[::17].T.astype(float))
    assert 0.6 < joint[0, 2] < 0.97
    assert _light(pictures).std(axis=(1, 2)).mean() > 30


def test_the_source_gives_training_pictures_and_skips_nothing() -> None:
    source = Scenes()
    source.preflight()
    picture, skipped = source.sample(11, 4, 48)
    assert skipped == [] and np.array_equal(picture, render(4, 11, 48))
    assert source.describe().startswith("scenes")


def test_held_out_scenes_are_fixed_and_apart_from_training() -> None:
    held = Scenes(validation=3).held_out(40)
    assert len(held) == 3 and len({p.tobytes() for p in held}) == 3
    assert all(p.shape == (40, 40, 3) and p.dtype == np.uint8 for p in held)
    again = Scenes(validation=5).held_out(40)
    assert all(np.array_equal(a, b) for a, b in zip(held, again, strict=False))
    # Even the seed that names the held-out stream, used for training, draws other pictures.
    seeds = (0, 1, scenes._HELD_OUT_SEED)
    trained = {render(seed, k, 40).tobytes() for seed in seeds for k in range(12)}
    assert not trained & {p.tobytes() for p in held}
    assert Scenes(validation=0).held_out(40) == []


def test_a_railing_may_stand_at_any_height() -> None:
    # its upper end was drawn below its lower one here, which once ended a training
    assert render(0, 199, 128).shape == (128, 128, 3)
