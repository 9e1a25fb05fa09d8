"""Operations that rearrange values: slices, shapes, permutations, padding."""

from __future__ import annotations

import math

import numpy as np

from onestroke.graphs.rules.arguments import WIDE, Arguments, Value
from onestroke.graphs.rules.sizes import sizes

_PARTS = 64  # maximum number of tensors to concatenate


def shape(args: Arguments) -> Value:
    """Shape: the shape of a value, or a range of its axes."""
    (x,) = args.inputs(1)
    assert x is not None
    start, end = args.integer("start", 0, len(x.shape), 0), args.integer("end", 0, len(x.shape), len(x.shape))
    args.done()
    args.require(start < end, "nothing to give")
    return sizes(args, np.array(x.shape[start:end]))


def slice_(args: Arguments) -> Value:
    """Slice, with step 1, of a floating point tensor or a list of sizes."""
    x, starts, ends, *rest = args.inputs(3, 5)
    args.done()
    assert x is not None
    first, last = args.integers_of(starts), args.integers_of(ends)
    axes = args.integers_of(rest[0]) if rest[0] is not None else list(range(len(first)))
    steps = args.integers_of(rest[1]) if rest[1] is not None else [1] * len(first)
    args.require(len(first) == len(last) == len(axes) == len(steps) == len(set(axes)), "lists of several lengths")
    args.require(all(0 <= axis < len(x.shape) for axis in axes) and set(steps) <= {1}, "axes or steps out of bounds")
    cuts = [slice(None)] * len(x.shape)
    for axis, low, high in zip(axes, first, last, strict=True):
        cuts[axis] = slice(low, high)
    if x.known is not None and x.kind == "int64":
        return sizes(args, x.known[tuple(cuts)], x.fixed)
    shape = tuple(len(range(*cut.indices(side))) for cut, side in zip(cuts, x.shape, strict=True))
    return Value(shape, args.floats(x, None).kind)


def concat(args: Arguments) -> Value:
    """Concat of floating point tensors or of lists of sizes."""
    parts = [value for value in args.inputs(1, len(args.given)) if value is not None]
    args.require(
        len(parts) == len(args.given) <= _PARTS and len({(p.kind, len(p.shape)) for p in parts}) == 1, "mixed parts"
    )
    axes = len(parts[0].shape)
    axis = args.integer("axis", 0, axes - 1)
    args.done()
    if parts[0].kind == "int64":
        return sizes(
            args, np.concatenate([args.integers_of(part) for part in parts]), all(part.fixed for part in parts)
        )
    args.floats(parts[0], None)
    others = {part.shape[:axis] + part.shape[axis + 1 :] for part in parts}
    args.require(len(others) == 1, "parts of several sizes")
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return Value(tuple(shape), parts[0].kind)


def reshape(args: Arguments) -> Value:
    """Reshape; at most one side may be -1."""
    x, wanted = args.inputs(2)
    args.done()
    x = args.floats(x, None)
    shape = [x.shape[i] if side == 0 else side for i, side in enumerate(args.integers_of(wanted))]
    args.require(shape.count(-1) <= 1 and all(side >= -1 and side != 0 for side in shape), "a size that is none")
    rest = math.prod(side for side in shape if side != -1)
    shape = [math.prod(x.shape) // rest if side == -1 else side for side in shape]
    args.require(math.prod(shape) == math.prod(x.shape), "another number of pixels")
    return Value(tuple(shape), x.kind)


def transpose(args: Arguments) -> Value:
    """Transpose."""
    (x,) = args.inputs(1)
    assert x is not None
    axes = len(x.shape)
    order = args.integers("perm", axes, 0, axes - 1)
    args.done()
    args.require(sorted(order) == list(range(axes)) and x.kind in ("float32", "float16", "uint8"), "no order")
    return Value(tuple(x.shape[axis] for axis in order), x.kind)


def gather(args: Arguments) -> Value:
    """Gather along an axis, with as many constant indices as the axis is long."""
    x, places = args.inputs(2)
    x = args.floats(x)
    axis = args.integer("axis", 0, len(x.shape) - 1, 0)
    args.done()
    assert places is not None
    args.require(places.fixed and places.kind == "int64" and places.known is not None, "places that are not known")
    assert places.known is not None
    side = x.shape[axis]
    # as many indices as the axis is long, so the output is no larger than the input
    args.require(
        places.known.shape == (side,) and bool(((0 <= places.known) & (places.known < side)).all()), "no order"
    )
    return Value(x.shape, x.kind)


def pad(args: Arguments) -> Value:
    """Pad with a constant, the edge pixels or by reflection."""
    x, rims, value = args.inputs(2, 3)
    x = args.floats(x)
    mode = args.choice("mode", "constant", "edge", "reflect")
    args.done()
    amounts = args.integers_of(rims)
    args.require(len(amounts) == 8 and all(abs(n) <= WIDE for n in amounts), "a rim that is out of bounds")
    args.require(value is None or (value.shape == () and value.kind == x.kind), "no value")
    for side, before, after in zip(x.shape, amounts[:4], amounts[4:], strict=True):
        args.require(mode != "reflect" or max(before, after) < side, "a rim wider than the picture")
        args.require(side + min(before, 0) + min(after, 0) > 0, "a rim that leaves nothing")
    return Value(tuple(s + b + a for s, b, a in zip(x.shape, amounts[:4], amounts[4:], strict=True)), x.kind)


def depth_to_space(args: Arguments) -> Value:
    """DepthToSpace."""
    (x,) = args.inputs(1)
    count, channels, height, width = args.floats(x).shape
    block = args.integer("blocksize", 1, 64)
    args.choice("mode", "DCR", "CRD")
    args.done()
    args.require(channels % block**2 == 0, "channels that blocks don't divide")
    return Value((count, channels // block**2, height * block, width * block), args.floats(x).kind)


def space_to_depth(args: Arguments) -> Value:
    """SpaceToDepth."""
    (x,) = args.inputs(1)
    count, channels, height, width = args.floats(x).shape
    block = args.integer("blocksize", 1, 64)
    args.done()
    args.require(height % block == 0 and width % block == 0, "sides that blocks don't divide")
    return Value((count, channels * block**2, height // block, width // block), args.floats(x).kind)
