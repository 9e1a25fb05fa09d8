"""Exported styles, opened with the runtimes themselves and none of our code."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from onestroke import packages, style_file
from onestroke.cli.export import Options, main
from onestroke.cli.infer import main as infer
from onestroke.cli.options import parse
from onestroke.errors import UserError
from onestroke.export import exporting
from onestroke.export.fold_norms import freeze
from onestroke.graphs import onnx_file, onnx_graph
from onestroke.graphs.tracing import NORM, trace
from onestroke.inference import backends
from onestroke.inference.exported import Onnx
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.attention import AttentionNetwork
from onestroke.networks.base import TransformNetwork
from onestroke.networks.layers import InstanceNorm
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import FORMAT, Metadata
from tests.commands import process
from tests.test_controls import ARGS as OF_KIND
from tests.test_controls import controlled

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

ARGS = {"channels": [4, 6, 8], "blocks": 2, "ends": 5}
FACTS = {"name": "tiny", "title": "Été", "licence": "CC0"}
ODD = [(97, 131), (203, 77), (255, 254), (17, 16)]
Bytes = npt.NDArray[np.uint8]


def painter() -> ResidualNetwork:
    """A network that changes a photo for all to see."""
    torch.manual_seed(6)
    network = ResidualNetwork(channels=[4, 6, 8], blocks=2, ends=5)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(torch.randn(weights.shape) * 0.05)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("style") / "file.v1.safetensors"
    style_file.save(path, painter(), Metadata({"name": "ResidualNetwork", "args": ARGS}, FACTS))
    return path


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder of its own, with one thread, and with what is timed kept small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exporting, "SIDE", 32)
    # random weights make more of every rounding than a style does
    rough = {"frozen": exporting.Difference(256, 256), "int8": exporting.Difference(256, 256)}
    monkeypatch.setattr(exporting, "LIMITS", {**exporting.LIMITS, **rough})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def exported(style: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Path]:
    """Run the command line; gives the file."""

    def run(*arguments: str) -> Path:
        capfd.readouterr()
        out = [] if any(a.startswith("out=") for a in arguments) else ["out=out.onnx"]
        assert main([f"ckpt={style}", "overwrite=true", *out, *arguments]) == 0, capfd.readouterr().err
        said, err = capfd.readouterr()
        assert err == "" and "differs from torch by" in said and "ms for" in said
        return Path(said.splitlines()[0])

    return run


@pytest.fixture
def refused(style: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line and see that it fails with one sentence and leaves nothing behind."""

    def run(*arguments: str, command: Callable[[list[str]], int] = main, ckpt: Path | str = style) -> str:
        before = sorted(Path().rglob("*"))
        capfd.readouterr()
        code = command([f"ckpt={ckpt}", *arguments])
        out, err = capfd.readouterr()
        assert (code, out) == (2, ""), err
        assert err.startswith("onestroke: ") and err.count("\n") == 1 and "Traceback" not in err
        assert sorted(Path().rglob("*")) == before
        return err

    return run


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def pixels(height: int, width: int, count: int = 1) -> Bytes:
    """Soft shapes and noise."""
    rng = np.random.default_rng(height * width)
    small = rng.integers(0, 256, (count, 3, 4, 5)).astype(np.float32)
    soft = F.interpolate(torch.from_numpy(small), (height, width), mode="bicubic").numpy().transpose(0, 2, 3, 1)
    noisy: Bytes = np.clip(soft + rng.normal(0, 9, soft.shape), 0, 255).astype(np.uint8)
    return noisy


def painted(style: Path, photo: Bytes) -> npt.NDArray[np.float32]:
    """What torch paints, in levels that are not rounded: (N, H, W, 3)."""
    network, _ = style_file.load(style)
    with torch.no_grad():
        result = network(torch.from_numpy(photo).permute(0, 3, 1, 2).float() / 255).clamp(0, 1)
    levels: npt.NDArray[np.float32] = result.permute(0, 2, 3, 1).numpy() * 255
    return levels


# --- ONNX -----------------------------------------------------------------------------------------------


def test_an_exported_graph_is_plain_onnx_and_carries_the_document(style: Path, exported: Callable[..., Path]) -> None:
    model = onnx.load(str(exported()))
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [
        ("", onnx_graph.OPSET)
    ] and onnx_graph.OPSET >= 18
    kinds = [node.op_type for node in model.graph.node]
    norms = sum(type(module).__name__ == "InstanceNorm" for module in painter().modules())
    assert kinds.count("InstanceNormalization") == norms == 9
    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == 10 and kinds.count("MatMul") == 1 and kinds.count("Resize") == 2
    assert {node.domain for node in model.graph.node} == {""}
    (image,), (painting,) = model.graph.input, model.graph.output
    for value in (image, painting):
        kind = value.type.tensor_type
        assert kind.elem_type == onnx.TensorProto.UINT8
        assert [d.dim_param or d.dim_value for d in kind.shape.dim] == ["n", "height", "width", 3]
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    document = metadata["onestroke"]
    assert document["style"] == FACTS and document["network"] == {"name": "ResidualNetwork", "args": ARGS}
    assert document["version"] == FORMAT
    assert metadata["onestroke_export"]["variant"] == "fp32"
    assert metadata["onestroke_export"]["difference"]["largest"] < 1


@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_an_exported_file_paints_any_size_and_number_of_photos(
    style: Path, exported: Callable[..., Path], kind: str
) -> None:
    opened = session(exported(f"pixels={kind}"))
    sizes = [(1, 1, 1), (1, 1, 7), (2, 2, 3), (3, 15, 33), *((1, *size) for size in ODD)]
    for count, height, width in sizes:
        photo = pixels(height, width, count)
        wanted = painted(style, photo)
        if kind == "uint8":
            (got,) = opened.run(None, {"image": photo})
            assert got.dtype == np.uint8
            slack = 0.51
        else:
            (planes,) = opened.run(None, {"image": photo.transpose(0, 3, 1, 2).astype(np.float32) / 255})
            assert planes.dtype == np.float32 and 0 <= planes.min() <= planes.max() <= 1
            got, slack = planes.transpose(0, 2, 3, 1) * 255, 0.01
        assert got.shape == photo.shape
        # what is all of one colour leaves a norm nothing but rounding
        assert height * width == 1 or np.abs(got - wanted).max() < slack, (count, height, width)
    assert np.abs(wanted - photo).mean() > 10, "the style under test paints too little"


@pytest.mark.parametrize("kind", OF_KIND)
def test_a_network_with_a_low_pass_is_exported_at_any_size(kind: type[TransformNetwork], tmp_path: Path) -> None:
    torch.manual_seed(6)
    args = {**OF_KIND[kind], "low_pass": 16, "upsampling": "nearest", "controls": ["strength"]}
    network = style_file.network_classes()[kind.__name__](**args).eval().requires_grad_(False)
    nn.init.normal_(network.get_parameter("paint.convolution.weight"), 0, 0.05)
    style_file.save(
        tmp_path / "low.safetensors", network, Metadata({"name": kind.__name__, "args": args}, FACTS), torch.float32
    )
    assert main(["ckpt=low.safetensors", "out=low.onnx", "strength=0.1"]) == 0
    for width, height in ODD:
        photo = pixels(height, width)
        expected = network(torch.from_numpy(photo).permute(0, 3, 1, 2) / 255, strength=0.1)
        levels = expected.clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255
        nothing_known = {"past": photo[:, ::-1], "known": np.zeros((1, height, width), np.float32)}
        more = nothing_known if kind is RecurrentNetwork else {}
        (got,) = session(Path("low.onnx")).run(None, {"image": photo, **more})
        assert np.abs(got - levels).max() < 0.6  # half a level of rounding
    again = Stylizer(Path("low.onnx")).paint(torch.from_numpy(photo).permute(0, 3, 1, 2) / 255)
    assert np.abs(again.permute(0, 2, 3, 1).numpy() * 255 - got).max() < 0.6  # read by our own reader


def test_attention_is_exported_in_fp16(tmp_path: Path) -> None:
    network = controlled(AttentionNetwork, controls=[])
    made = {"name": "AttentionNetwork", "args": OF_KIND[AttentionNetwork]}
    style_file.save(tmp_path / "a.safetensors", network, Metadata(made, FACTS), torch.float32)
    assert main(["ckpt=a.safetensors", "out=a.onnx", "variant=fp16"]) == 0
    for width, height in ((64, 48), (37, 90)):
        photo = pixels(height, width)
        expected = network(torch.from_numpy(photo).permute(0, 3, 1, 2) / 255).clamp(0, 1)
        levels = expected.permute(0, 2, 3, 1).numpy() * 255
        (got,) = session(Path("a.onnx")).run(None, {"image": photo})
        assert np.abs(got - levels).max() < 3
        assert np.abs(levels - photo).mean() > 10


def test_fp16_halves_the_convolutions_and_not_the_norms(style: Path, exported: Callable[..., Path]) -> None:
    full = exported().stat().st_size
    path = exported("variant=fp16")
    model = onnx.load(str(path))
    weights = {t.name: t for t in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert {weights[node.input[1]].data_type for node in convolutions} == {onnx.TensorProto.FLOAT16}
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    assert {weights[node.input[1]].data_type for node in norms} == {onnx.TensorProto.FLOAT}
    assert path.stat().st_size < full
    photo = pixels(97, 131)
    (got,) = session(path).run(None, {"image": photo})
    difference = np.abs(got - painted(style, photo))
    assert 0.3 < difference.max() < 5 and difference.mean() < 0.75


def test_frozen_norms_have_the_statistics_of_all_photos_together(style: Path, exported: Callable[..., Path]) -> None:
    """Equal to a batch norm that has seen the photos, by another road than ours."""
    Path("photos").mkdir()
    batch = np.concatenate([pixels(256, 256), pixels(256, 256)[:, ::-1, :, ::-1] // 2])
    for i, photo in enumerate(batch):
        Image.fromarray(np.ascontiguousarray(photo)).save(f"photos/{i}.png")
    path = exported("variant=frozen", "photos=photos", "pixels=float")
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert "InstanceNormalization" not in kinds and "BatchNormalization" not in kinds and kinds.count("Conv") == 10
    both = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
    with pytest.MonkeyPatch.context() as patch:
        real = torch.cat
        network, _ = style_file.load(style)
        for module in network.modules():
            if isinstance(module, InstanceNorm):
                weight, bias = module.weight.flatten(), module.bias.flatten()
                patch.setattr(
                    module, "forward",
                    lambda x, mix=None, w=weight, b=bias: F.batch_norm(x, None, None, w, b, True, 0.0, 1e-5),
                )  # fmt: skip
        wanted = network(both).clamp(0, 1)
        assert torch.cat is real
    (got,) = session(path).run(None, {"image": both.numpy()})
    assert np.abs(got - wanted.numpy()).max() < 1e-3
    (alone,) = session(path).run(None, {"image": both[1:].numpy()})
    assert np.abs(alone - got[1:]).max() < 1e-4, "no picture's own statistics count"


def test_int8_quantizes_the_convolutions_and_keeps_the_norms(style: Path, exported: Callable[..., Path]) -> None:
    path = exported("variant=int8")
    model = onnx.load(str(path))
    kinds = [node.op_type for node in model.graph.node]
    assert "QuantizeLinear" in kinds and kinds.count("InstanceNormalization") == 9
    assert {entry.key for entry in model.metadata_props} >= {"onestroke", "onestroke_export"}
    photo = pixels(97, 131)
    (got,) = session(path).run(None, {"image": photo})
    assert np.abs(got - painted(style, photo)).mean() < 6


def test_what_differs_is_not_written(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {**exporting.LIMITS, "frozen": exporting.Difference(255.0, 1e-3)}
    monkeypatch.setattr(exporting, "LIMITS", limits)
    assert "would differ from what torch paints" in refused("variant=frozen", "out=out.onnx")

    class Wrong(ResidualNetwork):
        def forward(self, image: Tensor, *more: Any) -> Tensor:
            return super().forward(image / 2 if image.shape[-1] > 200 else image, *more)

    monkeypatch.setattr(style_file, "network_classes", lambda: {"ResidualNetwork": Wrong})
    assert "nothing was written" in refused("out=out.onnx"), "what depends on the size is noticed"


# --- networks of other people ---------------------------------------------------------------------------


class Other(nn.Module):
    """Pads to another multiple, and is built of other operations."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(12, 8, 3, padding=1, padding_mode="reflect")
        self.norm = nn.InstanceNorm2d(8, affine=False)
        self.second = nn.Conv2d(8, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.last = nn.Conv2d(16, 12, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = F.pad(image, [0, -width % 8, 0, -height % 8], mode="replicate")
        x = F.leaky_relu(self.norm(self.first(F.pixel_unshuffle(image, 2))), 0.2)
        x = x + F.avg_pool2d(x, (3, 5), 1, (1, 2), count_include_pad=False) - F.avg_pool2d(x, 3, 1, 1)
        y = F.interpolate(torch.tanh(self.second(x)), scale_factor=2, mode="bilinear", align_corners=False)
        x = torch.cat([self.up(F.gelu(self.second(x))) - y, F.silu(x)], dim=1)
        x = F.pixel_shuffle(self.last(x).sigmoid(), 2)
        return (1 - x)[:, :, :height, :width]


def test_operations_that_our_networks_do_not_use_are_exported_too() -> None:
    torch.manual_seed(1)
    network = Other().eval().requires_grad_(False)
    core = trace(network)
    assert (core.multiple, core.smallest) == (8, 8)
    paint = Onnx(onnx_file.check_exported(onnx_graph.build(core, "{}", "float"))).paint
    for size in [(97, 131), (5, 3), (64, 8)]:
        image = torch.rand(2, 3, *size)
        assert torch.allclose(paint(image), network(image).clamp(0, 1), atol=1e-5), size


def test_an_operation_that_is_missing_is_named() -> None:
    class Sorting(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.sort(dim=1).values

    with pytest.raises(UserError, match="uses sort of torch"):
        onnx_graph.build(trace(Sorting()), "{}", "float")


def test_the_core_holds_no_size() -> None:
    network = painter()
    core = trace(network)
    assert (core.multiple, core.smallest) == (4, 16)
    assert sum(node.meta.get("operation") == NORM for node in core.graph.nodes) == 9
    image = torch.rand(2, 3, 44, 20)
    with torch.no_grad():
        assert torch.allclose(core(image), network(image), atol=1e-5)
        frozen = freeze(core, image)
        assert not any(node.meta.get("operation") == NORM for node in frozen.graph.nodes)
        assert any(node.meta.get("operation") == NORM for node in core.graph.nodes), (
            "what it was made of is left as it was"
        )


# --- torch.export ---------------------------------------------------------------------------------------


OLD = torch.__version__.startswith("2.6.")  # whose torch.export asks for sides of 13 and more


@pytest.mark.skipif(not OLD, reason="other versions of PyTorch can")
def test_a_torch_that_is_too_old_for_torch_export_is_told(refused: Callable[..., str]) -> None:
    assert "use a newer PyTorch" in refused("format=torch", "out=out.pt2")


@pytest.mark.slow
@pytest.mark.skipif(OLD, reason="PyTorch 2.6 can't")
def test_a_file_of_torch_export_paints_as_the_network_at_any_size(style: Path, exported: Callable[..., Path]) -> None:
    path = exported("format=torch", "out=out.pt2")
    extra = {"onestroke.json": ""}
    program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra).module()
    assert json.loads(extra["onestroke.json"])["style"] == FACTS
    for count, height, width in [(1, 1, 1), (1, 2, 3), (3, 15, 33)]:
        photo = pixels(height, width, count)
        got = program(torch.from_numpy(photo))
        assert got.dtype == torch.uint8 and got.shape == photo.shape
        close = np.abs(got.numpy() - painted(style, photo)).max() < 0.51
        assert height * width == 1 or close, (count, height, width)


# --- the command line -----------------------------------------------------------------------------------


def test_a_file_is_named_after_the_style_file_unless_out_says_otherwise(
    style: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.v1.safetensors").write_bytes(style.read_bytes())
    assert main(["ckpt=mine.v1.safetensors"]) == 0
    assert main(["ckpt=mine.v1.safetensors", "variant=fp16", "pixels=float"]) == 0
    assert main(["ckpt=mine.v1.safetensors", "out=new/deep/été (1).onnx"]) == 0
    assert {str(p) for p in Path().rglob("*.onnx")} == {
        "mine.v1.onnx", "mine.v1.fp16.onnx", str(Path("new/deep/été (1).onnx"))
    }  # fmt: skip
    assert "is there already" in refused(ckpt="mine.v1.safetensors")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["format=coreml"], "format can't be 'coreml': known are onnx, torch"),
        (["variant=fp61"], "did you mean 'fp16'"),
        (["variant=fp16", "format=torch"], "format=torch has fp32 alone"),
        (["pixels=int"], "pixels can't be 'int'"),
        (["photos=."], "photos is for variant=frozen"),
        (["photos=.", "variant=int8"], "holds no pictures"),
        (["out=a.pt2"], "a file of format=onnx ends in .onnx"),
        (["out=a.onnx", "format=torch"], "ends in .pt2"),
        (["out="], "out has no value"),
        (["overwrite=yes"], "overwrite must be true or false"),
        (["input=a.jpg"], "there is no option 'input'"),
        (["out=/dev/null/a.onnx"], "can't make the folder"),
    ],
)
def test_a_mistake_in_an_option_is_told_in_one_sentence(
    refused: Callable[..., str], arguments: list[str], words: str
) -> None:
    assert words in refused(*arguments)


def test_a_style_file_that_is_missing_or_cut_is_told(
    style: Path, refused: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert "there is no style file gone.safetensors" in refused(ckpt="gone.safetensors")
    Path("cut.safetensors").write_bytes(style.read_bytes()[:-100])
    assert "not a whole style file" in refused(ckpt="cut.safetensors")
    with pytest.raises(UserError, match="ckpt is needed"):
        parse(Options, ["format=onnx"])
    assert main(["--help"]) == 0 and "usage: python export.py" in capfd.readouterr().out


def test_export_py_writes_a_file_and_nothing_to_stderr(style: Path) -> None:
    done = process("export.py", f"ckpt={style}", "out=a.onnx", cwd=Path.cwd())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("a.onnx\n  ONNX, opset 18, fp32, ") and "of any size" in done.stdout


# --- painting with it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["onnx", "openvino", "auto"])
def test_backends_paint_the_same(style: Path, exported: Callable[..., Path], backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    files = [style, exported("pixels=float"), exported("out=whole.onnx")]
    plain = Stylizer(style, backend="torch")
    for path in files:
        stylizer = Stylizer(path, backend=backend)
        assert stylizer.name == "tiny" and stylizer.metadata == plain.metadata
        assert type(stylizer.backend).__name__ == {"auto": "Onnx", "onnx": "Onnx", "openvino": "OpenVino"}[backend]
        assert 0.3 < stylizer.backend.memory(1, 500, 600) / plain.backend.memory(1, 500, 600) < 3
        for size in [(97, 131), (1, 2), (33, 20)]:
            image = torch.from_numpy(pixels(*size, 2)).permute(0, 3, 1, 2).float() / 255
            got = stylizer.paint(image)
            slack = 0.51 if path.name == "whole.onnx" else 0.01
            assert got.shape == image.shape and got.is_contiguous()
            assert float((got - plain.paint(image)).abs().max()) * 255 < slack
    photo = pixels(20, 30)[0]
    assert np.abs(stylizer(photo).astype(int) - plain(photo).astype(int)).max() <= 1


def test_infer_paints_the_same_whatever_backend_it_is_given(
    style: Path, exported: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(pixels(9, 14)[0]).save("photo.png")
    for number, arguments in enumerate(
        [["backend=onnx"], ["backend=torch"], ["ckpt=out.onnx"], ["ckpt=out.onnx", "backend=onnx"]]
    ):
        exported()
        ckpt = [] if arguments[0].startswith("ckpt") else [f"ckpt={style}"]
        assert infer([*ckpt, "input=photo.png", f"output={number}.png", *arguments]) == 0
    capfd.readouterr()
    results = [np.asarray(Image.open(f"{number}.png")).astype(int) for number in range(3)]
    assert max(np.abs(result - results[0]).max() for result in results) <= 1


def test_a_backend_that_cannot_paint_the_file_is_told(
    style: Path, exported: Callable[..., Path], refused: Callable[..., str]
) -> None:
    Image.fromarray(pixels(9, 14)[0]).save("photo.png")
    exported()
    Path("cut.onnx").write_bytes(Path("out.onnx").read_bytes()[:-2000])
    Path("text.onnx").write_text("no graph")
    bare = onnx.load("out.onnx")
    del bare.metadata_props[:]
    onnx.save(bare, "bare.onnx")

    def painting(*arguments: str, **more: Any) -> str:
        return refused("input=photo.png", *arguments, command=infer, **more)

    assert "did you mean 'onnx'" in painting("backend=onxx")
    assert "backend=onnx paints on the CPU" in painting("backend=onnx", "device=cuda")
    assert "compile is for backend=torch" in painting("backend=onnx", "compile=true")
    assert "is an ONNX file, which backend=onnx" in painting("backend=torch", ckpt="out.onnx")
    assert "on the CPU" in painting("device=cuda", ckpt="out.onnx")
    assert "there is no file gone.onnx" in painting(ckpt="gone.onnx")
    for name in ("cut.onnx", "text.onnx", "bare.onnx"):
        assert f"{name} is no ONNX file that export.py wrote" in painting(ckpt=name)


def test_a_network_that_cannot_be_exported(
    style: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Sorting(ResidualNetwork):
        def forward(self, image: Tensor, *more: Any) -> Tensor:
            return super().forward(image.sort(dim=1).values, *more)

    class Sized(ResidualNetwork):
        def forward(self, image: Tensor, *more: Any) -> Tensor:
            return super().forward(image, *more) * (0.5 if image.shape[-1] == 94 else 1)

    Image.fromarray(pixels(9, 14)[0]).save("photo.png")
    for network, words in ((Sorting, "uses sort of torch"), (Sized, "paints something else with backend=onnx")):
        monkeypatch.setattr(style_file, "network_classes", lambda n=network: {"ResidualNetwork": n})
        assert words in refused("input=photo.png", "backend=onnx", command=infer)
        assert type(Stylizer(style, backend="auto").backend) is backends.Torch
        assert infer([f"ckpt={style}", "input=photo.png", "backend=auto", "overwrite=true"]) == 0
        Path("photo.tiny.png").unlink()
        capfd.readouterr()


def test_compiling_that_fails_is_told_and_done_without(style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def broken(network: nn.Module) -> Callable[[Tensor], Tensor]:
        def run(image: Tensor) -> Tensor:
            raise TorchDynamoException("no compiler\nand a long story")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    image = torch.rand(1, 3, 20, 30)
    stylizer = Stylizer(style, "cpu", compiled=True)
    with pytest.warns(UserWarning, match="painting goes on without: no compiler$"):
        painted = stylizer.paint(image)
    assert torch.equal(painted, Stylizer(style, "cpu").paint(image))
    monkeypatch.setattr(torch, "compile", lambda network: network)
    assert torch.equal(painted, Stylizer(style, "cpu", compiled=True).paint(image))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "openvino"])
def test_a_missing_package_names_its_extra(
    style: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    Image.fromarray(pixels(9, 14)[0]).save("photo.png")
    extra = "openvino" if package == "openvino" else "onnx"
    monkeypatch.setitem(sys.modules, package, None)
    words = f"the package {package} is needed for this: pip install 'onestroke[{extra}]'"
    assert words in refused("input=photo.png", f"backend={extra}", command=infer)
    if extra == "onnx":
        assert words in refused("out=a.onnx")
    assert infer([f"ckpt={style}", "input=photo.png", "backend=auto"]) == 0, "auto takes what is there"
    assert not packages.installed(package) and not packages.installed("there_is_none")
