"""Checkerboard: energy at periods of exactly 2 and 4 pixels, which upsampling leaves behind (Odena et al., 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from onestroke.losses.term import Term, Views

TILE = 32
_QUARTER, _HALF = TILE // 4, TILE // 2
FREQUENCIES = (
    (0, _QUARTER), (0, _HALF), (_QUARTER, 0), (_HALF, 0), (_HALF, _HALF),
    (_QUARTER, _QUARTER), (_QUARTER, -_QUARTER), (_QUARTER, _HALF), (_HALF, _QUARTER),
)  # fmt: skip
"""All frequencies of periods 2 and 4, in cycles per tile; of a frequency and its negative, one."""
# two bins away, since the window spreads each frequency by one
NEIGHBOURS = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if max(abs(i), abs(j)) == 2]
"""Offsets from a frequency to those it is compared with."""
UNSEEN = (1 / 255) ** 2 / 12
"""Variance of rounding to 8 bits, for each channel: weaker patterns can't be seen."""


class Checkerboard(Term):
    """Squared log10 ratio of the energy at the checkerboard's frequencies to that around them; 0 where it is less.

    A network that upsamples by 2 can treat the four pixels of a block differently. It uses that to paint finer strokes
    than its features hold, which lowers the Gram loss and leaves a faint checkerboard. Texture that merely has such
    periods has as much energy at neighbouring frequencies, and costs nothing.

    The spectrum is the mean log power over windowed tiles of 32 x 32 pixels, so that a pattern in a flat sky counts as
    much as one in a meadow. Only the checkerboard's frequencies get a gradient; otherwise the network would paint noise
    around them. Pictures with a side below 32 pixels have no tile, and cost nothing.
    `onestroke.evaluation.artifacts.checkerboard` compares with the strongest neighbour, on overlapping tiles.
    """

    def __init__(self, layers: Sequence[str] = ("image",), weight: float = 1.0) -> None:
        super().__init__(layers, weight)
        around = sorted({((y + i) % TILE, (x + j) % TILE) for y, x in FREQUENCIES for i, j in NEIGHBOURS})
        self.register_buffer("own", _waves(FREQUENCIES), persistent=False)
        self.register_buffer("around", _waves(around), persistent=False)
        self.register_buffer("averages", _neighbour_averages(around), persistent=False)
        self.own: Tensor
        self.around: Tensor
        self.averages: Tensor

    def forward(self, views: Views) -> Tensor:
        errors = [self._error(views.output[layer]) for layer in self.layers]
        return torch.stack(errors).mean(dim=0)

    def _error(self, image: Tensor) -> Tensor:
        rows, columns = (side // TILE for side in image.shape[-2:])
        if not rows or not columns:
            return image.new_zeros(len(image)) * image.sum()
        wide = image if image.dtype == torch.float64 else image.float()
        tiles = wide[..., : rows * TILE, : columns * TILE].unfold(2, TILE, TILE).unfold(3, TILE, TILE)
        tiles = tiles.permute(0, 2, 3, 1, 4, 5).reshape(len(image), rows * columns, -1, TILE**2)
        tiles = tiles - tiles.mean(dim=-1, keepdim=True)
        own = _log_power(tiles, self.own)
        with torch.no_grad():
            around = _log_power(tiles, self.around)
        error: Tensor = (own - around @ self.averages.to(own.dtype)).clamp_min(0).square().mean(dim=1)
        return error


def _log_power(tiles: Tensor, waves: Tensor) -> Tensor:
    """Mean log10 power over tiles: (N, tiles, C, pixels) and (pixels, 2 frequencies) -> (N, frequencies)."""
    with torch.autocast(tiles.device.type, enabled=False):
        parts = tiles @ waves.to(tiles.dtype)
    power = parts.square().view(*parts.shape[:-1], 2, -1).sum(dim=(2, 3))
    # the waves are scaled so that the power of white noise is its variance
    return (power + tiles.shape[2] * UNSEEN).log10().mean(dim=1)


def _waves(frequencies: Sequence[tuple[int, int]]) -> Tensor:
    """Windowed cosines, then sines: (pixels of a tile, 2 frequencies)."""
    line = torch.hann_window(TILE, dtype=torch.float64)
    window = line * line[:, None]
    window = window / window.square().sum().sqrt()
    place = torch.arange(TILE, dtype=torch.float64)
    turns = [(y * place[:, None] + x * place) / TILE for y, x in frequencies]
    phase = 2 * math.pi * torch.stack(turns)
    return torch.cat([wave * window for wave in (phase.cos(), phase.sin())]).flatten(1).T.float().contiguous()


def _neighbour_averages(frequencies: Sequence[tuple[int, int]]) -> Tensor:
    """Weights of the neighbours' mean around each checkerboard frequency: (len(frequencies), len(FREQUENCIES))."""
    number = {frequency: i for i, frequency in enumerate(frequencies)}
    table = torch.zeros(len(frequencies), len(FREQUENCIES))
    for column, (y, x) in enumerate(FREQUENCIES):
        for i, j in NEIGHBOURS:
            table[number[(y + i) % TILE, (x + j) % TILE], column] += 1 / len(NEIGHBOURS)
    return table
