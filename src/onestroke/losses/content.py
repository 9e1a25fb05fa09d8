"""Content: distance of VGG features to the photo's (Gatys et al., 2016; Johnson et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from onestroke.losses.term import Term, Views

_PART = 2**17  # features of one picture that are processed at once on a CPU


class Content(Term):
    """Relative squared distance of features: `||F(output) - F(content)||^2 / ||F(content)||^2`, mean over layers.

    The denominator is the mean over the whole batch (of all processes), so that a flat photo, whose own features are
    nearly zero, does not dominate. Johnson et al. divide by C H W instead, which makes the scale depend on the layer.
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
    """Mean squares of `output - content` for each picture, (N,), and of all of `content`, in fp32 (fp64 for fp64).

    Only the first has a gradient, and only with respect to `output`. It is a multiple of the difference, which is
    saved in the features' own dtype; autograd would save and traverse fp32 copies of everything.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, content: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.float64 if output.dtype == torch.float64 else torch.float32
        last = output.is_contiguous(memory_format=torch.channels_last)
        output = output if last else output.contiguous()
        difference = torch.empty_like(output)
        flat = [(x.permute(0, 2, 3, 1) if last else x).flatten(1) for x in (output, content, difference)]
        errors, sizes = [], []
        # in parts, so that the fp32 copies stay in the processor's cache
        part = _PART if output.device.type == "cpu" else flat[0].shape[1]
        for parts in zip(*(torch.split(x, part, dim=1) for x in flat), strict=True):
            target = parts[1].to(wide)
            delta = parts[0].to(wide) - target
            parts[2].copy_(delta)
            with torch.autocast(output.device.type, enabled=False):  # which would round the fp32 copies
                errors.append(torch.linalg.vecdot(delta, delta))
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
        # the scale in the features' dtype too, or the product would be in fp32
        return difference * scale.to(difference.dtype).view(-1, 1, 1, 1), None
