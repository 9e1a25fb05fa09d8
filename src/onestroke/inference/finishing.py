"""Finish a large painting band by band: colours, mask and alpha, as `compositing` does for one that fits in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onestroke.imaging.levels import levels_of
from onestroke.imaging.raw_rows import RawRows, band_rows
from onestroke.inference.compositing import Palette, feathered, masked, recoloured, repainted


@dataclass
class Finish:
    """What is done to a painting: see `Stylizer.paint`.

    photo, painting: RGB. alpha: the photo's, to weight its colours and to be kept, or None. mask: grey, or None.
    flatten: lay the painting on white by its alpha, for formats without one.
    """

    photo: RawRows
    painting: RawRows
    alpha: RawRows | None = None
    color: str = "style"
    mask: RawRows | None = None
    feather: float = 0.0
    flatten: bool = False

    @property
    def channels(self) -> int:
        """Of what is written: 3, or 4 with alpha."""
        return 3 if self.alpha is None or self.flatten else 4

    def bands(self) -> Iterator[tuple[int, np.ndarray]]:
        """The finished bands: the first row, and uint8 (n, width, channels)."""
        palettes = None
        if self.color == "match":
            palettes = _palette(self.painting, self.alpha), _palette(self.photo, self.alpha)
        for top, bottom in _parts(self.photo):
            painting, photo = _image(self.painting, top, bottom), _image(self.photo, top, bottom)
            if palettes is not None:
                painting = repainted(painting, *palettes)
            else:
                painting = recoloured(painting, photo, self.color)
            if self.mask is not None:
                painting = masked(painting, photo, self._mask(self.mask, top, bottom))
            alpha = None if self.alpha is None else _image(self.alpha, top, bottom)
            if alpha is not None and self.flatten:
                painting, alpha = painting.clamp(0, 1) * alpha + (1 - alpha), None
            both = painting if alpha is None else torch.cat((painting, alpha), dim=1)
            yield top, levels_of(both[0])

    def _mask(self, mask: RawRows, top: int, bottom: int) -> Tensor:
        reach = max(1, round(3 * self.feather)) if self.feather > 0 else 0
        first, last = max(0, top - reach), min(mask.height, bottom + reach)
        soft = feathered(_image(mask, first, last), self.feather)
        return soft[:, :, top - first : bottom - first]


def _image(pixels: RawRows, top: int, bottom: int) -> Tensor:
    """(1, channels, bottom - top, width) in [0, 1]."""
    return torch.from_numpy(pixels.rows(top, bottom)).permute(2, 0, 1)[None].float().div_(255)


def _palette(pixels: RawRows, alpha: RawRows | None) -> Palette:
    """The palette of a picture, weighted by alpha; as `compositing.palette`, in two passes."""
    if alpha is not None and not any(_image(alpha, top, bottom).any() for top, bottom in _parts(alpha)):
        alpha = None
    total, mean = 0.0, torch.zeros(3, 1, dtype=torch.float64)
    for top, bottom in _parts(pixels):
        colours, weight = _weighted(pixels, alpha, top, bottom)
        total += float(weight.sum())
        mean += (colours * weight).sum(dim=1, keepdim=True)
    mean /= total
    covariance = torch.zeros(3, 3, dtype=torch.float64)
    for top, bottom in _parts(pixels):
        colours, weight = _weighted(pixels, alpha, top, bottom)
        covariance += ((colours - mean) * weight) @ (colours - mean).T
    return Palette(mean, covariance / total)


def _parts(pixels: RawRows) -> Iterator[tuple[int, int]]:
    high = band_rows(pixels.width)
    for top in range(0, pixels.height, high):
        yield top, min(top + high, pixels.height)


def _weighted(pixels: RawRows, alpha: RawRows | None, top: int, bottom: int) -> tuple[Tensor, Tensor]:
    colours = _image(pixels, top, bottom)[0].flatten(1).double()
    weight = torch.ones(1, colours.shape[1], dtype=torch.float64)
    return colours, weight if alpha is None else _image(alpha, top, bottom)[0].flatten(1).double()
