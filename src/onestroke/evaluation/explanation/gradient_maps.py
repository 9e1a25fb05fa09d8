"""Where each term pulls: the gradient of each term of the objective with respect to the pixels of a painting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.losses.term import Views


@dataclass(frozen=True, eq=False)
class GradientMap:
    """The gradient of one weighted term at a painting.

    name: of the term; `gram/relu1_2` is the part of one layer in the Gram term. loss: the weighted term.
    gradient: (3, H, W), loss per unit of pixel value in [0, 1]; each pixel's magnitude is the norm over channels.
    """

    name: str
    loss: float
    gradient: Tensor

    @property
    def magnitude(self) -> Tensor:
        """The norm of the gradient over the channels of each pixel, (H, W)."""
        magnitude: Tensor = self.gradient.norm(dim=0)
        return magnitude

    @property
    def mean_magnitude(self) -> float:
        """The mean of `magnitude` over pixels."""
        return float(self.magnitude.mean())

    @property
    def per_level(self) -> float:
        """Change of the loss, to first order, if each pixel moves one level of 255 along its gradient."""
        return float(self.magnitude.sum()) / 255


def gradient_maps(objective: Objective, output: Tensor, photo: Tensor) -> list[GradientMap]:
    """The gradient of each term, and of the parts of the Gram term if it has several layers.

    The gradients of the terms sum to that of the objective, and those of the parts to that of the Gram term.

    Args:
        objective: in evaluation mode.
        output: the painting, (1, 3, H, W) in [0, 1].
        photo: that was painted, the same shape.
    """
    output = output.detach().clone().requires_grad_()
    with torch.enable_grad():
        views = objective.views(output, photo)
        losses = {**objective.weighted(views), **_layers_of_gram(objective, views)}
        found = []
        for name, loss in losses.items():
            (gradient,) = torch.autograd.grad(loss, output, retain_graph=True)
            found.append(GradientMap(name, float(loss.detach()), gradient[0]))
    return found


def _layers_of_gram(objective: Objective, views: Views) -> dict[str, Tensor]:
    parts = {}
    for name, term in objective.terms.items():
        if isinstance(term, Gram) and len(term.layers) > 1:
            share = objective.factors[name] / len(term.layers)
            for layer in term.layers:
                own = Gram([layer], centred=term.centred).eval()
                parts[f"{name}/{layer}"] = share * own(views).mean()
    return parts


def cosine(one: GradientMap, other: GradientMap) -> float:
    """The cosine of two gradients over all pixels: -1 for terms that pull in opposite directions; 0 for no gradient."""
    size = one.gradient.norm() * other.gradient.norm()
    return float((one.gradient * other.gradient).sum() / size) if float(size) > 0 else 0.0
