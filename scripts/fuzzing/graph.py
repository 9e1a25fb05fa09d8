"""ONNX files that export.py wrote: opened and painted with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from fuzzing import style, values
from fuzzing.cases import Change, Kind
from onestroke.graphs import onnx_graph
from onestroke.graphs.tracing import trace
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.packages import require
from onestroke.style_document import FORMAT

SIDES = ((7, 9), (48, 64))
Model = Any
Edit = Callable[[Any, Random], None]


def make(folder: Path) -> None:
    """A small network of each kind as a graph, of bytes and of floats, in fp32 and fp16."""
    kinds = {
        "residual": (ResidualNetwork, {"channels": [4, 4, 8], "blocks": 1, "ends": 3}),
        "realtime": (RealtimeNetwork, {"channels": [4, 8], "blocks": 1}),
        "recurrent": (RecurrentNetwork, {"channels": [4, 8], "blocks": 1}),
    }
    for name, (made, arguments) in kinds.items():
        document = style.metadata(made, arguments, [name], name)
        text = json.dumps({"version": FORMAT, **dataclasses.asdict(document)})
        core = trace(style.network(made, arguments), past=made is RecurrentNetwork)
        for pixels in onnx_graph.PIXELS:
            for half in (False, True):
                model = onnx_graph.build(core, text, pixels, half)
                onnx_graph.note(
                    model, {"variant": "fp16" if half else "fp32", "pixels": pixels, "channels": 4, "onestroke": "0"}
                )
                (folder / f"{name}_{pixels}{'_half' * half}.onnx").write_bytes(model.SerializeToString())


def edited(edit: Edit) -> Change:
    """A change of the model itself."""

    def apply(content: bytes, rng: Random) -> bytes:
        model = onnx.load_model_from_string(content)
        edit(model, rng)
        return bytes(model.SerializeToString())

    return apply


def _node(model: Model, rng: Random) -> Any:
    return model.graph.node[rng.randrange(len(model.graph.node))]


def _operator(model: Model, rng: Random) -> None:
    """Another operator in a node's place."""
    known = (
        "Mul", "Div", "Conv", "ConvTranspose", "Loop", "If", "Scan", "Identity", "Shape", "Cast", "Resize", "Pad",
        "RandomUniform", "Range", "Tile", "Expand", "Unsqueeze", "NonZero", "Einsum", "StringNormalizer", "ATen", "",
        "ImageDecoder", "SequenceMap", "LSTM", "InstanceNormalization", "ReduceMean", "Sigmoid", "ConstantOfShape",
    )  # fmt: skip
    node = _node(model, rng)
    node.op_type = rng.choice(known)
    if rng.random() < 0.2:
        node.domain = rng.choice(("ai.onnx.ml", "com.microsoft", "mine"))
        if rng.random() < 0.5:
            model.opset_import.append(helper.make_opsetid(node.domain, 1))


def _dropped(model: Model, rng: Random) -> None:
    """A node fewer, twice, or somewhere else."""
    nodes, place = model.graph.node, rng.randrange(len(model.graph.node))
    kept = nodes[place]
    choice = rng.randrange(3)
    if choice != 1:
        del nodes[place]
    if choice:
        nodes.insert(rng.randrange(len(nodes) + 1), kept)


def _wired(model: Model, rng: Random) -> None:
    """A node that takes or gives another's values."""
    node = _node(model, rng)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    ends = node.input if rng.random() < 0.7 and node.input else node.output
    ends[rng.randrange(len(ends))] = rng.choice((*rng.choices(names, k=3), "", "nowhere", "painting", "image"))


def _attribute(model: Model, rng: Random) -> None:
    """A number, a list or a name that a node is told."""
    nodes = [node for node in model.graph.node if node.attribute]
    attribute = rng.choice(rng.choice(nodes).attribute)
    number = rng.choice((0, 1, -1, 2, 7, 1000, 2**31, -(2**63), 2**62))
    if attribute.ints and rng.random() < 0.8:
        if rng.random() < 0.7:
            attribute.ints[rng.randrange(len(attribute.ints))] = number
        else:
            attribute.ints.extend([number] * rng.choice((1, 5, 1000)))
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = number
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = rng.choice(
            (b"", b"reflect", b"wrap", b"edge", b"SAME_UPPER", b"\xff\xfe", b"cubic", b"x" * 10_000)
        )
    else:
        attribute.type = rng.randrange(0, 16)
        attribute.name = rng.choice(("axis", "pads", "body", "", "to", attribute.name))


def _weights(model: Model, rng: Random) -> None:
    """Other numbers, another kind or shape of a constant."""
    tensor = rng.choice(model.graph.initializer)
    choice = rng.randrange(6)
    array = numpy_helper.to_array(tensor).copy()
    if choice == 0:
        tensor.dims[:] = rng.choice(([], [0], [-1], [2**40], [1] * 9, [*tensor.dims, 1], list(tensor.dims)[::-1]))
    elif choice == 1:
        tensor.data_type = rng.randrange(0, 24)
    elif choice == 2:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
    elif choice == 3:
        special = (np.nan, np.inf, 0, 1e30, -1) if array.dtype.kind == "f" else (0, -1, 2**31 - 1, 5)
        array.reshape(-1)[:: rng.choice((1, 3))] = rng.choice(special)
        tensor.raw_data = array.tobytes()
    elif choice == 4:
        grown = np.repeat(array, 2, axis=rng.randrange(max(1, array.ndim)))
        tensor.CopyFrom(numpy_helper.from_array(grown, tensor.name))
    else:
        tensor.name = rng.choice(("", "image", "painting", "other"))


def _large(model: Model, rng: Random) -> None:
    """A picture made larger inside than anyone would: by a size, a pad, a repetition."""
    integers = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64]
    tensor = rng.choice(integers)
    array = numpy_helper.to_array(tensor).copy().reshape(-1)
    array[rng.randrange(len(array))] = rng.choice((1000, 30_000, 2**31, 2**62, -1000))
    tensor.raw_data = array.tobytes()


def _outside(model: Model, rng: Random) -> None:
    """Weights that lie in another file."""
    tensor = rng.choice(model.graph.initializer)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    known = ("weights.bin", "/etc/passwd", "../bases/residual_float.onnx", "/dev/zero", "case.onnx", "")
    for key, value in (
        ("location", rng.choice(known)),
        ("offset", "0"),
        ("length", rng.choice(("16", "-1", "99999999999"))),
    ):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _inside(model: Model, rng: Random) -> None:
    """A node with a graph of its own, that runs for long or not at all."""
    again = helper.make_node("Identity", ["on"], ["still"])
    counted = [helper.make_tensor_value_info(n, t, []) for n, t in (("i", TensorProto.INT64), ("on", TensorProto.BOOL))]
    body = helper.make_graph([again], "body", counted, [helper.make_tensor_value_info("still", TensorProto.BOOL, [])])
    kind = rng.choice(("Loop", "Scan", "If", "Loop"))
    name = {"Loop": "body", "Scan": "body", "If": "then_branch"}[kind]
    more = {"else_branch": body} if kind == "If" else {"num_scan_inputs": 1} if kind == "Scan" else {}
    times = numpy_helper.from_array(np.array(2**40, dtype=np.int64), "times")
    true = numpy_helper.from_array(np.array(True), "true")
    model.graph.initializer.extend([times, true])
    node = helper.make_node(kind, ["times", "true"] if kind == "Loop" else ["true"], [], **{name: body}, **more)
    model.graph.node.insert(rng.randrange(len(model.graph.node) + 1), node)


def _end(model: Model, rng: Random) -> None:
    """What goes in or comes out: its name, kind or shape, or one more."""
    ends = rng.choice((model.graph.input, model.graph.output))
    end, choice = rng.choice(ends), rng.randrange(5)
    if choice == 0:
        end.name = rng.choice(("", "picture", "image", "painting", "past", "known"))
    elif choice == 1:
        end.type.tensor_type.elem_type = rng.randrange(0, 20)
    elif choice == 2:
        dims = end.type.tensor_type.shape.dim
        dim = dims[rng.randrange(len(dims))]
        dim.dim_value = rng.choice((0, -1, 1, 4, 7, 2**40))
    elif choice == 3:
        ends.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, rng.choice(([], [1], None))))
    else:
        del ends[:]


def _renamed(model: Model, rng: Random) -> None:
    """Another name for what goes in or comes out, everywhere."""
    old, new = rng.choice(("image", "painting")), rng.choice(("x", "", "y\n\x1b[1m"))
    for node in model.graph.node:
        for ends in (node.input, node.output):
            for i, name in enumerate(ends):
                ends[i] = new if name == old else name
    for end in (*model.graph.input, *model.graph.output):
        end.name = new if end.name == old else end.name


def _document(model: Model, rng: Random) -> None:
    """Any one place of what the file says of itself."""
    entry = rng.choice(model.metadata_props)
    choice = rng.random()
    if choice < 0.8:
        entry.value = values.text(values.changed(json.loads(entry.value), rng)).encode("utf-8", "replace").decode()
    elif choice < 0.9:
        entry.value = rng.choice(("", "null", "[]", "{}", "1", '"a"', "x" * 5_000_000))
    else:
        entry.key = rng.choice(("", "onestroke", "other", "onestroke_export"))


def _fact(model: Model, rng: Random) -> None:
    """One of the facts that painting goes by."""
    entry = next(entry for entry in model.metadata_props if entry.key == onnx_graph.EXPORT)
    facts = json.loads(entry.value)
    known: tuple[Any, ...] = (
        -5,
        0,
        1,
        3,
        10**6,
        2**70,
        1.5,
        "4",
        "float",
        "uint8",
        "int8",
        None,
        True,
        [],
        float("nan"),
    )
    facts[rng.choice(("channels", "pixels"))] = rng.choice(known)
    entry.value = json.dumps(facts)


def _model(model: Model, rng: Random) -> None:
    """Versions, functions, kinds of things that the file as a whole has."""
    choice = rng.randrange(4)
    if choice == 0:
        model.opset_import[0].version = rng.choice((0, 1, 7, 13, 17, 22, 99, -1))
    elif choice == 1:
        model.ir_version = rng.choice((0, 1, 3, 7, 10, 99))
    elif choice == 2:
        del model.opset_import[:]
    else:
        body = [helper.make_node("Identity", ["a"], ["b"])]
        function = helper.make_function("mine", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
        model.functions.append(function)


_EDITS: Mapping[str, tuple[int, Edit]] = {
    "onnx.operator": (3, _operator),
    "onnx.dropped": (3, _dropped),
    "onnx.wired": (3, _wired),
    "onnx.attribute": (4, _attribute),
    "onnx.weights": (4, _weights),
    "onnx.large": (2, _large),
    "onnx.outside": (2, _outside),
    "onnx.inside": (2, _inside),
    "onnx.end": (3, _end),
    "onnx.renamed": (1, _renamed),
    "onnx.document": (4, _document),
    "onnx.fact": (2, _fact),
    "onnx.model": (1, _model),
}
CHANGES: Mapping[str, tuple[int, Change]] = {name: (weight, edited(edit)) for name, (weight, edit) in _EDITS.items()}


def use(path: Path, rng: Random) -> None:
    """Open it, paint small photos and frames; a file that says that its weights lie elsewhere must not open at all."""
    stylizer = Stylizer(path, "cpu", rng.choice((None, "onnx")))
    model = onnx.load_model(str(path), load_external_data=False)
    if any(t.data_location == TensorProto.EXTERNAL for t in model.graph.initializer):
        raise AssertionError("a file whose weights lie outside of it was opened")
    if not stylizer.name.isprintable() or "/" in stylizer.name:
        raise AssertionError(f"the style is called {stylizer.name!r}")
    for height, width in SIDES:
        photo = torch.linspace(0, 1, 3 * height * width).view(1, 3, height, width)
        painted = stylizer.paint(photo)
        if painted.shape != photo.shape or painted.dtype != torch.float32 or not bool(painted.isfinite().all()):
            raise AssertionError(f"{tuple(photo.shape)} was painted as {painted.dtype} {tuple(painted.shape)}")
        frame = np.full((height, width, 3), 99, np.uint8)
        stylizer.frames(height, width)(frame, past=(frame, np.ones((height, width), np.float32)))


def warm(_: Path) -> None:
    """Import what takes long; no session is opened, as that may start threads."""
    require("onnxruntime", "onnx")


KIND = Kind("onnx", make, lambda _: CHANGES, use, warm)
