"""Operations on each number by itself; on sizes, which are numbers too, they are carried out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onestroke.graphs.rules.arguments import Arguments, Rule, Value
from onestroke.graphs.rules.sizes import sizes


def same(*numbers: str) -> Rule:
    """Something for each pixel by itself; `numbers` are attributes."""

    def rule(of: Arguments) -> Value:
        (x,) = of.inputs(1)
        for name in numbers:
            of.number(name, 1.0)
        of.done()
        return Value(of.picture(x, None).shape, of.picture(x, None).kind)

    return rule


def identity(of: Arguments) -> Value:
    """What came in."""
    (x,) = of.inputs(1)
    of.done()
    assert x is not None
    return x


def binary(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Rule:
    """Two numbers to one, with broadcasting; of two lists of sizes, the sizes that come out."""

    def rule(of: Arguments) -> Value:
        a, b = of.inputs(2)
        of.done()
        assert a is not None and b is not None
        of.need(a.kind == b.kind, "two kinds of numbers")
        shape = np.broadcast_shapes(a.shape, b.shape)
        if a.kind == "int64":
            of.need(a.known is not None and b.known is not None, "sizes that are not known")
            assert a.known is not None and b.known is not None
            return sizes(of, function(a.known, b.known), a.fixed and b.fixed)
        of.picture(a, None)
        return Value(shape, a.kind)

    return rule


def divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whole quotients of sizes; a ValueError for what is no division of sizes."""
    if (b < 1).any() or (a < 0).any():
        raise ValueError("division of sizes")
    return np.asarray(a // b)


def cast(of: Arguments) -> Value:
    """The same as numbers of another kind."""
    (x,) = of.inputs(1)
    kinds = {1: "float32", 2: "uint8", 10: "float16"}
    to = of.whole("to", 1, 10)
    of.done()
    assert x is not None
    of.need(to in kinds and x.kind in kinds.values(), "another kind")
    return Value(x.shape, kinds[to])


def clip(of: Arguments) -> Value:
    """Bounded by numbers, which may be left out."""
    x, *bounds = of.inputs(1, 3)
    of.done()
    x = of.picture(x, None)
    of.need(all(b is None or (b.shape == () and b.kind == x.kind) for b in bounds), "bounds that are no numbers")
    return Value(x.shape, x.kind)
