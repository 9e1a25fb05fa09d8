"""Sizes, paddings and indices: integers that follow from the picture's size and are computed."""

from __future__ import annotations

import numpy as np

from onestroke.graphs.rules.arguments import Arguments, Value

_SMALL = 64  # maximum length of a list that is computed
_FAR = 2**31


def sizes(args: Arguments, numbers: np.ndarray, fixed: bool = False) -> Value:
    """A list of sizes as a value; raises Unsound for more than 64 sizes, and for sizes of 2**31 or more."""
    numbers = np.asarray(numbers, np.int64)
    args.require(numbers.size <= _SMALL and bool((np.abs(numbers) < _FAR).all()), "sizes that are out of bounds")
    return Value(numbers.shape, "int64", numbers, fixed)
