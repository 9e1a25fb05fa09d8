"""Plain busyness: small busy strokes where the photo is plain, in a style that has calm parts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check
from onestroke.perception.appearance import Appearance, lightness_detail, plain_mask

_DEVIATION = 3.0  # units of L*, for a photo to be called plain
_SHARE = 0.02
_FAINT = 1.0  # units of L*, just visible


def plain_busyness(output: Tensor, photo: Tensor, painting: Appearance) -> Tensor:
    """Detail of lightness where the photo is plain, over that in the plainest quarter of the style's painting.

    Detail is L* minus its mean over a Gaussian of 4 pixels; the photo's own is subtracted, and 1 is added to the
    painting's, so that a print of flat colours does not make every stroke a fault.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].
        painting: the appearance of the style's painting at the size of the output.

    Returns:
        (N,), at least 0: 1 is as busy as the painting where it is plainest. NaN if less than a fiftieth of the photo is
        plain.
    """
    check(output, photo)
    found = []
    excess = lightness_detail(output).square() - lightness_detail(photo).square()
    for squares, plain in zip(excess[:, 0], plain_mask(photo, _DEVIATION), strict=True):
        if plain.float().mean() < _SHARE:
            found.append(output.new_tensor(math.nan))
        else:
            found.append(squares[plain].mean().clamp_min(0).sqrt() / (painting.plain_busyness + _FAINT))
    return torch.stack(found)
