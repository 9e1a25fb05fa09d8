"""Paint at a working size at which strokes are right, and enlarge the painting to the photo's size."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from onestroke.devices import free_memory
from onestroke.errors import UserError
from onestroke.imaging.decoding import shrunk_rows
from onestroke.imaging.images import same_levels
from onestroke.imaging.levels import levels_of
from onestroke.inference.compositing import composited
from onestroke.inference.enlarging import Enlargement, planes_of
from onestroke.inference.stylizer import Stylizer
from onestroke.inference.tiles import Source

WORKING_SIDE = 768
"""The longer side in pixels to which `stroke_scale=auto` shrinks a photo: three times what styles are learned from."""
LARGEST_SCALE = 8.0
MEMORY = 64
"""Bytes for each pixel of a photo that enlarging its painting in memory takes."""

_HIDDEN = 1 / 255  # added to alpha, so that where all of it is 0 the colours are those that the pixels have


def scale_of(stroke_scale: str, height: int, width: int) -> float:
    """How many times larger a photo is than what is painted.

    Args:
        stroke_scale: a number from 1 to LARGEST_SCALE, or auto.
        height, width: of the photo, in pixels.

    Returns:
        The number; for auto, the one from 1 to LARGEST_SCALE that brings the longer side nearest to WORKING_SIDE.

    Raises:
        UserError: it is something else.
    """
    if stroke_scale.lower() == "auto":
        return min(max(max(height, width) / WORKING_SIDE, 1.0), LARGEST_SCALE)
    plain = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?", stroke_scale)
    if plain is None or not 1 <= float(stroke_scale) <= LARGEST_SCALE:
        raise UserError(f"stroke_scale must be auto or a number from 1 to {LARGEST_SCALE:g}, not '{stroke_scale}'")
    return float(stroke_scale)


def working_size(stroke_scale: str, height: int, width: int) -> tuple[int, int]:
    """The height and width at which a photo is painted; errors as `scale_of`."""
    scale = scale_of(stroke_scale, height, width)
    return max(1, round(height / scale)), max(1, round(width / scale))


def check_memory(stylizer: Stylizer, count: int, size: tuple[int, int], working: tuple[int, int], mapped: bool) -> None:
    """Check before painting that enough memory is free: as `Stylizer.check_memory`, and for enlarging.

    Args:
        stylizer: paints.
        count: number of pictures at once.
        size, working: height and width of each, and those at which it is painted.
        mapped: whether they are painted with a style_map.

    Raises:
        UserError: there is not enough.
    """
    stylizer.check_memory(count, *working, mapped=mapped)
    needed, free = MEMORY * count * size[0] * size[1], free_memory()
    if working != size and needed > free:
        raise UserError(
            f"{size[1]} x {size[0]} needs about {needed / 2**30:.1f} GiB to enlarge and {free / 2**30:.1f} GiB are "
            f"free; shrink it with max_side={int((free / needed) ** 0.5 * max(size))}"
        )


def paint(
    stylizer: Stylizer,
    image: Tensor,
    working: tuple[int, int],
    style_map: Tensor | None = None,
    color: str = "style",
    mask: Tensor | None = None,
    feather: float = 0.0,
    alpha: Tensor | None = None,
) -> Tensor:
    """Paint a batch at a working size, and enlarge it; as `Stylizer.paint`, with the same arguments, but for these.

    Args:
        stylizer: paints.
        image: float (N, 3, H, W) in [0, 1], on the CPU.
        working: the height and width to paint at; at those of the image, it is painted as ever.
        style_map: of the working size.
        color, mask, feather, alpha: of the image's size.

    Returns:
        (N, 3, H, W), fp32, in [0, 1], on the CPU.
    """
    if working == tuple(image.shape[-2:]):
        return stylizer.paint(image, style_map=style_map, color=color, mask=mask, feather=feather, alpha=alpha)
    alphas = [None] * len(image) if alpha is None else torch.split(alpha, 1)
    pairs = zip(torch.split(image, 1), alphas, strict=True)
    small = torch.cat([_small(photo, own, working) for photo, own in pairs])
    painted = stylizer.paint(small, style_map=style_map)
    result = torch.empty(image.shape)
    for i, photo in enumerate(image):
        enlarge(painted[i], small[i], photo, result[i])
    return composited(result, image, color, alpha, mask, feather)


def _small(photo: Tensor, alpha: Tensor | None, working: tuple[int, int]) -> Tensor:
    """A photo (1, 3, H, W) at working size."""
    rows = shrunk(_Planes(photo[0]), None if alpha is None else _Planes(alpha[0]), working)
    return torch.from_numpy(np.concatenate(list(rows))).permute(2, 0, 1)[None] / 255


def enlarge(painted: Tensor, small: Tensor, photo: Tensor, into: Tensor) -> None:
    """Enlarge a painting to the photo's size; where nothing was painted, as at strength 0, it is the photo.

    Args:
        painted, small: the painting and the photo at working size, float (3, h, w) in [0, 1].
        photo: (3, H, W) in [0, 1].
        into: (3, H, W), which is written.
    """
    sources = _Planes(painted), _Planes(small), _Planes(photo)
    if unpainted(*sources[:2]):
        into.copy_(photo)
        return
    for top, band in Enlargement(*sources).bands():
        into[:, top : top + len(band)] = band.permute(2, 0, 1)


def unpainted(painted: Source, small: Source) -> bool:
    """Whether a painting is the photo but for rounding, a level of 255."""
    return all(
        same_levels(planes_of(painted, row, row + 1), planes_of(small, row, row + 1), within=1)
        for row in range(small.height)
    )


def shrunk(photo: Source, alpha: Source | None, working: tuple[int, int]) -> Iterator[np.ndarray]:
    """A photo at working size, its colours weighted by alpha, as rows from the top down: uint8 (1 or more, w, 3)."""

    def read(first: int, last: int) -> Tensor:
        colours = planes_of(photo, first, last).permute(2, 0, 1)
        if alpha is None:
            return colours
        weight = planes_of(alpha, first, last).permute(2, 0, 1) + _HIDDEN
        return torch.cat((colours * weight, weight))

    for rows in shrunk_rows(read, (photo.height, photo.width), *working):
        colours = rows if alpha is None else rows[:3] / rows[3:]
        yield levels_of(colours)


class _Planes:
    """A picture (channels, H, W) in [0, 1] as a Source."""

    def __init__(self, planes: Tensor) -> None:
        self.planes = planes
        self.height, self.width = planes.shape[1:]

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """The rows from `top` to `bottom`, float32 (bottom - top, width, channels)."""
        return self.planes[:, top:bottom].permute(1, 2, 0).float().contiguous().numpy()
