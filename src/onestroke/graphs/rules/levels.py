"""Changes between numbers and the levels of 8 bits that stand for them (quantization)."""

from __future__ import annotations

from collections.abc import Sequence

from onestroke.graphs.rules.arguments import Arguments, Value


def _levels(of: Arguments, kinds: Sequence[str]) -> Value:
    """Input of a change from or to whole numbers, whose scales are one, or one for each of an axis."""
    x, scale, zero = of.inputs(2, 3)
    assert x is not None and scale is not None
    axis = of.whole("axis", 0, max(0, len(x.shape) - 1), min(1, max(0, len(x.shape) - 1)))
    of.done()
    of.need(x.kind in kinds and scale.fixed and scale.kind == "float32", "other numbers")
    of.need(scale.shape == () or scale.shape == (x.shape[axis],), "other scales")
    of.need(zero is None or (zero.fixed and zero.shape == scale.shape), "other zeros")
    return x


def quantise(of: Arguments) -> Value:
    """Numbers to levels."""
    x = _levels(of, ["float32"])
    zero = of.given[2] if len(of.given) == 3 else None
    kind = "uint8" if zero is None else zero.kind
    of.need(kind in ("uint8", "int8"), "other levels")
    return Value(x.shape, kind)


def dequantise(of: Arguments) -> Value:
    """Levels to numbers."""
    x = _levels(of, ["uint8", "int8", "int32"])
    return Value(x.shape, "float32", None, x.fixed)
