"""Content: the photo's features are kept (Gatys et al., 2016; Johnson et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
            error, size = _Squares.apply(views.output[layer], views.content[layer])
            errors.append(error / self.over_batch(size).clamp_min(1e-12))
        return torch.stack(errors).mean(dim=0)


class _Squares(torch.autograd.Function):
    """Mean squares of `output - content`, (N,), and of all of `content`, in fp32, or fp64 for fp64.

    Only the first has a gradient, and by `output` alone. What is kept for it is the difference in the features' own
    dtype, of which the gradient is a multiple; autograd would keep, and go through, copies of all in fp32.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, content: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.float64 if output.dtype == torch.float64 else torch.float32
        target = content.to(wide)
        difference = output.to(wide) - target
        ctx.save_for_backward(difference.to(output.dtype))
        size = target.square().mean()
        ctx.mark_non_differentiable(size)
        return difference.square().mean(dim=(1, 2, 3)), size

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        scale = gradient * (2 / difference[0].numel())
        # the scale in the features' dtype too, as all else would be made wide
        return difference * scale.to(difference.dtype).view(-1, 1, 1, 1), None
