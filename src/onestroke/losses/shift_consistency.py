"""A painting looks the same where its picture was cut off as in the middle: no edge bias.

Padding tells a network where a picture ends. What the style's statistics ask for, and the photo gives no occasion for,
is then painted along an edge, the same in every picture: The Scream's sky along the top. So every other photo is
painted once more after a circular shift by half its size in both directions. What was in the middle then lies along the
edges, and must look as it did before.

A smaller crop, painted by itself, would be cheaper and does not work: instance norm's statistics depend on the size of
what is painted, so a network can tell a crop from a whole photo, and keeps its bias for the whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onestroke.losses.term import Term, Views

_SHARE = 0.1  # of a picture's side: 24 of 256 pixels, about as far as a bias reaches
_LINES = 10.0  # how much more the means of lines count than single pixels
_SLIGHT = 1e-3  # variance of colours that a flat painting is taken to have


class ShiftConsistency(Term):
    """How far paintings of half-shifted photos are from the shifted paintings, along their edges; see `apart`.

    Only the photos that are painted once more count, a half of all, and each of them twice. So its mean over many
    batches does not depend on how many of them a batch happens to have.
    """

    reads_content = True
    trains_only = True

    def __init__(self, weight: float = 0.5) -> None:
        super().__init__(["image"], weight)

    def forward(self, views: Views) -> Tensor:
        output, photos = views.output["image"], views.content["image"]
        losses = output.new_zeros(len(output))
        assert views.again is not None
        some = views.again.repeated.nonzero()[:, 0]
        if len(some):  # a batch may have none
            where = some.to(output.device)
            moved = half_shifted(photos[where]).contiguous(memory_format=torch.channels_last)
            losses[where] = 2 * apart(views.again.paint(moved, some), half_shifted(output[where]))
        return losses


def ring_of(side: int) -> int:
    """Width in pixels of what is compared along the edges of a picture, in whole eights and at least 8."""
    return 8 * max(1, round(_SHARE * side / 8))


def half_shifted(pictures: Tensor) -> Tensor:
    """The circular shift of pictures (N, C, H, W) by half their size, in both directions.

    It is by whole eights of pixels, so that what a network halves and halves again falls on the same ones.
    """
    height, width = pictures.shape[-2:]
    return pictures.roll((height // 16 * 8, width // 16 * 8), dims=(2, 3))


def apart(painting: Tensor, wanted: Tensor) -> Tensor:
    """How far paintings are along their edges from what they are to be there.

    Strokes may fall otherwise, but a bias is there all along the edge: so what the lines that run beside it are off by
    on average counts most.

    Args:
        painting: of a half-shifted photo, (N, 3, H, W), about [0, 1], sides of at least 32.
        wanted: the photo's painting, half-shifted, the same shape; no gradient goes there.

    Returns:
        (N,): the mean squared difference in a frame of `ring_of` pixels, and _LINES times that of the lines' means,
        both relative to the variance of the colours in `wanted`: 0 where they are alike, 11 for strips on all sides
        that are off by a standard deviation.
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
