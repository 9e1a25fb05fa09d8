"""Stability, on painters whose steadiness is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from onestroke.evaluation.stability import MARGIN, MOTIONS, NOISE, PAN, ROTATION, ZOOM, stability, warp

WARPING = [f"warping_{name}" for name in MOTIONS]
NAMES = [*WARPING, "noise_gain"]


def places(height: int, width: int) -> tuple[Tensor, Tensor]:
    """y and x from the middle, in pixels."""
    y, x = (torch.arange(n).double() - (n - 1) / 2 for n in (height, width))
    return y[:, None].expand(height, width), x.expand(height, width)


def scene(y: Tensor, x: Tensor) -> Tensor:
    """A smooth picture that is known between its pixels as well: (..., H, W) -> (1, 3, H, W)."""
    channels = [0.5 + 0.1 * torch.sin(x / a + 0.3) + 0.1 * torch.cos(y / b) for a, b in ((5, 7), (6, 4), (9, 5))]
    return torch.stack(channels)[None].float()


def photo(height: int = 80, width: int = 97) -> Tensor:
    return scene(*places(height, width))


def moved(place: str, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Where each motion looks, written out."""
    if place == "pan":
        return y + PAN[1], x + PAN[0]
    if place == "zoom":
        return y * ZOOM, x * ZOOM
    c, s = math.cos(ROTATION), math.sin(ROTATION)
    return s * x + c * y, c * x - s * y


@pytest.mark.parametrize("name", MOTIONS)
def test_a_motion_is_what_it_is_called(name: str) -> None:
    y, x = places(80, 97)
    found = warp(photo(), MOTIONS[name](1))
    inside = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    error = (found - scene(*moved(name, y, x)))[inside].abs().max()
    shift = (found - photo())[inside].abs().max()
    assert float(error) < 2e-3
    assert float(error) < 0.25 * float(shift)


@pytest.mark.parametrize("name", MOTIONS)
def test_half_a_motion_twice_is_the_whole(name: str) -> None:
    bottom = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    half, back, whole = (torch.cat([MOTIONS[name](t), bottom]) for t in (0.5, -0.5, 1.0))
    assert torch.allclose(half @ half, whole, atol=1e-12)
    assert torch.allclose(half @ back, torch.eye(3, dtype=torch.float64), atol=1e-12)


def test_no_motion_is_the_picture_itself() -> None:
    for motion in MOTIONS.values():
        assert torch.allclose(warp(photo(), motion(0)), photo(), atol=1e-5)


def test_the_photo_itself_is_at_one() -> None:
    found = stability(lambda image: image, photo())
    assert list(found) == NAMES
    assert list(found.values()) == [1.0] * 4


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_contrast_counts_alike_everywhere(gain: float) -> None:
    found = stability(lambda image: gain * image + 0.1, photo())
    assert list(found.values()) == pytest.approx([gain] * 4, rel=1e-5)


def test_a_painter_of_always_the_same_constant_is_at_zero() -> None:
    found = stability(lambda image: torch.full_like(image, 0.3), photo())
    assert list(found.values()) == pytest.approx([0] * 4, abs=1e-4)


def mean_of_nine(image: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect"), 3, 1)


def test_smoothing_hides_noise() -> None:
    """White noise under a mean of n pixels has 1 / sqrt(n) of its deviation."""
    found = stability(mean_of_nine, torch.full((2, 3, 160, 160), 0.5))
    assert found["noise_gain"] == pytest.approx(1 / 3, rel=0.02)
    assert all(found[name] < 0.5 for name in WARPING)


def kernel_power(fraction: float) -> float:
    """The sum of squares of the four weights of bicubic interpolation (a = -0.75) at a fraction of a pixel."""

    def weight(distance: float, a: float = -0.75) -> float:
        if distance <= 1:
            return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        return a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a

    return sum(weight(abs(fraction - i)) ** 2 for i in (-1, 0, 1, 2))


@pytest.mark.parametrize("amplitude", [0.02, 0.1])
def test_strokes_that_stick_to_the_screen_count_by_how_far_the_picture_slides_under_them(amplitude: float) -> None:
    height, width, period = 160, 160, 8.0
    _, x = places(height, width)
    pattern = (amplitude * torch.sin(2 * math.pi * x / period)).float()
    found = stability(lambda image: image + pattern, torch.full((1, 3, height, width), 0.5))
    # frames: noise of the second, and that of the first interpolated; paintings: the pattern against itself as well
    noise = NOISE**2 * (1 + kernel_power(PAN[0]) * kernel_power(PAN[1]))
    slides = 2 * amplitude**2 * math.sin(math.pi * PAN[0] / period) ** 2
    assert found["warping_pan"] == pytest.approx(math.sqrt(1 + slides / noise), rel=0.05)
    assert found["noise_gain"] == pytest.approx(1, rel=1e-4)
    for name in ("warping_zoom", "warping_rotation"):
        assert found[name] > 1.01


def test_flicker_counts_even_where_nothing_changes() -> None:
    generator = torch.Generator().manual_seed(7)  # not that of the sensor's noise
    flicker = 0.03

    def paint(image: Tensor) -> Tensor:
        return image + flicker * torch.randn(image.shape, generator=generator)

    found = stability(paint, torch.full((1, 3, 160, 160), 0.5))
    assert found["noise_gain"] == pytest.approx(math.sqrt(1 + 2 * (flicker / NOISE) ** 2), rel=0.02)
    assert found["warping_pan"] == pytest.approx(math.hypot(1, flicker / NOISE), rel=0.02)


def quantised(step: float) -> Callable[[Tensor], Tensor]:
    return lambda image: (image / step).round() * step


def test_a_threshold_makes_of_little_noise_a_large_change() -> None:
    """In levels of 0.2, noise of deviation s moves a value evenly spread over [0, 0.2) by a level now and then."""
    spread = torch.rand(1, 3, 200, 200, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    found = stability(quantised(0.2), spread)
    # a level is crossed with probability E|n| / step, and the change is step: step^2 E|n| / step over s^2
    expected = math.sqrt(0.2 * math.sqrt(2 / math.pi) / NOISE)
    assert found["noise_gain"] == pytest.approx(expected, rel=0.03)
    assert found["noise_gain"] > 3


def test_the_border_is_not_judged() -> None:
    def paint(image: Tensor) -> Tensor:
        framed = image.clone()
        framed[..., :MARGIN, :] = torch.rand(framed[..., :MARGIN, :].shape)
        framed[..., -MARGIN:] = 9
        return framed

    found = stability(paint, photo())
    assert found["noise_gain"] == 1
    # bicubic interpolation reaches two pixels further
    assert stability(lambda image: image, photo())["warping_pan"] == 1


def test_the_seed_decides() -> None:
    first, again, other = (stability(quantised(0.1), photo(), seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert first != other
    state = torch.get_rng_state()
    stability(quantised(0.1), photo())
    assert torch.equal(torch.get_rng_state(), state)


def test_photos_of_several_sizes_are_pooled_and_painted_one_by_one() -> None:
    shapes: list[torch.Size] = []

    def paint(image: Tensor) -> Tensor:
        shapes.append(image.shape)
        assert not torch.is_grad_enabled()
        return quantised(0.1)(image)

    small, large = torch.cat([photo(), 1 - photo()]), photo(120, 64)
    pooled = stability(paint, [small, large])
    assert {tuple(shape) for shape in shapes} == {(1, 3, 80, 97), (1, 3, 120, 64)}
    alone = [stability(quantised(0.1), batch) for batch in (small, large)]
    pixels = [2 * (80 - 2 * MARGIN) * (97 - 2 * MARGIN), (120 - 2 * MARGIN) * (64 - 2 * MARGIN)]
    mean_square = np.average([found["noise_gain"] ** 2 for found in alone], weights=pixels)
    assert pooled["noise_gain"] == pytest.approx(math.sqrt(mean_square), rel=0.1)
    assert stability(quantised(0.1), small) == stability(quantised(0.1), [small[:1], small[1:]])


def test_noise_of_a_frame_stays_in_range() -> None:
    seen: list[Tensor] = []

    def paint(image: Tensor) -> Tensor:
        seen.append(image)
        return image

    stability(paint, torch.cat([torch.zeros(1, 3, 40, 40), torch.ones(1, 3, 40, 40)]), noise=0.2)
    assert all(0 <= float(image.min()) and float(image.max()) <= 1 for image in seen)


def test_without_noise_there_is_no_gain_to_tell() -> None:
    found = stability(lambda image: 2 * image, photo(), noise=0)
    assert math.isnan(found["noise_gain"])
    assert [found[name] for name in WARPING] == pytest.approx([2] * 3, rel=1e-4)


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        (torch.zeros(3, 64, 64), r"\(N, 3, H, W\) with sides of more than 32, not \(3, 64, 64\)"),
        (torch.zeros(1, 1, 64, 64), r"not \(1, 1, 64, 64\)"),
        ([torch.zeros(1, 3, 64, 32)], r"not \(1, 3, 64, 32\)"),
        ([], "there is no photo to measure with"),
        (torch.zeros(0, 3, 64, 64), "there is no photo to measure with"),
    ],
)
def test_what_are_no_photos_are_refused(photos: Tensor | list[Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stability(lambda image: image, photos)


def test_a_painter_that_changes_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the network returned \(1, 3, 80, 96\) for a photo of \(1, 3, 80, 97\)"):
        stability(lambda image: image[..., :-1], photo())
