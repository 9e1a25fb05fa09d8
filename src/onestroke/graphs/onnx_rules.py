"""What each operation of an ONNX graph makes of a picture's size: one rule for each that export.py writes.

A rule says what its operation may be given, attributes too, and refuses all else: a step of 0 divides by zero inside of
a runtime, and a rim of a million pixels fills the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]
_SMALL = 64  # numbers of a list that are worked out; sizes, pads and places are no longer
_FAR = 2**31
_WIDE = 4096  # pixels, of what a kernel, a step or a rim has
AXES = 6
"""A value has at most so many."""


class Unsound(Exception):
    """A node that export.py would not write; the message says what is wrong with it."""


@dataclass(frozen=True)
class Value:
    """What flows from node to node.

    kind: "float32", "float16", "uint8", "int8", "int32" or "int64". known: the numbers themselves, where they are
    constants or follow from the picture's size. fixed: whether they are constants.
    """

    shape: Shape
    kind: str
    known: np.ndarray | None = None
    fixed: bool = False

    @property
    def bytes(self) -> int:
        """In memory."""
        return math.prod(self.shape) * np.dtype(self.kind).itemsize


@dataclass(frozen=True)
class Node:
    """An operation: the names that it takes ("" for none) and the one that it gives."""

    operation: str
    inputs: Sequence[str]
    output: str
    attributes: Mapping[str, Any]


class Arguments:
    """What a node is given; each method raises Unsound for what export.py would not have written."""

    def __init__(self, node: Node, given: Sequence[Value | None]) -> None:
        self.node, self.given = node, given
        self._unread = set(node.attributes)

    def need(self, right: bool, what: str) -> None:
        """Go on only where this is right."""
        if not right:
            raise Unsound(f"{self.node.operation} has {what}")

    def inputs(self, least: int, most: int | None = None) -> list[Value | None]:
        """All that is given, None for what is left out: at least so many, and at most."""
        most = least if most is None else most
        self.need(least <= len(self.given) <= most, f"{len(self.given)} inputs")
        for value in self.given[:least]:
            self.need(value is not None or self.node.operation == "Resize", "too few inputs")
        return [*self.given, *[None] * (most - len(self.given))]

    def picture(self, value: Value | None, axes: int | None = 4) -> Value:
        """A value of floats, of so many axes."""
        self.need(value is not None and value.kind in ("float32", "float16"), "no floats")
        assert value is not None
        self.need(axes is None or len(value.shape) == axes, f"{len(value.shape)} axes")
        return value

    def known(self, value: Value | None, axes: int = 1) -> list[int]:
        """Whole numbers that are known."""
        self.need(value is not None and value.known is not None and value.kind == "int64", "sizes that are not known")
        assert value is not None and value.known is not None
        self.need(value.known.ndim == axes, "a list of lists")
        return [int(n) for n in value.known.reshape(-1)]

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """An attribute that is a whole number."""
        self._unread.discard(name)
        number = self.node.attributes.get(name, default)
        self.need(isinstance(number, int) and low <= number <= high, f"{name} {number!r:.40}")
        assert isinstance(number, int)
        return number

    def number(self, name: str, default: float) -> float:
        """An attribute that is a finite number."""
        self._unread.discard(name)
        number = self.node.attributes.get(name, default)
        self.need(isinstance(number, float | int) and math.isfinite(number), f"{name} {number!r:.40}")
        return float(number)

    def list(self, name: str, count: int, low: int, high: int, default: Sequence[int] | None = None) -> list[int]:
        """An attribute that is so many whole numbers."""
        self._unread.discard(name)
        numbers = self.node.attributes.get(name, default)
        sound = isinstance(numbers, Sequence) and len(numbers) == count and all(isinstance(n, int) for n in numbers)
        self.need(sound and all(low <= n <= high for n in numbers), f"{name} {numbers!r:.60}")
        return [int(n) for n in numbers]

    def word(self, name: str, *known: str) -> str:
        """An attribute that is one of these words, the first where it is missing."""
        self._unread.discard(name)
        word = self.node.attributes.get(name, known[0])
        self.need(word in known, f"{name} {word!r:.40}")
        return str(word)

    def done(self) -> None:
        """Nothing else may be there."""
        self.need(not self._unread, f"an attribute {min(self._unread, default='')!r:.40}")


Rule = Callable[[Arguments], Value]


def _same(*numbers: str) -> Rule:
    """Something for each pixel by itself; `numbers` are attributes."""

    def rule(of: Arguments) -> Value:
        (x,) = of.inputs(1)
        for name in numbers:
            of.number(name, 1.0)
        of.done()
        return Value(of.picture(x, None).shape, of.picture(x, None).kind)

    return rule


def _identity(of: Arguments) -> Value:
    (x,) = of.inputs(1)
    of.done()
    assert x is not None
    return x


def _binary(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Rule:
    def rule(of: Arguments) -> Value:
        a, b = of.inputs(2)
        of.done()
        assert a is not None and b is not None
        of.need(a.kind == b.kind, "two kinds of numbers")
        shape = np.broadcast_shapes(a.shape, b.shape)
        if a.kind == "int64":
            of.need(a.known is not None and b.known is not None, "sizes that are not known")
            assert a.known is not None and b.known is not None
            return _sizes(of, function(a.known, b.known), a.fixed and b.fixed)
        of.picture(a, None)
        return Value(shape, a.kind)

    return rule


def _sizes(of: Arguments, numbers: np.ndarray, fixed: bool = False) -> Value:
    numbers = np.asarray(numbers, np.int64)
    of.need(numbers.size <= _SMALL and bool((np.abs(numbers) < _FAR).all()), "sizes that are out of bounds")
    return Value(numbers.shape, "int64", numbers, fixed)


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if (b < 1).any() or (a < 0).any():
        raise ValueError("division of sizes")
    return np.asarray(a // b)


def _cast(of: Arguments) -> Value:
    (x,) = of.inputs(1)
    kinds = {1: "float32", 2: "uint8", 10: "float16"}
    to = of.whole("to", 1, 10)
    of.done()
    assert x is not None
    of.need(to in kinds and x.kind in kinds.values(), "another kind")
    return Value(x.shape, kinds[to])


def _clip(of: Arguments) -> Value:
    x, *bounds = of.inputs(1, 3)
    of.done()
    x = of.picture(x, None)
    of.need(all(b is None or (b.shape == () and b.kind == x.kind) for b in bounds), "bounds that are no numbers")
    return Value(x.shape, x.kind)


def _shape(of: Arguments) -> Value:
    (x,) = of.inputs(1)
    assert x is not None
    start, end = of.whole("start", 0, len(x.shape), 0), of.whole("end", 0, len(x.shape), len(x.shape))
    of.done()
    of.need(start < end, "nothing to give")
    return _sizes(of, np.array(x.shape[start:end]))


def _slice(of: Arguments) -> Value:
    x, starts, ends, *rest = of.inputs(3, 5)
    of.done()
    assert x is not None
    first, last = of.known(starts), of.known(ends)
    axes = of.known(rest[0]) if rest[0] is not None else list(range(len(first)))
    steps = of.known(rest[1]) if rest[1] is not None else [1] * len(first)
    of.need(len(first) == len(last) == len(axes) == len(steps) == len(set(axes)), "lists of several lengths")
    of.need(all(0 <= axis < len(x.shape) for axis in axes) and set(steps) <= {1}, "axes or steps out of bounds")
    cuts = [slice(None)] * len(x.shape)
    for axis, low, high in zip(axes, first, last, strict=True):
        cuts[axis] = slice(low, high)
    if x.known is not None and x.kind == "int64":
        return _sizes(of, x.known[tuple(cuts)], x.fixed)
    shape = tuple(len(range(*cut.indices(side))) for cut, side in zip(cuts, x.shape, strict=True))
    return Value(shape, of.picture(x, None).kind)


def _concat(of: Arguments) -> Value:
    parts = [value for value in of.inputs(1, len(of.given)) if value is not None]
    of.need(len(parts) == len(of.given) <= _SMALL and len({(p.kind, len(p.shape)) for p in parts}) == 1, "mixed parts")
    axes = len(parts[0].shape)
    axis = of.whole("axis", 0, axes - 1)
    of.done()
    if parts[0].kind == "int64":
        return _sizes(of, np.concatenate([of.known(part) for part in parts]), all(part.fixed for part in parts))
    of.picture(parts[0], None)
    others = {part.shape[:axis] + part.shape[axis + 1 :] for part in parts}
    of.need(len(others) == 1, "parts of several sizes")
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return Value(tuple(shape), parts[0].kind)


def _reshape(of: Arguments) -> Value:
    x, wanted = of.inputs(2)
    of.done()
    x = of.picture(x, None)
    shape = [x.shape[i] if side == 0 else side for i, side in enumerate(of.known(wanted))]
    of.need(shape.count(-1) <= 1 and all(side >= -1 and side != 0 for side in shape), "a size that is none")
    rest = math.prod(side for side in shape if side != -1)
    shape = [math.prod(x.shape) // rest if side == -1 else side for side in shape]
    of.need(math.prod(shape) == math.prod(x.shape), "another number of pixels")
    return Value(tuple(shape), x.kind)


def _transpose(of: Arguments) -> Value:
    (x,) = of.inputs(1)
    assert x is not None
    axes = len(x.shape)
    order = of.list("perm", axes, 0, axes - 1)
    of.done()
    of.need(sorted(order) == list(range(axes)) and x.kind in ("float32", "float16", "uint8"), "no order")
    return Value(tuple(x.shape[axis] for axis in order), x.kind)


def _gather(of: Arguments) -> Value:
    x, places = of.inputs(2)
    x = of.picture(x)
    axis = of.whole("axis", 0, len(x.shape) - 1, 0)
    of.done()
    assert places is not None
    of.need(places.fixed and places.kind == "int64" and places.known is not None, "places that are not known")
    assert places.known is not None
    side = x.shape[axis]
    # an order of what is there, and no more of it than there is
    of.need(places.known.shape == (side,) and bool(((0 <= places.known) & (places.known < side)).all()), "no order")
    return Value(x.shape, x.kind)


def _pad(of: Arguments) -> Value:
    x, rims, value = of.inputs(2, 3)
    x = of.picture(x)
    mode = of.word("mode", "constant", "edge", "reflect")
    of.done()
    amounts = of.known(rims)
    of.need(len(amounts) == 8 and all(abs(n) <= _WIDE for n in amounts), "a rim that is out of bounds")
    of.need(value is None or (value.shape == () and value.kind == x.kind), "no value")
    for side, before, after in zip(x.shape, amounts[:4], amounts[4:], strict=True):
        of.need(mode != "reflect" or max(before, after) < side, "a rim wider than the picture")
        of.need(side + min(before, 0) + min(after, 0) > 0, "a rim that leaves nothing")
    return Value(tuple(s + b + a for s, b, a in zip(x.shape, amounts[:4], amounts[4:], strict=True)), x.kind)


def _kernel(of: Arguments, transposed: bool) -> tuple[Value, Shape, int, list[tuple[int, int, int, int, int]]]:
    """Picture, weights, channels that come out, and of each side: length, kernel, step, rim, reach."""
    x, weight, bias = of.inputs(2, 3)
    x, weight = of.picture(x), of.picture(weight)
    of.need(weight.fixed and weight.kind == x.kind, "weights that are no constants")
    groups = of.whole("group", 1, _WIDE, 1)
    kernel = of.list("kernel_shape", 2, 1, _WIDE)
    steps = of.list("strides", 2, 1, _WIDE, [1, 1])
    apart = of.list("dilations", 2, 1, _WIDE, [1, 1])
    rims = of.list("pads", 4, 0, _WIDE, [0] * 4)
    shape = weight.shape
    outputs, inputs = (shape[1] * groups, shape[0]) if transposed else (shape[0], shape[1] * groups)
    of.need(tuple(kernel) == shape[2:] and inputs == x.shape[1] and outputs % groups == 0, "other weights")
    of.need(inputs % groups == 0, "groups that don't divide")
    of.need(bias is None or (bias.fixed and bias.shape == (outputs,) and bias.kind == x.kind), "another bias")
    sides = [
        (x.shape[2 + i], kernel[i], steps[i], rims[i] + rims[2 + i], apart[i] * (kernel[i] - 1) + 1) for i in range(2)
    ]
    return x, shape, outputs, sides


def _conv(of: Arguments) -> Value:
    x, _, outputs, sides = _kernel(of, False)
    of.done()
    return Value(
        (x.shape[0], outputs, *[(side + rim - reach) // step + 1 for side, _, step, rim, reach in sides]), x.kind
    )


def _conv_transpose(of: Arguments) -> Value:
    x, _, outputs, sides = _kernel(of, True)
    more = of.list("output_padding", 2, 0, _WIDE, [0, 0])
    of.done()
    of.need(all(extra < side[2] or extra < side[4] for extra, side in zip(more, sides, strict=True)), "output_padding")
    grown = [
        (side - 1) * step + reach + extra - rim for (side, _, step, rim, reach), extra in zip(sides, more, strict=True)
    ]
    return Value((x.shape[0], outputs, *grown), x.kind)


def _norm(of: Arguments) -> Value:
    x, scale, shift = of.inputs(3)
    x = of.picture(x)
    of.need(of.number("epsilon", 1e-5) > 0, "no epsilon")
    of.done()
    for table in (scale, shift):
        of.need(table is not None and table.fixed and (table.shape, table.kind) == ((x.shape[1],), x.kind), "a table")
    return Value(x.shape, x.kind)


def _matmul(of: Arguments) -> Value:
    a, b = (of.picture(value, None) for value in of.inputs(2))
    of.done()
    of.need(a.kind == b.kind and a.fixed and len(a.shape) == 2 and len(b.shape) == 3, "other factors")
    of.need(a.shape[1] == b.shape[1], "factors of several sizes")
    return Value((b.shape[0], a.shape[0], b.shape[2]), a.kind)


def _resize(of: Arguments) -> Value:
    x, none, factors = of.inputs(3)
    x = of.picture(x)
    of.word("mode", "nearest", "linear")
    of.word("coordinate_transformation_mode", "half_pixel", "asymmetric", "align_corners")
    of.word("nearest_mode", "round_prefer_floor", "floor")
    of.done()
    of.need(none is None and factors is not None and factors.fixed and factors.known is not None, "other factors")
    assert factors is not None and factors.known is not None
    of.need(factors.kind == "float32" and factors.shape == (4,), "other factors")
    scales = [float(f) for f in factors.known]
    of.need(scales[:2] == [1, 1] and all(1 / 64 <= f <= 64 for f in scales), "factors that are out of bounds")
    return Value(tuple(math.floor(side * f) for side, f in zip(x.shape, scales, strict=True)), x.kind)


def _depth_to_space(of: Arguments) -> Value:
    (x,) = of.inputs(1)
    count, channels, height, width = of.picture(x).shape
    block = of.whole("blocksize", 1, 64)
    of.word("mode", "DCR", "CRD")
    of.done()
    of.need(channels % block**2 == 0, "channels that blocks don't divide")
    return Value((count, channels // block**2, height * block, width * block), of.picture(x).kind)


def _space_to_depth(of: Arguments) -> Value:
    (x,) = of.inputs(1)
    count, channels, height, width = of.picture(x).shape
    block = of.whole("blocksize", 1, 64)
    of.done()
    of.need(height % block == 0 and width % block == 0, "sides that blocks don't divide")
    return Value((count, channels * block**2, height // block, width // block), of.picture(x).kind)


def _mean(of: Arguments) -> Value:
    x, given = of.inputs(1, 2)
    x = of.picture(x, None)
    kept = of.whole("keepdims", 0, 1, 1)
    of.done()
    count = len(x.shape)
    axes = set(range(count)) if given is None else {axis % count for axis in of.known(given) if -count <= axis < count}
    of.need(given is None or len(axes) == len(of.known(given)), "axes that are none")
    shape = [1 if i in axes else side for i, side in enumerate(x.shape) if kept or i not in axes]
    return Value(tuple(shape), x.kind)


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


def _quantise(of: Arguments) -> Value:
    x = _levels(of, ["float32"])
    zero = of.given[2] if len(of.given) == 3 else None
    kind = "uint8" if zero is None else zero.kind
    of.need(kind in ("uint8", "int8"), "other levels")
    return Value(x.shape, kind)


def _dequantise(of: Arguments) -> Value:
    x = _levels(of, ["uint8", "int8", "int32"])
    return Value(x.shape, "float32", None, x.fixed)


RULES: Mapping[str, Rule] = {
    "Add": _binary(np.add),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "DequantizeLinear": _dequantise,
    "Div": _binary(_divided),
    "Elu": _same("alpha"),
    "Erf": _same(),
    "Gather": _gather,
    "Identity": _identity,
    "InstanceNormalization": _norm,
    "LeakyRelu": _same("alpha"),
    "MatMul": _matmul,
    "Max": _binary(np.maximum),
    "Mul": _binary(np.multiply),
    "Neg": _same(),
    "Pad": _pad,
    "QuantizeLinear": _quantise,
    "ReduceMean": _mean,
    "Relu": _same(),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": _same(),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Sub": _binary(np.subtract),
    "Tanh": _same(),
    "Transpose": _transpose,
}
"""Every operation that may be in a file; `operators.Nodes` writes no other: what is exported can be read again."""
