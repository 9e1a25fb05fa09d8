"""Structured pruning: a narrower network from the most important channels of a trained one (Li et al., 2017)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onestroke.networks.layers import Conv, ConvNormReLU, InstanceNorm, Residual
from onestroke.networks.residual import ResidualNetwork


@dataclass(frozen=True)
class _Channels:
    """Channels that can only be removed together.

    makers: the convolutions and their norms whose outputs they are. readers: the convolutions that take them.
    """

    makers: Sequence[tuple[Conv, InstanceNorm]]
    readers: Sequence[Conv]

    def importance(self) -> Tensor:
        """The energy that each brings to what comes next: of the norm's outputs, times that of the weights on them."""
        made = [(norm.weight.square() + norm.bias.square()).mean(dim=0) for _, norm in self.makers]
        read = [conv.convolution.weight.square().sum(dim=(0, 2, 3)) for conv in self.readers]
        return torch.stack(made).sum(dim=0) * torch.stack(read).sum(dim=0)

    def keep(self, which: Tensor) -> None:
        """Remove all others from the weights."""
        for conv, norm in self.makers:
            inner = conv.convolution
            assert inner.bias is not None
            inner.weight, inner.bias = nn.Parameter(inner.weight[which]), nn.Parameter(inner.bias[which])
            norm.weight, norm.bias = nn.Parameter(norm.weight[:, which]), nn.Parameter(norm.bias[:, which])
        for conv in self.readers:
            conv.convolution.weight = nn.Parameter(conv.convolution.weight[:, which])


@torch.no_grad()
def pruned(network: ResidualNetwork, share: float) -> tuple[ResidualNetwork, list[int]]:
    """A network without the least important channels, which is to be fine-tuned.

    Args:
        network: trained.
        share: of the channels of each layer that is removed, above 0 and below 1.

    Returns:
        The network, of the same styles and controls, and its `channels`.
    """
    smaller = copy.deepcopy(network)
    for channels in _groups(smaller):
        importance = channels.importance()
        left = max(1, round((1 - share) * len(importance)))
        channels.keep(importance.topk(left).indices.sort().values)
    widths = [norm.weight.shape[1] for norm in smaller.encoder.modules() if isinstance(norm, InstanceNorm)]
    return smaller.requires_grad_(False), widths


def _groups(network: ResidualNetwork) -> list[_Channels]:
    first, second, third = (_layer(part) for part in network.encoder)
    upper, last = (_layer(part) for part in network.decoder)
    blocks = [block for block in network.middle if isinstance(block, Residual)]
    insides = [_layer(block) for block in blocks]
    ends = [(block.body[1], block.body[2]) for block in blocks]
    return [
        _Channels([first], [second[0]]),
        _Channels([second], [third[0]]),
        # what the blocks add to, all through the middle
        _Channels([third, *ends], [*(conv for conv, _ in insides), upper[0]]),  # type: ignore[list-item]
        *(_Channels([inside], [end[0]]) for inside, end in zip(insides, ends, strict=True)),  # type: ignore[list-item]
        _Channels([upper], [last[0]]),
        _Channels([last], [network.paint]),
    ]


def _layer(part: nn.Module) -> tuple[Conv, InstanceNorm]:
    """The first convolution inside a part of the network, and its norm."""
    (found, *_) = (module for module in part.modules() if isinstance(module, ConvNormReLU))
    conv, norm = found[0], found[1]
    assert isinstance(conv, Conv) and isinstance(norm, InstanceNorm)
    return conv, norm
