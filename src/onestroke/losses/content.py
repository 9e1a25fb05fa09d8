"""Content: the photo's features are kept (Gatys et al., 2016; Johnson et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from onestroke.losses.term import Term, Views

_PART = 2**17  # of one picture's features


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
        last = output.is_contiguous(memory_format=torch.channels_last)
        output = output if last else output.contiguous()
        difference = torch.empty_like(output)
        flat = [(x.permute(0, 2, 3, 1) if last else x).flatten(1) for x in (output, content, difference)]
        errors, sizes = [], []
        # a part at a time, so that what is wide never leaves a processor's cache
        part = _PART if output.device.type == "cpu" else flat[0].shape[1]
        for parts in zip(*(torch.split(x, part, dim=1) for x in flat), strict=True):
            target = parts[1].to(wide)
            apart = parts[0].to(wide) - target
            parts[2].copy_(apart)
            with torch.autocast(output.device.type, enabled=False):  # which would round what was just made wide
                errors.append(torch.linalg.vecdot(apart, apart))
                sizes.append(torch.linalg.vecdot(target, target))
        ctx.save_for_backward(difference)
        each = flat[0].shape[1]
        size = torch.stack(sizes).sum() / (each * len(output))
        ctx.mark_non_differentiable(size)
        return torch.stack(errors).sum(dim=0) / each, size

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        scale = gradient * (2 / difference[0].numel())
        # the scale in the features' dtype too, as all else would be made wide
        return difference * scale.to(difference.dtype).view(-1, 1, 1, 1), None
