"""The recipe of a training: optimizer, learning rate, averaging and clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """How the weights are moved.

    lr: the schedule's peak, of Adam; Muon's is ten times that. optimizer: `muon` or `adam`. schedule: `cosine` down to
    a hundredth of the peak, or `constant`. betas: of Adam; the second moment forgets within a hundred steps, as runs
    are short. ema: share of the steps over which the exported weights are averaged, None for the last weights. clip:
    norm of the gradient at most, None for any; single photos now and then give a hundred times the usual one. crops:
    sides in pixels that training pictures are reduced to, each for an equal share of the run; (): none are.
    """

    lr: float = 2e-3
    optimizer: Literal["muon", "adam"] = "muon"
    schedule: Literal["cosine", "constant"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.99)
    ema: float | None = 0.05
    clip: float | None = 1.0
    crops: tuple[int, ...] = ()
