"""The grid term against spectra by NumPy, and against the detector that evaluate.py has."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from onestroke.data.scenes import Scenes
from onestroke.evaluation.artifacts.checkerboard import checkerboard
from onestroke.evaluation.artifacts.summary import LIMITS
from onestroke.losses.checkerboard import Checkerboard
from onestroke.losses.term import Statistics, Views


def cost(image: Tensor) -> Tensor:
    found: Tensor = Checkerboard()(Views({"image": image}, {}, cast(Statistics, None)))
    return found


def scene(number: int, size: int = 96) -> Tensor:
    pixels, _ = Scenes().sample(number, 7, size)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def grid(period: int, size: int = 96) -> Tensor:
    """Every period-th row is lighter."""
    rows = (torch.arange(size) % period == 0).float()
    return rows[:, None].expand(3, size, size)[None]


def test_it_is_the_squared_excess_of_log_power_by_numpy() -> None:
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) + 0.01 * grid(4)[:, :, :64]
    window = np.outer(*[0.5 - 0.5 * np.cos(2 * np.pi * np.arange(32) / 32)] * 2)
    expected = []
    for picture in image.numpy().astype(np.float64):
        logs = []
        for y in (0, 32):
            for x in (0, 32, 64):
                tile = picture[:, y : y + 32, x : x + 32]
                tile = tile - tile.mean(axis=(1, 2), keepdims=True)
                power = (np.abs(np.fft.fft2(tile * window)) ** 2).sum(axis=0) / (window**2).sum()
                logs.append(np.log10(power + 3 / 255**2 / 12))
        spectrum = np.mean(logs, axis=0)
        found = []
        for y, x in [(0, 8), (0, 16), (8, 0), (16, 0), (16, 16), (8, 8), (8, -8), (8, 16), (16, 8)]:
            ring = [spectrum[(y + i) % 32, (x + j) % 32] for i in range(-2, 3) for j in range(-2, 3)
                    if max(abs(i), abs(j)) == 2]  # fmt: skip
            found.append(max(spectrum[y, x] - np.mean(ring), 0) ** 2)
        expected.append(np.mean(found))
    assert cost(image).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("levels", [0.0, 0.05, 4.0])
def test_a_grid_on_what_is_flat_is_measured_against_what_8_bits_round_off(levels: float) -> None:
    image = 0.5 + levels / 255 * grid(2, 32)
    tile = image[0].numpy().astype(np.float64)
    window = np.outer(*[0.5 - 0.5 * np.cos(2 * np.pi * np.arange(32) / 32)] * 2)
    spectrum = np.abs(np.fft.fft2((tile - tile.mean(axis=(1, 2), keepdims=True)) * window)) ** 2
    power = spectrum.sum(axis=0)[16, 0] / (window**2).sum()
    floor = 3 * (1 / 255) ** 2 / 12
    assert float(cost(image)) == pytest.approx(math.log10(1 + power / floor) ** 2 / 9, rel=0.02, abs=1e-9)


@pytest.mark.parametrize("period", [2, 4])
def test_a_faint_grid_costs_and_scenes_do_not(period: int) -> None:
    for number in range(3):
        clean = scene(number)
        broken = clean + 4 / 255 * grid(period)
        assert float(cost(clean)) < 0.02
        assert float(cost(broken)) > 0.04  # though two of nine frequencies alone have it
    other = clean + 4 / 255 * grid(3)  # stripes of another period are strokes
    assert float(cost(other)) < 0.02


def test_following_it_takes_the_grid_out_and_leaves_the_picture() -> None:
    slope = torch.linspace(0.2, 0.7, 96).expand(1, 3, 96, 96)
    clean = slope + torch.randn(slope.shape, generator=torch.Generator().manual_seed(3)) / 255
    broken = clean + 6 / 255 * grid(4)
    image = broken.clone().requires_grad_()
    adam = torch.optim.Adam([image], lr=5e-4)
    for _ in range(60):
        adam.zero_grad()
        cost(image).sum().backward()
        adam.step()
    with torch.no_grad():
        assert float(checkerboard(broken, clean)) > 2 * LIMITS["checkerboard"]
        assert float(checkerboard(image, clean)) < LIMITS["checkerboard"]
        pattern = grid(4) - grid(4).mean()
        before, after = (float(((picture - clean) * pattern).mean()) for picture in (broken, image))
        assert abs(after) < 0.3 * before
        assert float((image - clean).abs().max()) < 0.05


def test_its_gradient_lowers_the_grid_and_leaves_those_around() -> None:
    image = (scene(2, 64) + 0.02 * grid(4, 64)).requires_grad_()
    (gradient,) = torch.autograd.grad(cost(image).sum(), image)
    window = torch.outer(*[torch.hann_window(32)] * 2)

    def spectrum(picture: Tensor) -> Tensor:
        tiles = picture.detach().unfold(2, 32, 32).unfold(3, 32, 32)
        tiles = tiles - tiles.mean(dim=(-2, -1), keepdim=True)
        power: Tensor = torch.fft.fft2(tiles * window).abs().square().sum(dim=1)
        return power.log10().mean(dim=(0, 1, 2))

    change = spectrum(image - gradient) - spectrum(image)
    assert float(change[8, 0]) < -0.02 and float(change[16, 0]) < -0.02
    assert float(change[6, 2].abs()) < 0.1 * float(change[8, 0].abs())
    assert float(change[12, 12].abs()) < 0.01 * float(change[8, 0].abs())


def test_pictures_too_small_for_a_tile_cost_nothing() -> None:
    image = torch.rand(2, 3, 31, 40, requires_grad=True)
    loss = cost(image)
    assert loss.tolist() == [0, 0]
    loss.sum().backward()
    assert image.grad is not None and not math.isnan(float(image.grad.sum())) and not image.grad.any()
