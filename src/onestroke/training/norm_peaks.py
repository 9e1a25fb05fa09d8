"""The largest activations in a network's norms, for the loss term that keeps them small."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.losses.objective import Objective
from onestroke.networks.layers import InstanceNorm


def norm_peaks(network: nn.Module, objective: Objective) -> NormPeaks | None:
    """What notes the peaks of a network's activations, if a term of the objective reads them."""
    return NormPeaks(network) if any(term.reads_peaks for term in objective.terms.values()) else None


class NormPeaks:
    """Notes, in each forward pass of a network, how far the largest activation of each channel is from its mean.

    Args:
        network: one with instance norms. A copy of it made earlier is not watched.

    Raises:
        UserError: for a network without instance norms.
    """

    def __init__(self, network: nn.Module) -> None:
        norms = [module for module in network.modules() if isinstance(module, InstanceNorm)]
        if not norms:
            raise UserError("loss.activation_peaks looks at instance norms, and this network has none: leave it out")
        self._found: dict[nn.Module, Tensor] = {}
        for norm in norms:
            norm.register_forward_pre_hook(self._note)

    def found(self) -> Tensor:
        """Of the latest pass: (N, channels of all norms), in standard deviations, with gradients."""
        return torch.cat(list(self._found.values()), dim=1)

    def _note(self, norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(norm, InstanceNorm)
        with torch.autocast(inputs[0].device.type, enabled=False):
            features = inputs[0].float()
            variance, mean = torch.var_mean(features, dim=(2, 3), correction=0)
            low, high = features.amin(dim=(2, 3)), features.amax(dim=(2, 3))
            self._found[norm] = torch.maximum(high - mean, mean - low) * torch.rsqrt(variance + norm.eps)
