"""Quantization and dequantization."""

from __future__ import annotations

from collections.abc import Sequence

from onestroke.graphs.rules.arguments import Arguments, Value


def _levels(args: Arguments, kinds: Sequence[str]) -> Value:
    """The input of (de)quantization, with one constant scale or one for each index of an axis."""
    x, scale, zero = args.inputs(2, 3)
    assert x is not None and scale is not None
    axis = args.integer("axis", 0, max(0, len(x.shape) - 1), min(1, max(0, len(x.shape) - 1)))
    args.done()
    args.require(x.kind in kinds and scale.fixed and scale.kind == "float32", "other numbers")
    args.require(scale.shape == () or scale.shape == (x.shape[axis],), "other scales")
    args.require(zero is None or (zero.fixed and zero.shape == scale.shape), "other zeros")
    return x


def quantise(args: Arguments) -> Value:
    """QuantizeLinear."""
    x = _levels(args, ["float32"])
    zero = args.given[2] if len(args.given) == 3 else None
    kind = "uint8" if zero is None else zero.kind
    args.require(kind in ("uint8", "int8"), "other levels")
    return Value(x.shape, kind)


def dequantise(args: Arguments) -> Value:
    """DequantizeLinear."""
    x = _levels(args, ["uint8", "int8", "int32"])
    return Value(x.shape, "float32", None, x.fixed)
