"""ONNX files from anyone: what export.py would not have written is one sentence, before a runtime sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from onestroke.errors import UserError
from onestroke.graphs import onnx_file, onnx_graph, onnx_wire
from onestroke.graphs.onnx_nodes import Nodes
from onestroke.graphs.tracing import trace
from onestroke.inference import memory
from onestroke.inference.backends import Torch
from onestroke.inference.exported import Onnx
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.residual import ResidualNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

Model = Any
METADATA = {"version": 1, "network": {"name": "N", "args": {}}, "style": {"name": "s"}, "training": {}, "metrics": {}}
FLOAT, WHOLE, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT64


def network() -> ResidualNetwork:
    torch.manual_seed(0)
    return ResidualNetwork(channels=[4, 4, 8], blocks=1, ends=3).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def sound() -> bytes:
    """What export.py writes."""
    model = onnx_graph.build(trace(network()), json.dumps(METADATA), "float")
    onnx_graph.note(model, {"pixels": "float", "channels": -5})
    return bytes(model.SerializeToString())


def small(*nodes: Any, constants: tuple[Any, ...] = (), kind: int = FLOAT, facts: Any = None) -> Model:
    """A model of these nodes with all that an exported one says of itself."""
    shape = ["n", 3, "height", "width"] if kind == FLOAT else ["n", "height", "width", 3]
    ends = [[onnx.helper.make_tensor_value_info(name, kind, shape)] for name in ("image", "painting")]
    inside = onnx.helper.make_graph(list(nodes), "g", *ends, initializer=list(constants))
    model = onnx.helper.make_model(inside, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    facts = {"pixels": "float" if kind == FLOAT else "uint8"} if facts is None else facts
    onnx.helper.set_model_props(model, {"onestroke": json.dumps(METADATA), "onestroke_export": json.dumps(facts)})
    return model


def node(operation: str, inputs: str, output: str = "painting", **attributes: Any) -> Any:
    return onnx.helper.make_node(operation, inputs.split(","), [output], **attributes)


def constant(name: str, value: Any, kind: Any = np.float32) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(value, kind), name)


def convolution(rims: int = 1, size: int = 3, **changed: Any) -> Model:
    weight = constant("w", np.zeros((3, 3, size, size)))
    given = {"kernel_shape": [size, size], "pads": [rims] * 4, "strides": [1, 1], "dilations": [1, 1], "group": 1}
    return small(node("Conv", "image,w", **{**given, **changed}), constants=(weight,))


def refused(content: bytes, folder: Path) -> str:
    path = folder / "hostile.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError) as found:
        Stylizer(path)
    said = str(found.value)
    assert str(path) in said and "\n" not in said and len(said) < 600
    return said


def test_what_export_writes_is_read(sound: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.onnx").write_bytes(sound)
    (tmp_path / "small.onnx").write_bytes(convolution().SerializeToString())
    image = torch.rand(1, 3, 21, 34)
    painted = Stylizer(tmp_path / "own.onnx").paint(image)
    with torch.inference_mode():
        assert torch.allclose(painted, network()(image).clamp(0, 1), atol=1e-4)
    assert Stylizer(tmp_path / "small.onnx").backend.paint(image).shape == image.shape
    assert capfd.readouterr().err == ""


class _Identity(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


SAME = node("Identity", "image")


def with_external_data(model: Model) -> None:
    tensor = constant("c", np.zeros(3))
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secret.bin"
    model.graph.initializer.append(tensor)


def with_subgraph(model: Model) -> None:
    branch = onnx.helper.make_graph([], "b", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["image"], ["x"], then_branch=branch, else_branch=branch))


def with_function(model: Model) -> None:
    opset = [onnx.helper.make_opsetid("", 18)]
    model.functions.append(onnx.helper.make_function("d", "F", ["a"], ["b"], [node("Relu", "a", "b")], opset))


def with_sparse_constant(model: Model) -> None:
    model.graph.sparse_initializer.add().dims.append(10**9)


def with_loop(model: Model) -> None:
    body = onnx.helper.make_graph([], "b", [], [])
    model.graph.node.append(onnx.helper.make_node("Loop", ["", ""], ["x"], body=body))


def with_another_name(model: Model) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "photo"


def with_a_second_input(model: Model) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", FLOAT, [1]))


def with_other_kind_of_output(model: Model) -> None:
    model.graph.output[0].type.tensor_type.elem_type = WHOLE


def with_one_size(model: Model) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64


def with_opset(version: int, domain: str = "") -> Callable[[Model], object]:
    return lambda model: model.opset_import.append(onnx.helper.make_opsetid(domain, version))


# by what is wrong with it, what is done to a sound model
EDITED: dict[str, Callable[[Model], object]] = {
    "external data": with_external_data,
    "subgraph": with_subgraph,
    "loop": with_loop,
    "function": with_function,
    "sparse": with_sparse_constant,
    "another name": with_another_name,
    "second input": with_a_second_input,
    "kinds differ": with_other_kind_of_output,
    "one size alone": with_one_size,
    "second opset": with_opset(18),
    "domain": with_opset(1, "com.microsoft"),
    "IR": lambda model: setattr(model, "ir_version", 99),
    "no metadata": lambda model: model.ClearField("metadata_props"),
}


def doubled() -> Model:
    names = ["image", *[f"x{i}" for i in range(30)]]
    grown = [node("Concat", f"{a},{a}", b, axis=2) for a, b in pairwise(names)]
    return small(
        *grown,
        node("Slice", f"{names[-1]},s,e,a"),
        constants=(constant("s", [0], np.int64), constant("e", [64], np.int64), constant("a", [2], np.int64)),
    )


def folded() -> Model:
    big = constant("a", np.zeros((2000, 2000)))
    return small(node("MatMul", "a,a", "b"), SAME, constants=(big,))


def broadcast() -> Model:
    wide = constant("wide", np.zeros((1, 3, 1, 1, 100_000)))
    return small(node("Add", "image,wide", "x"), SAME, constants=(wide,))


def gathered() -> Model:
    return small(node("Gather", "image,i", "x", axis=1), SAME, constants=(constant("i", [0] * 9999, np.int64),))


def padded(amount: int, mode: str = "constant") -> Callable[[], Model]:
    rims = constant("p", [0, 0, 0, 0, 0, 0, amount, 0], np.int64)
    return lambda: small(node("Pad", "image,p", "x", mode=mode), SAME, constants=(rims,))


def resized(*factors: float) -> Callable[[], Model]:
    made = constant("f", factors)
    return lambda: small(node("Resize", "image,,f", "x", mode="nearest"), SAME, constants=(made,))


# by what would grow beyond all memory, or to nothing, a model
OUT_OF_SIZE: dict[str, Callable[[], Model]] = {
    "doubled": doubled,
    "constants multiplied": folded,
    "broadcast": broadcast,
    "gathered": gathered,
    "rim": padded(10**9),
    "rim that leaves nothing": padded(-4000),
    "rim reflected": padded(4000, "reflect"),
    "factor": resized(1, 1, 1e6, 1),
    "no factor": resized(1, 1, 0, 1),
    "negative factor": resized(1, 1, -1, 1),
}

# by what is wrong with what its graph says, a model
WRONG_GRAPH: dict[str, Callable[[], Model]] = {
    "other pixels": lambda: small(SAME, facts={"pixels": "uint8"}),
    "facts no object": lambda: small(SAME, facts=[1]),
    "unknown operation": lambda: small(node("ConstantOfShape", "image", "x"), SAME),
    "random": lambda: small(node("RandomNormalLike", "image")),
    "node's domain": lambda: small(node("Identity", "image", domain="ai.onnx.ml")),
    "no such value": lambda: small(node("Identity", "nothing")),
    "given twice": lambda: small(SAME, SAME),
    "attribute unknown": lambda: small(node("Identity", "image", depth=3)),
    "smaller": lambda: small(
        node("Conv", "image,w", kernel_shape=[3, 3]), constants=(constant("w", np.zeros((3, 3, 3, 3))),)
    ),
    "smaller in torch's own way": lambda: small(
        node("Resize", "image,,f", mode="nearest"), constants=(constant("f", [1, 1, 2, 2]),)
    ),
    "step 0": lambda: convolution(strides=[0, 1]),
    "groups 0": lambda: convolution(group=0),
    "dilation 0": lambda: convolution(dilations=[0, 0]),
    "negative rim": lambda: convolution(rims=-1),
    "kernel": lambda: convolution(kernel_shape=[1, 1]),
    "block 0": lambda: small(node("SpaceToDepth", "image", "x", blocksize=0), SAME),
    "epsilon": lambda: small(
        node("InstanceNormalization", "image,c,c", epsilon=-1.0), constants=(constant("c", np.zeros(3)),)
    ),
    "not finite": lambda: small(node("Add", "image,c"), constants=(constant("c", np.full((1, 3, 1, 1), np.nan)),)),
    "kinds mixed": lambda: small(node("Add", "image,c"), constants=(constant("c", [1], np.int64),)),
    "constant is the picture": lambda: small(SAME, constants=(constant("image", 1.0),)),
    "constant twice": lambda: small(
        SAME, constants=(constant("c", np.zeros((1, 3, 1, 1))), constant("c", np.zeros((1, 3, 1, 1))))
    ),
}


def hostile(what: str) -> Model:
    """A model with that fault; it would load, or crash, in a runtime."""
    if what not in EDITED:
        return {**OUT_OF_SIZE, **WRONG_GRAPH}[what]()
    model = small(SAME)
    EDITED[what](model)
    return model


@pytest.mark.parametrize("what", [*EDITED, *OUT_OF_SIZE, *WRONG_GRAPH])
def test_what_export_would_not_write_is_one_sentence(
    what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(bytes(48))
    model = hostile(what)
    monkeypatch.setattr(Onnx, "__init__", lambda *a: pytest.fail("a runtime saw it"))
    said = refused(model.SerializeToString(), tmp_path)
    assert "no ONNX file that export.py wrote" in said
    assert capfd.readouterr() == ("", "")


def test_a_constant_of_another_size_than_it_says(tmp_path: Path) -> None:
    for dims in ([10**9, 10**9], [-3], [0], [2**62, 4], [4]):
        tensor = constant("c", np.zeros(3))
        del tensor.dims[:]
        tensor.dims.extend(dims)
        refused(small(node("Identity", "image"), constants=(tensor,)).SerializeToString(), tmp_path)


def test_bytes_that_a_parser_would_make_gigabytes_of_are_counted_first(sound: bytes, tmp_path: Path) -> None:
    nothing = b"\x0a\x00" * 400_000  # nodes of two bytes
    model = b"\x3a" + varint(len(nothing)) + nothing
    with pytest.raises(onnx_wire.Refused, match="parts"):
        onnx_wire.check(model)
    long = onnx.load_model_from_string(sound)
    long.metadata_props[0].value = "x" * 5 * 2**20
    assert "longer than any" in refused(long.SerializeToString(), tmp_path)
    with (tmp_path / "sparse.onnx").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(UserError, match="more than 128 MB"):
        Stylizer(tmp_path / "sparse.onnx")


def varint(number: int) -> bytes:
    return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])


def test_damage_is_one_sentence_or_paints_a_picture(sound: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.onnx"
    refused_ones = 0
    for _ in range(60):
        damaged = bytearray(sound)
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged) if rng.random() < 0.8 else sound[: rng.integers(1, len(sound))])
        try:
            painted = Stylizer(path).paint(torch.rand(1, 3, 20, 24))
            assert painted.shape == (1, 3, 20, 24)
        except UserError:
            refused_ones += 1
    assert refused_ones > 10


def test_no_operation_is_exported_that_could_not_be_read() -> None:
    with pytest.raises(KeyError, match="Sort has no rule"):
        Nodes().add("Sort", "image")


@pytest.mark.parametrize(
    "made",
    [
        lambda: ResidualNetwork([1, 64, 1], 1, 3),
        lambda: ResidualNetwork([1, 1, 64], 1, 3),
        lambda: RealtimeNetwork([64, 1], 1),
        lambda: RealtimeNetwork([1, 64], 1),
    ],
)
def test_the_widest_layer_is_reckoned_with_wherever_it_is(made: Callable[[], nn.Module]) -> None:
    network = made().eval().requires_grad_(False)
    painting = onnx_file.check_exported(onnx_graph.build(trace(network), "", "float"))
    layers: list[int] = []
    for module in network.modules():
        module.register_forward_hook(lambda m, given, result: layers.append(result.nbytes))
    network(torch.rand(1, 3, 256, 384))
    for backend in (Torch(network, torch.device("cpu")), Onnx(painting)):
        needed = backend.memory(1, 256, 384)
        assert max(layers) * 1.5 < needed < max(layers) * 8
        assert backend.memory(3, 512, 384) == pytest.approx(6 * needed, rel=0.1)


def test_what_compares_all_places_goes_by_the_square() -> None:
    held = memory.peak_memory(lambda image: (flat := image.mean(1).flatten(1)[..., None]) @ flat.transpose(1, 2))
    assert held(1, 256, 256) == pytest.approx(4 * 2**32, rel=0.1)
    plain = memory.peak_memory(lambda image: image * 2)
    assert plain(2, 1000, 1000) == pytest.approx(2 * 24e6, rel=0.01), "a picture and what is made of it"


def test_memory_that_is_short_is_one_sentence_for_onnx_too(
    sound: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.onnx").write_bytes(sound)
    stylizer = Stylizer(tmp_path / "own.onnx")
    monkeypatch.setattr("onestroke.inference.memory.free_on", lambda device: 10_000_000)
    monkeypatch.setattr(stylizer.backend, "paint", lambda image: pytest.fail("memory was taken first"))
    with pytest.raises(UserError, match=r"400 x 300 needs about 0.0 GiB to paint and 0.0 GiB are free; .*max_side="):
        stylizer(np.zeros((300, 400, 3), np.uint8))


@pytest.mark.slow
def test_onnx_runtime_neither_tells_its_makers_anything_nor_keeps_a_number_for_the_machine(
    sound: bytes, tmp_path: Path
) -> None:
    (tmp_path / "sound.onnx").write_bytes(sound)
    names = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    places = {name: tmp_path / name for name in names}
    for place in places.values():
        place.mkdir()
    code = (
        "import sys, numpy\n"
        "from onestroke import Stylizer\n"
        "Stylizer(sys.argv[1])(numpy.zeros((7, 9, 3), 'uint8'))"
    )  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    environment |= {name: str(place) for name, place in places.items()}
    command = [sys.executable, "-B", "-c", code, str(tmp_path / "sound.onnx")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path for place in places.values() for path in place.rglob("*")] == []
