"""Content: the photo's features are kept (Gatys et al., 2016; Johnson et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onestroke.losses.objective import Term, Views


class Content(Term):
    """Relative squared distance of features: `||F(output) - F(content)||^2 / ||F(content)||^2`, mean over layers.

    The divisor is the mean over the whole batch (of all processes), so that a flat photo, whose own features are nearly
    nothing, does not outweigh the others. Johnson et al. divide by C H W instead, which leaves the size to the layer.
    """

    side = "content"
    reads_content = True

    def __init__(self, layers: Sequence[str] = ("relu3_3",), weight: float = 1.0) -> None:
        super().__init__(layers, weight)

    def forward(self, views: Views) -> Tensor:
        errors = []
        for layer in self.layers:
            content = views.content[layer].float()
            error = (views.output[layer].float() - content).square().mean(dim=(1, 2, 3))
            errors.append(error / self.over_batch(content.square().mean()).clamp_min(1e-12))
        return torch.stack(errors).mean(dim=0)
