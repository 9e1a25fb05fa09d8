"""Pixels as levels of 255: rounded to the nearest, clamped, the same for planes of any layout."""

from __future__ import annotations

import numpy as np
import torch

from onestroke.imaging.levels import levels_of


def test_each_level_comes_back_and_what_lies_between_goes_to_the_nearest() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    for offset in (-0.49, 0.0, 0.49):
        found = levels_of((levels.double() + offset) / 255)
        assert found.dtype == np.uint8 and np.array_equal(found[..., 0], levels[0].numpy())
    assert np.array_equal(levels_of(levels.float() / 255)[..., 0], levels[0].numpy())


def test_values_out_of_range_are_clamped_and_levels_stay_as_they_are() -> None:
    assert levels_of(torch.tensor([-3.0, -0.001, 1.001, 7.0]).view(1, 2, 2)).flatten().tolist() == [0, 0, 255, 255]
    levels = torch.randint(0, 256, (4, 3, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(levels_of(levels), levels.permute(1, 2, 0).numpy())


def test_pixels_have_their_channels_last_in_memory_of_their_own() -> None:
    planes = torch.rand(2, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    plain = levels_of(planes[1])
    assert plain.shape == (7, 5, 3) and plain.flags.c_contiguous and plain.flags.writeable
    assert np.array_equal(levels_of(planes.contiguous(memory_format=torch.channels_last)[1]), plain)
