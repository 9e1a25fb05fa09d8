"""Sizes, pads and places: whole numbers that follow from the picture's size and are worked out."""

from __future__ import annotations

import numpy as np

from onestroke.graphs.rules.arguments import Arguments, Value

_SMALL = 64  # numbers of a list that are worked out; sizes, pads and places are no longer
_FAR = 2**31


def sizes(of: Arguments, numbers: np.ndarray, fixed: bool = False) -> Value:
    """The value of a list of sizes; raises Unsound for too many, and for sizes out of bounds."""
    numbers = np.asarray(numbers, np.int64)
    of.need(numbers.size <= _SMALL and bool((np.abs(numbers) < _FAR).all()), "sizes that are out of bounds")
    return Value(numbers.shape, "int64", numbers, fixed)
