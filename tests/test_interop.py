"""Files of pytorch/examples' fast_neural_style and its forks: what they paint, a style file made of them paints."""

from __future__ import annotations

import copy
import functools
import random
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from onestroke import style_file
from onestroke.cli import checkpoints
from onestroke.inference.stylizer import Stylizer
from onestroke.interop import converting, layout
from onestroke.interop.converting import RANGES
from onestroke.perception.vgg_weights import read_weights

SMALL = {"widths": (6, 8, 10), "blocks": 2, "ends": 5}


class PaddedConv(nn.Module):
    """Reflection, then `conv2d`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(kernel // 2)
        self.conv2d = nn.Conv2d(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        padded: Tensor = self.conv2d(self.pad(x))
        return padded


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = PaddedConv(width, width, 3)
        self.in1 = nn.InstanceNorm2d(width, affine=True)
        self.conv2 = PaddedConv(width, width, 3)
        self.in2 = nn.InstanceNorm2d(width, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.in2(self.conv2(F.relu(self.in1(self.conv1(x)))))
        return x + change


class Published(nn.Module):
    """A network with the published files' keys, painted as they are."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128), blocks: int = 5, ends: int = 9) -> None:
        super().__init__()
        full, half, quarter = widths
        self.blocks = blocks
        self.conv1, self.in1 = PaddedConv(3, full, ends), nn.InstanceNorm2d(full, affine=True)
        self.conv2, self.in2 = PaddedConv(full, half, 3, 2), nn.InstanceNorm2d(half, affine=True)
        self.conv3, self.in3 = PaddedConv(half, quarter, 3, 2), nn.InstanceNorm2d(quarter, affine=True)
        for i in range(1, blocks + 1):
            setattr(self, f"res{i}", Block(quarter))
        self.deconv1, self.in4 = PaddedConv(quarter, half, 3), nn.InstanceNorm2d(half, affine=True)
        self.deconv2, self.in5 = PaddedConv(half, full, 3), nn.InstanceNorm2d(full, affine=True)
        self.deconv3 = PaddedConv(full, 3, ends)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.in1(self.conv1(x)))
        x = F.relu(self.in2(self.conv2(x)))
        x = F.relu(self.in3(self.conv3(x)))
        for i in range(1, self.blocks + 1):
            x = getattr(self, f"res{i}")(x)
        x = F.relu(self.in4(self.deconv1(F.interpolate(x, scale_factor=2, mode="nearest"))))
        x = F.relu(self.in5(self.deconv2(F.interpolate(x, scale_factor=2, mode="nearest"))))
        image: Tensor = self.deconv3(x)
        return image


def trained(values: str = "255", seed: int = 0, **sizes: Any) -> Published:
    """One that paints pictures in a range, as if it were trained."""
    return copy.deepcopy(_trained(values, seed, **sizes))


@functools.cache
@torch.no_grad()
def _trained(values: str, seed: int, **sizes: Any) -> Published:
    torch.manual_seed(seed)
    network = Published(**(sizes or SMALL)).eval()
    for name, parameter in network.named_parameters():
        if re.search(r"\bin\d", name):
            parameter.add_(0.3 * torch.randn_like(parameter))
    last, chosen = network.deconv3.conv2d, RANGES[values]
    raw = network(chosen.of(converting.pictures()))
    wanted = chosen.of(torch.tensor([0.45, 0.5, 0.4]).view(1, 3, 1, 1)).flatten()
    spread = 0.25 * torch.tensor(chosen.scale) / raw.std((0, 2, 3))
    assert last.bias is not None
    last.weight.mul_(spread.view(3, 1, 1, 1))
    last.bias.copy_(wanted - (raw.mean((0, 2, 3)) - last.bias) * spread)
    return network


@torch.no_grad()
def painted(network: nn.Module, image: Tensor, values: str = "255") -> Tensor:
    """What the original paints, in [0, 1]."""
    return RANGES[values].back(network(RANGES[values].of(image))).clamp(0, 1)


def picture(height: int, width: int) -> Tensor:
    """Slopes, edges and noise, (1, 3, height, width)."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    shapes = torch.stack([y, (x * 7 + y * 3).sin() / 2 + 0.5, ((x * 9).long() + (y * 5).long()).float() % 2])
    return (0.8 * shapes + 0.2 * torch.rand(3, height, width, generator=generator))[None]


def run(*arguments: str) -> int:
    return checkpoints.import_(list(arguments))


def imported(state: object, tmp_path: Path, *options: str, **save: Any) -> Path:
    """Save, import, and give the style file."""
    path, out = tmp_path / "mosaic.pth", tmp_path / "out" / "mosaic.safetensors"
    torch.save(state, path, **save)
    assert run(f"path={path}", f"out={out}", *options) == 0
    return out


def refused(capsys: pytest.CaptureFixture[str], path: Path, pattern: str, *options: str) -> str:
    """Assert that a file is refused in one sentence with exit code 2, and that nothing is written."""
    before = {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()}
    out = path.parent / "refused" / "style.safetensors"
    assert run(f"path={path}", f"out={out}", *options) == 2
    told = capsys.readouterr()
    assert re.search(pattern, told.err), told.err
    assert told.err.startswith("onestroke: ") and told.err.count("\n") == 1 and len(told.err) < 500
    assert told.out == ""
    assert {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()} == before
    assert not out.parent.exists()
    return told.err


def check(out: Path, original: nn.Module, values: str = "255") -> None:
    """Whatever the size, as far as the original keeps it."""
    stylizer = Stylizer(out, device="cpu")
    for height, width in [(16, 16), (64, 96), (100, 44)]:
        image = picture(height, width)
        expected = painted(original, image, values)
        assert float(expected.std()) > 0.05
        assert float((stylizer.paint(image) - expected).abs().max()) < 1 / 255
    for height, width in [(33, 50), (7, 65), (1, 1), (62, 63)]:
        assert stylizer.paint(picture(height, width)).shape == (1, 3, height, width)


# --- paints the same ------------------------------------------------------------------------------------


def test_the_published_layout_paints_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = trained(widths=(32, 64, 128), blocks=5, ends=9)
    out = imported(original.state_dict(), tmp_path)
    told = capsys.readouterr().out
    assert "32-64-128 channels, 5 residual blocks, pytorch/examples' names" in told
    assert "range 255" in told
    assert re.search(r": 0\.\d\d of 255 from the original at most", told)
    check(out, original)
    metadata = style_file.read_document(out)
    arguments = {"channels": [32, 64, 128], "blocks": 5, "ends": 9, "adds_photo": False, "upsampling": "nearest"}
    assert metadata.network == {"name": "ResidualNetwork", "args": arguments}
    assert metadata.style == {"name": "mosaic", "styles": [{"name": "mosaic"}]}
    assert metadata.training["imported"] == "mosaic.pth"
    assert metadata.training["range"] == "255"
    assert str(tmp_path) not in str(metadata)


@pytest.mark.parametrize("values", RANGES)
@pytest.mark.parametrize("seed", range(3))
def test_in_fp32_it_is_the_same_to_rounding(values: str, seed: int, tmp_path: Path) -> None:
    original = trained(values, seed)
    torch.save(original.state_dict(), tmp_path / "a.pth")
    found = converting.convert(layout.read(tmp_path / "a.pth"))
    assert found.range == values  # as auto told
    for height, width in [(16, 20), (64, 96), (100, 44), (24, 248)]:
        image = picture(height, width)
        with torch.no_grad():
            mine, theirs = found.network(image), RANGES[values].back(original(RANGES[values].of(image)))
        assert float((mine - theirs).abs().max()) < 1e-4


@pytest.mark.parametrize("values", RANGES)
@pytest.mark.parametrize("told", [True, False])
def test_every_range_is_found_or_told(values: str, told: bool, tmp_path: Path) -> None:
    original = trained(values, seed=5)
    out = imported(original.state_dict(), tmp_path, *([f"range={values}"] if told else []))
    check(out, original, values)
    assert style_file.read_document(out).training["range"] == values


def flat(image: Tensor) -> Tensor:
    """A picture with nearly no contrast, where a norm's eps counts."""
    return 0.5 + 0.002 * (image - 0.5)


@pytest.mark.parametrize("values", RANGES)
def test_flat_pictures_too(values: str, tmp_path: Path) -> None:
    original = trained(values, seed=1)
    torch.save(original.state_dict(), tmp_path / "a.pth")
    network = converting.convert(layout.read(tmp_path / "a.pth")).network
    for image in (flat(picture(32, 48)), torch.full((1, 3, 32, 32), 0.3)):
        with torch.no_grad():
            assert float((network(image).clamp(0, 1) - painted(original, image, values)).abs().max()) < 2e-3


def test_it_goes_on_in_the_product(tmp_path: Path) -> None:
    """As any style file: loaded, painted with, saved again."""
    out = imported(trained().state_dict(), tmp_path, "name=tiles")  # kept in fp32
    assert Stylizer(out).name == "tiles"
    network, metadata = style_file.load(out)
    style_file.save(out.with_name("again.safetensors"), network, metadata, torch.float32)
    assert out.with_name("again.safetensors").read_bytes() == out.read_bytes()


# --- the files there are --------------------------------------------------------------------------------


def with_statistics(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As torch 0.3 saved instance norms."""
    saved = {}
    for name, tensor in state.items():
        saved[name] = tensor
        if re.search(r"\bin\d\.bias$", name):
            saved[name.replace("bias", "running_mean")] = torch.randn_like(tensor)
            saved[name.replace("bias", "running_var")] = torch.rand_like(tensor)
    return saved


def with_optimiser(state: Mapping[str, Tensor]) -> dict[str, Any]:
    network = trained()
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 3, 32, 32)).mean().backward()
    optimiser.step()
    return {"optimizer_state": optimiser.state_dict(), "epoch": 2, "model_state_dict": dict(state), "note": "x"}


def in_sequence(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As a fork with blocks in one nn.Sequential names them."""
    layers: dict[str, str] = {}
    for name in state:
        layer = name.rsplit(".", 1)[0]
        kind = "conv_layer" if "conv" in layer else "norm_layer"
        layers.setdefault(layer, f"ConvBlock.{len(layers)}.{kind}")
    return {f"{layers[name.rsplit('.', 1)[0]]}.{name.rsplit('.', 1)[1]}": t for name, t in state.items()}


def convolutions_first(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As a fork that makes all its convolutions before all its norms, by other names."""
    renamed = {name.replace("conv", "c").replace("in", "n"): tensor for name, tensor in state.items()}
    return dict(sorted(renamed.items(), key=lambda item: bool(re.search(r"\bn\d", item[0]))))


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "plain": lambda state: state,
    "old statistics": with_statistics,
    "DataParallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "deep": lambda state: {"checkpoint": {"models": {"net": state}}},
    "optimiser": with_optimiser,
    "any order": lambda state: dict(sorted(state.items())),
    "sequence": in_sequence,
    "convolutions first": convolutions_first,
    "half": lambda state: {name: tensor.half() for name, tensor in state.items()},
    "double": lambda state: {name: tensor.double() for name, tensor in state.items()},
    "parameters": lambda state: {name: nn.Parameter(tensor) for name, tensor in state.items()},
}


# what a file's names are is found out when it has been read, and so the old format is tried with each kind of value
OLD_FORMAT = ("plain", "optimiser", "half", "double", "parameters")


@pytest.mark.parametrize(
    ("wrapping", "old"),
    [
        *((name, False) for name in WRAPPINGS),
        *(pytest.param(name, True, marks=() if name in OLD_FORMAT[:2] else pytest.mark.slow) for name in OLD_FORMAT),
    ],
)
def test_however_it_was_saved(wrapping: str, old: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = trained(seed=2)
    state = WRAPPINGS[wrapping](original.state_dict())
    out = imported(state, tmp_path, _use_new_zipfile_serialization=not old)
    named = wrapping not in ("sequence", "convolutions first")
    assert ("pytorch/examples' names" in capsys.readouterr().out) == named
    image = picture(32, 48)
    found = Stylizer(out, device="cpu").paint(image)
    assert float((found - painted(original, image)).abs().max()) < 1 / 255


@pytest.mark.parametrize(
    "sizes",
    [
        {"widths": (4, 4, 4), "blocks": 1, "ends": 3},
        {"widths": (8, 16, 32), "blocks": 10, "ends": 9},
        pytest.param({"widths": (12, 6, 3), "blocks": 3, "ends": 31}, marks=pytest.mark.slow),
    ],
)
def test_other_widths_and_depths(sizes: dict[str, Any], tmp_path: Path) -> None:
    original = trained(**sizes)
    out = imported(original.state_dict(), tmp_path)
    arguments = style_file.read_document(out).network["args"]
    assert (tuple(arguments["channels"]), arguments["blocks"], arguments["ends"]) == tuple(sizes.values())
    image = picture(32, 48)
    assert float((Stylizer(out).paint(image) - painted(original, image)).abs().max()) < 1 / 255


def test_convolutions_without_biases(tmp_path: Path) -> None:
    original = trained()
    state = original.state_dict()
    for name in [n for n in state if n.endswith("conv2d.bias") and not n.startswith("deconv3")]:
        state.pop(name).zero_()
    image = picture(32, 48)
    found = Stylizer(imported(state, tmp_path)).paint(image)
    assert float((found - painted(original, image)).abs().max()) < 1 / 255


def test_half_precision_where_it_costs_nothing_to_see(tmp_path: Path) -> None:
    original = trained(seed=4)
    with torch.no_grad():
        last = original.deconv3.conv2d
        assert last.bias is not None
        last.weight.mul_(0.25)
        last.bias.mul_(0.25).add_(0.75 * 127)
    out = imported(original.state_dict(), tmp_path)
    assert {t.dtype for t in load_file(str(out)).values()} == {torch.float16}
    image = picture(64, 96)
    difference = float((Stylizer(out).paint(image) - painted(original, image)).abs().max())
    assert 1e-5 < difference < 1 / 255


def test_weights_that_half_precision_does_not_hold_are_kept_whole(tmp_path: Path) -> None:
    original = trained()
    with torch.no_grad():
        original.conv1.conv2d.weight.mul_(1e4)
        original.in5.weight.mul_(1e-9)
        original.in5.bias.mul_(1e-9)
        original.deconv3.conv2d.weight.mul_(1e9)
    out = imported(original.state_dict(), tmp_path)
    assert {t.dtype for t in load_file(str(out)).values()} == {torch.float32}
    check(out, original)


# --- what is told ---------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = imported(trained().state_dict(), tmp_path)
    before = out.read_bytes()
    capsys.readouterr()
    torch.save(trained(seed=1).state_dict(), tmp_path / "other.pth")
    again = (f"path={tmp_path / 'other.pth'}", f"out={out}")
    assert run(*again) == 2
    assert "is there already: choose another name, or add overwrite=true" in capsys.readouterr().err
    assert out.read_bytes() == before
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    assert run(f"path={tmp_path / 'bad.pth'}", f"out={out}", "overwrite=true") == 2
    assert out.read_bytes() == before
    assert run(*again, "overwrite=true") == 0
    assert out.read_bytes() != before
    assert list(out.parent.iterdir()) == [out]


def test_what_would_paint_another_picture_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = imported(trained().state_dict(), tmp_path)
    before = out.read_bytes()
    capsys.readouterr()
    save = style_file.save

    def damaged(path: Path, network: nn.Module, *others: Any) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.05)
        save(path, network, *others)

    monkeypatch.setattr(style_file, "save", damaged)
    assert run(f"path={tmp_path / 'mosaic.pth'}", f"out={out}", "overwrite=true") == 2
    assert "was not imported" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "import path=FILE out=FILE"),
        (["path=a.pth"], "out is needed: out=mosaic.safetensors"),
        (["out=a.safetensors"], "path is needed: path=mosaic.pth"),
        (["path=a.pth", "out=a.safetensors", "rage=255"], "no option 'rage': did you mean 'range'"),
        (["path=a.pth", "out=a.safetensors", "overwrite=yes"], "overwrite must be true or false, not 'yes'"),
        (["a.pth", "a.safetensors"], "no option 'a.pth'"),
    ],
)
def test_usage(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert told in (said.err if arguments else said.out)


def test_a_style_files_name_and_the_range_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(trained().state_dict(), tmp_path / "a.pth")
    assert run(f"path={tmp_path / 'a.pth'}", f"out={tmp_path / 'b.pth'}") == 2
    assert "ends in .safetensors" in capsys.readouterr().err
    refused(capsys, tmp_path / "a.pth", "range can't be 'imagnet': did you mean 'imagenet'", "range=imagnet")


def test_a_range_that_makes_no_picture_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for values, wrong in [("1", "255"), ("imagenet", "255")]:
        state = trained(values).state_dict()
        if values == "imagenet":
            state["deconv3.conv2d.weight"].mul_(0.1)
        torch.save(state, tmp_path / "a.pth")
        refused(capsys, tmp_path / "a.pth", f"flat colour if its range is {wrong}: name another", f"range={wrong}")


# --- what can't be imported -----------------------------------------------------------------------------


def spoilt(change: Callable[[dict[str, Tensor]], object]) -> dict[str, Tensor]:
    state = dict(trained().state_dict())
    change(state)
    return state


def transposed(state: dict[str, Tensor]) -> None:
    for name in ("deconv1.conv2d.weight", "deconv2.conv2d.weight"):
        state[name] = state[name].transpose(0, 1).contiguous()


def batch_norms(state: dict[str, Tensor]) -> None:
    state["in1.num_batches_tracked"] = torch.tensor(3)


def old_batch_norms(state: dict[str, Tensor]) -> None:
    state["bn1.weight"], state["bn1.bias"] = state.pop("in1.weight"), state.pop("in1.bias")
    state["bn1.running_mean"] = state["bn1.running_var"] = torch.ones(6)


OTHERS: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "transposed": (transposed, r"transposed convolutions \(deconv1\.conv2d\), which no OneStroke network has"),
    "batch norms": (batch_norms, r"has batch norms, .*\(in1\)"),
    "old batch norms": (old_batch_norms, r"has batch norms, .*\(bn1\)"),
    "nan": (lambda s: s["res1.in1.weight"].fill_(float("nan")), r"res1\.in1\.weight are not finite numbers"),
    "infinite": (lambda s: s["conv2.conv2d.weight"].view(-1)[:1].fill_(float("inf")), "not finite numbers"),
    "beyond fp32": (lambda s: s.update({"in1.bias": torch.full((6,), 1e300, dtype=torch.float64)}), "not finite"),
    "a layer less": (lambda s: s.pop("deconv3.conv2d.weight"), r"holds deconv3\.conv2d\.bias of shape \(3,\)"),
    "a norm less": (lambda s: [s.pop("in5.weight"), s.pop("in5.bias")], "holds 10 convolutions and 8 norms"),
    "no norms": (lambda s: [s.pop(n) for n in list(s) if re.search(r"\bin\d", n)], "10 convolutions and 0 norms"),
    "another kernel": (lambda s: s.update({"conv2.conv2d.weight": torch.ones(8, 6, 5, 5)}), r"conv2\.conv2d\.weight"),
    "an even kernel": (lambda s: s.update({"conv1.conv2d.weight": torch.ones(6, 3, 8, 8)}), "with a kernel of 8"),
    "four colours": (lambda s: s.update({"conv1.conv2d.weight": torch.ones(6, 4, 5, 5)}), r"conv1\.conv2d\.weight has"),
    "another bias": (lambda s: s.update({"conv2.conv2d.bias": torch.ones(7)}), r"conv2\.conv2d\.weight has"),
    "another norm": (lambda s: s.update({"in2.bias": torch.ones(1)}), "in2 is no norm of 8 channels"),
    "one more layer": (lambda s: s.update({"linear.weight": torch.ones(8, 8)}), r"holds linear\.weight of shape"),
    "spectral norm": (lambda s: s.update({"conv1.conv2d.weight_u": torch.ones(6)}), r"holds conv1\.conv2d\.weight of"),
    "sparse": (lambda s: s.update({"in2.bias": torch.ones(8).to_sparse()}), "not plain numbers"),
    "meta": (lambda s: s.update({"in2.bias": torch.ones(8, device="meta")}), "not plain numbers"),
    "complex": (lambda s: s.update({"in2.bias": torch.ones(8, dtype=torch.complex64)}), "not plain numbers"),
    "billions": (lambda s: s.update({"in2.bias": torch.ones(1).expand(2**40)}), "claims more weights than it holds"),
    "still": (lambda s: s["deconv3.conv2d.weight"].zero_(), "paints one flat colour"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize("what", OTHERS)
def test_other_networks_are_told_in_a_sentence(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, pattern = OTHERS[what]
    torch.save(spoilt(change), tmp_path / "a.pth")
    assert str(tmp_path / "a.pth") in refused(capsys, tmp_path / "a.pth", pattern)


def test_a_vgg_and_other_things_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.pth"
    torch.save(read_weights("vgg16"), path)
    refused(capsys, path, "holds 10 convolutions and 0 norms with weights")
    things: list[object] = [
        [1, 2],
        torch.zeros(3),
        {},
        {"state_dict": {"a": torch.zeros(3)}},
        {1: {2: 3}},
        None,
        "text",
    ]
    around: dict[str, object] = {}
    around["around"] = around
    for thing in [*things, around]:
        torch.save(thing, path)
        refused(capsys, path, "holds no network: there are no convolutions in it")


def test_what_is_no_file_of_weights_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.pth"
    refused(capsys, path, "there is no file .*a.pth")
    refused(capsys, tmp_path, "there is no file")
    for old in (True, False):
        torch.save(trained().state_dict(), path, _use_new_zipfile_serialization=not old)
        whole = path.read_bytes()
        for length in (0, 1, 10, len(whole) // 3, len(whole) - 500):
            path.write_bytes(whole[:length])
            refused(capsys, path, "is not a whole file of plain weights")
    for seed in range(3):
        path.write_bytes(random.Random(seed).randbytes(3000))
        refused(capsys, path, "is not a whole file of plain weights")
    torch.save(nn.Conv2d(3, 3, 3), path)  # a whole module, which takes code to load
    refused(capsys, path, r"save the model's state_dict\(\) alone")
    with path.open("wb") as file:
        file.truncate(600 * 2**20)
    assert run(f"path={path}", f"out={tmp_path / 'a.safetensors'}") == 2
    assert "has 600 MB, and one has at most 512" in capsys.readouterr().err


def test_what_would_unpack_to_more_than_the_file_is_not_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, packed = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"w": torch.zeros(64, 64, 3, 3)}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in archive.namelist():
            bomb.writestr(name, archive.read(name))
    assert torch.load(packed, weights_only=True)["w"].shape == (64, 64, 3, 3)  # torch would
    refused(capsys, packed, "is not a whole file of plain weights")


@pytest.mark.parametrize("zipped", [False, True])
def test_no_code_is_run(
    plant: Callable[..., Path], zipped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = plant(tmp_path / "evil.pth", zipped=zipped)
    refused(capsys, tmp_path / "evil.pth", "is not a whole file of plain weights, and nothing else is loaded")
    assert not marker.exists()
