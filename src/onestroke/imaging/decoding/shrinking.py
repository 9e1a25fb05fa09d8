"""Shrink a picture strip by strip while it is converted, so that no full-size array of floats is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from onestroke.imaging.decoding.conversion import Array, Source, as_in_file, turned

_LEAST_ALPHA = 1e-4
_TOGETHER = 2**15  # pixels of finished rows that are resized horizontally at once
_READ = 2**19  # pixels that are read at once, and some rows more


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Resize float (N, C, H, W) to (N, C, height, width): bicubic, antialiased, clamped to [0, 1]."""
    if image.shape[-2:] == (height, width):
        return image
    resized = F.interpolate(image, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0, 1)


def resize_weighted(colours: Tensor, alpha: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Resize colours (N, C, H, W) weighted by alpha (N, 1, H, W), and alpha; both in [0, 1]."""
    planes = torch.cat((colours * alpha, alpha), 1)
    return _divided(F.interpolate(planes, (height, width), mode="bicubic", antialias=True, align_corners=False))


def _divided(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Split premultiplied colours and alpha (N, C + 1, H, W) into colours (N, C, H, W) and alpha (N, 1, H, W).

    Both overshoot alike at edges, so they are divided before they are clamped. Where alpha is 0, colours are undefined.
    """
    colours, alpha = planes[:, :-1], planes[:, -1:]
    return (colours / alpha.clamp_min(_LEAST_ALPHA)).clamp_(0, 1), alpha.clamp(0, 1)


def shrunk(
    source: Source, height: int, width: int, turn: Image.Transpose | None, weighted: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Convert a source at a smaller size, with the result of `resize` on the whole picture.

    Args:
        source: a loaded image.
        height, width: the new size, in the orientation of the file.
        turn: the transposition that brings it upright, or None.
        weighted: whether colours are weighted by alpha.

    Returns:
        Upright float32 in [0, 1]: colours (1, C, H, W) and alpha (1, 1, H, W) or None.
    """
    planes = torch.empty(source.channels + source.has_alpha, height, width)
    rows = _Rows(source.size[0], height)
    # Vertical resizing first, as a weighted sum of rows, so that horizontal resizing works on many rows at once.
    # `window` accumulates the rows of the result from `start` on that still need rows of the source.
    window, start = torch.zeros(len(planes), 1, source.size[1]), 0
    for top, strip, cover in source.strips():
        values = torch.from_numpy(_planes(strip, cover, weighted))
        bottom = top + values.shape[1]
        first, weights = rows.of(top, bottom - top)
        last = first + len(weights) - start
        if last > window.shape[1]:  # doubled, so that it is not reallocated at every strip
            window = F.pad(window, (0, 0, 0, 2 * last - window.shape[1]))
        window[:, first - start : last] += weights @ values
        whole = rows.ended(bottom) - start
        if whole * source.size[1] >= _TOGETHER or start + whole == height:
            planes[:, start : start + whole] = _narrow(window[:, :whole], width)
            waiting = window[:, whole:last].clone()
            window.zero_()[:, : waiting.shape[1]] = waiting
            start += whole
    if not source.has_alpha:
        return _upright(planes.clamp_(0, 1)[None], turn), None
    clamped = planes.clamp(0, 1)[None]
    colours, alpha = _divided(planes[None]) if weighted else (clamped[:, :-1], clamped[:, -1:])
    return _upright(colours, turn), _upright(alpha, turn)


def shrunk_rows(read: Callable[[int, int], Tensor], size: tuple[int, int], height: int, width: int) -> Iterator[Tensor]:
    """Shrink planes that are read row by row, with the result of `resize` before it is clamped.

    Args:
        read: the rows from one to another, float (C, n, W).
        size: height and width of what is read.
        height, width: the new size.

    Returns:
        The rows of the result from the top down, float (C, 1 or more, width).
    """
    rows = _Rows(size[0], height)
    high = max(1, int(_READ / (rows.scale * size[1])))
    for top in range(0, height, high):
        bottom = min(top + high, height)
        first, last = int(rows.starts[top]), int(rows.ends[bottom - 1])
        begin, weights = rows.of(first, last - first)
        yield _narrow(weights[top - begin : bottom - begin] @ read(first, last), width)


def _narrow(rows: Tensor, width: int) -> Tensor:
    """Resize rows (C, n, W) to another width."""
    size = (rows.shape[1], width)
    return F.interpolate(rows[None], size, mode="bicubic", antialias=True, align_corners=False)[0]


def _planes(colours: Array, cover: Array | None, weighted: bool) -> Array:
    """Stack colours (premultiplied if `weighted`) and alpha, if any: float32 (C or C + 1, n, W) in [0, 1]."""
    whole: Array = colours if cover is None else np.concatenate((colours, cover[None]))
    values = whole.astype(np.float32)
    if whole.dtype == np.uint8:
        values /= 255
    if cover is not None and weighted:
        values[:-1] *= values[-1:]
    return values


def _upright(planes: Tensor, turn: Image.Transpose | None) -> Tensor:
    result = np.empty((planes.shape[1], *turned(planes.shape[2], planes.shape[3], turn)), np.float32)
    as_in_file(result, turn)[:] = planes[0].numpy()
    return torch.from_numpy(result)[None]


class _Rows:
    """Weights of source rows in the rows of the shrunk picture: torch's antialiased bicubic kernel."""

    def __init__(self, height: int, to: int) -> None:
        self.scale = height / to
        self.height = height
        # as in torch, the kernel is never narrower than one source pixel's
        self.wide = max(self.scale, 1.0)
        self.centres = self.scale * (np.arange(to) + 0.5)
        reach = 2 * self.wide
        self.starts = np.maximum((self.centres - reach + 0.5).astype(np.int64), 0)
        self.ends = np.minimum((self.centres + reach + 0.5).astype(np.int64), height)
        taps = self.starts[:, None] + np.arange(int((self.ends - self.starts).max()))
        self.sums = np.where(taps < self.ends[:, None], self._kernel(taps), 0).sum(1)

    def ended(self, bottom: int) -> int:
        """The number of result rows that are complete once source rows above `bottom` are known."""
        return int(np.searchsorted(self.ends, bottom, side="right"))

    def of(self, top: int, count: int) -> tuple[int, Tensor]:
        """The first result row that source rows [top, top + count) contribute to, and their weights (rows, count)."""
        touched = np.nonzero((self.starts < top + count) & (self.ends > top))[0]
        if not len(touched):
            return 0, torch.zeros(0, count)
        first, last = int(touched[0]), int(touched[-1]) + 1
        taps = np.arange(top, top + count)[None]
        inside = (taps >= self.starts[first:last, None]) & (taps < self.ends[first:last, None])
        weights = np.where(inside, self._kernel(taps, slice(first, last)), 0) / self.sums[first:last, None]
        return first, torch.from_numpy(weights.astype(np.float32))

    def _kernel(self, taps: Array, rows: slice = slice(None)) -> Array:
        x = np.abs((taps - self.centres[rows, None] + 0.5) / self.wide)
        near: Array = (1.5 * x - 2.5) * x * x + 1
        far: Array = ((-0.5 * x + 2.5) * x - 4) * x + 2
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))
