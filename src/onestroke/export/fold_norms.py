"""Replace instance norms by fixed statistics, and fold them into the convolutions before them.

The statistics of an instance norm depend on the whole picture. With fixed statistics, measured on a few photos, the
norm is a scale and a shift, which are folded into the convolution before it. So each part of a picture is painted
independently of the rest, and tiles fit together. This is an approximation: the contrast of other photos changes.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from onestroke.graphs.tracing import NORM, Core


def freeze(core: Core, photos: Tensor) -> Core:
    """A copy of a core with its norms folded.

    Args:
        core: a traced network.
        photos: float (N, 3, H, W) in [0, 1]; the statistics are taken over the whole batch.
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
    """Runs a core with statistics over the whole batch, and records each norm's scale and shift.

    So the input of each norm comes from norms with fixed statistics, as in the folded core.
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
    """Fold scale and shift into the preceding convolution; without one, replace the norm by `x * scale + shift`."""
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
    """Weight and bias of a convolution; (None, None) for any other node, and None for a missing bias."""

    def value(index: int) -> Tensor | None:
        part = node.args[index] if len(node.args) > index else None
        return getattr(core, str(part.target)) if isinstance(part, fx.Node) and part.op == "get_attr" else None

    known = node.meta.get("operation") == "conv2d" and not node.kwargs
    return (value(1), value(2)) if known else (None, None)
