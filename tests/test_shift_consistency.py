"""That a painting goes on where its picture was cut off: the measure, and what training makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.losses.shift_consistency import ShiftConsistency, edge_error, frame_width, half_size_shift
from onestroke.training.module import StyleTransfer
from tests.running import judged
from tests.test_training import objective, tiny


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def trained(weight: float) -> StyleTransfer:
    """A training whose objective has the term."""
    with_it = objective({"shift_consistency": ShiftConsistency(weight)})
    return StyleTransfer(tiny(), with_it, with_it)


@pytest.mark.parametrize("side, ring", [(720, 72), (256, 24), (192, 16), (128, 16), (64, 8), (41, 8), (32, 8)])
def test_rings_are_whole_eights(side: int, ring: int) -> None:
    assert frame_width(side) == ring
    assert 4 * ring <= side


@pytest.mark.parametrize("height, width", [(256, 192), (64, 64), (41, 47), (32, 32)])
def test_what_lies_along_the_edges_was_far_from_any(height: int, width: int) -> None:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([y, x])[None]
    moved, ring = half_size_shift(places), frame_width(min(height, width))
    assert torch.equal(moved.flatten(2).sort(dim=2).values, places.flatten(2).sort(dim=2).values)
    rows, columns = moved[0, 0, :, 0], moved[0, 1, 0]
    for line, side in ((rows, height), (columns, width)):
        along = torch.cat([line[:ring], line[-ring:]])
        assert ring <= int(along.min()) and int(along.max()) < side - ring
        assert int(line[0]) % 8 == side % 8  # the same pixels are halved, where sides are whole eights
    assert torch.equal(moved[0, 0], rows[:, None].expand(height, width))
    assert torch.equal(moved[0, 1], columns.expand(height, width))


def banded(side: int, band: int, ring: int, squared: float) -> float:
    """What a band along one edge of noise counts: its share of the frame, and of the lines along the edges."""
    frame, across = side**2 - (side - 2 * ring) ** 2, (band / side) ** 2
    lines = (band + 2 * ring * across) / (4 * ring)
    return squared * (band * side / frame + 10 * lines) / (1 / 12 + 1e-3)


def test_a_band_counts_as_its_share_of_the_frame_and_of_its_lines() -> None:
    wanted = noise(2, 3, 40, 40)
    assert edge_error(wanted, wanted).tolist() == [0, 0]
    band = wanted.clone()
    band[1, :, :8] += 0.3
    none, some = edge_error(band, wanted).tolist()
    assert none == 0
    assert some == pytest.approx(banded(40, 8, 8, 0.09), rel=0.05)


def test_as_much_counts_less_where_it_is_no_band() -> None:
    wanted = noise(1, 3, 40, 40)
    band, strokes = torch.zeros(1, 3, 40, 40), 0.3 * (noise(1, 1, 1, 40, seed=2) > 0.5).float() - 0.15
    band[..., :8, :], strokes = 0.15, F.pad(strokes.expand(1, 3, 8, 40), (0, 0, 0, 32))
    assert float(band.square().sum()) == pytest.approx(float(strokes.square().sum()))
    assert float(edge_error(wanted + band, wanted)) > 2 * float(edge_error(wanted + strokes, wanted))


def test_only_the_frame_is_pulled_and_only_of_what_is_painted_once_more() -> None:
    painting, wanted = noise(1, 3, 40, 40).requires_grad_(), noise(1, 3, 40, 40, seed=1).requires_grad_()
    edge_error(painting, wanted).sum().backward()
    assert wanted.grad is None and painting.grad is not None
    assert float(painting.grad[..., 8:32, 8:32].abs().max()) == 0
    assert float(painting.grad[..., :8, :].abs().min()) > 0


class Framing(nn.Module):
    """Adds to a picture's colours, and something else at its top, whatever that picture is."""

    def __init__(self, band: float) -> None:
        super().__init__()
        self.shift, self.band = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.full((1,), band))

    def forward(self, image: Tensor) -> Tensor:
        top = (torch.arange(image.shape[-2]) < 6).float().view(1, 1, -1, 1)
        return image + self.shift + self.band * top


def test_an_edge_bias_is_told_and_pulled_away() -> None:
    module = trained(2.0)
    photos, orders = noise(2, 3, 64, 64), module.draw.of(range(2))
    losses: dict[str, dict[str, Tensor]] = {}
    slopes: dict[str, Tensor] = {}
    for name, band in (("none", 0.0), ("bright", 0.3), ("dark", -0.3)):
        module.network = Framing(band)
        losses[name], _ = module.compare(photos, orders)
        (slopes[name],) = torch.autograd.grad(losses[name]["shift_consistency"], module.network.band)
    assert set(losses["none"]) == {"content", "gram", "shift_consistency"}
    assert float(losses["none"]["shift_consistency"].detach()) == 0
    # of the frame, the 6 lines at the top and, as the photo's band lies in the middle now, both ends of that; it makes
    # up for the other in the means of the columns
    frame, variance = 64**2 - 48**2, 1 / 12 + 0.09 * 6 / 64 * 58 / 64 + 1e-3
    expected = 2 * 0.09 * ((6 * 64 + 6 * 16) / frame + 10 * 6 / 32) / variance
    assert float(losses["bright"]["shift_consistency"].detach()) == pytest.approx(expected, rel=0.05)
    assert float(slopes["bright"]) > 0 > float(slopes["dark"])


class Counting(nn.Module):
    """Gives its photos back, and says which it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(image.detach())
        return image + self.shift


def test_every_other_photo_is_painted_once_more_after_a_half_size_circular_shift() -> None:
    module = trained(0.5)
    network = module.network = Counting()
    photos = noise(4, 3, 32, 64)
    module.compare(photos, module.draw.of(range(4)))
    whole, again = network.seen
    assert torch.equal(whole, photos)
    top, bottom = photos[[0, 2]].chunk(2, dim=2)
    left, right = torch.cat([bottom, top], dim=2).chunk(2, dim=3)
    assert torch.equal(again, torch.cat([right, left], dim=3))


@pytest.mark.parametrize("styles", [1, 2, 3, 4, 7])
def test_in_each_style_every_other_photo_is(styles: int) -> None:
    module = StyleTransfer(tiny(), objective(), objective())
    module.draw = replace(module.draw, styles=styles)
    orders = module.draw.of(range(4 * styles))
    assert orders.repeated is not None
    for style in range(styles):
        assert int(orders.repeated[style::styles].sum()) == 2
    # and in several processes, each with photos of its own, the same ones
    parts = [module.draw.of(range(start, 4 * styles, 2)).repeated for start in (0, 1)]
    assert torch.equal(torch.stack([part for part in parts if part is not None], dim=1).flatten(), orders.repeated)


def test_the_mean_over_many_batches_does_not_hang_on_their_size() -> None:
    module = trained(1.0)
    module.network = Framing(0.3)
    photos = noise(4, 3, 32, 32)
    found = []
    for size in (1, 2, 4):
        batches = [range(start, start + size) for start in range(0, 4, size)]
        edges = [module.compare(photos[list(b)], module.draw.of(b))[0]["shift_consistency"].detach() for b in batches]
        found.append(torch.stack(edges))
    assert float(found[0][1]) == float(found[0][3]) == 0 < float(found[0][0])
    assert [float(each.mean()) for each in found] == pytest.approx([float(found[2])] * 3, rel=1e-4)


def test_it_is_left_out_where_nobody_asks() -> None:
    module = StyleTransfer(tiny(), objective(), objective())
    assert set(module.compare(noise(2, 3, 64, 64), module.draw.of(range(2)))[0]) == {"content", "gram"}


def test_finished_paintings_are_judged_without_it() -> None:
    module = trained(0.5)
    photo = noise(1, 3, 64, 64)
    assert set(module.validation(photo, photo)) == {"content", "gram"}
    assert set(judged(module, [photo])[0]) == {"content", "gram", "total"}
