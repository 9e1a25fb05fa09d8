"""Operations that arrange numbers anew and change none: slices, shapes, orders, rims."""

from __future__ import annotations

import math

import numpy as np

from onestroke.graphs.rules.arguments import WIDE, Arguments, Value
from onestroke.graphs.rules.sizes import sizes

_PARTS = 64  # that are put together at most


def shape(of: Arguments) -> Value:
    """The sides of a value, or some of them, as sizes."""
    (x,) = of.inputs(1)
    assert x is not None
    start, end = of.whole("start", 0, len(x.shape), 0), of.whole("end", 0, len(x.shape), len(x.shape))
    of.done()
    of.need(start < end, "nothing to give")
    return sizes(of, np.array(x.shape[start:end]))


def slice_(of: Arguments) -> Value:
    """A part of a picture, or of a list of sizes; every number of it."""
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
        return sizes(of, x.known[tuple(cuts)], x.fixed)
    shape = tuple(len(range(*cut.indices(side))) for cut, side in zip(cuts, x.shape, strict=True))
    return Value(shape, of.picture(x, None).kind)


def concat(of: Arguments) -> Value:
    """Pictures, or lists of sizes, one behind the other."""
    parts = [value for value in of.inputs(1, len(of.given)) if value is not None]
    of.need(len(parts) == len(of.given) <= _PARTS and len({(p.kind, len(p.shape)) for p in parts}) == 1, "mixed parts")
    axes = len(parts[0].shape)
    axis = of.whole("axis", 0, axes - 1)
    of.done()
    if parts[0].kind == "int64":
        return sizes(of, np.concatenate([of.known(part) for part in parts]), all(part.fixed for part in parts))
    of.picture(parts[0], None)
    others = {part.shape[:axis] + part.shape[axis + 1 :] for part in parts}
    of.need(len(others) == 1, "parts of several sizes")
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return Value(tuple(shape), parts[0].kind)


def reshape(of: Arguments) -> Value:
    """The same pixels in another shape; of one side it may be left open how long it is."""
    x, wanted = of.inputs(2)
    of.done()
    x = of.picture(x, None)
    shape = [x.shape[i] if side == 0 else side for i, side in enumerate(of.known(wanted))]
    of.need(shape.count(-1) <= 1 and all(side >= -1 and side != 0 for side in shape), "a size that is none")
    rest = math.prod(side for side in shape if side != -1)
    shape = [math.prod(x.shape) // rest if side == -1 else side for side in shape]
    of.need(math.prod(shape) == math.prod(x.shape), "another number of pixels")
    return Value(tuple(shape), x.kind)


def transpose(of: Arguments) -> Value:
    """Axes in another order."""
    (x,) = of.inputs(1)
    assert x is not None
    axes = len(x.shape)
    order = of.list("perm", axes, 0, axes - 1)
    of.done()
    of.need(sorted(order) == list(range(axes)) and x.kind in ("float32", "float16", "uint8"), "no order")
    return Value(tuple(x.shape[axis] for axis in order), x.kind)


def gather(of: Arguments) -> Value:
    """The places along an axis in another order."""
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


def pad(of: Arguments) -> Value:
    """A rim around a picture: of one value, of its last pixels or of its mirror image."""
    x, rims, value = of.inputs(2, 3)
    x = of.picture(x)
    mode = of.word("mode", "constant", "edge", "reflect")
    of.done()
    amounts = of.known(rims)
    of.need(len(amounts) == 8 and all(abs(n) <= WIDE for n in amounts), "a rim that is out of bounds")
    of.need(value is None or (value.shape == () and value.kind == x.kind), "no value")
    for side, before, after in zip(x.shape, amounts[:4], amounts[4:], strict=True):
        of.need(mode != "reflect" or max(before, after) < side, "a rim wider than the picture")
        of.need(side + min(before, 0) + min(after, 0) > 0, "a rim that leaves nothing")
    return Value(tuple(s + b + a for s, b, a in zip(x.shape, amounts[:4], amounts[4:], strict=True)), x.kind)


def depth_to_space(of: Arguments) -> Value:
    """Channels as blocks of pixels."""
    (x,) = of.inputs(1)
    count, channels, height, width = of.picture(x).shape
    block = of.whole("blocksize", 1, 64)
    of.word("mode", "DCR", "CRD")
    of.done()
    of.need(channels % block**2 == 0, "channels that blocks don't divide")
    return Value((count, channels // block**2, height * block, width * block), of.picture(x).kind)


def space_to_depth(of: Arguments) -> Value:
    """Blocks of pixels as channels."""
    (x,) = of.inputs(1)
    count, channels, height, width = of.picture(x).shape
    block = of.whole("blocksize", 1, 64)
    of.done()
    of.need(height % block == 0 and width % block == 0, "sides that blocks don't divide")
    return Value((count, channels * block**2, height // block, width // block), of.picture(x).kind)
