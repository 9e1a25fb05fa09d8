"""Layers of a network: convolutions, norms, matrix products, resizing and means."""

from __future__ import annotations

import math

from onestroke.graphs.rules.arguments import WIDE, Arguments, Shape, Value


def _kernel(args: Arguments, transposed: bool) -> tuple[Value, Shape, int, list[tuple[int, int, int, int, int]]]:
    """Read the arguments of a convolution.

    Returns:
        The input, the shape of the weights, the number of output channels, and for height and width: side length,
        kernel size, stride, total padding, and extent of the dilated kernel.
    """
    x, weight, bias = args.inputs(2, 3)
    x, weight = args.floats(x), args.floats(weight)
    args.require(weight.fixed and weight.kind == x.kind, "weights that are no constants")
    groups = args.integer("group", 1, WIDE, 1)
    kernel = args.integers("kernel_shape", 2, 1, WIDE)
    steps = args.integers("strides", 2, 1, WIDE, [1, 1])
    apart = args.integers("dilations", 2, 1, WIDE, [1, 1])
    rims = args.integers("pads", 4, 0, WIDE, [0] * 4)
    shape = weight.shape
    outputs, inputs = (shape[1] * groups, shape[0]) if transposed else (shape[0], shape[1] * groups)
    args.require(tuple(kernel) == shape[2:] and inputs == x.shape[1] and outputs % groups == 0, "other weights")
    args.require(inputs % groups == 0, "groups that don't divide")
    args.require(bias is None or (bias.fixed and bias.shape == (outputs,) and bias.kind == x.kind), "another bias")
    sides = [
        (x.shape[2 + i], kernel[i], steps[i], rims[i] + rims[2 + i], apart[i] * (kernel[i] - 1) + 1) for i in range(2)
    ]
    return x, shape, outputs, sides


def conv(args: Arguments) -> Value:
    """Conv with constant weights."""
    x, _, outputs, sides = _kernel(args, False)
    args.done()
    return Value(
        (x.shape[0], outputs, *[(side + rim - reach) // step + 1 for side, _, step, rim, reach in sides]), x.kind
    )


def conv_transpose(args: Arguments) -> Value:
    """ConvTranspose with constant weights."""
    x, _, outputs, sides = _kernel(args, True)
    more = args.integers("output_padding", 2, 0, WIDE, [0, 0])
    args.done()
    args.require(
        all(extra < side[2] or extra < side[4] for extra, side in zip(more, sides, strict=True)), "output_padding"
    )
    grown = [
        (side - 1) * step + reach + extra - rim for (side, _, step, rim, reach), extra in zip(sides, more, strict=True)
    ]
    return Value((x.shape[0], outputs, *grown), x.kind)


def average_pool(args: Arguments) -> Value:
    """AveragePool."""
    (x,) = args.inputs(1)
    x = args.floats(x)
    kernel = args.integers("kernel_shape", 2, 1, WIDE)
    steps = args.integers("strides", 2, 1, WIDE, [1, 1])
    rims = args.integers("pads", 4, 0, WIDE, [0] * 4)
    args.integer("count_include_pad", 0, 1, 0)
    args.done()
    args.require(all(rim < side for rim, side in zip(rims, kernel * 2, strict=True)), "padding of a whole kernel")
    sides = [(x.shape[2 + i] + rims[i] + rims[2 + i] - kernel[i]) // steps[i] + 1 for i in range(2)]
    return Value((*x.shape[:2], *sides), x.kind)


def norm(args: Arguments) -> Value:
    """InstanceNormalization."""
    x, scale, shift = args.inputs(3)
    x = args.floats(x)
    args.require(args.number("epsilon", 1e-5) > 0, "no epsilon")
    args.done()
    for table in (scale, shift):
        args.require(table is not None and (table.shape, table.kind) == ((x.shape[1],), x.kind), "a table")
    return Value(x.shape, x.kind)


def matmul(args: Arguments) -> Value:
    """MatMul of a matrix and a tensor (N, C, pixels), of two tensors (N, A, B) and (N, B, C), or of two matrices."""
    a, b = (args.floats(value, None) for value in args.inputs(2))
    args.done()
    args.require(a.kind == b.kind, "other factors")
    if len(a.shape) == len(b.shape) == 2:
        args.require(b.fixed and a.shape[1] == b.shape[0], "factors of several sizes")
        return Value((a.shape[0], b.shape[1]), a.kind)
    args.require(len(b.shape) == 3, "other factors")
    args.require(len(a.shape) == 2 or (len(a.shape) == 3 and a.shape[0] == b.shape[0]), "other factors")
    args.require(a.shape[-1] == b.shape[1], "factors of several sizes")
    return Value((b.shape[0], a.shape[-2], b.shape[2]), a.kind)


def softmax(args: Arguments) -> Value:
    """Softmax."""
    (x,) = args.inputs(1)
    x = args.floats(x, None)
    args.integer("axis", 0, len(x.shape) - 1)
    args.done()
    return Value(x.shape, x.kind)


def resize(args: Arguments) -> Value:
    """Resize by constant factors from 1/64 to 64."""
    x, none, factors = args.inputs(3)
    x = args.floats(x)
    args.choice("mode", "nearest", "linear")
    args.choice("coordinate_transformation_mode", "half_pixel", "asymmetric", "align_corners")
    args.choice("nearest_mode", "round_prefer_floor", "floor")
    args.done()
    args.require(none is None and factors is not None and factors.fixed and factors.known is not None, "other factors")
    assert factors is not None and factors.known is not None
    args.require(factors.kind == "float32" and factors.shape == (4,), "other factors")
    scales = [float(f) for f in factors.known]
    args.require(scales[:2] == [1, 1] and all(1 / 64 <= f <= 64 for f in scales), "factors that are out of bounds")
    return Value(tuple(math.floor(side * f) for side, f in zip(x.shape, scales, strict=True)), x.kind)


def mean(args: Arguments) -> Value:
    """ReduceMean."""
    x, given = args.inputs(1, 2)
    x = args.floats(x, None)
    kept = args.integer("keepdims", 0, 1, 1)
    args.done()
    count = len(x.shape)
    axes = (
        set(range(count))
        if given is None
        else {axis % count for axis in args.integers_of(given) if -count <= axis < count}
    )
    args.require(given is None or len(axes) == len(args.integers_of(given)), "axes that are none")
    shape = [1 if i in axes else side for i, side in enumerate(x.shape) if kept or i not in axes]
    return Value(tuple(shape), x.kind)
