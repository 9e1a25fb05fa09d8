"""That a painting goes on where its picture was cut off: the measure, and what training makes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.training.edges import apart, part_of, ring_of
from onestroke.training.module import StyleTransfer
from tests.test_training import objective, tiny


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("crop, ring", [(256, 24), (192, 16), (128, 16), (64, 8), (63, 0), (41, 0), (32, 0)])
def test_rings_are_whole_eights_and_leave_a_part_of_32_pixels(crop: int, ring: int) -> None:
    assert ring_of(crop) == ring
    assert ring % 8 == 0 and crop - 4 * ring >= 32
    assert ring == 0 or part_of(torch.zeros(1, 3, crop, crop), ring).shape == (1, 3, crop - 4 * ring, crop - 4 * ring)


def test_a_part_is_far_from_the_edges_of_the_whole() -> None:
    places = torch.arange(64.0).view(1, 1, 1, 64).expand(1, 3, 64, 64)
    part = part_of(places, 8)
    assert (float(part.min()), float(part.max())) == (16, 47)


def banded(height: int, band: int, ring: int, squared: float) -> float:
    """What a band along one edge of noise counts: its share of the frame, and of the lines along the edges."""
    frame, across = height**2 - (height - 2 * ring) ** 2, (band / height) ** 2
    lines = (band + 2 * ring * across) / (4 * ring)
    return squared * (band * height / frame + 3 * lines) / (1 / 12 + 1e-3)


def test_a_band_counts_as_its_share_of_the_frame_and_of_its_lines() -> None:
    whole = noise(2, 3, 40, 40)
    assert apart(whole, whole, 8).tolist() == [0, 0]
    band = whole.clone()
    band[1, :, :8] += 0.3
    none, some = apart(band, whole, 8).tolist()
    assert none == 0
    assert some == pytest.approx(banded(40, 8, 8, 0.09), rel=0.05)


def test_as_much_counts_less_where_it_is_no_band() -> None:
    whole = noise(1, 3, 40, 40)
    band, strokes = torch.zeros(1, 3, 40, 40), 0.3 * (noise(1, 1, 1, 40, seed=2) > 0.5).float() - 0.15
    band[..., :8, :], strokes = 0.15, F.pad(strokes.expand(1, 3, 8, 40), (0, 0, 0, 32))
    assert float(band.square().sum()) == pytest.approx(float(strokes.square().sum()))
    assert float(apart(whole + band, whole, 8)) > 2 * float(apart(whole + strokes, whole, 8))


def test_other_colours_all_over_are_no_band_and_the_middle_does_not_count() -> None:
    whole = noise(1, 3, 40, 40)
    tinted = whole + torch.tensor([0.2, -0.1, 0.3]).view(3, 1, 1)
    assert float(apart(tinted, whole, 8)) < 1e-9
    middle = whole.clone()
    middle[..., 8:32, 8:32] = noise(1, 3, 24, 24, seed=1)
    middle[..., 8:32, 8:32] += (whole - middle)[..., 8:32, 8:32].mean(dim=(2, 3), keepdim=True)
    assert float(apart(middle, whole, 8)) < 1e-9


def test_only_the_frame_of_the_part_is_pulled() -> None:
    part, whole = noise(1, 3, 40, 40).requires_grad_(), noise(1, 3, 40, 40, seed=1).requires_grad_()
    apart(part, whole, 8).sum().backward()
    assert whole.grad is None and part.grad is not None
    assert float(part.grad[..., 8:32, 8:32].abs().max()) == 0
    assert float(part.grad[..., :8, :].abs().min()) > 0


class Framing(nn.Module):
    """Adds to a picture's colours, and something else at its top, whatever that picture is."""

    def __init__(self, band: float) -> None:
        super().__init__()
        self.shift, self.band = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.full((1,), band))

    def forward(self, image: Tensor) -> Tensor:
        top = (torch.arange(image.shape[-2]) < 6).float().view(1, 1, -1, 1)
        return image + self.shift + self.band * top


def test_a_painter_of_bands_is_told_and_its_bands_pulled_away() -> None:
    module = StyleTransfer(tiny(), objective(), objective(), edges=2.0)
    photos, orders = noise(2, 3, 64, 64), module._orders(range(2))
    losses: dict[str, dict[str, Tensor]] = {}
    slopes: dict[str, Tensor] = {}
    for name, band in (("none", 0.0), ("bright", 0.3), ("dark", -0.3)):
        module.network = Framing(band)  # type: ignore[assignment]
        losses[name] = module._judged(photos, orders)
        (slopes[name],) = torch.autograd.grad(losses[name]["edges"], module.network.band)
    assert set(losses["none"]) == {"content", "gram", "edges"}
    assert float(losses["none"]["edges"].detach()) == 0
    assert float(losses["bright"]["edges"].detach()) == pytest.approx(2 * banded(32, 6, 8, 0.09), rel=0.05)
    assert float(slopes["bright"]) > 0 > float(slopes["dark"])


@pytest.mark.parametrize("edges, crop", [(None, 64), (0.5, 32)])
def test_it_is_left_out_where_nobody_asks_or_a_crop_is_too_small(edges: float | None, crop: int) -> None:
    module = StyleTransfer(tiny(), objective(), objective(), edges=edges)
    assert set(module._judged(noise(2, 3, crop, crop), module._orders(range(2)))) == {"content", "gram"}


def test_a_resumed_run_keeps_its_weight_and_older_runs_had_none() -> None:
    module, resumed = (StyleTransfer(tiny(), objective(), objective(), edges=edges) for edges in (0.25, 0.5))
    state: dict[str, Any] = {}
    module.on_save_checkpoint(state)
    resumed.on_load_checkpoint(state)
    assert resumed.edges == 0.25
    del state["onestroke"]["edges"]
    resumed.on_load_checkpoint(state)
    assert resumed.edges is None
