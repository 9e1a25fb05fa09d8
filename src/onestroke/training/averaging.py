"""The moving average of a network's weights, which is what gets exported.

Lightning's WeightAveraging callback would also count steps that were skipped because their gradient was not finite.
Only the device knows which ones they are, and the host does not wait for it.
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
    """Update the average.

    Args:
        ema: the averaged network, updated in place.
        network: a network of the same architecture.
        decay: weight of the old average, 0 to 1.
        counts: 1, or 0 if the step was skipped and the average stays as it is; a scalar on the device.
    """
    move_towards(list(ema.parameters()), list(network.parameters()), (1 - decay) * counts)
