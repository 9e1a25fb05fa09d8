"""Operations of training on the rows of norm tables: copy from another network, tie their gradients, freeze them.

Besides conditioning.py, this is the only code that depends on the order of rows.
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
    """Weights that express each table row of a network by those of another: (rows, rows of the other).

    Args:
        own: the network's layout.
        other: the other network's layout. Its additional controls are set to their defaults; controls that it lacks
            have no effect.
        which: for each style of the network, the index of a style of the other.
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
    """Set the gradient of all rows of a style to the sum of their gradients, so that they change by the same amount."""
    for table in _with_gradient(network):
        by_style = table.grad.view(conditioning.styles, -1, *table.shape[1:])
        table.grad = by_style.sum(1, keepdim=True).expand_as(by_style).clone().view(table.shape)


def hold(network: nn.Module, conditioning: Conditioning, strength: float) -> None:
    """Set the gradient to zero for the rows that are used at the controls' defaults.

    Args:
        network: with norm tables.
        conditioning: its layout.
        strength: the default of that control, in [0, 1].
    """
    held = _at_defaults(conditioning, strength)
    for table in _with_gradient(network):
        table.grad.masked_fill_(held.view(-1, *[1] * (table.ndim - 1)).to(table.device), 0)


def _at_defaults(conditioning: Conditioning, strength: float) -> Tensor:
    """Whether each row is used with the controls at their defaults, bool (rows,).

    Args:
        strength: the default of that control, which may differ between styles.
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
