"""Style: sliced Wasserstein distance of VGG features to those of the painting (Heitz et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.losses.distributions import check_count, sampled, transport_error
from onestroke.losses.term import Term, Views


class SlicedWasserstein(Term):
    """Distance of the distributions of features along random directions, which differ in each step; mean over layers.

    A Gram matrix holds the second moments of the features; this compares their whole distribution, of which the
    moments are a part (`moments` compares those of each channel alone). See `distributions.transport_error`.

    Args:
        layers: of the VGG, or `image`.
        weight: see `Term`.
        directions: number of random directions in each step.
        places: number of places at which the output's features are compared.

    Raises:
        UserError: for arguments that are no whole numbers, and as `Term`.
    """

    side = "style"
    reads_pictures = True

    def __init__(
        self,
        layers: Sequence[str] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
        weight: float = 2.0,
        directions: int = 64,
        places: int = 2048,
    ) -> None:
        super().__init__(layers, weight)
        self.directions = check_count(self, "directions", directions)
        self.places = check_count(self, "places", places)

    def forward(self, views: Views) -> Tensor:
        generator, errors = views.generator(), []
        for layer in self.layers:
            output = sampled(views.output[layer], self.places, generator)
            style = views.style.samples(layer).to(output.dtype)
            ways = F.normalize(torch.randn(self.directions, output.shape[2], generator=generator), dim=1).to(output)
            with torch.autocast(output.device.type, enabled=False):
                along, wanted = ways @ output.transpose(1, 2), ways @ style
            errors.append(transport_error(along, wanted if wanted.ndim == 3 else wanted[None]))
        return torch.stack(errors).mean(dim=0)
