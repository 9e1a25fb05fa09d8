"""How an optimisation went, iteration by iteration, and what a network is worth beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """How an optimisation went.

    losses: before the first iteration, and after each. picture: that of the lowest loss, (1, 3, H, W), float32 on the
    CPU, not clamped to [0, 1], since the objective judged it so. evaluations: passes forward and backward that it
    took. exhausted: the optimiser found no lower loss any more, so that further iterations would change nothing.
    """

    losses: tuple[float, ...]
    picture: Tensor
    evaluations: int
    exhausted: bool = False

    @property
    def iterations(self) -> int:
        """How many were made."""
        return len(self.losses) - 1

    @property
    def loss(self) -> float:
        """The lowest."""
        return min(self.losses)


def iterations_to(trace: Trace, loss: float) -> float:
    """The iteration at which a trace first had this loss, linear between two.

    Of a network's loss on a photo, and the trace of the same objective from that photo, this is what the network is
    worth in iterations of direct optimisation; Johnson et al. (2016) report 50 to 100 for theirs.

    Returns:
        From 0 (no better than the start) on; infinity where the trace never had it, and NaN for NaN.
    """
    if math.isnan(loss):
        return math.nan
    before = math.inf
    for i, here in enumerate(trace.losses):
        if here <= loss:
            return 0.0 if i == 0 else i - (loss - here) / (before - here)
        before = here
    return math.inf
