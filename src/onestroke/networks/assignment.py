"""Which style, strength and stroke falls to each training picture, and which statistics it is to meet.

Beside conditioning.py, which knows what the rows of norm tables are for, only this code counts styles and sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.networks.conditioning import Conditioning
from onestroke.networks.table_rows import hold, tie

T = TypeVar("T")


@dataclass(frozen=True)
class Assignment:
    """What each picture of a batch is painted in, (N,) each; None where there is no choice.

    style: the number of its style. strength, stroke: the controls, in [0, 1]. target: where its statistics, those of
    its style at its stroke's size, are in `Draw.targets`. repeated: whether it is painted a second time, for the term
    that compares the two.
    """

    style: Tensor | None = None
    strength: Tensor | None = None
    stroke: Tensor | None = None
    target: Tensor | None = None
    repeated: Tensor | None = None

    def of(self, some: Tensor) -> Assignment:
        """That of some of the pictures, by their numbers in the batch."""
        return Assignment(*(None if each is None else each[some] for each in vars(self).values()))

    def arguments(self, styles: int, device: torch.device) -> dict[str, Tensor]:
        """What a network of so many styles is called with besides the pictures."""
        given = {} if self.style is None else {"mix": F.one_hot(self.style, styles).float()}
        given |= {n: v for n, v in (("strength", self.strength), ("stroke", self.stroke)) if v is not None}
        return {name: value.to(device) for name, value in given.items()}


@dataclass(frozen=True)
class Draw:
    """Draws what each training picture is painted in. It follows from the seed and the picture's number alone.

    conditioning: the network's. styles: how many are trained, all in turn. sizes: of how many style sizes there are
    statistics, evenly spaced over the control of strokes. strength: where the control of that name stands by default.
    seed: of the controls. moving: the share of the pictures whose controls are drawn, and not at their defaults.
    """

    conditioning: Conditioning
    styles: int
    sizes: int
    strength: float
    seed: int
    moving: float

    @staticmethod
    def targets(by_size: Iterable[Sequence[T]]) -> list[T]:
        """Statistics of each style at each size, in the order that `Assignment.target` counts in."""
        return [one for sizes in by_size for one in sizes]

    def defaults(self, style: Tensor) -> Assignment:
        """The controls at their defaults, in styles by number, (N,)."""
        ones = torch.ones(len(style))
        return Assignment(
            style if self.styles > 1 else None,
            self.strength * ones if "strength" in self.conditioning.controls else None,
            0 * ones if "stroke" in self.conditioning.controls else None,
        )

    def of(self, numbers: Sequence[int]) -> Assignment:
        """What falls to pictures by their numbers in the run, on the CPU."""
        style = torch.tensor([n % self.styles for n in numbers])
        # every other picture, and every other of each style
        repeated = torch.tensor([sum(divmod(n, self.styles)) % 2 == 0 for n in numbers])
        default = self.defaults(style)
        if not self.conditioning.controls:
            return Assignment(default.style, target=default.style, repeated=repeated)
        # the first number decides whether the controls move at all, so that every style has its share of defaults
        drawn = np.stack([np.random.default_rng((self.seed, n)).random(3) for n in numbers])
        moves, at, coarse = torch.from_numpy(drawn).float().unbind(1)
        moved = moves < self.moving
        size = torch.where(moved, torch.floor(coarse * self.sizes), 0)
        # a fifth at the very end, which is learned from its neighbourhood alone otherwise
        strength = (1.25 * at).clamp(max=1)
        return Assignment(
            default.style,
            None if default.strength is None else torch.where(moved, strength, default.strength),
            None if default.stroke is None else size / max(self.sizes - 1, 1),
            style * self.sizes + size.long(),
            repeated,
        )

    def restrict_gradients(self, network: nn.Module) -> None:
        """Change the gradients of the norm tables as `moving` asks for.

        With 0, what is learned at the defaults is taken over at all other anchor positions: a start whose controls work
        keeps them, and all photos are there for what is painted most. With 1, what is painted at the defaults stays.
        """
        if self.conditioning.controls and self.moving == 0:
            tie(network, self.conditioning)
        if self.conditioning.controls and self.moving == 1:
            hold(network, self.conditioning, self.strength)
