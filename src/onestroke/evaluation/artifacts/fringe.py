"""Fringes: thin lines along edges in a colour of neither side."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check
from onestroke.perception.appearance import Appearance, coloured_lines, edge_mask

_SHARE = 0.01
_FAINT = 1.0  # units of CIELAB


def fringe(output: Tensor, photo: Tensor, painting: Appearance) -> Tensor:
    """Strength of thin coloured lines along the photo's edges, over that along the edges of the style's painting.

    A line is the difference of a* and b* smoothed by 1 and by 3 pixels; edges are 2 pixels around the tenth of the
    photo's pixels where lightness is steepest. What the photo has there is subtracted.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].
        painting: the appearance of the style's painting at the size of the output.

    Returns:
        (N,), at least 0: 1 is as coloured as the painting's own edges. NaN for a photo without edges.
    """
    check(output, photo)
    found = []
    excess = coloured_lines(output) - coloured_lines(photo)
    for squares, edges in zip(excess, edge_mask(photo), strict=True):
        if edges.float().mean() < _SHARE:
            found.append(output.new_tensor(math.nan))
        else:
            found.append(squares[edges].mean().clamp_min(0).sqrt() / (painting.fringe + _FAINT))
    return torch.stack(found)
