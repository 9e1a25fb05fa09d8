"""Style: the contrast of the painting, as the mean and the deviation of lightness and of chroma."""

from __future__ import annotations

import torch
from torch import Tensor

from onestroke.imaging.lab import lab
from onestroke.losses.term import Term, Views

_FAINT = 1.0  # in units of CIELAB, what is just visible side by side: added to deviations of flat paintings


class Contrast(Term):
    """Squared difference of mean and deviation of L* and of chroma (CIELAB), each over the painting's deviation.

    Statistics of features let an output keep milky blacks and dull colours. This asks for the painting's own range of
    them, and for no colour at any place: 1 is a mean that is off by a standard deviation, or no contrast at all.

    Args:
        weight: see `Term`.
    """

    side = "style"
    reads_pictures = True

    def __init__(self, weight: float = 2.0) -> None:
        super().__init__(["image"], weight)

    def forward(self, views: Views) -> Tensor:
        found = _moments(views.output["image"].flatten(2))
        samples = views.style.samples("image")
        wanted = _moments((samples if samples.ndim == 3 else samples[None]).to(found.dtype))
        scale = wanted[:, 1:] + _FAINT
        return ((found - wanted) / scale).square().mean(dim=(1, 2))


def _moments(colours: Tensor) -> Tensor:
    """Means, then deviations, of lightness and of chroma: sRGB (N, 3, places) -> (N, 2, 2)."""
    wide = colours if colours.dtype == torch.float64 else colours.float()
    with torch.autocast(colours.device.type, enabled=False):
        lightness, a, b = lab(wide).unbind(dim=1)
        both = torch.stack([lightness, (a.square() + b.square() + 1e-4).sqrt()], dim=1)
        variance, mean = torch.var_mean(both, dim=2, correction=0)
        return torch.stack([mean, (variance + 1e-4).sqrt()], dim=1)
