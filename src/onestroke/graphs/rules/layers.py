"""Layers of a network: convolutions, norms, products, means, and changes of size."""

from __future__ import annotations

import math

from onestroke.graphs.rules.arguments import WIDE, Arguments, Shape, Value


def _kernel(of: Arguments, transposed: bool) -> tuple[Value, Shape, int, list[tuple[int, int, int, int, int]]]:
    """Picture, weights, channels that come out, and of each side: length, kernel, step, rim, reach."""
    x, weight, bias = of.inputs(2, 3)
    x, weight = of.picture(x), of.picture(weight)
    of.need(weight.fixed and weight.kind == x.kind, "weights that are no constants")
    groups = of.whole("group", 1, WIDE, 1)
    kernel = of.list("kernel_shape", 2, 1, WIDE)
    steps = of.list("strides", 2, 1, WIDE, [1, 1])
    apart = of.list("dilations", 2, 1, WIDE, [1, 1])
    rims = of.list("pads", 4, 0, WIDE, [0] * 4)
    shape = weight.shape
    outputs, inputs = (shape[1] * groups, shape[0]) if transposed else (shape[0], shape[1] * groups)
    of.need(tuple(kernel) == shape[2:] and inputs == x.shape[1] and outputs % groups == 0, "other weights")
    of.need(inputs % groups == 0, "groups that don't divide")
    of.need(bias is None or (bias.fixed and bias.shape == (outputs,) and bias.kind == x.kind), "another bias")
    sides = [
        (x.shape[2 + i], kernel[i], steps[i], rims[i] + rims[2 + i], apart[i] * (kernel[i] - 1) + 1) for i in range(2)
    ]
    return x, shape, outputs, sides


def conv(of: Arguments) -> Value:
    """A convolution with constant weights."""
    x, _, outputs, sides = _kernel(of, False)
    of.done()
    return Value(
        (x.shape[0], outputs, *[(side + rim - reach) // step + 1 for side, _, step, rim, reach in sides]), x.kind
    )


def conv_transpose(of: Arguments) -> Value:
    """A transposed convolution with constant weights."""
    x, _, outputs, sides = _kernel(of, True)
    more = of.list("output_padding", 2, 0, WIDE, [0, 0])
    of.done()
    of.need(all(extra < side[2] or extra < side[4] for extra, side in zip(more, sides, strict=True)), "output_padding")
    grown = [
        (side - 1) * step + reach + extra - rim for (side, _, step, rim, reach), extra in zip(sides, more, strict=True)
    ]
    return Value((x.shape[0], outputs, *grown), x.kind)


def norm(of: Arguments) -> Value:
    """Instance normalisation by constant tables."""
    x, scale, shift = of.inputs(3)
    x = of.picture(x)
    of.need(of.number("epsilon", 1e-5) > 0, "no epsilon")
    of.done()
    for table in (scale, shift):
        of.need(table is not None and table.fixed and (table.shape, table.kind) == ((x.shape[1],), x.kind), "a table")
    return Value(x.shape, x.kind)


def matmul(of: Arguments) -> Value:
    """A constant matrix times the channels of each picture."""
    a, b = (of.picture(value, None) for value in of.inputs(2))
    of.done()
    of.need(a.kind == b.kind and a.fixed and len(a.shape) == 2 and len(b.shape) == 3, "other factors")
    of.need(a.shape[1] == b.shape[1], "factors of several sizes")
    return Value((b.shape[0], a.shape[0], b.shape[2]), a.kind)


def resize(of: Arguments) -> Value:
    """Enlarged or made smaller by constant factors."""
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


def mean(of: Arguments) -> Value:
    """The mean over some axes."""
    x, given = of.inputs(1, 2)
    x = of.picture(x, None)
    kept = of.whole("keepdims", 0, 1, 1)
    of.done()
    count = len(x.shape)
    axes = set(range(count)) if given is None else {axis % count for axis in of.known(given) if -count <= axis < count}
    of.need(given is None or len(axes) == len(of.known(given)), "axes that are none")
    shape = [1 if i in axes else side for i, side in enumerate(x.shape) if kept or i not in axes]
    return Value(tuple(shape), x.kind)
