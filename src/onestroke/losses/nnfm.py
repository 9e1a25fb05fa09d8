"""Style: distance of each feature to the nearest one of the painting (nearest-neighbour feature matching, ARF)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.losses.distributions import check_count, sampled
from onestroke.losses.term import Term, Views


class NearestFeatures(Term):
    """Cosine distance of features to the nearest of the painting's (Zhang et al., "ARF", 2022); mean over layers.

    Every place is to look like some place of the painting. Unlike statistics, it doesn't ask that all of the painting
    occurs, so it keeps single strokes whole, and needs a Gram term beside it for their share and for colours.

    Args:
        layers: of the VGG.
        weight: see `Term`.
        places: number of places at which the output's features are compared.

    Raises:
        UserError: for a number of places that is none, and as `Term`.
    """

    side = "style"
    reads_pictures = True

    def __init__(self, layers: Sequence[str] = ("relu3_3",), weight: float = 1.0, places: int = 1024) -> None:
        super().__init__(layers, weight)
        self.places = check_count(self, "places", places)

    def forward(self, views: Views) -> Tensor:
        generator, errors = views.generator(), []
        for layer in self.layers:
            output = F.normalize(sampled(views.output[layer], self.places, generator), dim=2)
            style = F.normalize(views.style.samples(layer).to(output.dtype), dim=-2)
            with torch.no_grad(), torch.autocast(output.device.type, enabled=False):
                nearest = (output @ style).argmax(dim=2)  # (N, places)
            # only the nearest get a gradient, so that the products with all others need not be kept
            errors.append(1 - (output * _columns(style, nearest)).sum(dim=2).mean(dim=1))
        return torch.stack(errors).mean(dim=0)


def _columns(style: Tensor, which: Tensor) -> Tensor:
    """Columns of (C, M) or (N, C, M) by their number (N, places): (N, places, C)."""
    if style.ndim == 2:
        return style.T[which]
    return torch.stack([one.T[some] for one, some in zip(style, which, strict=True)])
