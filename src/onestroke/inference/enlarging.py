"""Enlarge a painting from its working size to the photo's, with the photo's own detail.

Strokes get crisp edges by a cubic kernel that is limited to the range of neighbouring pixels, on what
`contours.doubled` gives. Edges of the photo that the painting follows get the photo's detail: in a small window the
painting is a linear function of the photo's luminance, as in a guided filter (He and Sun, "Fast Guided Filter", 2015);
its slope, weighted by how much of the painting it explains, times what the photo has beyond the same enlargement of
the photo at working size, is added. Where the painting is no function of the photo, as within a stroke, nothing is;
nor is detail as weak as grain.

Bands of rows are computed on their own, equal to the bit to those of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import floor

import numpy as np
import torch
from torch import Tensor

from onestroke.inference.contours import REACH, REACH_AGAIN, doubled, doubled_again, luminance, range_of, shifted
from onestroke.inference.tiles import Source

_CRISP = 0.6  # 0 is Catmull-Rom's kernel; the more, the steeper edges are
_WINDOW = 2  # pixels of the working size on each side in which the painting is compared with the photo
_FLAT = 0.05**2  # the variance of the photo's luminance below which there is no edge to follow
_GRAIN = 0.06  # the photo's detail below this is suppressed
_LEAST = 1e-5
_BESIDE = 4  # pixels of the working size above and below those between which a pixel lies
_CHUNK, _LEAST_CHUNK = 2**16, 48  # pixels, and rows, of the working size that are doubled at once
_TWICE = 4  # the scale above which the painting is doubled twice
_BAND = 2**18  # pixels of a band


class Enlargement:
    """A painting at the size of its photo, computed band by band.

    Args:
        painting: at working size, RGB.
        small: the photo at working size.
        photo: at full size, which is no smaller.
    """

    def __init__(self, painting: Source, small: Source, photo: Source) -> None:
        self.painting, self.small, self.photo = painting, small, photo
        height, high = painting.height, max(_LEAST_CHUNK, _CHUNK // painting.width)
        self._doubled = _Chunks(height, high, 2, self._double)
        self._drawn = self._doubled
        if photo.height > _TWICE * height or photo.width > _TWICE * painting.width:
            self._drawn = _Chunks(height, max(1, high // 4), 4, self._double_again)

    def bands(self, begin: int = 0) -> Iterator[tuple[int, Tensor]]:
        """The bands from row `begin` on: the first row, and `rows` of it."""
        high = max(1, _BAND // self.photo.width)
        for top in range(begin, self.photo.height, high):
            yield top, self.rows(top, min(top + high, self.photo.height))

    def rows(self, top: int, bottom: int) -> Tensor:
        """The rows from `top` to `bottom`: float32 (bottom - top, width, 3) in [0, 1]."""
        height, width = self.painting.height, self.painting.width
        place = height / self.photo.height
        first, last = floor((top + 0.5) * place - 0.5) - _BESIDE, floor((bottom - 0.5) * place - 0.5) + 2 + _BESIDE
        first, last, factor = max(0, first), min(height, last), self._drawn.factor
        fine = _Places(factor * height, self.photo.height, (top, bottom), (factor * first, factor * last))
        coarse = _Places(height, self.photo.height, (top, bottom), (first, last))
        drawn = _crisp(self._drawn.rows(first, last), fine, _Places(factor * width, self.photo.width))
        slope = _slope(planes_of(self.painting, first, last), _luminance_of(self.small, first, last))
        slope = _Places(width, self.photo.width).linear(coarse.linear(slope, 0), 1)
        detail = _luminance_of(self.photo, top, bottom) - drawn[..., 3:]
        square = detail * detail
        detail = detail * (square / (square + _GRAIN * _GRAIN))
        return (drawn[..., :3] + slope * detail).clamp_(0, 1)

    def _double(self, begin: int, end: int) -> Tensor:
        first, last = max(0, begin - REACH), min(end + REACH, self.painting.height)
        both = planes_of(self.painting, first, last), _luminance_of(self.small, first, last)
        return doubled(torch.cat(both, dim=2))[2 * (begin - first) : 2 * (end - first)]

    def _double_again(self, begin: int, end: int) -> Tensor:
        beside = -(-REACH_AGAIN // 2)
        first, last = max(0, begin - beside), min(end + beside, self.painting.height)
        return doubled_again(self._doubled.rows(first, last))[4 * (begin - first) : 4 * (end - first)]


class _Chunks:
    """Rows that are computed in chunks, of which those of the last request are kept.

    Args:
        height: the number of rows of the working size.
        high: those of a chunk.
        factor: computed rows for each of them.
        compute: from and to -> the computed rows.
    """

    def __init__(self, height: int, high: int, factor: int, compute: Callable[[int, int], Tensor]) -> None:
        self.height, self.high, self.factor, self.compute = height, high, factor, compute
        self.kept: dict[int, Tensor] = {}

    def rows(self, first: int, last: int) -> Tensor:
        """The computed rows for those from `first` to `last` of the working size."""
        numbers = range(first // self.high, (last - 1) // self.high + 1)
        self.kept = {number: self.kept[number] for number in numbers if number in self.kept}
        for number in numbers:
            if number not in self.kept:
                self.kept[number] = self.compute(number * self.high, min((number + 1) * self.high, self.height))
        begin = numbers.start * self.high
        whole = torch.cat([self.kept[number] for number in numbers])
        return whole[self.factor * (first - begin) : self.factor * (last - begin)]


def planes_of(source: Source, top: int, bottom: int) -> Tensor:
    """Rows of a picture as float32 (bottom - top, width, channels) in [0, 1]."""
    rows = torch.from_numpy(np.ascontiguousarray(source.rows(top, bottom)))
    return rows.float() / 255 if rows.dtype == torch.uint8 else rows.float()


def _luminance_of(source: Source, top: int, bottom: int) -> Tensor:
    """The luminance of rows of a picture, float32 (bottom - top, width, 1) in [0, 1]."""
    return luminance(planes_of(source, top, bottom))


def _crisp(planes: Tensor, vertical: _Places, horizontal: _Places) -> Tensor:
    """Enlarge by the crisp cubic kernel, limited to the range of the 3 x 3 pixels around."""
    large = horizontal.cubic(vertical.cubic(planes, 0), 1)
    low, high = (horizontal.linear(vertical.linear(limit, 0), 1) for limit in range_of(planes))
    return torch.minimum(torch.maximum(large, low), high)


def _slope(painting: Tensor, small: Tensor) -> Tensor:
    """How the painting (h, w, 3) follows the photo's luminance (h, w, 1): its slope times what that explains."""
    light, colour = _mean(small), _mean(painting)
    variance = _mean(small * small) - light * light
    own = _mean(painting * painting) - colour * colour
    both = _mean(painting * small) - colour * light
    explained = both * both / ((variance + _LEAST) * (own + _LEAST))
    return both / (variance + _FLAT) * explained.clamp(0, 1)


def _mean(planes: Tensor) -> Tensor:
    for axis in (0, 1):
        total = planes
        for by in range(1, _WINDOW + 1):
            total = total + shifted(planes, -by, axis) + shifted(planes, by, axis)
        planes = total / (2 * _WINDOW + 1)
    return planes


class _Places:
    """Where pixels of an enlarged axis lie between those of the small one.

    Args:
        small, large: the lengths of the axis.
        wanted: the part of the large one, from and to; None is all of it.
        given: the part of the small one that is at hand; None is all of it.
    """

    def __init__(
        self, small: int, large: int, wanted: tuple[int, int] | None = None, given: tuple[int, int] | None = None
    ) -> None:
        origin, end = given or (0, small)
        places = (torch.arange(*(wanted or (0, large)), dtype=torch.float64) + 0.5) * (small / large) - 0.5
        before = places.floor()
        self.share = places - before
        self.before = before.long() - origin
        self.length = end - origin

    def linear(self, planes: Tensor, axis: int) -> Tensor:
        """Bilinear interpolation."""
        return self._sum(planes, axis, {0: 1 - self.share, 1: self.share})

    def cubic(self, planes: Tensor, axis: int) -> Tensor:
        """Interpolation by Mitchell and Netravali's kernel with B = -_CRISP and C = (1 + _CRISP) / 2."""
        b, c = -_CRISP, (1 + _CRISP) / 2
        weights = {}
        for by in (-1, 0, 1, 2):
            x = (self.share - by).abs()
            near = ((12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + 6 - 2 * b) / 6
            far = ((-b - 6 * c) * x**3 + (6 * b + 30 * c) * x**2 + (-12 * b - 48 * c) * x + 8 * b + 24 * c) / 6
            weights[by] = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
        return self._sum(planes, axis, weights)

    def _sum(self, planes: Tensor, axis: int, weights: dict[int, Tensor]) -> Tensor:
        shape = [1] * planes.ndim
        shape[axis] = -1
        total: Tensor | None = None
        for by, weight in weights.items():
            places = (self.before + by).clamp_(0, self.length - 1)
            part = planes.index_select(axis, places) * weight.float().view(shape)
            total = part if total is None else total + part
        assert total is not None
        return total
