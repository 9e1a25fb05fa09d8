"""Style: distance of Gram matrices to those of the painting (Gatys et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onestroke.errors import UserError
from onestroke.kernels.gram import gram_matrix
from onestroke.losses.term import Term, Views


class Gram(Term):
    """Relative squared distance of Gram matrices: `2 ||G(output) - G(style)||^2 / (||G(output)||^2 + ||G(style)||^2)`.

    The mean over layers. Near the optimum this is `||G(output) - G(style)||^2 / ||G(style)||^2`, but it never exceeds
    2, so that a photo of high contrast does not dominate. Gatys et al. don't normalise, so that the losses of two
    paintings can differ by a factor of more than 1000.

    Args:
        layers: of the VGG.
        weight: see `Term`.
        centred: subtract the outer product of channel means, so that covariances are compared.

    Raises:
        UserError: for the layer `image`, and as `Term`.
    """

    side = "style"

    def __init__(
        self,
        layers: Sequence[str] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
        weight: float = 1.0,
        centred: bool = False,
    ) -> None:
        super().__init__(layers, weight)
        self.centred = centred
        if "image" in self.layers:
            raise UserError("Gram: layers must be layers of the VGG; a style has no statistics of the image itself")

    def forward(self, views: Views) -> Tensor:
        errors = []
        for layer in self.layers:
            style = views.style.gram(layer)
            # without the means the products are small, so they are computed in fp32
            output = gram_matrix(views.output[layer], mixed=not self.centred)
            if self.centred:
                style = style - _outer(views.style.mean(layer))
                output = output - _outer(views.output[layer].float().mean(dim=(2, 3)))
            error = (output - style).square().sum(dim=(1, 2))
            size = output.square().sum(dim=(1, 2)) + style.square().sum(dim=(-2, -1))
            errors.append(2 * error / size)
        return torch.stack(errors).mean(dim=0)


def _outer(mean: Tensor) -> Tensor:
    return mean[..., :, None] * mean[..., None, :] / mean.shape[-1]
