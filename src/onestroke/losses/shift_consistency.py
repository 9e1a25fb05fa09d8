"""A painting goes on where its picture was cut off: what keeps a network from painting at the edges what it owes.

Padded features tell a network where a picture ends. What the style's statistics ask for, and the photo gives no
occasion for, is then laid along an edge, in any picture the same: The Scream's sky as a band at the top. So every
other photo is painted once more with its halves exchanged in both directions. What was in the middle lies along the
edges then, and is to look as it did there.

A smaller part of the photo, painted by itself, would be cheaper by a fifth and not do: by what instance norm makes of
a picture's size a network can tell a part from a whole, and lays its band in the whole alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SHARE = 0.1  # of a picture's side: 24 of 256 pixels, about as far as bands reach
_LINES = 10.0  # how much more the means of lines count than single pixels
_SLIGHT = 1e-3  # variance of colours that a flat painting is taken to have


def ring_of(side: int) -> int:
    """Width in pixels of what is compared along the edges of a picture, in whole eights and at least 8."""
    return 8 * max(1, round(_SHARE * side / 8))


def exchanged(pictures: Tensor) -> Tensor:
    """Pictures (N, C, H, W) with their halves exchanged, in both directions, as though they had no end.

    They are moved by whole eights of pixels, so that what a network halves and halves again falls on the same ones.
    """
    height, width = pictures.shape[-2:]
    return pictures.roll((height // 16 * 8, width // 16 * 8), dims=(2, 3))


def apart(painting: Tensor, wanted: Tensor) -> Tensor:
    """How far paintings are along their edges from what they are to be there.

    Strokes may fall otherwise, but a band is off all along the edge: so what the lines that run beside it are off by
    on average counts most.

    Args:
        painting: of an exchanged photo, (N, 3, H, W), about [0, 1], sides of at least 32.
        wanted: the photo's painting, exchanged, the same shape; no gradient goes there.

    Returns:
        (N,): the mean squared difference in a frame of `ring_of` pixels, and _LINES times that of the lines' means,
        both relative to the variance of the colours in `wanted`: 0 where they are alike, 11 for bands on all sides that
        are off by a standard deviation.
    """
    wanted = wanted.detach()
    ring = ring_of(min(wanted.shape[-2:]))
    difference = painting - wanted
    frame = difference.new_ones(difference.shape[-2:])
    frame[ring:-ring, ring:-ring] = 0
    pixels = (difference.square() * frame).sum(dim=(1, 2, 3)) / (frame.sum() * difference.shape[1])
    rows, columns = difference.mean(dim=3), difference.mean(dim=2)
    lines = torch.cat([side for means in (rows, columns) for side in (means[..., :ring], means[..., -ring:])], dim=2)
    return (pixels + _LINES * lines.square().mean(dim=(1, 2))) / (
        wanted.var(dim=(2, 3), correction=0).mean(dim=1) + _SLIGHT
    )
