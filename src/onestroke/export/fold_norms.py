"""Norms with fixed statistics, folded into the convolutions before them.

An instance norm has to see all of a picture before it can paint any of it. With the statistics of a few photos in place
of the picture's own it is a scale and a shift, which the convolution before it takes over. So all parts of a picture
are painted alike, whatever the rest is, and tiles join. An approximation: other photos get other contrasts.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from onestroke.graphs.tracing import NORM, Core


def freeze(core: Core, photos: Tensor) -> Core:
    """A core without norms.

    Args:
        core: what a network does.
        photos: float (N, 3, H, W) in [0, 1]; the statistics are those of all of them together.
    """
    core = copy.deepcopy(core)
    right, bottom = core.missing(photos.shape[-1]), core.missing(photos.shape[-2])
    measured = _Measure(core)
    with torch.no_grad():
        measured.run(F.pad(photos, [0, right, 0, bottom], mode="replicate"))
        for node, (scale, shift) in measured.found.items():
            _fold(core, node, scale, shift)
    core.graph.eliminate_dead_code()
    return core


class _Measure(fx.Interpreter):
    """Runs a core with the statistics of the whole batch, and keeps each norm's scale and shift.

    So every norm is measured behind norms that are frozen already, as they will be when it paints.
    """

    def __init__(self, core: Core) -> None:
        super().__init__(core, graph=core.graph)
        self.found: dict[fx.Node, tuple[Tensor, Tensor]] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.meta.get("operation") != NORM:
            return super().run_node(n)
        (x, _, _, weight, bias, _, _, eps), _ = self.fetch_args_kwargs_from_env(n)
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        scale = weight * torch.rsqrt(variance + eps)
        self.found[n] = scale, bias - mean * scale
        return x * scale.view(-1, 1, 1) + self.found[n][1].view(-1, 1, 1)


def _fold(core: Core, node: fx.Node, scale: Tensor, shift: Tensor) -> None:
    """Put a scale and a shift into the convolution before, or where there is none, in place of the norm."""
    before = node.args[0]
    assert isinstance(before, fx.Node)
    weight, bias = _weights(core, before)
    if weight is not None and len(before.users) == 1:
        bias = torch.zeros_like(shift) if bias is None else bias
        with core.graph.inserting_before(before):
            before.update_arg(1, core.constant(f"{node.name}_weight", weight * scale.view(-1, 1, 1, 1)))
            folded = core.constant(f"{node.name}_bias", bias * scale + shift)
        before.args = (*before.args[:2], folded, *before.args[3:])
        node.replace_all_uses_with(before)
    else:
        with core.graph.inserting_before(node):
            factor = core.constant(f"{node.name}_scale", scale.view(-1, 1, 1))
            scaled = core.call("mul", torch.mul, before, factor)
            moved = core.call("add", torch.add, scaled, core.constant(f"{node.name}_shift", shift.view(-1, 1, 1)))
        node.replace_all_uses_with(moved)
    core.graph.erase_node(node)


def _weights(core: Core, node: fx.Node) -> tuple[Tensor | None, Tensor | None]:
    """Weight and bias of a convolution, None for what there is not."""

    def value(index: int) -> Tensor | None:
        part = node.args[index] if len(node.args) > index else None
        return getattr(core, str(part.target)) if isinstance(part, fx.Node) and part.op == "get_attr" else None

    known = node.meta.get("operation") == "conv2d" and not node.kwargs
    return (value(1), value(2)) if known else (None, None)
