"""Colour casts: a mean colour that neither the photo nor the style explains."""

from __future__ import annotations

import torch
from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check

# linear sRGB to CIE XYZ, D65
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_KNEE = 6 / 29


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
    painted, taken = (_chroma(image.mean(dim=(2, 3))) for image in (output, photo))
    shift = painted - taken
    if palette is None:
        return shift.square().sum(dim=1).sqrt()
    way = _chroma(palette.to(photo).expand(len(photo), 3)) - taken
    share = (shift * way).sum(dim=1) / way.square().sum(dim=1).clamp_min(1e-12)
    return (shift - share.clamp(0, 1)[:, None] * way).square().sum(dim=1).sqrt()


def _chroma(colour: Tensor) -> Tensor:
    """sRGB (N, 3) in [0, 1] -> a* and b* of CIELAB (N, 2)."""
    linear = torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(_TO_XYZ, dtype=colour.dtype, device=colour.device)
    x, y, z = (linear @ matrix.T / matrix.sum(dim=1)).unbind(dim=1)
    x, y, z = (
        torch.where(v > _KNEE**3, v.clamp_min(_KNEE**3) ** (1 / 3), v / (3 * _KNEE**2) + 4 / 29) for v in (x, y, z)
    )
    return torch.stack([500 * (x - y), 200 * (y - z)], dim=1)
