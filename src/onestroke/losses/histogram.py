"""Style: distance of the histogram of each feature to that of the painting (Risser et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onestroke.losses.distributions import check_count, sampled, transport_error
from onestroke.losses.term import Term, Views


class Histogram(Term):
    """Squared distance of each channel's values to those after histogram matching with the painting's channel.

    Matching moves the k-th smallest value to the painting's k-th smallest, so that this is `wasserstein` along the
    channels, in place of random directions. It keeps the contrast that a Gram matrix alone lets fade: many histograms
    have the same second moments. Mean over layers; those of the paper by default.

    Args:
        layers: of the VGG, or `image` for the histograms of colours.
        weight: see `Term`.
        places: number of places at which the output's features are compared.

    Raises:
        UserError: for a number of places that is none, and as `Term`.
    """

    side = "style"
    reads_pictures = True

    def __init__(self, layers: Sequence[str] = ("relu1_1", "relu4_1"), weight: float = 1.0, places: int = 2048) -> None:
        super().__init__(layers, weight)
        self.places = check_count(self, "places", places)

    def forward(self, views: Views) -> Tensor:
        generator, errors = views.generator(), []
        for layer in self.layers:
            output = sampled(views.output[layer], self.places, generator).transpose(1, 2)
            style = views.style.samples(layer).to(output.dtype)
            errors.append(transport_error(output, style if style.ndim == 3 else style[None]))
        return torch.stack(errors).mean(dim=0)
