"""Assigns a style, a strength, a stroke size and target statistics to each training picture.

Only this code knows how target statistics of styles and sizes are ordered; conditioning.py orders the table rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.losses.term import Before
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.table_rows import hold, tie

T = TypeVar("T")


@dataclass(frozen=True)
class Assignment:
    """The style and the controls of each picture of a batch, (N,) each; None if the network has no such choice.

    style: index of the style. strength, stroke: the controls, in [0, 1]. target: index into `Draw.targets` of the
    statistics of its style at its stroke size. repeated, moved: whether it is painted a second time, for the terms
    `shift_consistency` and `temporal`. past: of frames of a clip, what a recurrent network gets of their last
    paintings, (N, 4, H, W); a second painting gets none. before: the paintings that they are to agree with.
    """

    style: Tensor | None = None
    strength: Tensor | None = None
    stroke: Tensor | None = None
    target: Tensor | None = None
    repeated: Tensor | None = None
    moved: Tensor | None = None
    past: Tensor | None = None
    before: Sequence[Before] = ()

    def of(self, some: Tensor) -> Assignment:
        """The assignment of some of the pictures, by their indices in the batch, (M,), for a second painting."""
        style, strength, stroke, target, repeated, moved = (
            None if each is None else each[some]
            for each in (self.style, self.strength, self.stroke, self.target, self.repeated, self.moved)
        )
        return Assignment(style, strength, stroke, target, repeated, moved)

    def arguments(self, styles: int, device: torch.device) -> dict[str, Tensor]:
        """Keyword arguments for a network with this number of styles, on the device."""
        given = {} if self.style is None else {"mix": F.one_hot(self.style, styles).float()}
        others = (("strength", self.strength), ("stroke", self.stroke), ("past", self.past))
        given |= {name: value for name, value in others if value is not None}
        return {name: value.to(device) for name, value in given.items()}


@dataclass(frozen=True)
class Draw:
    """Draws the assignment of each training picture, from the seed and the picture's number alone.

    conditioning: the network's. styles: number of styles, assigned in turn. sizes: number of style sizes that have
    statistics, evenly spaced over the stroke control. strength: default of the strength control. seed: of the controls.
    moving: the share of the pictures, 0 to 1, whose controls are drawn at random; all others have the defaults.
    """

    conditioning: Conditioning
    styles: int
    sizes: int
    strength: float
    seed: int
    moving: float

    @staticmethod
    def targets(by_size: Iterable[Sequence[T]]) -> list[T]:
        """Flatten the statistics of each style at each size, in the order of `Assignment.target`."""
        return [one for sizes in by_size for one in sizes]

    def defaults(self, style: Tensor) -> Assignment:
        """The assignment with the controls at their defaults, for style indices (N,)."""
        ones = torch.ones(len(style))
        return Assignment(
            style if self.styles > 1 else None,
            self.strength * ones if "strength" in self.conditioning.controls else None,
            0 * ones if "stroke" in self.conditioning.controls else None,
        )

    def of(self, numbers: Sequence[int]) -> Assignment:
        """The assignment of pictures by their numbers in the run, on the CPU."""
        style = torch.tensor([n % self.styles for n in numbers])
        # every other picture, also among those of each style, and one of four of the others
        turn = torch.tensor([sum(divmod(n, self.styles)) % 4 for n in numbers])
        repeated, moved = turn % 2 == 0, turn == 1
        default = self.defaults(style)
        if not self.conditioning.controls:
            return Assignment(default.style, target=default.style, repeated=repeated, moved=moved)
        # the first random number decides whether the controls are drawn, so that every style also gets defaults
        drawn = np.stack([np.random.default_rng((self.seed, n)).random(3) for n in numbers])
        moves, at, coarse = torch.from_numpy(drawn).float().unbind(1)
        moved = moves < self.moving
        size = torch.where(moved, torch.floor(coarse * self.sizes), 0)
        # a fifth of them at strength 1, which would otherwise hardly be trained
        strength = (1.25 * at).clamp(max=1)
        return Assignment(
            default.style,
            None if default.strength is None else torch.where(moved, strength, default.strength),
            None if default.stroke is None else size / max(self.sizes - 1, 1),
            style * self.sizes + size.long(),
            repeated,
            moved,
        )

    def restrict_gradients(self, network: nn.Module) -> None:
        """Adapt the gradients of the norm tables to `moving`.

        0: all anchor positions of a style get the gradient of the defaults, so that controls that were learned before
        keep working. 1: table rows that are used at the defaults get none, so that paintings at the defaults stay the
        same.
        """
        if self.conditioning.controls and self.moving == 0:
            tie(network, self.conditioning)
        if self.conditioning.controls and self.moving == 1:
            hold(network, self.conditioning, self.strength)
