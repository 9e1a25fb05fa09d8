"""Run any network with given norm statistics, and measure those of a large picture part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from onestroke.graphs.tracing import as_norm

Statistics = tuple[Tensor, Tensor]
"""Mean and variance of each channel of a norm's input, (1, C) each, fp32."""


class Measured(Exception):
    """A norm without given statistics was reached, and its input was measured."""


class GivenNorms(TorchFunctionMode):
    """Within this context, the norms of a network take given statistics in place of those of their features.

    Norms are told apart by the order of their calls, so that any network can be run so: those of networks/, and others
    that call `F.instance_norm`, `nn.InstanceNorm2d` or `torch.var_mean` over the places of a feature map. Enter a new
    one for each run; the picture is one, and not a batch.

    Args:
        statistics: of the first norms.
        measure: gets the input, (1, C, H, W), of the first norm that has none, before the run ends with `Measured`;
            None: that norm, and those after it, use the statistics of their features, which are appended to `own`,
            and the features' height and width to `sizes`.
    """

    def __init__(self, statistics: Sequence[Statistics] = (), measure: Callable[[Tensor], None] | None = None) -> None:
        super().__init__()
        self.statistics = statistics
        self.measure = measure
        self.calls = 0
        self.own: list[Statistics] = []
        self.sizes: list[tuple[int, int]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (features := _input_of_var_mean(func, args, kwargs)) is not None:
            mean, variance = (part[:, :, None, None] for part in self._next(features))
            return variance, mean
        if (norm := as_norm(func, args, kwargs)) is not None:
            features, weight, bias, eps = norm
            mean, variance = (part[:, :, None, None] for part in self._next(features))
            # the formula of InstanceNorm for given statistics
            scale = torch.rsqrt(variance + eps)
            scale = scale if weight is None else weight.float().view(1, -1, 1, 1) * scale
            shift = 0 if bias is None else bias.float().view(1, -1, 1, 1)
            return torch.addcmul(shift - mean * scale, features.float(), scale).to(features.dtype)
        return func(*args, **kwargs)

    def _next(self, features: Tensor) -> Statistics:
        number = self.calls
        self.calls += 1
        if number < len(self.statistics):
            mean, variance = self.statistics[number]
            return mean.to(features.device), variance.to(features.device)
        if self.measure is not None:
            self.measure(features)
            raise Measured
        variance, mean = torch.var_mean(features.float(), dim=(2, 3), correction=0)
        self.own.append((mean, variance))
        self.sizes.append((features.shape[2], features.shape[3]))
        return mean, variance


def _input_of_var_mean(function: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
    """The feature map whose statistics are taken, if a call is one that an instance norm makes."""
    if function is not torch.var_mean or not args or args[0].ndim != 4:
        return None
    dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
    usual = isinstance(dims, tuple | list) and {dim % 4 for dim in dims} == {2, 3}
    if not usual or kwargs.get("correction") != 0 or not kwargs.get("keepdim"):
        return None
    found: Tensor = args[0]
    return found


@dataclass(frozen=True)
class Moments:
    """The number of pixels, and the mean and the summed squared deviation of each channel, fp64 (C,)."""

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, cell: Tensor) -> Moments:
        """Of a cell of a feature map, (C, h, w)."""
        # a copy of one layout, so that the order of the sums depends on the cell's shape alone
        values = cell.to("cpu", torch.float64).flatten(1).contiguous()
        mean = values.mean(dim=1)
        return cls(values.shape[1], mean, (values - mean[:, None]).square().sum(dim=1))

    def joined(self, other: Moments) -> Moments:
        """Of the pixels of both (Chan et al., "Updating formulae ... for computing sample variances", 1979)."""
        count, apart = self.count + other.count, other.mean - self.mean
        share = other.count / count
        squares = self.squares + other.squares + apart.square() * (self.count * share)
        return Moments(count, self.mean + apart * share, squares)

    def statistics(self) -> Statistics:
        """Mean and variance, as norms take them."""
        return self.mean.float()[None], (self.squares / self.count).float()[None]
