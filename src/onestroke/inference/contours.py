"""Double a painting along its contours, so that strokes get smooth and crisp edges and no stairs.

Cubic interpolation keeps the grid of pixels in sight: an oblique stroke has stairs, and each edge is a pixel wide and
blurred. So what it gives is smoothed along the contours and sharpened across them, as a coherence-enhancing shock
filter does (Weickert, "Coherence-Enhancing Shock Filters", 2003), with directions from the structure tensor. After
each round what has changed at the old size is taken back (Irani and Peleg, "Improving Resolution by Image
Registration", 1991), so that the doubled painting, shrunk again, is the painting.

Each pixel is computed from those around it alone, in the same order of operations wherever it lies: parts of a
painting are equal to the bit to the whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 24
"""Pixels of the painting, on all sides, that a pixel of `doubled` depends on at most."""
REACH_AGAIN = 10
"""The same of `doubled_again`, in pixels of what it is given."""

_BACK = 0.5, 1.2  # by round, the share of the change at the old size that is taken back; more, as enlarging blurs on
_ALONG = (1.5, 0.8), (3.0, 0.45)  # distances in doubled pixels, and weights, beside 1 in the middle
_ACROSS = 1.2  # distance of the two neighbours, in doubled pixels
_SHARPER = 1.5
_WINDOW = 4  # how often the structure tensor is smoothed by 1 2 1
_QUARTER = (-0.0703125, 0.8671875, 0.2265625, -0.0234375)  # Catmull-Rom at a quarter of a pixel
_LEAST = 1e-6
_LUMA = (0.299, 0.587, 0.114)


def doubled(planes: Tensor) -> Tensor:
    """Double pictures of which the first three channels are the painting whose contours are followed.

    Args:
        planes: float32 (H, W, 3 or more) in about [0, 1].

    Returns:
        (2 H, 2 W, channels), in the range of the 3 x 3 pixels around each.
    """
    large = _twice(_twice(planes, 0), 1)
    for share in _BACK:
        large = _flowing(large)
        large = large + share * _twice(_twice(planes - _half(_half(large, 0), 1), 0), 1)
    low, high = (limit.repeat_interleave(2, 0).repeat_interleave(2, 1) for limit in range_of(planes))
    return torch.minimum(torch.maximum(large, low), high)


def luminance(planes: Tensor) -> Tensor:
    """Of (H, W, 3 or more), RGB first: (H, W, 1); pixel by pixel, in one order, as `images.luminance` is not."""
    return _LUMA[0] * planes[..., :1] + _LUMA[1] * planes[..., 1:2] + _LUMA[2] * planes[..., 2:3]


def range_of(planes: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest of the 3 x 3 pixels around each."""
    low = high = planes
    for axis in (0, 1):
        low = torch.minimum(torch.minimum(shifted(low, -1, axis), low), shifted(low, 1, axis))
        high = torch.maximum(torch.maximum(shifted(high, -1, axis), high), shifted(high, 1, axis))
    return low, high


def doubled_again(planes: Tensor) -> Tensor:
    """Double what `doubled` gives, for large factors; in one round, with nothing taken back."""
    return _flowing(_twice(_twice(planes, 0), 1))


def _flowing(large: Tensor) -> Tensor:
    """Smooth along the contours and sharpen across them."""
    across_y, across_x, clear = _directions(large)
    mean, total = large, 1.0
    for distance, weight in _ALONG:
        for way in (distance, -distance):
            mean = mean + weight * _beside(large, way * across_x, -way * across_y)
            total += weight
    large = large + clear * (mean / total - large)
    one = _beside(large, _ACROSS * across_y, _ACROSS * across_x)
    other = _beside(large, -_ACROSS * across_y, -_ACROSS * across_x)
    sharp = large + _SHARPER * (large - (one + other) / 2)
    low, high = torch.minimum(one, other), torch.maximum(one, other)
    sharp = torch.minimum(torch.maximum(sharp, torch.minimum(low, large)), torch.maximum(high, large))
    return large + clear * (sharp - large)


def shifted(planes: Tensor, by: int, axis: int) -> Tensor:
    """The pixels that lie `by` further on an axis; beyond the border, those at the border."""
    length = planes.shape[axis]
    return planes.index_select(axis, torch.arange(by, length + by).clamp_(0, length - 1))


def _twice(planes: Tensor, axis: int) -> Tensor:
    """Catmull-Rom interpolation at the two quarters of each pixel."""
    around = {by: shifted(planes, by, axis) for by in range(-2, 3)}
    second = _QUARTER[0] * around[-1]
    first = _QUARTER[0] * around[1]
    for place, weight in enumerate(_QUARTER[1:]):
        second = second + weight * around[place]
        first = first + weight * around[-place]
    return torch.stack((first, second), dim=axis + 1).flatten(axis, axis + 1)


def _half(planes: Tensor, axis: int) -> Tensor:
    """Antialiased cubic shrinking to half, as `images.resize` does it."""
    count = planes.shape[axis]
    left, right = (planes.index_select(axis, torch.arange(first, count, 2)) for first in (0, 1))
    # the kernel at 1/4, 3/4, 5/4 and 7/4 of the new pixels, on both sides of its middle
    near, next_, far, last = (weight / 2 for weight in (0.8671875, 0.2265625, -0.0703125, -0.0234375))
    total = near * (left + right)
    total = total + next_ * (shifted(right, -1, axis) + shifted(left, 1, axis))
    total = total + far * (shifted(left, -1, axis) + shifted(right, 1, axis))
    return total + last * (shifted(right, -2, axis) + shifted(left, 2, axis))


def _directions(planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The unit vector across the contours (y and x), each (H, W), and how clear it is, (H, W, 1) from 0 to 1."""
    light = luminance(planes)[..., 0]
    slope_y = (shifted(light, 1, 0) - shifted(light, -1, 0)) / 2
    slope_x = (shifted(light, 1, 1) - shifted(light, -1, 1)) / 2
    yy, xy, xx = (_smoothed(one * two) for one, two in ((slope_y, slope_y), (slope_y, slope_x), (slope_x, slope_x)))
    apart = xx - yy
    spread = (apart * apart + 4 * xy * xy).sqrt()
    # the eigenvector of the larger eigenvalue, in the form that does not cancel
    wide = apart >= 0
    x = torch.where(wide, (apart + spread) / 2, xy)
    y = torch.where(wide, xy, (spread - apart) / 2)
    length = (x * x + y * y).sqrt().clamp_min(1e-12)
    clear = spread / (xx + yy + _LEAST)
    return y / length, x / length, clear[..., None]


def _smoothed(plane: Tensor) -> Tensor:
    for _ in range(_WINDOW):
        for axis in (0, 1):
            plane = (shifted(plane, -1, axis) + 2 * plane + shifted(plane, 1, axis)) / 4
    return plane


def _beside(planes: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """The pixels displaced by `down` and `right`, each (H, W), by bilinear interpolation."""
    height, width = planes.shape[:2]
    flat = planes.reshape(height * width, -1)
    above, before = down.floor(), right.floor()
    low, late = (down - above)[..., None], (right - before)[..., None]
    y = torch.arange(height)[:, None] + above.long()
    x = torch.arange(width) + before.long()
    rows = [y.clamp(0, height - 1) * width, (y + 1).clamp(0, height - 1) * width]
    columns = [x.clamp(0, width - 1), (x + 1).clamp(0, width - 1)]

    def corner(row: int, column: int) -> Tensor:
        return flat.index_select(0, (rows[row] + columns[column]).flatten()).view(planes.shape)

    top = (1 - late) * corner(0, 0) + late * corner(0, 1)
    bottom = (1 - late) * corner(1, 0) + late * corner(1, 1)
    return (1 - low) * top + low * bottom
