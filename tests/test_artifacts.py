"""Each artefact's detector, on a painting made here and on the same with one fault put in."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.errors import UserError
from onestroke.evaluation.artifacts.blobs import blobs
from onestroke.evaluation.artifacts.border import border
from onestroke.evaluation.artifacts.checkerboard import checkerboard
from onestroke.evaluation.artifacts.colour_cast import colour_cast
from onestroke.evaluation.artifacts.edge_bias import edge_bias
from onestroke.evaluation.artifacts.flat_noise import flat_noise, flat_noise_of
from onestroke.evaluation.artifacts.pictures import SMALLEST
from onestroke.evaluation.artifacts.summary import EARLIER_NAMES, LIMITS, fired, on_pair
from onestroke.perception.blob_response import own_blob_response

HEIGHT, WIDTH = 150, 175  # odd, and no multiple of anything


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def places(height: int = HEIGHT, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    return torch.arange(height).float()[:, None], torch.arange(width).float()[None]


def gaussian(image: Tensor, sigma: float) -> Tensor:
    x = torch.arange(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1).float()
    weights = torch.exp(-(x**2) / (2 * sigma**2))
    weights = (weights[:, None] * weights / weights.sum() ** 2).expand(image.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(image, [len(x) // 2] * 4, mode="reflect"), weights, groups=image.shape[1])


def photo(seed: int = 0) -> Tensor:
    """A flat sky with a sun over a textured field with a house, and the grain of a sensor."""
    y, x = places()
    sky = torch.tensor([0.55, 0.7, 0.9]).view(3, 1, 1) * (0.8 + 0.2 * y / HEIGHT)
    rough = gaussian(noise(seed, 1, 1, HEIGHT, WIDTH), 2)[0]
    field = torch.tensor([0.4, 0.45, 0.2]).view(3, 1, 1) * (1 + 3 * rough)
    picture = torch.where(y < 70 + 8 * torch.sin(x / 25), sky, field)
    sun = torch.sigmoid(12 - torch.hypot(y - 30, x - 130))
    picture = picture * (1 - sun) + sun * torch.tensor([1.0, 0.95, 0.7]).view(3, 1, 1)
    house = (y > 60) & (y < 100) & (x > 30) & (x < 75)
    picture = torch.where(house, torch.tensor([0.6, 0.3, 0.25]).view(3, 1, 1), picture)
    return (picture[None] + noise(seed + 1, 1, 3, HEIGHT, WIDTH) / 255).clamp(0, 1)


@cache
def strokes(seed: int) -> Tensor:
    """Line integral convolution of noise along a swirling field: strokes of 3 by 20 pixels, deviation 1."""
    y, x = (v.expand(HEIGHT, WIDTH) for v in places())
    angle = torch.sin(x / 40 + seed) * 1.2 + torch.cos(y / 30 - seed) * 1.2
    step = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    grain = gaussian(noise(seed, 1, 1, HEIGHT, WIDTH), 1.2)
    scale = torch.tensor([2 / WIDTH, 2 / HEIGHT])
    total = torch.zeros(1, 1, HEIGHT, WIDTH)
    for t in range(-10, 11):
        way = torch.stack([x + 0.5 - WIDTH / 2, y + 0.5 - HEIGHT / 2], dim=-1) + t * step
        total = total + F.grid_sample(grain, (way * scale)[None], padding_mode="reflection", align_corners=False)
    return total / total.std()


@cache
def painting(seed: int = 0) -> Tensor:
    """The photo in blues and yellows, with strong strokes that are lighter and darker and warmer and colder."""
    light = gaussian(photo(seed), 1.5).mean(dim=1, keepdim=True)
    blue, yellow = (torch.tensor(c).view(1, 3, 1, 1) for c in ((0.1, 0.25, 0.55), (0.95, 0.85, 0.45)))
    share = (1.2 * (light - 0.2) + 0.15 * strokes(seed)).clamp(0, 1)
    return (blue + (yellow - blue) * share + 0.06 * strokes(seed + 10)).clamp(0, 1)


PALETTE = torch.tensor([0.35, 0.43, 0.52])


# --- the faults -----------------------------------------------------------------------------------------


def gridded(picture: Tensor) -> Tensor:
    """In part through a transposed convolution, whose windows of 3 overlap unevenly at strides of 2 (Odena, 2016)."""
    half = F.avg_pool2d(F.pad(picture, (0, 1, 0, 1), mode="replicate"), 2)
    kernel = torch.full((3, 1, 3, 3), 1 / 2.25)
    grown = F.conv_transpose2d(half, kernel, stride=2, groups=3)[..., 1 : HEIGHT + 1, 1 : WIDTH + 1]
    grown = F.pad(grown, (0, WIDTH - grown.shape[-1], 0, HEIGHT - grown.shape[-2]), mode="replicate")
    return (0.9 * picture + 0.1 * grown).clamp(0, 1)


def ring(first: int, last: int) -> Tensor:
    y, x = places()
    distance = torch.minimum(torch.minimum(y, HEIGHT - 1 - y), torch.minimum(x, WIDTH - 1 - x))
    return (distance >= first) & (distance < last)


def framed(picture: Tensor) -> Tensor:
    """Dark towards the edges, as from zero padding."""
    return torch.where(ring(0, 6), 0.5 * picture, picture)


def blurred_frame(picture: Tensor) -> Tensor:
    return torch.where(ring(0, 16), gaussian(picture, 4), picture)


def dropped(colour: tuple[float, float, float], radius: float) -> Callable[[Tensor], Tensor]:
    def put(picture: Tensor) -> Tensor:
        y, x = places()
        for cy, cx in ((40, 60), (110, 120)):
            drop = torch.sigmoid(1.5 * (radius - torch.hypot(y - cy, x - cx)))
            picture = picture * (1 - drop) + drop * torch.tensor(colour).view(1, 3, 1, 1)
        return picture

    return put


def grainy(picture: Tensor) -> Tensor:
    """White noise where the photo is flat, louder than the strokes there."""
    return (gaussian(picture, 4) + 0.04 * noise(5, *picture.shape)).clamp(0, 1)


def peppered(picture: Tensor) -> Tensor:
    draw = torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(6))
    return torch.where(draw < 0.05, torch.zeros(()), torch.where(draw > 0.95, torch.ones(()), picture))


def tinted(picture: Tensor) -> Tensor:
    return (picture * torch.tensor([0.75, 1.2, 0.7]).view(1, 3, 1, 1)).clamp(0, 1)


FAULTS = [
    ("checkerboard", gridded),
    ("border", framed),
    ("border", blurred_frame),
    ("blobs", dropped((1.0, 0.0, 1.0), 5)),
    ("blobs", dropped((0.0, 0.0, 0.0), 6)),
    ("blobs", dropped((1.0, 1.0, 1.0), 12)),
    ("flat_noise", grainy),
    ("flat_noise", peppered),
    ("colour_cast", tinted),
]


@cache
def sound(seed: int) -> dict[str, float]:
    """What the detectors find in a painting without a fault."""
    return on_pair(painting(seed), photo(seed), PALETTE)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sound_painting_fires_nothing(seed: int) -> None:
    values = sound(seed)
    assert list(values) == ["checkerboard", "border", "blobs", "flat_noise", "colour_cast", "colour_leak"]
    assert all(0 <= value < 0.8 * LIMITS[name] for name, value in values.items())
    assert fired(values) == []


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_a_fault_fires_its_detector(name: str, fault: Callable[[Tensor], Tensor], seed: int) -> None:
    broken = on_pair(fault(painting(seed)), photo(seed), PALETTE)
    assert name in fired(broken)
    assert broken[name] > 1.2 * LIMITS[name]
    assert broken[name] > 2 * sound(seed)[name]


@pytest.mark.parametrize("name", ["checkerboard", "border", "blobs", "colour_cast"])
def test_a_fault_fires_no_other_detector(name: str) -> None:
    for fault in (fault for named, fault in FAULTS if named == name):
        assert fired(on_pair(fault(painting()), photo(), PALETTE)) == [name]


@pytest.mark.parametrize(
    "picture", [photo(), painting(), framed(photo()), dropped((1, 0, 1), 5)(photo()), gridded(photo())]
)
def test_what_the_photo_has_is_no_fault_of_the_painter(picture: Tensor) -> None:
    values = on_pair(picture, picture)
    del values["colour_leak"]  # its colours are all the photo's
    assert all(value == 0 or (name == "flat_noise" and math.isnan(value)) for name, value in values.items())
    assert fired(values) == []


def test_detectors_take_batches() -> None:
    outputs = torch.cat([painting(0), framed(painting(1)), peppered(painting(2))])
    photos = torch.cat([photo(0), photo(1), photo(2)])
    for detector in (checkerboard, border, blobs, flat_noise, colour_cast):
        found = detector(outputs, photos)
        assert found.shape == (3,)
        for i in range(3):
            assert float(found[i]) == pytest.approx(float(detector(outputs[i : i + 1], photos[i : i + 1])), abs=1e-4)


# --- known answers --------------------------------------------------------------------------------------


def wave(height: int, width: int, period_y: float, period_x: float) -> Tensor:
    """A cosine grid of amplitude 1; infinity for no change along that axis."""
    y, x = places(height, width)
    return torch.cos(2 * math.pi * (y / period_y + x / period_x)).expand(1, 3, height, width)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (101, 64)])
@pytest.mark.parametrize(
    "periods", [(2, 2), (2, math.inf), (math.inf, 2), (4, math.inf), (math.inf, 4), (4, 4), (4, -4), (2, 4), (4, 2)]
)
def test_a_checkerboard_on_a_flat_field_is_its_power_over_that_of_rounding(
    size: tuple[int, int], periods: tuple[float, float]
) -> None:
    flat = torch.full((1, 3, *size), 0.5)
    amplitude = 1 / 255
    found = float(checkerboard(flat + amplitude * wave(*size, *periods), flat))
    # sums over a Hann window of 32, an axis: 16, and 12 of squares; a period other than 2 halves between f and -f
    whole = all(period in (2, math.inf) for period in periods)
    power = (amplitude * (1 if whole else 0.5) * 16**2) ** 2
    rounding = (1 / 255) ** 2 / 12 * 12**2
    assert found == pytest.approx(10 * math.log10(power / rounding + 1), abs=0.05)


def test_a_checkerboard_in_noise_is_its_power_over_that_of_the_noise() -> None:
    flat, grain = torch.full((1, 3, 320, 320), 0.5), 0.05 * noise(0, 1, 3, 320, 320)
    assert float(checkerboard(flat + grain, flat)) == 0
    found = float(checkerboard(flat + grain + 0.02 * wave(320, 320, 2, math.inf), flat))
    # the mean log of a sum of three exponential variables is below the log of its mean by 0.7640 dB
    expected = 10 * math.log10(0.02**2 * 16**4 / (0.05**2 * 12**2) + 1) + 0.764
    # the loudest of 16 around, 8 of them distinct, is above their mean: 1.4 deviations of the mean of 361 tiles that
    # overlap by half, of 2.7 dB each
    assert found == pytest.approx(expected - 0.3, abs=0.3)


@pytest.mark.parametrize("periods", [(3, math.inf), (2.5, 2.5), (8, 8), (5, 3), (math.inf, 4.6)])
def test_a_texture_of_another_period_is_no_checkerboard(periods: tuple[float, float]) -> None:
    flat = torch.full((1, 3, 96, 96), 0.5)
    assert float(checkerboard(flat + 0.2 * wave(96, 96, *periods), flat)) == pytest.approx(0, abs=0.01)


def test_a_checkerboard_in_a_small_sky_counts_by_its_share() -> None:
    flat = torch.full((1, 3, 128, 128), 0.5)
    grid = 0.02 * wave(128, 128, 2, 2)
    partly = torch.where(places(128, 128)[0] < 64, grid, torch.zeros(()))
    whole = float(checkerboard(flat + grid, flat))
    # three of seven rows of tiles lie in it, and a fourth lies there by half
    assert whole * 3 / 7 < float(checkerboard(flat + partly, flat)) < whole * 4 / 7


def test_border_is_the_difference_of_means_in_deviations() -> None:
    inside = 0.5 + 0.1 * noise(1, 1, 3, HEIGHT, WIDTH)
    shifted = inside + torch.where(ring(0, 16), 0.07, 0.0) * torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    flat = torch.full_like(inside, 0.5)
    pixels = shifted[0, 1].numpy()
    gap = pixels[ring(0, 4).numpy()].mean() - pixels[ring(16, 32).numpy()].mean()
    wide = pixels[ring(0, 16).numpy()].mean() - pixels[ring(16, 32).numpy()].mean()
    expected = max(gap, wide) / (shifted.numpy().std() + 0.01)
    assert float(border(shifted, flat)) == pytest.approx(expected, rel=1e-3)
    assert 0.6 < expected < 0.8


def test_border_is_the_log_of_the_ratio_of_contrasts() -> None:
    grain = 0.05 * noise(2, 1, 3, HEIGHT, WIDTH)
    louder = 0.5 + torch.where(ring(0, 16), 3.0, 1.0) * grain
    flat = torch.full_like(grain, 0.5)
    # the gradient of white noise is twice its deviation
    assert float(border(louder, flat)) == pytest.approx(math.log((0.3 + 0.005) / (0.1 + 0.005)), rel=0.02)
    assert float(border(0.5 + grain, flat)) < 0.05
    assert float(border(0.5 + grain, louder)) < 0.01  # it may be as even as this, or as uneven as the photo
    assert float(border(louder, louder)) == 0


def test_a_blob_is_as_strong_as_its_colour_is_foreign() -> None:
    y, x = places(128, 128)
    grain = torch.tensor([0.02, 0.02, 0.2]).view(1, 3, 1, 1) * torch.stack(
        [wave(128, 128, *periods)[0, 0] for periods in ((2, math.inf), (math.inf, 2), (2, 2))]
    )
    flat = torch.full_like(grain, 0.5)
    blob = torch.exp(-((y - 60) ** 2 + (x - 70) ** 2) / (2 * 4**2))
    found = []
    for channel in (0, 2):
        image = 0.5 + grain
        image[:, channel] += 0.6 * blob
        detail = (image - gaussian(image, 8)).numpy()[0, channel]
        # a Gaussian smoothed by its own width: half as high, sqrt 2 as wide, and of curvature 4^2 / (2 x 2 x 4^2)
        expected = 0.6 / 4 / math.sqrt(detail.var() + 0.05**2)
        strength = float(blobs(image, flat))
        assert strength == pytest.approx(expected, rel=0.02)
        found.append(strength)
        moved = image.roll((3, -4), dims=(2, 3))
        assert float(blobs(moved, image)) < 0.25 * strength
    assert found[0] > 2 * found[1]


def starry() -> Tensor:
    """A night in strokes of blue and yellow, with two stars."""
    blue, yellow = (torch.tensor(c).view(1, 3, 1, 1) for c in ((0.1, 0.25, 0.55), (0.95, 0.85, 0.45)))
    night = blue + (yellow - blue) * (0.15 + 0.2 * strokes(10)).clamp(0, 1)
    return dropped((0.95, 0.85, 0.45), 8)(night).roll((-10, 25), dims=(2, 3)).clamp(0, 1)


def test_stars_are_no_fault_of_who_paints_like_a_painter_of_stars() -> None:
    own, empty = own_blob_response(starry()), torch.full((1, 3, HEIGHT, WIDTH), 0.5)
    assert own > 1.2 * LIMITS["blobs"]
    assert fired(on_pair(starry(), empty)) == ["blobs"]
    assert on_pair(starry(), empty, style_response=own)["blobs"] == pytest.approx(LIMITS["blobs"])
    # what that painter does not have is one all the same, and whose own are fainter gets no bonus and no malus
    assert on_pair(dropped((1.0, 0.0, 1.0), 5)(starry()), empty, style_response=own)["blobs"] > 1.2 * LIMITS["blobs"]
    assert on_pair(starry(), empty, style_response=0.5)["blobs"] == on_pair(starry(), empty)["blobs"]


def test_an_edge_or_a_stroke_is_no_blob() -> None:
    y, x = places(128, 128)
    flat = torch.full((1, 3, 128, 128), 0.5)
    stroke = 0.5 + 0.5 * torch.exp(-((y - 0.6 * x - 20) ** 2) / 18).expand(1, 3, -1, -1)
    edge = (0.2 * y + x > 80).float().expand(1, 3, -1, -1)
    for picture in (stroke, edge):
        assert float(blobs(picture, flat)) < 0.25 * LIMITS["blobs"]


def test_flat_noise_is_the_share_of_white_noise_in_the_detail() -> None:
    flat = torch.full((1, 3, 128, 128), 0.5)
    for level in (1, 3, 10):
        sigma = level / 255
        expected = sigma / math.sqrt(sigma**2 + (4 / 255) ** 2)  # smoothing by 2 pixels keeps a fiftieth of the power
        assert float(flat_noise(flat + sigma * noise(4, *flat.shape), flat)) == pytest.approx(expected, rel=0.03)
    assert float(flat_noise(flat, flat)) == 0


def test_strokes_are_no_noise_and_hide_it() -> None:
    flat = torch.full((1, 3, HEIGHT, WIDTH), 0.5)
    painted = flat + 0.1 * strokes(0)
    assert float(flat_noise(painted, flat)) < 0.25
    little = 0.01 * noise(7, *flat.shape)
    assert float(flat_noise(painted + little, flat)) < LIMITS["flat_noise"] / 2
    assert float(flat_noise(flat + little, flat)) > 0.5


def test_flat_noise_takes_off_the_photo_s_own_grain() -> None:
    flat, grain = torch.full((1, 3, 128, 128), 0.5), noise(8, 1, 3, 128, 128) / 255
    assert float(flat_noise(flat + grain, flat + grain)) == 0
    twice = float(flat_noise(flat + 2 * grain, flat + grain))
    assert twice == pytest.approx(math.sqrt((2**2 - 1) / (2**2 + 4**2)), rel=0.03)


def test_flat_noise_is_not_a_number_where_nothing_is_flat() -> None:
    rough = 0.5 + 0.1 * noise(9, 1, 3, 64, 64)
    values = on_pair(rough, rough)
    assert math.isnan(values["flat_noise"])
    assert fired(values) == []
    half = torch.where(places(64, 64)[1] < 32, torch.full_like(rough, 0.5), rough)
    assert float(flat_noise(half, half)) == 0


def test_the_edge_bias_of_a_painter_is_told_by_edge_in_deviations() -> None:
    def banded(image: Tensor) -> Tensor:
        painted = gaussian(image, 1)
        painted[:, 0, :16] += 0.5 * painted.std()
        painted[:, :, :, -8:] -= 0.2 * painted.std()
        return painted

    found = edge_bias(banded)
    assert list(found) == ["top", "bottom", "left", "right"]
    assert found["top"] == pytest.approx(0.5, abs=0.06)
    assert found["right"] == pytest.approx(0.1, abs=0.06)
    assert max(found["bottom"], found["left"]) < 0.05
    assert edge_bias(banded, seed=3) == edge_bias(banded, seed=3) != found


def test_edge_bias_of_painters_that_see_no_edge_and_of_one_that_does() -> None:
    kernel = torch.full((3, 1, 31, 31), 1 / 961)

    def padded(image: Tensor, mode: str) -> Tensor:
        wide = F.pad(image, [15] * 4, mode)
        return F.conv2d(wide, kernel, groups=3)

    def unsmoothed_inside(image: Tensor) -> Tensor:
        painted = padded(image, "reflect")
        painted[..., 16:-16, 16:-16] = image[..., 16:-16, 16:-16]
        return painted

    assert max(edge_bias(lambda image: image).values()) == 0
    assert max(edge_bias(lambda image: padded(image, "circular")).values()) < 1e-5
    assert max(edge_bias(lambda image: padded(image, "reflect")).values()) < LIMITS["edge_bias"] / 4
    # a mean of 31 x 31 pixels with nothing but zeros beyond the edge
    assert min(edge_bias(lambda image: padded(image, "constant")).values()) > LIMITS["edge_bias"]
    # as bright as the picture, but smoother
    assert min(edge_bias(unsmoothed_inside).values()) > 0.1


def pictures_shown(measure: Callable[[Callable[[Tensor], Tensor]], object]) -> list[Tensor]:
    """The pictures that a detector has a network paint."""
    shown: list[Tensor] = []

    def paint(image: Tensor) -> Tensor:
        shown.append(image)
        return image

    measure(paint)
    return shown


def test_edge_bias_shows_a_painter_colourful_fields_without_an_end() -> None:
    shown = pictures_shown(edge_bias)
    assert all(image.shape == (1, 3, 256, 256) and 0 <= image.min() and image.max() <= 1 for image in shown)
    assert all(0.1 < float(image.std(dim=(2, 3)).mean()) < 0.3 for image in shown)
    seams = torch.stack([(image[..., 0, :] - image[..., -1, :]).square().mean() for image in shown])
    steps = torch.stack([image.diff(dim=2).square().mean() for image in shown])
    assert float((seams / steps).mean()) == pytest.approx(1, abs=0.1)


def test_flat_noise_of_a_painter_by_itself() -> None:
    def noisy(image: Tensor) -> Tensor:
        return image + 0.05 * noise(10, *image.shape)

    def stroked(image: Tensor) -> Tensor:
        side = image.shape[-1]
        return image + 0.1 * F.interpolate(strokes(0)[..., :130, :130], (side, side), mode="bicubic")

    def sharpened(image: Tensor) -> Tensor:
        return image + 8 * (image - gaussian(image, 1))

    assert flat_noise_of(lambda image: image) == 0
    assert flat_noise_of(lambda image: gaussian(image, 2)) == 0
    assert flat_noise_of(stroked) < LIMITS["flat_noise"] / 2
    assert flat_noise_of(noisy) > 1.5 * LIMITS["flat_noise"]
    assert flat_noise_of(sharpened) > LIMITS["flat_noise"]
    assert flat_noise_of(noisy, seed=3) == flat_noise_of(noisy, seed=3)


def test_flat_noise_of_shows_a_painter_flat_fields_of_several_colours_and_gradients() -> None:
    shown = pictures_shown(flat_noise_of)
    skies = [image[..., :110, :] for image in shown]
    colours = np.array([sky.mean(dim=(0, 2, 3)).numpy() for sky in skies])
    rise = np.array([float((sky[..., -10:, :].mean() - sky[..., :10, :].mean()).abs()) for sky in skies])
    assert all(image.shape == (1, 3, 160, 160) and 0 <= image.min() and image.max() <= 1 for image in shown)
    assert sum(rise > 0.05) >= 2 and sum(rise < 0.001) >= 5
    assert all(abs(a - b).max() > 0.05 for i, a in enumerate(colours) for b in colours[:i])


RED, GREEN, GREY = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.5, 0.5)


def plain(colour: tuple[float, float, float]) -> Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 32, 32)


def test_colour_cast_is_a_distance_in_cielab() -> None:
    # a* and b* of the primaries: 80.09, 67.20 and -86.18, 83.18
    assert float(colour_cast(plain(RED), plain(GREY))) == pytest.approx(math.hypot(80.09, 67.20), abs=0.05)
    assert float(colour_cast(plain(RED), plain(GREEN))) == pytest.approx(math.hypot(166.27, 15.98), abs=0.05)
    assert float(colour_cast(plain((0.1, 0.1, 0.1)), plain((0.9, 0.9, 0.9)))) == pytest.approx(0, abs=0.01)


def test_colour_cast_agrees_with_another_reader_of_cielab() -> None:
    color = pytest.importorskip("skimage.color")
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = (tuple(rng.uniform(0, rng.choice([0.05, 1]), 3).tolist()) for _ in range(2))
        apart = color.rgb2lab(np.array(a)[None, None])[0, 0, 1:] - color.rgb2lab(np.array(b)[None, None])[0, 0, 1:]
        assert float(colour_cast(plain(a), plain(b))) == pytest.approx(np.hypot(*apart), abs=0.05)


def test_colours_between_the_photo_s_and_the_style_s_are_no_cast() -> None:
    style = torch.tensor(RED)
    assert float(colour_cast(plain(RED), plain(GREY), style)) == pytest.approx(0, abs=1e-3)
    assert float(colour_cast(plain(GREY), plain(GREY), style)) == pytest.approx(0, abs=1e-3)
    # a* and b* of (0.7, 0.4, 0.3) are 28.19 and 27.67: the share of (80.09, 67.20), and the rest
    share = (28.19 * 80.09 + 27.67 * 67.20) / (80.09**2 + 67.20**2)
    apart = math.hypot(28.19 - share * 80.09, 27.67 - share * 67.20)
    assert float(colour_cast(plain((0.7, 0.4, 0.3)), plain(GREY), style)) == pytest.approx(apart, abs=0.05)
    # on the far side of grey, the photo is the nearest; beside the way, the way's line
    assert float(colour_cast(plain(GREEN), plain(GREY), style)) == pytest.approx(math.hypot(86.18, 83.18), abs=0.05)
    blue = float(colour_cast(plain((0.0, 0.0, 1.0)), plain(GREY), style))
    assert blue == pytest.approx(math.hypot(79.19, 107.86), abs=0.1)
    each = colour_cast(torch.cat([plain(RED)] * 2), torch.cat([plain(GREY)] * 2), torch.tensor([RED, GREY]))
    assert each.tolist() == pytest.approx([0, math.hypot(80.09, 67.20)], abs=0.05)


def test_without_a_palette_only_a_gross_shift_fires() -> None:
    assert fired(on_pair(painting(), photo())) == []
    assert "colour_shift" in on_pair(painting(), photo())
    green = painting() * torch.tensor([0.1, 1.6, 0.1]).view(1, 3, 1, 1)
    assert fired(on_pair(green, photo())) == ["colour_shift"]


# --- summary -------------------------------------------------------------------------------------------


def test_fired_names_what_exceeds_its_limit() -> None:
    assert fired({}) == fired(LIMITS) == fired({"loss": 1e9, "blobs": math.nan}) == []
    assert fired({name: limit + 1e-6 for name, limit in reversed(LIMITS.items())}) == list(LIMITS)
    assert fired({name: LIMITS[today] + 1e-6 for name, today in EARLIER_NAMES.items()}) == list(EARLIER_NAMES.values())


@pytest.mark.parametrize("detector", [checkerboard, border, blobs, flat_noise, colour_cast, on_pair])
def test_what_is_no_pair_is_refused(detector: Callable[[Tensor, Tensor], object]) -> None:
    good = torch.full((1, 3, 64, 64), 0.5)
    for output, other in ((good, good[..., :63]), (good[:, :1], good[:, :1]), (good[0], good[0])):
        with pytest.raises(ValueError, match=r"the same shape|one painting at a time"):
            detector(output, other)
    small = torch.rand(1, 3, SMALLEST - 1, 64)
    with pytest.raises(UserError, match=r"at least 32 x 32 pixels, and the picture is 64 x 31"):
        detector(small, small)


def test_the_smallest_pictures_are_judged() -> None:
    image = torch.rand(1, 3, SMALLEST, SMALLEST, generator=torch.Generator().manual_seed(0))
    values = on_pair(image, torch.full_like(image, 0.5), PALETTE)
    assert all(math.isfinite(value) for value in values.values())


def test_a_batch_is_no_pair() -> None:
    two = torch.rand(2, 3, 32, 32)
    with pytest.raises(ValueError, match="one painting at a time, not 2"):
        on_pair(two, two)
