"""The unnormalised terms of the classic recipe, as in pytorch/examples: squared distances with large weights.

For comparison only: their sizes differ by a factor of 1000 between paintings, so that weights have to be tuned for each
painting. `style.strength` does not change them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.kernels.gram import gram_matrix
from onestroke.losses.term import Term, Views

# The example's VGG takes pictures of unit variance, the embedded one pixel values up to 255, so that its features are
# larger. Divided by this factor, both terms start at the values that the example prints, about 1e6 and 1e7.
SCALE = 400.0


class RawContent(Term):
    """Mean squared distance of features, summed over layers (Johnson et al., 2016, with their `C H W`)."""

    reads_content = True

    def __init__(self, layers: Sequence[str] = ("relu2_2",), weight: float = 1e5) -> None:
        super().__init__(layers, weight)

    def forward(self, views: Views) -> Tensor:
        errors = [F.mse_loss(views.output[n].float(), views.content[n].float()) for n in self.layers]
        return torch.stack(errors).sum() / SCALE**2


class RawGram(Term):
    """Mean squared distance of Gram matrices, summed over layers."""

    def __init__(
        self, layers: Sequence[str] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3"), weight: float = 1e10
    ) -> None:
        super().__init__(layers, weight)

    def forward(self, views: Views) -> Tensor:
        errors = []
        for layer in self.layers:
            output = gram_matrix(views.output[layer], mixed=True)
            errors.append((output - views.style.gram(layer)).square().mean())
        return torch.stack(errors).sum() / SCALE**4
