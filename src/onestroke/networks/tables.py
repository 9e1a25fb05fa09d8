"""Layers whose parameters are tables, and the condition that says what each picture is painted with.

A layer takes a weighted sum of its table's rows. What a row stands for is known to conditioning.py alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Condition:
    """What one forward pass is painted with: all that a network depends on besides pixels and weights.

    shares: of each table row, (N, rows), or over the picture, (N, rows, H, W); None where the tables have one row.
    fade: how much of the painting is shown over the photo, (N,) in [0, 1]; None: all of it.
    parameters: for a layer with tables, the parameters to use in place of its tables', each (N, ...).
    statistics: for a norm, mean and variance to use in place of the picture's own, each (N, C) or (1, C).
    """

    shares: Tensor | None = None
    fade: Tensor | None = None
    parameters: Mapping[nn.Module, Sequence[Tensor]] = field(default_factory=dict)
    statistics: Mapping[nn.Module, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def padded(self, right: int, bottom: int) -> Condition:
        """The same for a picture with so many more columns and rows, which repeat its last ones."""
        if self.shares is None or self.shares.ndim == 2:
            return self
        shares = F.pad(self.shares, [0, right, 0, bottom], mode="replicate")
        return Condition(shares, self.fade, self.parameters, self.statistics)


PLAIN = Condition()
"""Of a network with one row in its tables: its norms as they are."""


class Conditioned(nn.Module):
    """A layer that depends on the condition: `forward(features, condition)`."""


class Tables(Conditioned):
    """A layer whose parameters are tables, (rows, ...): it computes with a weighted sum of their rows."""

    def mixed(self, shares: Tensor) -> list[Tensor]:
        """Its parameters for shares of the rows: (N, rows) -> (N, ...) each, in the tables' dtype."""
        with torch.autocast(shares.device.type, enabled=False):
            return [torch.tensordot(shares.to(table.dtype), table, dims=1) for table in self.parameters(recurse=False)]

    def chosen(self, count: int, condition: Condition) -> Sequence[Tensor]:
        """Its parameters for a batch of `count` pictures that have one condition all over: (N, ...) each.

        Raises:
            ValueError: several rows, and no shares of them.
        """
        if self in condition.parameters:
            return condition.parameters[self]
        if condition.shares is not None:
            return self.mixed(condition.shares)
        tables = list(self.parameters(recurse=False))
        if len(tables[0]) > 1:
            raise ValueError(f"a network of {len(tables[0])} styles needs their mix")
        return [table.expand(count, *table.shape[1:]) for table in tables]


def tables_of(network: nn.Module) -> list[Tables]:
    """The layers of a network that have tables."""
    return [module for module in network.modules() if isinstance(module, Tables)]


def table_names(network: nn.Module) -> set[str]:
    """The names of all tables among a network's parameters."""
    named = ((name, module) for name, module in network.named_modules() if isinstance(module, Tables))
    return {f"{name}.{part}" for name, module in named for part, _ in module.named_parameters(recurse=False)}
