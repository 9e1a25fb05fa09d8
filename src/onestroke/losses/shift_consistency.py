"""Shift consistency: the same content must be painted alike at the picture's edges and in its middle (no edge bias).

Padding lets a network detect where a picture ends. It then paints patterns that the style's statistics ask for along an
edge, the same in every picture, such as The Scream's sky along the top. So every other photo is painted a second time
after a circular shift by half its size in both directions. What was in the middle is then at the edges, and must be
painted as before.

Painting a smaller crop would be cheaper, but does not work: instance norm's statistics depend on the size of the
picture, so a network can distinguish a crop from a whole photo, and keeps its bias for whole photos.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onestroke.losses.term import Term, Views

_SHARE = 0.1  # frame width as a share of the shorter side: 24 of 256 pixels, about as far as a bias reaches
_LINES = 10.0  # weight of the means of lines relative to single pixels
_SLIGHT = 1e-3  # added to the variance of colours, for flat paintings


class ShiftConsistency(Term):
    """Distance of paintings of shifted photos from the shifted paintings, along their edges; see `edge_error`.

    Only the half of the photos that is painted a second time has a loss. It is doubled, so that the mean over many
    batches is that over all photos.
    """

    reads_content = True
    trains_only = True

    def __init__(self, weight: float = 0.5) -> None:
        super().__init__(["image"], weight)

    def forward(self, views: Views) -> Tensor:
        output, photos = views.output["image"], views.content["image"]
        losses = output.new_zeros(len(output))
        assert views.second is not None
        indices = views.second.repeated.nonzero()[:, 0]
        if len(indices):  # a batch may have none
            on_device = indices.to(output.device)
            moved = half_size_shift(photos[on_device]).contiguous(memory_format=torch.channels_last)
            losses[on_device] = 2 * edge_error(views.second.paint(moved, indices), half_size_shift(output[on_device]))
        return losses


def frame_width(side: int) -> int:
    """Width in pixels of the frame that is compared, a multiple of 8 and at least 8, for a shorter side in pixels."""
    return 8 * max(1, round(_SHARE * side / 8))


def half_size_shift(pictures: Tensor) -> Tensor:
    """Shift pictures (N, C, H, W) circularly by half their size in both directions.

    The shift is a multiple of 8 pixels, so that a network's strides meet the same pixels as before.
    """
    height, width = pictures.shape[-2:]
    return pictures.roll((height // 16 * 8, width // 16 * 8), dims=(2, 3))


def edge_error(painting: Tensor, wanted: Tensor) -> Tensor:
    """Relative error of paintings in a frame along their edges.

    Single strokes may differ, but a bias runs all along an edge. So the mean error of each line parallel to an edge has
    the largest weight.

    Args:
        painting: of the shifted photo, (N, 3, H, W), about [0, 1], sides of at least 32.
        wanted: the photo's painting, shifted, the same shape; it gets no gradient.

    Returns:
        (N,): the mean squared difference in a frame of `frame_width` pixels plus _LINES times that of the means of
        lines, relative to the variance of the colours in `wanted`: 0 for equal frames, 11 for a frame that is off by
        one standard deviation everywhere.
    """
    wanted = wanted.detach()
    width = frame_width(min(wanted.shape[-2:]))
    difference = painting - wanted
    frame = difference.new_ones(difference.shape[-2:])
    frame[width:-width, width:-width] = 0
    pixels = (difference.square() * frame).sum(dim=(1, 2, 3)) / (frame.sum() * difference.shape[1])
    rows, columns = difference.mean(dim=3), difference.mean(dim=2)
    lines = torch.cat([side for means in (rows, columns) for side in (means[..., :width], means[..., -width:])], dim=2)
    return (pixels + _LINES * lines.square().mean(dim=(1, 2))) / (
        wanted.var(dim=(2, 3), correction=0).mean(dim=1) + _SLIGHT
    )
