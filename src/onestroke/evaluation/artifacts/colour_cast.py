"""Colour casts: a mean colour that neither the photo nor the style explains."""

from __future__ import annotations

from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check
from onestroke.imaging.lab import lab


def colour_cast(output: Tensor, photo: Tensor, palette: Tensor | None = None) -> Tensor:
    """Distance of the painting's mean colour from the line between those of the photo and the style.

    It is measured in the a*, b* plane of CIELAB (D65), ignoring lightness. The line allows for the style's own colours:
    a painting in a blue style may be blue.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].
        palette: the mean sRGB of the style, (3,) or (N, 3) in [0, 1]. Without it, the result is the distance from the
            photo's mean colour, for which the wider limit of `colour_shift` holds.

    Returns:
        (N,), from 0 to about 200, in units of CIELAB: 2 is just visible side by side.
    """
    check(output, photo)
    painted, taken = (lab(image.mean(dim=(2, 3)))[:, 1:] for image in (output, photo))
    shift = painted - taken
    if palette is None:
        return shift.square().sum(dim=1).sqrt()
    way = lab(palette.to(photo).expand(len(photo), 3))[:, 1:] - taken
    share = (shift * way).sum(dim=1) / way.square().sum(dim=1).clamp_min(1e-12)
    return (shift - share.clamp(0, 1)[:, None] * way).square().sum(dim=1).sqrt()
