"""Exactly known motions, and the term that has paintings move with them: against independent computations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.losses.motions import BEND, PAN, WAVES, Motions, inside, pixels_of, sampled
from onestroke.losses.temporal import LIGHT, NOISE, Temporal, lit, temporal_error
from onestroke.losses.term import Before
from onestroke.training.module import StyleTransfer
from tests.running import judged
from tests.test_training import objective, tiny


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(count: int, side: int) -> Tensor:
    return F.interpolate(noise(count, 3, 6, 6), (side, side), mode="bicubic").clamp(0, 1)


# --- motions ------------------------------------------------------------------------------------------------


def place(motions: Motions, i: int, x: float, y: float, t: float) -> tuple[float, float]:
    """Where camera i sees a pixel of frame t in the photo, in plain arithmetic."""
    scale, angle = math.exp(float(motions.zoom[i]) * t), float(motions.turn[i]) * t
    turned = complex(x, y) * scale * complex(math.cos(angle), math.sin(angle)) + complex(*motions.pan[i].tolist()) * t
    found = [turned.real, turned.imag]
    for side in range(2):
        for wave in range(WAVES):
            a, phase, beat = (float(part[i, side, wave]) for part in (motions.amplitude, motions.phase, motions.beat))
            kx, ky = motions.waves[i, side, wave].tolist()
            along = kx * x + ky * y + phase
            found[side] += a * (math.sin(along + beat * t) - math.sin(along))
    return found[0], found[1]


def test_places_are_a_turn_a_zoom_a_pan_and_waves_which_begin_at_the_photo() -> None:
    motions, pixels = Motions.draw([(0, n) for n in range(6)]), pixels_of(torch.zeros(6, 3, 20, 30))
    assert torch.equal(pixels[0, 0, 0], torch.tensor([-14.5, -9.5])) and torch.equal(pixels[3, 4, 8], pixels[0, 4, 8])
    torch.testing.assert_close(motions.places(pixels, torch.zeros(6)), pixels, rtol=0, atol=1e-5)
    found = motions.places(pixels, torch.full((6,), 7.0))
    for i in range(6):
        for row, column in ((0, 0), (11, 23), (19, 4)):
            x, y = pixels[i, row, column].tolist()
            expected = place(motions, i, x, y, 7.0)
            assert found[i, row, column].tolist() == pytest.approx(expected, abs=1e-3)


def test_where_content_was_before_is_found_within_a_hundredth_of_a_pixel() -> None:
    motions, pixels = Motions.draw([(1, n) for n in range(20)]), pixels_of(torch.zeros(20, 3, 64, 64))
    for now, earlier in ((1.0, 0.0), (24.0, 23.0), (13.0, 7.0)):
        there = motions.before(pixels, torch.full((20,), now), torch.full((20,), earlier))
        again, wanted = (motions.places(x, torch.full((20,), t)) for x, t in ((there, earlier), (pixels, now)))
        assert float((again - wanted).abs().max()) < 0.01


def test_motions_differ_by_seed_alone_and_stay_within_their_limits() -> None:
    motions = Motions.draw([(3, n) for n in range(400)])
    again = Motions.draw([(3, n) for n in range(399, -1, -1)])
    assert all(torch.equal(a, getattr(again, name).flip(0)) for name, a in vars(motions).items())
    speeds = motions.pan.norm(dim=1)
    still = (speeds == 0) & (motions.zoom == 0) & (motions.turn == 0) & (motions.amplitude.amax((1, 2)) == 0)
    assert 0.05 < float(still.float().mean()) < 0.15
    assert 0.9 * PAN < float(speeds.max()) <= PAN and 0.9 * BEND < float(motions.amplitude.max()) <= BEND
    headings = torch.atan2(motions.pan[:, 1], motions.pan[:, 0])[~still]
    assert all(int(((headings >= a) & (headings < a + math.pi / 2)).sum()) > 60 for a in np.arange(-2, 2) * math.pi / 2)


def test_pictures_are_sampled_at_places_and_mirrored_outside() -> None:
    picture = noise(1, 3, 12, 16)
    pixels = pixels_of(picture)
    torch.testing.assert_close(sampled(picture, pixels), picture, rtol=0, atol=1e-6)
    moved = pixels + torch.tensor([3.0, -2.0])
    expected = F.pad(picture, [0, 3, 2, 0], mode="replicate")
    expected[..., :2, :] = expected[..., [3, 2], :]
    expected[..., -3:] = expected[..., [-4, -5, -6]]
    torch.testing.assert_close(sampled(picture, moved), expected[..., :12, 3:], rtol=0, atol=1e-6)
    wanted = torch.ones(1, 1, 12, 16)
    wanted[..., :2, :], wanted[..., -3:] = 0, 0
    assert torch.equal(inside(moved), wanted)


# --- the error ----------------------------------------------------------------------------------------------


def test_the_error_is_relative_and_counts_only_what_is_known() -> None:
    wanted, known = noise(3, 3, 20, 20), torch.zeros(3, 1, 20, 20)
    known[1, :, :10], known[2] = 1, 0.5
    painting = wanted.clone()
    painting[:, :, :5] += 0.2
    errors = temporal_error(painting, wanted, known)
    for i, share in ((1, 0.25), (2, 0.125)):
        variance = float(np.var(wanted[i].numpy().reshape(3, -1), axis=1).mean()) + 1e-3
        assert float(errors[i]) == pytest.approx(share * 0.04 / variance, rel=1e-4)
    assert float(errors[0]) == 0


def test_light_and_noise_change_within_their_limits() -> None:
    seen = lit(torch.full((200, 3, 16, 16), 0.5), torch.Generator().manual_seed(0))
    means, deviations = seen.mean(dim=(1, 2, 3)), seen.std(dim=(1, 2, 3))
    assert 0.45 * (1 - LIGHT) < float(means.min()) and float(means.max()) < 0.5 * (1 + LIGHT) + 3 * NOISE / 27
    assert float(deviations.max()) == pytest.approx(NOISE, rel=0.1) and float(deviations.min()) < 0.1 * NOISE


# --- the term in training -----------------------------------------------------------------------------------


class Painter(nn.Module):
    """Adds to a picture; with `sticks`, a pattern that does not move with it."""

    def __init__(self, sticks: float) -> None:
        super().__init__()
        self.sticks = nn.Parameter(torch.full((1,), sticks))
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(image.detach())
        return image + self.sticks * noise(1, 3, *image.shape[-2:], seed=9)


def with_term(network: nn.Module) -> StyleTransfer:
    with_it = objective({"temporal": Temporal(1.0)})
    module = StyleTransfer(tiny(), with_it, with_it)
    module.network = network
    return module


def test_a_quarter_of_the_photos_is_painted_again_as_a_camera_sees_them_that_has_moved() -> None:
    module, photos = with_term(Painter(0.3)), smooth(8, 32)
    network = module.network
    assert isinstance(network, Painter)
    chosen = module.draw.of(range(8))
    assert chosen.moved is not None and chosen.repeated is not None
    assert chosen.moved.tolist() == [n % 4 == 1 for n in range(8)]
    losses, views = module.compare(photos, chosen)
    first, second = network.seen
    assert torch.equal(first, photos) and second.shape == (2, 3, 32, 32)
    motions, pixels = Motions.draw([(0, 1, 1), (0, 5, 1)]), pixels_of(second)
    places = motions.places(pixels, torch.ones(2))
    assert float((second - sampled(photos[[1, 5]], places)).abs().mean()) < 0.03
    assert views is not None
    wanted = sampled(views.output["image"][[1, 5]], places)
    expected = 4 * temporal_error(network(second), wanted, inside(places)).sum() / 8
    torch.testing.assert_close(losses["temporal"], expected)


def test_a_pattern_that_does_not_move_along_is_pulled_away_and_one_that_does_costs_little() -> None:
    photos = smooth(8, 32)
    losses, slopes = [], []
    for sticks in (0.0, 0.3, -0.3):
        module = with_term(Painter(sticks))
        found, _ = module.compare(photos, module.draw.of(range(8)))
        losses.append(float(found["temporal"].detach()))
        network = module.network
        assert isinstance(network, Painter)
        slopes.append(float(torch.autograd.grad(found["temporal"], network.sticks)[0]))
    assert losses[0] < 0.1 * min(losses[1:])
    assert slopes[1] > 0 > slopes[2]


@pytest.mark.parametrize("styles", [1, 2, 3, 7])
def test_in_each_style_a_quarter_is_painted_again_and_never_what_is_shifted(styles: int) -> None:
    module = StyleTransfer(tiny(), objective(), objective())
    module.draw = replace(module.draw, styles=styles)
    chosen = module.draw.of(range(8 * styles))
    assert chosen.moved is not None and chosen.repeated is not None
    assert not bool((chosen.moved & chosen.repeated).any())
    assert all(int(chosen.moved[style::styles].sum()) == 2 for style in range(styles))


def test_frames_with_earlier_paintings_are_compared_with_those_and_painted_once() -> None:
    module, photos = with_term(Painter(0.2)), smooth(2, 32)
    network = module.network
    assert isinstance(network, Painter)
    earlier = [Before(noise(2, 3, 32, 32, seed=s), (noise(2, 1, 32, 32, seed=s + 9) > 0.5).float()) for s in (1, 2)]
    losses, views = module.compare(photos, replace(module.draw.of([4, 1]), before=earlier))
    assert len(network.seen) == 1 and views is not None
    each = [temporal_error(views.output["image"], e.painting, e.known) for e in earlier]
    torch.testing.assert_close(losses["temporal"], (each[0] + each[1]).mean() / 2)


def test_finished_paintings_are_judged_without_it() -> None:
    assert set(judged(with_term(Painter(0.1)), [noise(1, 3, 64, 64)])[0]) == {"content", "gram", "total"}
