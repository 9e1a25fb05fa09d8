"""Style: the contrast of the painting, as the deviation of lightness and of colour."""

from __future__ import annotations

import torch
from torch import Tensor

from onestroke.imaging.lab import lab
from onestroke.losses.term import Term, Views

_FAINT = 1.0  # in units of CIELAB, what is just visible side by side: added to deviations of flat paintings


class Contrast(Term):
    """Squared relative difference of the deviation of L*, and of a* and b* together (CIELAB), from the painting's.

    Statistics of features let an output keep milky blacks and dull colours. This asks for the painting's own range of
    them, and for no colour at any place: 1 is no contrast at all, or twice the painting's.

    Args:
        weight: see `Term`.
    """

    side = "style"

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(["image"], weight)

    def forward(self, views: Views) -> Tensor:
        found = _deviations(views.output["image"].flatten(2))
        wanted = views.style.deviations().to(found)
        return ((found - wanted) / (wanted + _FAINT)).square().mean(dim=1)


def _deviations(colours: Tensor) -> Tensor:
    """Standard deviations of lightness, and of colour over both axes together: sRGB (N, 3, places) -> (N, 2)."""
    wide = colours if colours.dtype == torch.float64 else colours.float()
    with torch.autocast(colours.device.type, enabled=False):
        lightness, a, b = lab(wide).var(dim=2, correction=0).unbind(dim=1)
        return (torch.stack([lightness, a + b], dim=1) + 1e-4).sqrt()
