"""The moving average of a network's weights, which is what gets exported.

It is ours because Lightning's WeightAveraging callback counts every step, and a step without a finite gradient must not
count: only the device knows which one that was, and the host doesn't wait for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onestroke.training.muon import move_towards


def ema_decay(step: int, share: float | None) -> float:
    """Decay of an average that spans about the last `share` of all steps so far; None: no average.

    A power function of the step (Karras et al., 2024), so that short and long runs need no other number.
    """
    return 1 - min(1.0, 1 / (share * (step + 1))) if share else 0.0


@torch.no_grad()
def average(ema: nn.Module, network: nn.Module, decay: float, counts: Tensor) -> None:
    """Move the average towards the network's weights.

    Args:
        ema: the average.
        network: of the same parameters.
        decay: how much of the average stays, 0 to 1.
        counts: 1 where the step counts, 0 where it changes nothing; a scalar on the device.
    """
    move_towards(list(ema.parameters()), list(network.parameters()), (1 - decay) * counts)
