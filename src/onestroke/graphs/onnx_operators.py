"""Translate torch operations to ONNX nodes; a network that is exported may use these operations.

torch.onnx.export is not used: it needs another package, takes eight seconds, fixes the batch size to 1, and writes our
norms as BatchNormalization (torch 2.14). This table takes milliseconds. To support another operation, add a function
and a line in OPERATORS, and a rule in graphs/rules/ for each new ONNX operation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, fx
from torch.fx.node import map_arg

from onestroke.errors import UserError
from onestroke.graphs.onnx_nodes import Name, Nodes
from onestroke.graphs.tracing import Core


def write(core: Core, nodes: Nodes, image: Name, more: Sequence[Name] = ()) -> Name:
    """Append the operations of a core on `image` and its other inputs, in order; return the name of the result.

    Raises:
        UserError: an operation, or the form in which it is called, is not in OPERATORS.
    """
    values: dict[fx.Node, Any] = {}
    inputs = iter((image, *more))
    for node in core.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(inputs)
        elif node.op == "get_attr":
            values[node] = getattr(core, node.target)
        elif node.op == "output":
            return nodes.add("Identity", values[node.args[0]])  # also needed for a network without operations
        else:
            name = node.meta["operation"]
            operator = OPERATORS.get(name) or OPERATORS.get(name.removesuffix("_"))
            args, kwargs = (map_arg(part, lambda n: values[n]) for part in (node.args, node.kwargs))
            nodes.shape = node.all_input_nodes[0].meta.get("shape", ())
            try:
                values[node] = operator(nodes, *args, **kwargs) if operator else None
            except TypeError:  # arguments that the operator doesn't support
                values[node] = None
            if values[node] is None:
                raise UserError(
                    f"the network uses {name} of torch, in a way that the export to ONNX doesn't know: take "
                    "format=torch, or add it to OPERATORS in onestroke/graphs/onnx_operators.py"
                )
    raise AssertionError("a graph without a result")


_NARROW = 4  # channels up to which a 1 x 1 convolution is written as a matrix product


def _two(value: Any) -> list[int]:
    """Expand an argument of torch that is one number for both sides, or one for each."""
    values = [value] if isinstance(value, int) else list(value)
    return [int(v) for v in (values * 2 if len(values) == 1 else values)]


def _conv(
    nodes: Nodes, x: Name, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Name:  # fmt: skip
    if weight.shape[2:] == (1, 1) and max(weight.shape[:2]) <= _NARROW and (stride, padding, groups) == (1, 0, 1):
        outputs, inputs = weight.shape[:2]
        return _change_of_channels(nodes, x, weight, bias, (outputs, inputs))
    kernel, dilations = list(weight.shape[2:]), _two(dilation)
    if padding == "same":
        padding = [d * (k - 1) // 2 for d, k in zip(dilations, kernel, strict=True)]
    pads = [0, 0] if padding == "valid" else _two(padding)
    rest: Any = {
        "strides": _two(stride),
        "pads": pads * 2,
        "dilations": dilations,
        "group": groups,
        "kernel_shape": kernel,
    }
    return nodes.add("Conv", x, weight, *([] if bias is None else [bias]), **rest)


def _change_of_channels(nodes: Nodes, x: Name, weight: Any, bias: Tensor | None, shape: tuple[int, int]) -> Name:
    """A 1 x 1 convolution as a matrix product, since ONNX Runtime would pad three channels to sixteen."""
    outputs, inputs = shape
    size = nodes.add("Shape", x)
    matrix = weight if isinstance(weight, Name) else weight.view(outputs, inputs)
    changed = nodes.add("MatMul", matrix, nodes.add("Reshape", x, [0, inputs, -1]))
    if bias is not None:
        changed = nodes.add("Add", changed, bias.view(outputs, 1))
    back = nodes.add(
        "Concat", nodes.add("Slice", size, [0], [1]), [outputs], nodes.add("Slice", size, [2], [4]), axis=0
    )
    return nodes.add("Reshape", changed, back)


def _conv_transpose(
    nodes: Nodes, x: Name, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Name:  # fmt: skip
    rest: Any = {
        "strides": _two(stride), "pads": _two(padding) * 2, "output_padding": _two(output_padding), "group": groups,
        "dilations": _two(dilation), "kernel_shape": list(weight.shape[2:]),
    }  # fmt: skip
    return nodes.add("ConvTranspose", x, weight, *([] if bias is None else [bias]), **rest)


def _instance_norm(
    nodes: Nodes, x: Name, mean: None, variance: None, weight: Tensor, bias: Tensor, own: bool, momentum: float,
    eps: float,
) -> Name:  # fmt: skip
    # Sums over a picture exceed the range of fp16, so the norm is computed in fp32.
    half = nodes.float is np.float16
    given: Sequence[Any] = (weight, bias)
    scale, shift = (part if isinstance(part, Name) else nodes.constant(part, np.float32) for part in given)
    if half:
        x = nodes.add("Cast", x, to=nodes.onnx.TensorProto.FLOAT)
    result = nodes.add("InstanceNormalization", x, scale, shift, epsilon=eps)
    return nodes.add("Cast", result, to=nodes.float_type) if half else result


def _pad(nodes: Nodes, x: Name, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Name:
    """Torch lists (before, after) of each axis, from the last axis on; ONNX lists all before, then all after."""
    # for all axes, although opset 18 allows a subset: ONNX Runtime mixes up subsets when it changes the layout
    rest = [0] * (4 - len(pad) // 2)
    pads = rest + list(pad[0::2])[::-1] + rest + list(pad[1::2])[::-1]
    fill = [float(value or 0)] if mode == "constant" else []
    return nodes.add("Pad", x, pads, *fill, mode={"replicate": "edge"}.get(mode, mode))


def _binary(operation: str, swapped: bool = False) -> Callable[..., Name]:
    def operator(nodes: Nodes, a: Any, b: Any, alpha: float = 1) -> Name:
        scaled = b if alpha == 1 else nodes.add("Mul", b, alpha)
        return nodes.add(operation, scaled, a) if swapped else nodes.add(operation, a, scaled)

    return operator


def _plain(operation: str) -> Callable[..., Name]:
    return lambda nodes, x, inplace=False: nodes.add(operation, x)


def _gelu(nodes: Nodes, x: Name, approximate: str = "none") -> Name | None:
    if approximate != "none":
        return None
    root = nodes.add("Mul", x, math.sqrt(0.5))
    return nodes.add("Mul", nodes.add("Mul", x, 0.5), nodes.add("Add", nodes.add("Erf", root), 1.0))


def _clamp(nodes: Nodes, x: Name, min: float | None = None, max: float | None = None) -> Name:
    return nodes.add("Clip", x, *("" if bound is None else float(bound) for bound in (min, max)))


def _interpolate(
    nodes: Nodes, x: Name, size: None = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Name | None:  # fmt: skip
    if size is not None or mode not in ("nearest", "bilinear") or antialias:
        return None  # a size would be that of the trace
    ways = {"nearest": "asymmetric", "bilinear": "align_corners" if align_corners else "half_pixel"}
    scales = list(scale_factor) if isinstance(scale_factor, list | tuple) else [scale_factor] * 2
    factors = nodes.constant([1.0, 1.0, *map(float, scales)], np.float32)
    return nodes.add(
        "Resize", x, "", factors, coordinate_transformation_mode=ways[mode], nearest_mode="floor",
        mode="linear" if mode == "bilinear" else mode,
    )  # fmt: skip


def _avg_pool2d(
    nodes: Nodes, x: Name, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Name | None:  # fmt: skip
    if ceil_mode or divisor_override is not None:
        return None
    kernel, rims = _two(kernel_size), _two(padding)
    steps = kernel if stride is None or stride == [] else _two(stride)
    return nodes.add(
        "AveragePool", x, kernel_shape=kernel, strides=steps, pads=rims * 2, count_include_pad=int(count_include_pad)
    )


def _pixel_shuffle(nodes: Nodes, x: Name, upscale_factor: int) -> Name:
    return nodes.add("DepthToSpace", x, blocksize=upscale_factor, mode="CRD")


def _pixel_unshuffle(nodes: Nodes, x: Name, downscale_factor: int) -> Name:
    """ONNX orders the output channels by pixel of the block first, torch by input channel first."""
    channels, block = nodes.shape[1], downscale_factor**2
    order = [pixel * channels + channel for channel in range(channels) for pixel in range(block)]
    return nodes.add("Gather", nodes.add("SpaceToDepth", x, blocksize=downscale_factor), order, axis=1)


def _mean(nodes: Nodes, x: Name, dim: Any = None, keepdim: bool = False) -> Name:
    axes = [] if dim is None else [[dim] if isinstance(dim, int) else list(dim)]
    return nodes.add("ReduceMean", x, *axes, keepdims=int(keepdim))


def _unbind(nodes: Nodes, x: Name, dim: int = 0) -> list[Name] | None:
    shape = nodes.shape
    return [nodes.add("Reshape", x, list(shape[1:]))] if dim == 0 and shape[0] == 1 else None


def _item(nodes: Nodes, x: Name, index: Any) -> Name | None:
    """New axes of length 1, as in x[:, :, None, None]; no other index."""
    index = index if isinstance(index, tuple) else (index,)
    sides = iter(nodes.shape)
    if not all(i is None or i == slice(None) for i in index):
        return None
    return nodes.add("Reshape", x, [1 if i is None else next(sides) for i in index] + list(sides))


def _einsum(nodes: Nodes, equation: str, weight: Name, x: Name) -> Name | None:
    """A matrix for each picture, or one for all, times its channels."""
    if equation.replace(" ", "") != "noi,nihw->nohw":
        return None
    _, outputs, inputs = nodes.shape
    return _change_of_channels(nodes, x, nodes.add("Reshape", weight, [outputs, inputs]), None, (outputs, inputs))


def _lerp(nodes: Nodes, start: Name, end: Name, weight: Any) -> Name:
    return nodes.add("Add", start, nodes.add("Mul", nodes.add("Sub", end, start), weight))


def _softmax(nodes: Nodes, x: Name, dim: int) -> Name:
    # over all places, the shares are too small for fp16 until they are summed
    if nodes.float is not np.float16:
        return nodes.add("Softmax", x, axis=dim)
    wide = nodes.add("Cast", x, to=nodes.onnx.TensorProto.FLOAT)
    return nodes.add("Cast", nodes.add("Softmax", wide, axis=dim), to=nodes.float_type)


def _flatten(nodes: Nodes, x: Name, start_dim: int = 0, end_dim: int = -1) -> Name | None:
    """Of height and width alone, whose sizes the graph doesn't know."""
    axes = len(nodes.shape)
    return nodes.add("Reshape", x, [0, 0, -1]) if (axes, start_dim, end_dim % axes) == (4, 2, 3) else None


def _transpose(nodes: Nodes, x: Name, dim0: int, dim1: int) -> Name:
    order = list(range(len(nodes.shape)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return nodes.add("Transpose", x, perm=order)


def _split(nodes: Nodes, x: Name, lengths: Any, dim: int = 0) -> list[Name] | None:
    """Channels, into parts of these lengths; the other axes have sizes that the graph doesn't know."""
    if isinstance(lengths, int) or dim != 1:
        return None
    ends = list(itertools.accumulate(lengths))
    return [nodes.add("Slice", x, [end - n], [end], [1]) for n, end in zip(lengths, ends, strict=True)]


def _cat(nodes: Nodes, parts: Sequence[Name], dim: int = 0) -> Name:
    return nodes.add("Concat", *parts, axis=dim)


OPERATORS: dict[str, Callable[..., Any]] = {
    "__getitem__": _item,
    "__rdiv__": _binary("Div", swapped=True),
    "__rsub__": _binary("Sub", swapped=True),
    "add": _binary("Add"),
    "avg_pool2d": _avg_pool2d,
    "bmm": lambda nodes, a, b: nodes.add("MatMul", a, b),
    "cat": _cat,
    "clamp": _clamp,
    "concat": _cat,
    "conv2d": _conv,
    "conv_transpose2d": _conv_transpose,
    "div": _binary("Div"),
    "einsum": _einsum,
    "elu": lambda nodes, x, alpha=1.0, inplace=False: nodes.add("Elu", x, alpha=alpha),
    "flatten": _flatten,
    "gelu": _gelu,
    "hardtanh": lambda nodes, x, min_val=-1.0, max_val=1.0, inplace=False: _clamp(nodes, x, min_val, max_val),
    "instance_norm": _instance_norm,
    "interpolate": _interpolate,
    "leaky_relu": lambda nodes, x, negative_slope=0.01, inplace=False: nodes.add("LeakyRelu", x, alpha=negative_slope),
    "lerp": _lerp,
    "mean": _mean,
    "mul": _binary("Mul"),
    "neg": _plain("Neg"),
    "pad": _pad,
    "part": lambda nodes, parts, index: parts[index],
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "relu": _plain("Relu"),
    "sigmoid": _plain("Sigmoid"),
    "silu": lambda nodes, x, inplace=False: nodes.add("Mul", x, nodes.add("Sigmoid", x)),
    "softmax": _softmax,
    "split": _split,
    "sub": _binary("Sub"),
    "tanh": _plain("Tanh"),
    "unbind": _unbind,
    "view": lambda nodes, x, *shape: nodes.add("Reshape", x, list(shape)),
    "transpose": _transpose,
    "view_as": lambda nodes, x, other: nodes.add("Reshape", x, nodes.add("Shape", other)),
}
"""Name of torch's function -> operator; in-place operations such as add_ use the same. None: form not supported."""
