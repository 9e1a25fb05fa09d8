"""The result of an optimisation, and how many of its iterations a network's loss corresponds to."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """The result of an optimisation.

    losses: before the first iteration and after each. picture: that of the lowest loss, (1, 3, H, W), float32 on the
    CPU, not clamped to [0, 1], as the objective was computed without clamping. evaluations: number of forward and
    backward passes. exhausted: whether the optimiser could not lower the loss any further.
    """

    losses: tuple[float, ...]
    picture: Tensor
    evaluations: int
    exhausted: bool = False

    @property
    def iterations(self) -> int:
        """Number of iterations that were made."""
        return len(self.losses) - 1

    @property
    def loss(self) -> float:
        """The lowest loss."""
        return min(self.losses)


def iterations_to(trace: Trace, loss: float) -> float:
    """The iteration at which a trace first reached a loss, interpolated linearly.

    With a network's loss on a photo and the trace of the same objective for that photo, this says how many iterations
    of direct optimisation the network replaces; Johnson et al. (2016) report 50 to 100.

    Returns:
        At least 0 (no better than the start); infinity if the trace never reached the loss; NaN for NaN.
    """
    if math.isnan(loss):
        return math.nan
    before = math.inf
    for i, here in enumerate(trace.losses):
        if here <= loss:
            return 0.0 if i == 0 else i - (loss - here) / (before - here)
        before = here
    return math.inf
