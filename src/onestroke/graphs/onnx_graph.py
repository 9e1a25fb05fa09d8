"""The picture's whole road as an ONNX graph: pixels in, padding, the network, cutting, clamping, pixels out."""

from __future__ import annotations

import json

from onestroke.graphs.onnx_operators import Model, Name, Nodes, write
from onestroke.graphs.tracing import Core

OPSET = 18
IR = 8  # that of ONNX 1.13, which brought opset 18, so that older runtimes open the file
NEWEST_IR = 10  # what tools that change a graph may make of it
INPUT, OUTPUT = "image", "painting"
PIXELS = ("uint8", "float")
DOCUMENT = "onestroke"  # the metadata key of a style file's document, here too
EXPORT = "onestroke_export"  # that of how it was exported


def build(core: Core, document: str, pixels: str = "uint8", half: bool = False) -> Model:
    """Write a network as an ONNX model that takes pictures of any size, any number at once.

    Args:
        core: what the network does.
        document: JSON, carried over into the metadata.
        pixels: "uint8" for uint8 (N, H, W, 3) in and out, as a camera, a video or a browser has them; "float" for
            float32 (N, 3, H, W) in [0, 1] in and out.
        half: compute in fp16, but for the norms; what goes in and out stays as it is.

    Raises:
        UserError: for networks with operations that can't be written, and where the package onnx is missing.
    """
    nodes = Nodes(half)
    helper, types = nodes.onnx.helper, nodes.onnx.TensorProto
    whole = pixels == "uint8"
    image = Name(INPUT)
    if whole:
        image = nodes.add("Cast", nodes.add("Transpose", image, perm=[0, 3, 1, 2]), to=types.FLOAT)
        image = nodes.add("Div", image, nodes.constant(255.0, "float32"))
    size = nodes.add("Shape", image, start=2, end=4)
    image = _pad(nodes, core, image, size)
    if half:
        image = nodes.add("Cast", image, to=types.FLOAT16)
    painting = write(core, nodes, image)
    painting = nodes.add("Slice", painting, [0, 0], size, [2, 3])
    if half:
        painting = nodes.add("Cast", painting, to=types.FLOAT)
    low, high = nodes.constant(0.0, "float32"), nodes.constant(1.0, "float32")
    if whole:
        painting = nodes.add("Clip", painting, low, high)
        painting = nodes.add("Mul", painting, nodes.constant(255.0, "float32"))
        # half a level more, since the cast cuts off
        painting = nodes.add("Cast", nodes.add("Add", painting, nodes.constant(0.5, "float32")), to=types.UINT8)
        nodes.add("Transpose", painting, outputs=[OUTPUT], perm=[0, 2, 3, 1])
    else:
        nodes.add("Clip", painting, low, high, outputs=[OUTPUT])
    kind, shape = (types.UINT8, ["n", "height", "width", 3]) if whole else (types.FLOAT, ["n", 3, "height", "width"])
    ends = [[helper.make_tensor_value_info(name, kind, shape)] for name in (INPUT, OUTPUT)]
    graph = helper.make_graph(nodes.nodes, "onestroke", *ends, initializer=list(nodes.constants.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="onestroke"
    )
    helper.set_model_props(model, {DOCUMENT: document})
    nodes.onnx.checker.check_model(model, full_check=True)
    return model


def note(model: Model, facts: dict[str, object]) -> None:
    """Add how it was exported to a model's metadata."""
    entry = model.metadata_props.add()
    entry.key, entry.value = EXPORT, json.dumps(facts, allow_nan=False)


def _pad(nodes: Nodes, core: Core, image: Name, size: Name) -> Name:
    """Repeat the last row and column up to the next size that the network takes, which the picture's size decides."""
    if core.multiple == 1 and core.smallest == 1:
        return image
    blocks = nodes.add("Div", nodes.add("Add", size, [core.multiple - 1] * 2), [core.multiple] * 2)
    wanted = nodes.add("Max", nodes.add("Mul", blocks, [core.multiple] * 2), [core.smallest] * 2)
    ends = nodes.add("Concat", [0] * 6, nodes.add("Sub", wanted, size), axis=0)
    return nodes.add("Pad", image, ends, mode="edge")
