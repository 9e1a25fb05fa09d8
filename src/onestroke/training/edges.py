"""A painting goes on where its picture was cut off: what keeps a network from painting at the edges what it owes.

Padded features tell a network where a picture ends. What the style's statistics ask for, and the photo gives no
occasion for, is then laid along an edge, in any picture the same: The Scream's sky as a band at the top. So a part of
each photo is painted once more by itself, and along the part's edges it is to look as it does in the whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SHARE = 0.1  # of a crop's side: 24 of 256 pixels, about as far as bands reach
_LEAST = 32  # side in pixels of a part
_LINES = 3.0  # how much more the means of lines count than single pixels; ten times holds the painting back
_SLIGHT = 1e-3  # variance of colours that a flat painting is taken to have


def ring_of(crop: int) -> int:
    """Width in pixels of what is compared along the edges of a part, in whole eights; 0 where a crop is too small.

    A part has 32 pixels a side at least, as crops have.
    """
    return 8 * max(0, min(round(_SHARE * crop / 8), (crop - _LEAST) // 32))


def part_of(pictures: Tensor, ring: int) -> Tensor:
    """Pictures (N, C, H, W) without two rings at each side: in the whole, the part's edges are far from any edge.

    As rings are whole eights, what a network halves and halves again falls on the same pixels.
    """
    return pictures[..., 2 * ring : -2 * ring, 2 * ring : -2 * ring]


def apart(part: Tensor, whole: Tensor, ring: int) -> Tensor:
    """How far a part that was painted by itself is, along its edges, from what it is in the whole.

    Instance norm sees other statistics in a part than in the whole, so that all its colours may be others; the mean
    difference of the middle is therefore taken off. Strokes may fall otherwise too, but a band is off all along the
    edge: so what the lines that run beside it are off by on average counts most.

    Args:
        part: painted by itself, (N, 3, h, w), about [0, 1].
        whole: the same part of the painting of the whole, the same shape; no gradient goes there.
        ring: see `ring_of`, below half of the sides.

    Returns:
        (N,): the mean squared difference in a frame of `ring` pixels, and _LINES times that of the lines' means, both
        relative to the variance of the colours in `whole`: 0 where they are alike, 4 for bands on all sides that are
        off by a standard deviation.
    """
    whole = whole.detach()
    difference = part - whole
    middle = (..., slice(ring, -ring), slice(ring, -ring))
    difference = difference - difference[middle].detach().mean(dim=(2, 3), keepdim=True)
    frame = difference.new_ones(difference.shape[-2:])
    frame[middle] = 0
    pixels = (difference.square() * frame).sum(dim=(1, 2, 3)) / (frame.sum() * difference.shape[1])
    rows, columns = difference.mean(dim=3), difference.mean(dim=2)
    lines = torch.cat([side for means in (rows, columns) for side in (means[..., :ring], means[..., -ring:])], dim=2)
    return (pixels + _LINES * lines.square().mean(dim=(1, 2))) / (
        whole.var(dim=(2, 3), correction=0).mean(dim=1) + _SLIGHT
    )
