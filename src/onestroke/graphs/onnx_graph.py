"""The full pipeline as an ONNX graph: pixels in, padding, the network, cropping, clamping, pixels out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from onestroke.graphs.live import FADE
from onestroke.graphs.onnx_nodes import Model, Name, Nodes
from onestroke.graphs.onnx_operators import write
from onestroke.graphs.tracing import Core

OPSET = 18
IR = 8  # the oldest IR version with opset 18 (ONNX 1.13), so that older runtimes open the file
NEWEST_IR = 10  # the newest IR version accepted; tools that modify a graph may raise it
INPUT, OUTPUT = "image", "painting"
ROWS = "rows"
PAST, KNOWN = "past", "known"
"""Inputs of a recurrent network for clips, see PAST_INPUTS."""
PAST_INPUTS = {
    PAST: "the painting of the frame before, moved to where its content is in this frame; pixels as those of image",
    KNOWN: "float32 (N, H, W): how well each pixel of past is known, from 0 (hidden before, or outside) to 1; "
    "0 everywhere in the first frame, after a cut and for still pictures",
}
"""What another program needs to know of them; in the metadata, under `past`."""
PIXELS = ("uint8", "float")
DOCUMENT = "onestroke"  # metadata key of the style's document, as in a style file
EXPORT = "onestroke_export"  # metadata key of the facts about the export


def build(
    core: Core, document: str, pixels: str = "uint8", half: bool = False, tables: Mapping[str, Tensor] | None = None
) -> Model:
    """Build an ONNX model of a network for pictures of any size and any batch size.

    Args:
        core: the traced network; if it takes a past, PAST and KNOWN are the last inputs.
        document: the style's document as JSON, stored in the metadata.
        pixels: "uint8" for uint8 (N, H, W, 3) in and out, as a camera, a video or a browser has them; "float" for
            float32 (N, 3, H, W) in [0, 1] in and out.
        half: compute in fp16, except for the norms; input and output are not affected.
        tables: of a core from `trace_live`, in the order of its inputs: style and controls are then the inputs ROWS,
            the weight of each table row, float32 (1, rows), and FADE, the opacity over the photo, float32 (1,).

    Raises:
        UserError: the network has an operation that can't be exported, or the package onnx is missing.
    """
    nodes = Nodes(half)
    helper, types = nodes.onnx.helper, nodes.onnx.TensorProto
    uint8_pixels = pixels == "uint8"
    image = _floats(nodes, INPUT, uint8_pixels)
    size = nodes.add("Shape", image, start=2, end=4)
    image = _ready(nodes, core, image, size)
    more = [] if tables is None else _live(nodes, tables)
    if core.past:
        moved = _floats(nodes, PAST, uint8_pixels)
        known = nodes.add("Reshape", Name(KNOWN), nodes.add("Concat", [0, 1], size, axis=0))
        more.append(_ready(nodes, core, nodes.add("Concat", moved, known, axis=1), size))
    painting = write(core, nodes, image, more)
    painting = nodes.add("Slice", painting, [0, 0], size, [2, 3])
    if half:
        painting = nodes.add("Cast", painting, to=types.FLOAT)
    low, high = nodes.constant(0.0, "float32"), nodes.constant(1.0, "float32")
    if uint8_pixels:
        painting = nodes.add("Clip", painting, low, high)
        painting = nodes.add("Mul", painting, nodes.constant(255.0, "float32"))
        # plus 0.5, since the cast truncates
        painting = nodes.add("Cast", nodes.add("Add", painting, nodes.constant(0.5, "float32")), to=types.UINT8)
        nodes.add("Transpose", painting, outputs=[OUTPUT], perm=[0, 2, 3, 1])
    else:
        nodes.add("Clip", painting, low, high, outputs=[OUTPUT])
    ends = _ends(nodes, uint8_pixels, tables, core.past)
    graph = helper.make_graph(nodes.nodes, "onestroke", *ends, initializer=list(nodes.constants.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="onestroke"
    )
    helper.set_model_props(model, {DOCUMENT: document})
    nodes.onnx.checker.check_model(model, full_check=True)
    return model


def _ends(nodes: Nodes, uint8_pixels: bool, tables: Mapping[str, Tensor] | None, past: bool) -> list[list[Any]]:
    """The descriptions of inputs and outputs."""
    types, described = nodes.onnx.TensorProto, nodes.onnx.helper.make_tensor_value_info
    kind, shape = (
        (types.UINT8, ["n", "height", "width", 3]) if uint8_pixels else (types.FLOAT, ["n", 3, "height", "width"])
    )
    ends = [[described(name, kind, shape)] for name in (INPUT, OUTPUT)]
    if tables is not None:
        rows = next(len(table) for table in tables.values())
        ends[0] += [described(ROWS, types.FLOAT, [1, rows]), described(FADE, types.FLOAT, [1])]
    if past:
        ends[0] += [described(PAST, kind, shape), described(KNOWN, types.FLOAT, ["n", "height", "width"])]
    return ends


def _floats(nodes: Nodes, name: str, uint8_pixels: bool) -> Name:
    """The pixels of an input as float32 (N, 3, H, W) in [0, 1]."""
    if not uint8_pixels:
        return Name(name)
    planes = nodes.add("Cast", nodes.add("Transpose", Name(name), perm=[0, 3, 1, 2]), to=nodes.onnx.TensorProto.FLOAT)
    return nodes.add("Div", planes, nodes.constant(255.0, "float32"))


def _live(nodes: Nodes, tables: Mapping[str, Tensor]) -> list[Name]:
    """The inputs of a core that are style and controls: each table's rows, weighted and added, then the opacity."""
    found = []
    for table in tables.values():
        mixed = nodes.add("MatMul", Name(ROWS), nodes.constant(table.flatten(1), "float32"))
        found.append(nodes.add("Reshape", mixed, [1, *table.shape[1:]]) if table.ndim > 2 else mixed)
    return [*found, Name(FADE)]


def note(model: Model, facts: dict[str, object]) -> None:
    """Add facts about the export to a model's metadata."""
    entry = model.metadata_props.add()
    entry.key, entry.value = EXPORT, json.dumps(facts, allow_nan=False)


def _ready(nodes: Nodes, core: Core, image: Name, size: Name) -> Name:
    """A picture of any size as a core takes it: padded, and in the type that it computes with."""
    padded = _pad(nodes, core, image, size)
    return nodes.add("Cast", padded, to=nodes.float_type) if nodes.float is np.float16 else padded


def _pad(nodes: Nodes, core: Core, image: Name, size: Name) -> Name:
    """Pad by replication at the bottom and on the right, to the next size that the network accepts."""
    if core.multiple == 1 and core.smallest == 1:
        return image
    blocks = nodes.add("Div", nodes.add("Add", size, [core.multiple - 1] * 2), [core.multiple] * 2)
    wanted = nodes.add("Max", nodes.add("Mul", blocks, [core.multiple] * 2), [core.smallest] * 2)
    ends = nodes.add("Concat", [0] * 6, nodes.add("Sub", wanted, size), axis=0)
    return nodes.add("Pad", image, ends, mode="edge")
