"""Layers whose parameters are tables, and the condition that weights their rows for each picture.

A layer computes with a weighted sum of its table's rows. The meaning of each row is defined in conditioning.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Condition:
    """The inputs of a forward pass besides the pixels.

    shares: weight of each table row, (N, rows), or for each pixel, (N, rows, H, W); None for tables of one row.
    fade: opacity of the painting over the photo, (N,) in [0, 1]; None: 1.
    parameters: by layer with tables, parameters in place of those from its tables, each (N, ...).
    statistics: by norm, mean and variance in place of those of the features, each (N, C) or (1, C).
    past: for a recurrent network, the painting of the frame before and how well it is known, see `RecurrentNetwork`.
    """

    shares: Tensor | None = None
    fade: Tensor | None = None
    parameters: Mapping[nn.Module, Sequence[Tensor]] = field(default_factory=dict)
    statistics: Mapping[nn.Module, tuple[Tensor, Tensor]] = field(default_factory=dict)
    past: Tensor | None = None

    def padded(self, right: int, bottom: int) -> Condition:
        """The condition for a picture that is padded by this many columns and rows, which repeat the last ones."""
        sides = [0, right, 0, bottom]
        shares, past = self.shares, self.past
        shares = shares if shares is None or shares.ndim == 2 else F.pad(shares, sides, mode="replicate")
        past = past if past is None else F.pad(past, sides, mode="replicate")
        return replace(self, shares=shares, past=past)


PLAIN = Condition()
"""The condition of a network whose tables have one row."""


class Conditioned(nn.Module):
    """A layer that depends on the condition: `forward(features, condition)`."""


class Tables(Conditioned):
    """A layer whose parameters are tables, (rows, ...): it computes with a weighted sum of their rows."""

    def mixed(self, shares: Tensor) -> list[Tensor]:
        """Its parameters for weights of the rows: (N, rows) -> (N, ...) each, in the tables' dtype."""
        with torch.autocast(shares.device.type, enabled=False):
            return [torch.tensordot(shares.to(table.dtype), table, dims=1) for table in self.parameters(recurse=False)]

    def chosen(self, count: int, condition: Condition) -> Sequence[Tensor]:
        """Its parameters for a batch of `count` pictures, constant over each picture: (N, ...) each.

        Raises:
            ValueError: for several rows without shares.
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
