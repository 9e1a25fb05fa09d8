"""Elementwise operations; those on lists of sizes are computed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onestroke.graphs.rules.arguments import Arguments, Rule, Value
from onestroke.graphs.rules.sizes import sizes


def same(*numbers: str) -> Rule:
    """A rule for unary functions with the floating point attributes `numbers`."""

    def rule(args: Arguments) -> Value:
        (x,) = args.inputs(1)
        for name in numbers:
            args.number(name, 1.0)
        args.done()
        return Value(args.floats(x, None).shape, args.floats(x, None).kind)

    return rule


def identity(args: Arguments) -> Value:
    """Identity."""
    (x,) = args.inputs(1)
    args.done()
    assert x is not None
    return x


def binary(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Rule:
    """A rule for binary functions with broadcasting; on two lists of sizes, `function` computes the result."""

    def rule(args: Arguments) -> Value:
        a, b = args.inputs(2)
        args.done()
        assert a is not None and b is not None
        args.require(a.kind == b.kind, "two kinds of numbers")
        shape = np.broadcast_shapes(a.shape, b.shape)
        if a.kind == "int64":
            args.require(a.known is not None and b.known is not None, "sizes that are not known")
            assert a.known is not None and b.known is not None
            return sizes(args, function(a.known, b.known), a.fixed and b.fixed)
        args.floats(a, None)
        return Value(shape, a.kind)

    return rule


def divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Integer quotients of sizes; raises ValueError for a divisor below 1 or a negative dividend."""
    if (b < 1).any() or (a < 0).any():
        raise ValueError("division of sizes")
    return np.asarray(a // b)


def cast(args: Arguments) -> Value:
    """Cast between float32, float16 and uint8."""
    (x,) = args.inputs(1)
    kinds = {1: "float32", 2: "uint8", 10: "float16"}
    to = args.integer("to", 1, 10)
    args.done()
    assert x is not None
    args.require(to in kinds and x.kind in kinds.values(), "another kind")
    return Value(x.shape, kinds[to])


def clip(args: Arguments) -> Value:
    """Clip; both bounds are optional scalars."""
    x, *bounds = args.inputs(1, 3)
    args.done()
    x = args.floats(x, None)
    args.require(all(b is None or (b.shape == () and b.kind == x.kind) for b in bounds), "bounds that are no numbers")
    return Value(x.shape, x.kind)
