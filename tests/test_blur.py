"""The one Gaussian blur against Pillow-free arithmetic: what a point becomes, and what lies beyond the border."""

from __future__ import annotations

import math

import pytest
import torch

from onestroke.imaging.blur import gaussian_blur


@pytest.mark.parametrize("sigma", [0.7, 2.0, 3.2])
def test_a_point_becomes_a_gaussian_and_keeps_its_light(sigma: float) -> None:
    point = torch.zeros(1, 2, 41, 41, dtype=torch.float64)
    point[0, 1, 20, 20] = 1
    found = gaussian_blur(point, sigma)
    assert found.shape == point.shape and found.dtype == point.dtype
    assert float(found[0, 0].abs().max()) == 0, "channels do not mix"
    assert float(found.sum()) == pytest.approx(1)
    fall = float(found[0, 1, 20, 22] / found[0, 1, 20, 20])
    assert fall == pytest.approx(math.exp(-(2**2) / (2 * sigma**2)))
    assert torch.allclose(found, found.transpose(2, 3))
    reach = round(3 * sigma)
    assert float(found[0, 1, 20, 20 + reach]) > 0 and float(found[0, 1, 20, 21 + reach]) == 0


def test_beyond_the_border_the_picture_is_mirrored_or_goes_on_as_it_ends() -> None:
    slope = torch.arange(12.0).view(1, 1, 1, 12).expand(1, 1, 12, 12)
    for border, beyond in (("reflect", [2.0, 1.0]), ("replicate", [0.0, 0.0])):
        wide = torch.cat([torch.tensor(beyond).view(1, 1, 1, 2).expand(1, 1, 12, 2), slope], dim=3)
        by_hand = gaussian_blur(wide, 0.5)[..., 2]  # a reach of two pixels: mirrored rows change nothing
        assert torch.allclose(gaussian_blur(slope, 0.5, border)[..., 0], by_hand)  # type: ignore[arg-type]
