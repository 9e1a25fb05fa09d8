"""Peaks of activations: what instance norm's droplets are made of (Karras et al., 2020, StyleGAN2, section 2).

Instance norm divides by the deviation over the picture, so a network can weaken everything else in a channel by one
enormous activation at a place where it does little harm. Over many layers such a place grows to 50 deviations and more,
and is seen in the painting as a droplet or as a few stripes in rainbow colours. Nothing else in the objective minds: it
is small.
"""

from __future__ import annotations

from torch import Tensor

from onestroke.documents import is_number
from onestroke.errors import UserError
from onestroke.losses.term import Term, Views


class ActivationPeaks(Term):
    """How far the largest activation of each channel lies beyond a limit.

    Args:
        weight: its factor.
        limit: deviations from the channel's mean that cost nothing.

    Raises:
        UserError: for a limit that is no number above 0, and as `Term`.
    """

    reads_peaks = True
    trains_only = True

    def __init__(self, weight: float = 0.5, limit: float = 12.0) -> None:
        super().__init__(["image"], weight)
        if not is_number(limit, 0) or limit == 0:
            raise UserError(f"ActivationPeaks: limit must be a number above 0, not {limit!r}")
        self.limit = float(limit)

    def forward(self, views: Views) -> Tensor:
        """(N,): the mean over channels of (peak / limit - 1)^2, where the peak is beyond the limit."""
        assert views.peaks is not None
        return (views.peaks / self.limit - 1).relu().square().mean(dim=1)
