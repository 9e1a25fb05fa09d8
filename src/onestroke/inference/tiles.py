"""Paint a picture of any size in tiles, equal to the bit to the picture painted in one piece.

What a network paints at a pixel depends on the pixels around it, as far as its receptive field reaches, and through
the norms on the statistics of the whole picture. So the statistics are measured first, norm after norm: a pass over
all tiles for each, with the norms before it as they were measured. In a last pass the tiles are painted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.imaging.levels import levels_of
from onestroke.inference.norm_statistics import GivenNorms, Measured, Moments, Statistics
from onestroke.inference.receptive_field import CELL, receptive_field

Done = Callable[[int], None]
"""Is told the number of pixels that were worked on."""


class Source(Protocol):
    """A picture that is read band by band; height and width in pixels."""

    height: int
    width: int

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """The rows from `top` to `bottom`, (bottom - top, width, 3 or more), RGB first: uint8, or float in [0, 1]."""
        ...


class TilePainter:
    """Paints pictures of any size with a network, in tiles.

    Args:
        network: in eval mode, on `device`; takes and returns float (N, 3, H, W) in about [0, 1]. It may be any one
            whose layers look at a limited neighbourhood of each pixel, besides instance norms.
        device: to paint on.
        side: of a tile in pixels, a multiple of CELL. It changes nothing in the result.
        inputs: channels that it takes, if they are more than RGB, see `mapped_styles.MappedNetwork`.

    Raises:
        UserError: the network can't be painted in tiles.
    """

    def __init__(self, network: nn.Module, device: torch.device, side: int = 8 * CELL, inputs: int = 3) -> None:
        if side < CELL or side % CELL:
            raise ValueError(f"the side of a tile is a multiple of {CELL}, not {side}")
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device, self.side, self.inputs = device, side, inputs
        self.field = receptive_field(self.network, device, inputs)

    @property
    def passes(self) -> int:
        """How often the picture is gone through: once for each norm, and once to paint."""
        return len(self.field.scales) + 1

    def measure(self, source: Source, before: Sequence[Statistics], done: Done = lambda _: None) -> Statistics:
        """The statistics of the first norm after those that are known, in one pass."""
        scale = self.field.scales[len(before)]
        whole: Moments | None = None
        for top in range(0, source.height, self.side):
            rows: dict[tuple[int, int], Moments] = {}
            for left, tile in self._tiles(source, top):
                features = self._features(tile, before)
                inside = features[:, int(tile.above * scale) :, int(tile.before * scale) :]
                if top + self.side < source.height:  # at the end, features of odd sizes may be rounded up
                    inside = inside[:, : int(tile.height * scale)]
                if left + self.side < source.width:
                    inside = inside[:, :, : int(tile.width * scale)]
                for (row, column), cell in _cells(inside, int(CELL * scale)):
                    rows[row, column + left // CELL] = Moments.of(cell)
                done(tile.height * tile.width)
            for _, cell_moments in sorted(rows.items()):
                whole = cell_moments if whole is None else whole.joined(cell_moments)
        assert whole is not None
        return whole.statistics()

    def paint(
        self, source: Source, statistics: Sequence[Statistics], begin: int = 0, done: Done = lambda _: None
    ) -> Iterator[np.ndarray]:
        """Paint the tiles, row after row.

        Args:
            source: the picture.
            statistics: of all norms.
            begin: the first row of pixels, a multiple of `side`.
            done: see Done.

        Returns:
            The rows of tiles in order: uint8 (side or less, width, 3).

        Raises:
            UserError: the painting is not finite.
        """
        for top in range(begin, source.height, self.side):
            band = np.empty((min(self.side, source.height - top), source.width, 3), np.uint8)
            for left, tile in self._tiles(source, top):
                with torch.inference_mode(), GivenNorms(statistics):
                    painted = self.network(tile.pixels).clamp(0, 1)
                own = painted[0, :, tile.above :, tile.before :]
                own = own[:, : len(band), : min(self.side, source.width - left)].float()
                if not torch.isfinite(own.sum()):
                    raise UserError("the style paints no picture (numbers that are not finite); train it again")
                levels = levels_of(own)
                band[:, left : left + levels.shape[1]] = levels
                done(tile.height * tile.width)
            yield band

    def _features(self, tile: _Tile, before: Sequence[Statistics]) -> Tensor:
        """The input of the first norm after those with statistics, (C, h, w), for a tile with what is around it."""
        found: list[Tensor] = []
        with torch.inference_mode(), GivenNorms(before, found.append), suppress(Measured):
            self.network(tile.pixels)
        return found[0][0]

    def _tiles(self, source: Source, top: int) -> Iterator[tuple[int, _Tile]]:
        """The tiles of a row: the column at which each begins, and its pixels with those around it."""
        field = self.field
        high, wide = field.padded(source.height), field.padded(source.width)
        bottom = high if top + self.side >= source.height else top + self.side
        first, last = field.around(top, bottom, high, self.side)
        band = source.rows(first, min(last, source.height))
        for left in range(0, source.width, self.side):
            right = wide if left + self.side >= source.width else left + self.side
            begin, end = field.around(left, right, wide, self.side)
            pixels = torch.from_numpy(np.ascontiguousarray(band[:, begin : min(end, source.width)]))
            pixels = pixels.permute(2, 0, 1)[None]
            pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
            missing = [0, end - begin - pixels.shape[3], 0, last - first - pixels.shape[2]]
            if any(missing):
                pixels = F.pad(pixels, missing, mode="replicate")
            ready = pixels.to(self.device).contiguous(memory_format=torch.channels_last)
            yield left, _Tile(ready, top - first, left - begin, bottom - top, right - left)


class _Tile:
    """A tile with what is around it.

    pixels: (1, inputs, H, W) in [0, 1]. above, before: rows and columns around it at the top and on the left. height,
    width: of the tile itself, with the padding at the picture's end.
    """

    def __init__(self, pixels: Tensor, above: int, before: int, height: int, width: int) -> None:
        self.pixels, self.above, self.before, self.height, self.width = pixels, above, before, height, width


def _cells(features: Tensor, side: int) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """The cells of features (C, h, w): row and column of each, and its part of the features."""
    for row, band in enumerate(features.split(side, dim=1)):
        for column, cell in enumerate(band.split(side, dim=2)):
            yield (row, column), cell
