"""Style: the painting's Gram matrices are met (Gatys et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onestroke.errors import UserError
from onestroke.losses.objective import Term, Views
from onestroke.styles import gram_matrix


class Gram(Term):
    """Relative squared distance of Gram matrices: `||G(output) - G(style)||^2 / ||G(style)||^2`.

    The mean over the batch and over layers. Gatys et al. leave out the division, and losses of two paintings then
    differ by more than a thousand times.
    """

    side = "style"

    def __init__(
        self, layers: Sequence[str] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3"), weight: float = 1.0
    ) -> None:
        super().__init__(layers, weight)
        if "image" in self.layers:
            raise UserError("Gram: layers must be layers of the VGG; a style has no statistics of the image itself")

    def forward(self, views: Views) -> Tensor:
        errors = []
        for layer in self.layers:
            style = views.style.gram(layer)
            error = (gram_matrix(views.output[layer]) - style).square().sum(dim=(1, 2)).mean()
            errors.append(error / style.square().sum())
        return torch.stack(errors).mean()
