"""Colours as lightness and two opponent axes: sRGB to CIELAB (D65)."""

from __future__ import annotations

import torch
from torch import Tensor

# linear sRGB to CIE XYZ, D65
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_KNEE = 6 / 29


def lab(colours: Tensor) -> Tensor:
    """L*, a* and b* of CIELAB.

    Args:
        colours: sRGB (N, 3, ...), about [0, 1]; below 0 it goes on as a straight line, so that gradients stay finite.

    Returns:
        The same shape; L* is 0 for black and 100 for white, a* and b* are about -110 to 100.
    """
    colours = colours.movedim(1, -1)
    linear = torch.where(colours <= 0.04045, colours / 12.92, ((colours.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(_TO_XYZ, dtype=colours.dtype, device=colours.device)
    x, y, z = (linear @ matrix.T / matrix.sum(dim=1)).unbind(dim=-1)
    x, y, z = (
        torch.where(v > _KNEE**3, v.clamp_min(_KNEE**3) ** (1 / 3), v / (3 * _KNEE**2) + 4 / 29) for v in (x, y, z)
    )
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)
