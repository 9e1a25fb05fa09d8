"""Read and check an untrusted ONNX file without a runtime: its metadata and its graph."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onestroke.errors import UserError, printable
from onestroke.graphs import onnx_graph, onnx_wire
from onestroke.graphs.live import FADE, layout
from onestroke.graphs.onnx_nodes import Model
from onestroke.graphs.onnx_plan import Cost, Plan
from onestroke.graphs.rules.arguments import Node, Unsound, Value
from onestroke.networks.base import LARGEST
from onestroke.networks.conditioning import ANCHORS
from onestroke.packages import require
from onestroke.style_document import Metadata, parse_document

MAX_BYTES = 128 * 2**20  # a style has one or two megabytes
_SIZES = ((1, 1, 1), (2, 5, 7), (1, 97, 131), (1, 64, 64))  # number, height, width of the pictures in the check
# maximum cost per pixel; the widest network that OneStroke allows takes half of it
_MAX_COST = Cost(64 * 2**10, 20_000_000)
_KINDS = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16"}  # of onnx.proto
_ATTRIBUTE_FIELDS = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints"}  # type of an attribute -> the field with its value
_MAX_KNOWN = 2**16  # maximum elements of a constant whose values are passed to the rules
MAX_ROWS = LARGEST["styles"] * math.prod(ANCHORS.values())
_MAX_NAME, _MAX_NODES = 1000, 10_000
_INPUTS = ("", onnx_graph.INPUT, onnx_graph.ROWS, FADE, onnx_graph.PAST, onnx_graph.KNOWN)  # names no constant may have


@dataclass(frozen=True)
class PaintingGraph:
    """A checked graph that paints.

    content: the serialised model, for a runtime. plan: for the memory that it takes.
    uint8_pixels: whether pixels are uint8 (N, H, W, 3), else float32 (N, 3, H, W).
    rows: number of table rows, whose weights are an input, as is the opacity; 0 if style and controls are built in.
    past: whether the last painting of a recurrent network is an input, and how well it is known.
    """

    content: bytes
    plan: Plan
    uint8_pixels: bool
    rows: int = 0
    past: bool = False


def read(path: Path) -> tuple[PaintingGraph, Metadata]:
    """Read an ONNX file that export.py wrote.

    Raises:
        UserError: the file is missing, too large, damaged, or holds anything that export.py doesn't write.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; make it with  python export.py ckpt=...")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} has more than {MAX_BYTES // 2**20} MB, and no style has: export it again")
    onnx = require("onnx", "onnx")
    try:
        content = path.read_bytes()
        onnx_wire.check(content)
        model = onnx.load_model_from_string(content)
        metadata, pixels = _read_metadata(model)
        painting = checked(model)
        if pixels != onnx_graph.PIXELS[0 if painting.uint8_pixels else 1]:
            raise Unsound("its pixels are not of the kind that its metadata say")
        if painting.rows and painting.rows != layout(metadata.network["args"]).rows:
            raise Unsound("it has other styles or controls than its metadata say")
    except Exception as error:  # protobuf's exceptions have no common class
        raise unreadable(path, error) from error
    return painting, metadata


def unreadable(path: Path, error: Exception) -> UserError:
    """The UserError for a file that can't be read, or that a runtime refuses."""
    return UserError(
        f"{path} is no ONNX file that export.py wrote, or is damaged ({first_line(error)}): export it again"
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its class name, escaped for a message."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])


def _read_metadata(model: Model) -> tuple[Metadata, object]:
    """Read the metadata: the style's document, and the kind of pixels."""
    found = {entry.key: entry.value for entry in model.metadata_props}
    if not {onnx_graph.DOCUMENT, onnx_graph.EXPORT} <= found.keys():
        raise Unsound("its metadata have no style")
    facts = json.loads(found[onnx_graph.EXPORT])
    if not isinstance(facts, dict):
        raise Unsound("its metadata don't say how it was exported")
    return parse_document(found[onnx_graph.DOCUMENT]), facts.get("pixels")


def checked(model: Model) -> PaintingGraph:
    """Check that a model could have been written by export.py; its metadata are not used.

    Raises:
        Unsound: it could not.
    """
    if [(entry.domain, entry.version) for entry in model.opset_import] != [("", onnx_graph.OPSET)]:
        raise Unsound(f"it is not of opset {onnx_graph.OPSET}")
    if not onnx_graph.IR <= model.ir_version <= onnx_graph.NEWEST_IR:
        raise Unsound("it is of another version of ONNX")
    nodes = [_node(node) for node in model.graph.node[: _MAX_NODES + 1]]
    if not 0 < len(nodes) <= _MAX_NODES:
        raise Unsound(f"it has no node, or more than {_MAX_NODES}")
    more, past = _controls(model), _past(model)
    plan = Plan(nodes, _constants(model), onnx_graph.INPUT, onnx_graph.OUTPUT, _has_uint8_pixels(model), more, past)
    for size in _SIZES:
        cost, pixels = plan.cost(*size), math.prod(size)
    weights = sum(value.bytes for value in plan.constants.values())
    if cost.bytes - weights > _MAX_COST.bytes * pixels or cost.work > _MAX_COST.work * pixels:
        raise Unsound("it takes more memory or time than any painter")
    del model.graph.value_info[:]  # shapes that a runtime would use unchecked
    rows = more[onnx_graph.ROWS].shape[1] if more else 0
    return PaintingGraph(model.SerializeToString(), plan, plan.uint8_pixels, rows, bool(past))


def check_exported(model: Model) -> PaintingGraph:
    """`checked`, for a model that was just built.

    Raises:
        UserError: a file of this model could not be read again.
    """
    try:
        return checked(model)
    except Unsound as error:
        raise UserError(f"this network can't be painted with as ONNX: {error}") from error


def _controls(model: Model) -> dict[str, Value]:
    """The inputs that are style and controls: none, or the weights of table rows and the opacity."""
    live, past = [onnx_graph.ROWS, FADE], [onnx_graph.PAST, onnx_graph.KNOWN]
    names = [value.name for value in model.graph.input[1:]]
    if names not in ([], live, past, live + past):
        raise Unsound(f"its other inputs must be {' and '.join(live)}, {' and '.join(past)}, or all four")
    found = {}
    for value, axes in zip(model.graph.input[1:3] if names[:2] == live else (), (2, 1), strict=False):
        tensor = value.type.tensor_type
        shape = tuple(side.dim_value for side in tensor.shape.dim)
        if _KINDS.get(tensor.elem_type) != "float32" or len(shape) != axes or not 1 <= shape[-1] <= MAX_ROWS:
            raise Unsound(f"{value.name} is no list of weights")
        if shape[0] != 1:
            raise Unsound(f"{value.name} is not one for all pictures")
        found[value.name] = Value(shape, "float32")
    return found


def _has_uint8_pixels(model: Model) -> bool:
    """Check that there is one picture and one painting, and return whether their pixels are uint8."""
    kinds = set()
    for values, name in ((model.graph.input[:1], onnx_graph.INPUT), (model.graph.output, onnx_graph.OUTPUT)):
        if [value.name for value in values] != [name]:
            raise Unsound(f"what goes in and out must be {onnx_graph.INPUT} and {onnx_graph.OUTPUT} alone")
        kinds.add(_kind_of_picture(values[0]))
    if len(kinds) > 1:
        raise Unsound(f"{onnx_graph.INPUT} and {onnx_graph.OUTPUT} are of two kinds")
    return kinds == {"uint8"}


def _kind_of_picture(value: Any) -> str:
    """Check that an input or output is pictures of any number and size, and return the type of its pixels."""
    kind, sides = _described(value)
    channels = {"uint8": 3, "float32": 1}.get(str(kind))
    if channels is None or sides != [3 if axis == channels else None for axis in range(4)]:
        raise Unsound(f"{value.name} is no picture of any size")
    return str(kind)


def _past(model: Model) -> list[str]:
    """The names of the inputs that are the past of a recurrent network, checked; empty if there are none."""
    last = model.graph.input[-2:]
    if [value.name for value in last] != [onnx_graph.PAST, onnx_graph.KNOWN]:
        return []
    past, known = last
    if _kind_of_picture(past) != _kind_of_picture(model.graph.input[0]):
        raise Unsound(f"{onnx_graph.INPUT} and {past.name} are of two kinds")
    if _described(known) != ("float32", [None] * 3):
        raise Unsound(f"{known.name} is not a number for each pixel")
    return [past.name, known.name]


def _described(value: Any) -> tuple[str | None, list[int | None]]:
    """The type of an input or output, None for one that export.py doesn't write, and its sides, None for any."""
    tensor = value.type.tensor_type
    sides = [side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim]
    return _KINDS.get(tensor.elem_type), sides


def _node(node: Any) -> Node:
    if node.domain or len(node.output) != 1 or len(node.op_type) > _MAX_NAME:
        raise Unsound("it has a node that export.py doesn't write")
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type not in _ATTRIBUTE_FIELDS or attribute.name in attributes:
            raise Unsound("it has a node with attributes that export.py doesn't write")
        value = getattr(attribute, _ATTRIBUTE_FIELDS[attribute.type])
        if isinstance(value, bytes):
            value = value.decode("ascii", "replace")
        attributes[attribute.name] = value if isinstance(value, int | float | str) else list(value)
    return Node(node.op_type, list(node.input), node.output[0], attributes)


def _constants(model: Model) -> Mapping[str, Value]:
    helper = require("onnx.numpy_helper", "onnx")
    found: dict[str, Value] = {}
    for tensor in model.graph.initializer:
        kind, shape = _KINDS.get(tensor.data_type), tuple(tensor.dims)
        taken = tensor.name in found or tensor.name in _INPUTS
        if kind is None or tensor.data_location or len(shape) > 4 or taken:
            raise Unsound("it has a constant of another kind")
        count = math.prod(shape)
        stored = max(len(tensor.raw_data) // np.dtype(kind).itemsize, len(tensor.float_data), len(tensor.int32_data))
        if min(shape, default=1) < 1 or count != max(stored, len(tensor.int64_data)):
            raise Unsound("it has a constant of another size")
        array = np.asarray(helper.to_array(tensor))
        if array.dtype != kind or array.shape != shape or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            raise Unsound("it has a constant that is not finite, or of another kind")
        found[tensor.name] = Value(shape, kind, array if count <= _MAX_KNOWN else None, True)
    return found
