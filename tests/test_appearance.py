"""Detectors that compare an output with how the style's painting looks, each on a fault made here and without it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from onestroke.documents import KEY
from onestroke.errors import UserError
from onestroke.evaluation.artifacts.area_blobs import area_blobs
from onestroke.evaluation.artifacts.blobs import blobs
from onestroke.evaluation.artifacts.colour_leak import colour_leak
from onestroke.evaluation.artifacts.contrast import contrast, contrast_loss
from onestroke.evaluation.artifacts.fringe import fringe
from onestroke.evaluation.artifacts.plain_busyness import plain_busyness
from onestroke.evaluation.artifacts.ripple import ripple
from onestroke.evaluation.artifacts.summary import LIMITS, fired, on_pair
from onestroke.imaging.lab import lab
from onestroke.perception.appearance import Appearance, appearance_of
from onestroke.perception.ripple_response import ripple_response
from onestroke.perception.style_card import CARD_SIZES, card_names, from_card, read_card
from tests.test_artifacts import HEIGHT, WIDTH, gaussian, painting, photo, places, strokes

NAMES = ("contrast_loss", "plain_busyness", "ripple", "fringe", "area_blobs")


@cache
def calm(seed: int = 0) -> Tensor:
    """The painting with wide soft strokes."""
    return gaussian(painting(seed), 4)


@cache
def sound() -> tuple[Appearance, dict[str, float]]:
    """How the painting looks, and what the detectors find in an output that is the painting."""
    own = appearance_of([calm()])
    return own, on_pair(calm(), photo(), painting=own)


def milky(picture: Tensor) -> Tensor:
    return 0.5 + 0.6 * (picture - 0.5)


def busy(picture: Tensor) -> Tensor:
    return (picture + 0.12 * strokes(5)).clamp(0, 1)


def rippled(picture: Tensor) -> Tensor:
    """Rings of 6 pixels around the sun."""
    y, x = places()
    return (picture + 0.12 * torch.cos(torch.hypot(y - 30, x - 130) * (2 * math.pi / 6))).clamp(0, 1)


def fringed(picture: Tensor) -> Tensor:
    """Red two pixels up and blue two down along the outline of the photo's house and horizon."""
    outline = 0.8 * photo() + 0.2 * picture
    return torch.stack([outline[:, 0].roll(-2, 1), outline[:, 1], outline[:, 2].roll(2, 1)], dim=1)


def droplets(picture: Tensor) -> Tensor:
    """A magenta patch of 20 pixels in the sky, with a soft edge."""
    y, x = places()
    patch = torch.sigmoid((20 - torch.hypot(y - 35, x - 60)) / 3)
    return picture * (1 - patch) + patch * torch.tensor([0.9, 0.1, 0.8]).view(1, 3, 1, 1)


FAULTS: list[tuple[str, Callable[[Tensor], Tensor]]] = [
    ("contrast_loss", milky),
    ("plain_busyness", busy),
    ("ripple", rippled),
    ("fringe", fringed),
    ("area_blobs", droplets),
]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sound_painting_fires_nothing(seed: int) -> None:
    for picture in (painting(seed), calm(seed)):
        values = on_pair(picture, photo(seed), painting=appearance_of([picture]))
        assert set(NAMES) < values.keys()
        assert fired(values) == []


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_a_fault_fires_its_detector(name: str, fault: Callable[[Tensor], Tensor]) -> None:
    own, before = sound()
    broken = on_pair(fault(calm()), photo(), painting=own)[name]
    assert broken > 1.2 * LIMITS[name]
    assert broken > 2 * before[name]


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_what_the_painting_has_is_no_fault(name: str, fault: Callable[[Tensor], Tensor]) -> None:
    own = appearance_of([fault(calm())])
    assert on_pair(fault(calm()), photo(), painting=own)[name] < LIMITS[name] or name == "area_blobs"


def test_what_the_photo_has_is_no_fault_but_for_contrast() -> None:
    own = appearance_of([calm()])
    for _, fault in FAULTS[1:]:
        values = on_pair(fault(photo()), fault(photo()), painting=own)
        assert all(values[name] == 0 or math.isnan(values[name]) for name in NAMES[1:])


def test_detectors_take_batches() -> None:
    outputs, photos, own = torch.cat([droplets(calm()), busy(calm(1))]), torch.cat([photo(), photo(1)]), CALM
    for detector in (contrast_loss, plain_busyness, ripple, fringe, area_blobs):
        each = [float(detector(outputs[i : i + 1], photos[i : i + 1], own)) for i in range(2)]
        assert detector(outputs, photos, own).tolist() == pytest.approx(each, abs=1e-4)


CALM = appearance_of([calm()])


# --- known answers ---


def grey(lightness: Tensor) -> Tensor:
    """A grey picture of the given L*, above 8: (H, W) -> (1, 3, H, W)."""
    linear = ((lightness + 16) / 116) ** 3
    return (1.055 * linear ** (1 / 2.4) - 0.055).expand(1, 3, *lightness.shape)


def test_contrast_is_the_ratio_of_deviations() -> None:
    y, x = places(64, 64)
    wave = torch.sin(y / 5) * torch.cos(x / 7)
    output, flat = grey(50 + 20 * wave), grey(torch.full((64, 64), 50.0))
    own = replace(CALM, lightness_deviation=30.0, chroma_aa=9.0, chroma_bb=16.0)
    lightness, chroma = contrast(output, flat, own)
    assert float(lightness) == pytest.approx((20 * float(wave.std()) + 1) / 31, rel=1e-3)
    assert float(chroma) == pytest.approx(1 / 6, abs=1e-2)
    assert float(contrast_loss(output, flat, own)) == pytest.approx(1 - float(lightness))
    assert float(contrast_loss(output, flat, replace(own, lightness_deviation=1.0))) == 0


def test_the_appearance_is_that_of_the_pixels() -> None:
    own = appearance_of([painting()])
    colours = lab(painting())[0].flatten(1).double().numpy()
    covariance = np.cov(colours)
    assert own.lightness_deviation == pytest.approx(math.sqrt(covariance[0, 0]))
    assert (own.chroma_aa, own.chroma_bb) == pytest.approx((covariance[1, 1], covariance[2, 2]))
    assert own.chroma_ab == pytest.approx(covariance[1, 2])
    assert own.chroma_deviation == pytest.approx(math.sqrt(covariance[1, 1] + covariance[2, 2]))
    both = appearance_of([painting(), calm()])
    assert both.ripple == pytest.approx((own.ripple + CALM.ripple) / 2)


def test_the_plainest_quarter_is_as_busy_as_its_grain() -> None:
    grain = torch.randn(120, 160, generator=torch.Generator().manual_seed(3))
    deviation = torch.where(torch.arange(160) < 80, 2.0, 8.0)
    own = appearance_of([grey(50 + deviation * grain)])
    # the quietest windows of the quiet half; smoothing by 4 pixels keeps a two hundredth of white noise
    assert own.plain_busyness == pytest.approx(2, rel=0.1)
    flat = grey(torch.full((120, 160), 50.0))
    found = plain_busyness(grey(50 + 6 * grain), flat, replace(own, plain_busyness=2.0))
    assert float(found) == pytest.approx(6 / 3, rel=0.03)


@pytest.mark.parametrize("period", [4, 6, 9, 12])
@pytest.mark.parametrize("angle", [0.0, 0.5, 1.3, 2.6])
def test_regular_lines_ripple(period: int, angle: float) -> None:
    y, x = places(96, 96)
    phase = (x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / period)
    assert float(ripple_response(grey(50 + 10 * torch.cos(phase)))) > 0.7


def test_an_edge_a_line_and_noise_do_not_ripple() -> None:
    y, x = places(96, 96)
    edge = 40 + 30 * (x > 50 + 0.3 * y).float()
    line = 60 - 30 * torch.exp(-((y - 0.6 * x - 20) ** 2) / 8)
    noise = 50 + 10 * torch.randn(96, 96, generator=torch.Generator().manual_seed(0))
    for lightness, most in ((edge, 0.35), (line, 0.35), (noise, 0.35)):
        assert float(ripple_response(grey(lightness))) < most
    assert float(ripple_response(grey(torch.full((96, 96), 50.0)))) == 0


def test_colours_that_follow_lightness_do_not_leak_and_those_of_the_photo_do() -> None:
    kept = lab(photo())
    assert float(colour_leak(painting(), photo())) < 0.2
    assert float(colour_leak((0.3 * painting() + 0.7 * photo()).clamp(0, 1), photo())) > LIMITS["colour_leak"]
    # another hue for each of the photo's hues is one too
    assert float(colour_leak(photo().flip(1), photo())) > LIMITS["colour_leak"]
    assert kept.isfinite().all()
    flat = torch.full((1, 3, HEIGHT, WIDTH), 0.5)
    assert float(colour_leak(painting(), flat)) == pytest.approx(0, abs=1e-3)
    assert float(colour_leak(flat, photo())) == pytest.approx(0, abs=1e-3)


def test_the_leak_is_the_share_of_variance() -> None:
    y, x = places(160, 160)
    own, other = torch.sin(x / 25).expand(160, 160), torch.cos(y / 25).expand(160, 160)

    light = 0.1 * torch.sin((x + y) / 13)

    def coloured(first: Tensor, second: Tensor) -> Tensor:
        return torch.stack([0.5 + 0.1 * first + light, 0.5 - 0.03 * first + light, 0.5 + 0.1 * second + light])[None]

    found = float(colour_leak(coloured(own, other), coloured(own, torch.zeros_like(own))))
    chroma = lab(coloured(own, other))[0, 1:].flatten(1)
    alone = lab(coloured(own, torch.zeros_like(own)))[0, 1:].flatten(1)
    assert found == pytest.approx(float(alone.var(dim=1).sum() / chroma.var(dim=1).sum()), abs=0.1)


def test_large_blobs_are_seen_where_the_small_ones_detector_is_blind() -> None:
    y, x = places()
    wide = torch.sigmoid((35 - torch.hypot(y - 35, x - 60)) / 6) * (y < 62)
    picture = calm() * (1 - wide) + wide * torch.tensor([0.9, 0.1, 0.8]).view(1, 3, 1, 1)
    assert float(area_blobs(picture, photo(), CALM)) > LIMITS["area_blobs"]
    assert float(area_blobs(droplets(calm()), photo(), CALM)) > LIMITS["area_blobs"]
    # a colour of the painting is less foreign
    yellow = calm() * (1 - wide) + wide * torch.tensor([0.95, 0.85, 0.45]).view(1, 3, 1, 1)
    assert float(area_blobs(yellow, photo(), CALM)) < LIMITS["area_blobs"]
    assert float(blobs(yellow, photo())) < LIMITS["blobs"]


def test_photos_without_plain_parts_or_edges_are_not_judged() -> None:
    rough = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    flat = torch.full((1, 3, 64, 64), 0.5)
    assert math.isnan(float(plain_busyness(rough, rough, CALM))) and math.isnan(float(area_blobs(rough, rough, CALM)))
    assert math.isnan(float(fringe(rough, flat, CALM)))


# --- cards ---


def test_every_card_that_ships_has_the_appearance() -> None:
    for name in card_names():
        found = [from_card(name, size, []).appearance for size in CARD_SIZES]
        assert all(one is not None and one.lightness_deviation > 10 and one.ripple > 0.1 for one in found)


def changed(path: Path, out: Path, appearance: object) -> Path:
    """A card with another appearance, or without one for None."""
    with safe_open(str(path), "pt") as card:
        document = json.loads(card.metadata()[KEY])
        tensors = {name: card.get_tensor(name) for name in card.keys()}
    del document["appearance"]
    if appearance is not None:
        document["appearance"] = appearance
    out.write_bytes(serialize(tensors, metadata={KEY: json.dumps(document)}))
    return out


def test_cards_without_an_appearance_are_read_and_wrong_ones_refused(tmp_path: Path) -> None:
    import onestroke

    path = Path(onestroke.__file__).parent / "assets" / "styles" / "udnie.safetensors"
    assert read_card(changed(path, tmp_path / "older.safetensors", None), 256, []).appearance is None
    assert read_card(changed(path, tmp_path / "a.safetensors", {"256": asdict(CALM)}), 256, []).appearance == CALM
    wrong: object
    for wrong in ([], {"256": 1}, {"256": {}}, {"256": {**asdict(CALM), "ripple": -1}}, {"256": {"ripple": 1}}):
        with pytest.raises(UserError, match="its appearance is not numbers"):
            read_card(changed(path, tmp_path / "b.safetensors", wrong), 256, [])


def test_an_unknown_appearance_leaves_its_detectors_out() -> None:
    assert not set(NAMES) & on_pair(painting(), photo()).keys()
    assert isinstance(CALM, Appearance)
