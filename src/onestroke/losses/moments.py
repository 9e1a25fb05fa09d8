"""Style: distance of the mean and the deviation of each feature to the painting's (Li et al., 2017; AdaIN's loss)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onestroke.errors import UserError
from onestroke.losses.term import Term, Views


class Moments(Term):
    """Relative squared distance of channel means and deviations, mean over layers.

    It is the squared Wasserstein-2 distance of Gaussians of these means and deviations, of independent channels, over
    the mean of both sums of variances. So it is the cheap relative of `wasserstein`, and style cards have all it needs.

    Args:
        layers: of the VGG.
        weight: see `Term`.

    Raises:
        UserError: for the layer `image`, and as `Term`.
    """

    side = "style"

    def __init__(
        self, layers: Sequence[str] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3"), weight: float = 2.0
    ) -> None:
        super().__init__(layers, weight)
        if "image" in self.layers:
            raise UserError("Moments: layers must be layers of the VGG; a style has no statistics of the image itself")

    def forward(self, views: Views) -> Tensor:
        errors = []
        for layer in self.layers:
            features = views.output[layer]
            features = features if features.dtype == torch.float64 else features.float()
            variance, mean = torch.var_mean(features, dim=(2, 3), correction=0)
            wanted_mean = views.style.mean(layer).to(mean)
            squares = views.style.gram(layer).to(mean).diagonal(dim1=-2, dim2=-1) * mean.shape[1]
            wanted = (squares - wanted_mean.square()).clamp_min(0)  # a card's numbers are rounded to fp16
            deviations = (variance + 1e-8).sqrt(), (wanted + 1e-8).sqrt()
            error = (mean - wanted_mean).square() + (deviations[0] - deviations[1]).square()
            errors.append(2 * error.sum(dim=1) / (variance.sum(dim=1) + wanted.sum(dim=-1)).clamp_min(1e-12))
        return torch.stack(errors).mean(dim=0)
