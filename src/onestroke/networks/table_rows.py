"""What training does with the rows of norm tables: they are taken over from another network, tied together, or held.

Beside conditioning.py, this is the only code that goes by the order of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.networks.conditioning import DEFAULTS, Conditioning
from onestroke.networks.tables import tables_of


def rows_from(own: Conditioning, other: Conditioning, which: Sequence[int]) -> Tensor:
    """For each row of a network's tables, what it takes over from another network's: (rows, the other's rows).

    Args:
        own: the network's layout.
        other: the other network's. Controls that it lacks change nothing, those that it alone has stand at
            their defaults.
        which: for each of its styles, the number of the style there.
    """
    positions = own.positions()
    blocks = []
    for number in which:
        mix = F.one_hot(torch.full((len(positions),), number), other.styles).float()
        settings = {
            control: torch.tensor([position.get(control, DEFAULTS[control]) for position in positions])
            for control in other.controls
        }
        shares = other.shares(len(positions), mix, settings)
        assert shares is not None
        blocks.append(shares)
    return torch.cat(blocks)


def tie(network: nn.Module, conditioning: Conditioning) -> None:
    """Give all rows of a style the sum of their gradients, so that its anchor positions move as one."""
    for table in _with_gradient(network):
        by_style = table.grad.view(conditioning.styles, -1, *table.shape[1:])
        table.grad = by_style.sum(1, keepdim=True).expand_as(by_style).clone().view(table.shape)


def hold(network: nn.Module, conditioning: Conditioning, strength: float) -> None:
    """Take the gradient from the rows that are painted with at the controls' defaults. `strength`: its default."""
    held = _at_defaults(conditioning, strength)
    for table in _with_gradient(network):
        table.grad.masked_fill_(held.view(-1, *[1] * (table.ndim - 1)).to(table.device), 0)


def _at_defaults(conditioning: Conditioning, strength: float) -> Tensor:
    """Whether each row is painted with where the controls stand at their defaults, (rows,) of bool.

    Args:
        strength: the default of that control, which a style may have of its own.
    """
    each = torch.eye(conditioning.styles)
    shares = conditioning.shares(
        conditioning.styles, each, {"strength": strength} if "strength" in conditioning.controls else {}
    )
    assert shares is not None
    return shares.sum(0) > 0


def _with_gradient(network: nn.Module) -> list[Any]:
    """The tables of a network that have a gradient."""
    return [t for layer in tables_of(network) for t in layer.parameters(recurse=False) if t.grad is not None]
