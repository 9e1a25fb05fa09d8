"""Chains of frames: which pictures of a training follow on one another, from the seed and their numbers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LONGEST = 24  # frames in a chain, at most
_FEWEST = 32  # chains at once, so that a batch has frames of photos that differ and of many ages


@dataclass(frozen=True)
class Link:
    """The place of a picture in its chain: the number of the chain's first picture, and that of the frame, from 0."""

    first: int
    age: int


@dataclass(frozen=True)
class Chains:
    """Chains that go on in turn: picture n + slots is the frame after picture n, or the first one of a new chain.

    Their lengths are from 1 to LONGEST, short ones more often: a network trained on short pasts alone drifts, and one
    trained on long ones alone paints first frames badly.

    slots: number of chains at once. seed: of the lengths. real: whether they are frames of clips, and not made from the
    first picture.
    """

    slots: int
    seed: int
    real: bool = False

    @classmethod
    def of(cls, batch_size: int, styles: int, seed: int, real: bool = False) -> Chains:
        """Chains for batches of this size, so that each chain has one style and each process its own chains."""
        least = math.lcm(batch_size, styles)
        return cls(least * -(-_FEWEST // least), seed, real)

    def link(self, n: int) -> Link:
        """The place of picture n, 0 or more."""
        turn, slot = divmod(n, self.slots)
        block, position = divmod(turn, LONGEST)
        random = np.random.default_rng([self.seed, slot, block])
        start = end = 0
        while end <= position:  # chains follow one another up to the end of a block, which cuts the last one
            start, end = end, end + int((LONGEST + 1) ** random.random())
        return Link((block * LONGEST + start) * self.slots + slot, position - start)
