"""VGG against torchvision's own, file by file and number by number."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import onestroke
from onestroke.cli.vgg import pack
from onestroke.errors import UserError
from onestroke.imaging import images
from onestroke.kernels.convolutions import FrozenConv
from onestroke.perception.vgg import ARCHS, VGG, layer_names
from onestroke.perception.vgg_weights import EMBEDDED_SHA256, URLS, fingerprint, write_embedded
from tests.processes import Started, as_module

ASSET = Path(onestroke.__file__).parent / "assets" / "vgg16.safetensors"
LAYERS = "relu1_1 relu1_2 relu2_1 relu2_2 relu3_1 relu3_2 relu3_3 relu4_1 relu4_2 relu4_3".split()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def bare(name: str) -> nn.Sequential:
    """torchvision's convolutions, with no memory for weights yet."""
    with torch.device("meta"):
        features = torchvision.models.get_model(name, weights=None, init_weights=False).features
    assert isinstance(features, nn.Sequential)
    return features


def made_up(name: str, layers: int | None = None) -> dict[str, Tensor]:
    """Random weights of torchvision's shapes and names, which keep the features' size from layer to layer."""
    generator = torch.Generator().manual_seed(1)
    tensors: dict[str, Tensor] = {}
    convolutions = [(i, m) for i, m in enumerate(bare(name)) if isinstance(m, nn.Conv2d)]
    for i, m in convolutions[:layers]:
        std = (2 / (9 * m.in_channels)) ** 0.5
        weight = torch.empty(m.weight.shape).normal_(0, std, generator=generator)
        tensors[f"features.{i}.weight"] = weight.half()
        tensors[f"features.{i}.bias"] = torch.empty(m.out_channels).normal_(0, 0.1, generator=generator).half()
    return tensors


def reference(name: str, tensors: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Every ReLU of torchvision's network, named by counting ReLUs and pools, as deep as there are tensors."""
    deepest = max(int(key.split(".")[1]) for key in tensors)
    features = bare(name)[: deepest + 2]
    features.load_state_dict({k.removeprefix("features."): t.to(x.dtype) for k, t in tensors.items()}, assign=True)
    features.requires_grad_(False)
    found: dict[str, Tensor] = {}
    block, number = 1, 0
    for module in features:
        x = module(x).clone()
        if isinstance(module, nn.ReLU):
            number += 1
            found[f"relu{block}_{number}"] = x
        elif isinstance(module, nn.MaxPool2d):
            block, number = block + 1, 0
    return found


def apart(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.fixture(scope="module")
def embedded() -> dict[str, Tensor]:
    return load_file(str(ASSET))


# --- values ---------------------------------------------------------------------------------------------


def test_embedded_features_are_torchvisions(embedded: dict[str, Tensor]) -> None:
    image = noise(2, 3, 49, 34)
    caffe = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    # how far single precision rounds depends on the processor: double precision leaves no room
    expected = reference("vgg16", embedded, (image * 255 - caffe).double())
    with torch.no_grad():
        exact, single = VGG(LAYERS, dtype=torch.float64)(image), VGG(LAYERS)(image)
    assert list(exact) == list(single) == list(expected) == LAYERS
    for layer in LAYERS:
        assert apart(exact[layer], expected[layer]) < 1e-12, layer
        assert apart(single[layer], expected[layer]) < 1e-6, layer


@pytest.mark.parametrize(
    ("arch", "name", "transforms"),
    [
        ("vgg16_torchvision", "vgg16", torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()),
        ("vgg19", "vgg19", torchvision.models.VGG19_Weights.IMAGENET1K_V1.transforms()),
    ],
)
def test_features_of_a_local_file_are_torchvisions(arch: str, name: str, transforms: nn.Module, tmp_path: Path) -> None:
    tensors = made_up(name)
    path = tmp_path / "weights.pth"
    torch.save({**tensors, "classifier.0.weight": torch.zeros(1)}, path)
    image = noise(2, 3, 33, 48)
    mean, std = (torch.tensor(n).view(1, 3, 1, 1) for n in (transforms.mean, transforms.std))
    expected = reference(name, tensors, (image - mean) / std)
    with torch.no_grad():
        found = VGG(layer_names(arch), arch, weights=str(path))(image)
    path.unlink()  # tens of megabytes
    assert list(found) == list(expected)
    assert len(found) == {"vgg16": 13, "vgg19": 16}[name]
    for layer, features in found.items():
        assert apart(features, expected[layer]) < 1e-5, layer


def test_the_caffe_mean_is_the_papers_which_torchvision_rounds() -> None:
    theirs = torchvision.models.VGG16_Weights.IMAGENET1K_FEATURES.transforms()
    for arch in ("vgg16", "vgg16_features"):
        assert ARCHS[arch].mean == (123.68, 116.779, 103.939)
        assert [255 * m for m in theirs.mean] == pytest.approx(ARCHS[arch].mean, abs=0.7)  # levels of 255
        assert [255 * s for s in theirs.std] == pytest.approx(ARCHS[arch].std)


def test_downloads_are_the_files_that_torchvision_names() -> None:
    weights = torchvision.models
    assert "vgg16" not in URLS
    assert URLS["vgg16_features"] == weights.VGG16_Weights.IMAGENET1K_FEATURES.url
    assert URLS["vgg16_torchvision"] == weights.VGG16_Weights.IMAGENET1K_V1.url
    assert URLS["vgg19"] == weights.VGG19_Weights.IMAGENET1K_V1.url


def test_bf16_is_near_and_said_to_be_bf16(painting: Path) -> None:
    image = images.read(painting).rgb
    with torch.no_grad():
        exact, rough = VGG(LAYERS)(image), VGG(LAYERS, dtype=torch.bfloat16)(image)
    for layer in LAYERS:
        assert rough[layer].dtype == torch.bfloat16
        assert 1e-5 < apart(rough[layer], exact[layer]) < 0.02, layer


def test_the_caller_s_autocast_does_not_change_the_dtype() -> None:
    vgg, image = VGG(["relu2_1"], random=True), noise(1, 3, 16, 16)
    plain = vgg(image)["relu2_1"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(vgg(image)["relu2_1"], plain)


def test_random_weights_are_the_same_each_time_and_keep_the_size_of_features() -> None:
    image = noise(1, 3, 64, 64)
    one, two = (VGG(["relu1_1", "relu4_3"], random=True)(image) for _ in range(2))
    assert torch.equal(one["relu4_3"], two["relu4_3"])
    assert 0.1 < one["relu4_3"].std() / one["relu1_1"].std() < 10


# --- what is asked for, and no more -----------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "count"), [(["relu1_1"], 1), (["relu3_3", "relu2_1"], 7), (["image"], 0)])
def test_is_cut_after_the_deepest_layer_asked_for(layers: list[str], count: int) -> None:
    vgg = VGG(layers)
    assert sum(isinstance(m, nn.Conv2d) for m in vgg.modules()) == count
    assert set(vgg(noise(1, 3, 16, 16), layers)) == set(layers)


def test_gives_the_layers_asked_for_and_stops_behind_the_deepest() -> None:
    vgg, image = VGG(["relu1_2", "relu3_3"]), noise(1, 3, 16, 16)
    ran: list[str] = []
    for name, convolution in vgg.convolutions.items():
        convolution.register_forward_hook(lambda *_, name=name: ran.append(name))
    assert list(vgg(image)) == ["relu1_2", "relu3_3"]
    assert ran == LAYERS[:7]
    ran.clear()
    assert list(vgg(image, ["relu1_2"])) == ["relu1_2"]
    assert ran == ["relu1_1", "relu1_2"]
    with pytest.raises(ValueError, match="relu4_1"):
        vgg(image, ["relu4_1"])


def test_the_image_itself_passes_through() -> None:
    image = noise(1, 3, 16, 16)
    found = VGG(["image", "relu1_1"], random=True)(image, ["image", "relu1_1"])
    assert found["image"] is image
    assert set(found) == {"image", "relu1_1"}


def test_gradients_reach_the_image_and_no_weight(embedded: dict[str, Tensor]) -> None:
    image = noise(1, 3, 24, 24).requires_grad_()
    vgg = VGG(["relu3_1"])
    vgg(image)["relu3_1"].square().sum().backward()
    assert all(not p.requires_grad and p.grad is None for p in vgg.parameters())
    assert image.grad is not None
    again = image.detach().clone().requires_grad_()
    caffe = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    reference("vgg16", embedded, again * 255 - caffe)["relu3_1"].square().sum().backward()
    assert again.grad is not None
    assert apart(image.grad, again.grad) < 1e-5


def test_is_never_in_training() -> None:
    vgg = VGG(["relu1_1"], random=True)
    network = nn.Sequential(vgg).train()
    assert network.training
    assert not any(m.training for m in vgg.modules())


# --- mistakes -------------------------------------------------------------------------------------------


def test_unknown_names_are_told_with_near_ones() -> None:
    with pytest.raises(UserError, match=r"vgg16 has no layer 'relu3_4': did you mean .*'relu3_3'"):
        VGG(["relu3_4"])
    assert VGG(["relu3_4"], "vgg19", random=True).layers == ("relu3_4",)
    with pytest.raises(UserError, match=r"vgg16 has no layer 'relu5_1'"):
        VGG(["relu5_1"])  # the embedded file ends before it
    with pytest.raises(UserError, match=r"there is no 'vgg_19': did you mean 'vgg19'"):
        VGG(["relu1_1"], "vgg_19")


def swapped(tensors: dict[str, Tensor]) -> None:
    tensors["features.2.weight"] = tensors["features.2.weight"][:, :32]


def short_bias(tensors: dict[str, Tensor]) -> None:
    tensors["features.2.bias"] = tensors["features.2.bias"][:1]  # which would spread over all channels


def no_bias(tensors: dict[str, Tensor]) -> None:
    del tensors["features.2.bias"]


def fewer(tensors: dict[str, Tensor]) -> None:
    for key in [k for k in tensors if k.startswith("features.2.")]:
        del tensors[key]


def others(tensors: dict[str, Tensor]) -> None:
    tensors.clear()
    tensors["features.0.0.weight"] = torch.zeros(32, 3, 3, 3)  # as in torchvision's MobileNets
    tensors["features.conv0.weight"] = torch.zeros(64, 3, 7, 7)  # as in its DenseNets


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (swapped, "not vgg16_features's weights: relu1_2 should have the shape"),
        (short_bias, "not vgg16_features's weights: relu1_2 "),
        (fewer, "not vgg16_features's weights: relu1_2 "),
        (no_bias, "not the weights of a VGG"),
        (others, "not the weights of a VGG"),
    ],
)
def test_weights_of_another_shape_are_refused(
    spoil: Callable[[dict[str, Tensor]], None], message: str, suffix: str, tmp_path: Path
) -> None:
    tensors = made_up("vgg16", 2)
    path = tmp_path / f"weights{suffix}"
    write = torch.save if suffix == ".pth" else save_file
    write(tensors, path)
    assert len(VGG(["relu1_2"], "vgg16_features", str(path)).convolutions) == 2
    spoil(tensors)
    write({k: t.contiguous() for k, t in tensors.items()}, path)
    with pytest.raises(UserError, match=message) as raised:
        VGG(["relu1_2"], "vgg16_features", str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_with_code_is_refused_and_not_run(plant: Callable[..., Path], zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    marker = plant(path, zipped=zipped)
    with pytest.raises(UserError, match="not a plain file of weights") as raised:
        VGG(["relu1_1"], "vgg19", weights=str(path))
    assert not marker.exists()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("body", [b"", b"\x00", b"weights", b"PK\x03\x04" + bytes(99), bytes(range(256)) * 9])
def test_what_is_no_file_of_weights_is_one_sentence(body: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(body)
    with pytest.raises(UserError, match=r"^vgg\.weights: .*broken") as raised:
        VGG(["relu1_1"], "vgg19", weights=str(path))
    assert "\n" not in str(raised.value)


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vgg\.weights: there is no file .*lost\.pth"):
        VGG(["relu1_1"], "vgg19", weights=str(tmp_path / "lost.pth"))


# --- downloads ------------------------------------------------------------------------------------------


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloads go."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which a server on this machine serves it."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def publish(folder: Path, digits: str | None = None) -> str:
    torch.save(made_up("vgg19", 2), folder / "weights.pth")
    digits = digits or hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()[:8]
    name = f"vgg19-{digits}.pth"
    (folder / "weights.pth").rename(folder / name)
    return name


def test_downloads_once_into_torch_s_own_folder(
    hub: Path, site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = site
    name = publish(folder)
    monkeypatch.setitem(URLS, "vgg19", f"{address}/{name}")
    image = noise(1, 3, 16, 16)
    first = VGG(["relu1_2"], "vgg19")(image)["relu1_2"]
    assert [path.name for path in hub.iterdir()] == [name]
    assert (hub / name).read_bytes() == (folder / name).read_bytes()
    local = VGG(["relu1_2"], "vgg19", weights=str(folder / name))(image)["relu1_2"]
    (folder / name).unlink()  # nothing is left to be downloaded
    assert torch.equal(VGG(["relu1_2"], "vgg19")(image)["relu1_2"], first)
    assert torch.equal(local, first)


def test_a_download_with_the_wrong_hash_is_not_kept(
    hub: Path, site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = site
    name = publish(folder, "0a1b2c3d")
    monkeypatch.setitem(URLS, "vgg19", f"{address}/{name}")
    with pytest.raises(UserError, match=r"invalid hash.*0a1b2c3d.*vgg\.weights=/path/to/vgg19-0a1b2c3d\.pth"):
        VGG(["relu1_2"], "vgg19")
    assert list(hub.iterdir()) == []


def test_a_file_in_torch_s_folder_that_is_not_what_its_name_says_is_downloaded_again(
    hub: Path, site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, address = site
    name = publish(folder)
    monkeypatch.setitem(URLS, "vgg19", f"{address}/{name}")
    hub.mkdir(parents=True)
    (hub / name).write_bytes((folder / name).read_bytes()[:-1])
    VGG(["relu1_2"], "vgg19")
    assert (hub / name).read_bytes() == (folder / name).read_bytes()
    told = capfd.readouterr()
    assert told.out == "" and f"{address}/{name}" in told.err and "100%" in told.err


def test_a_server_that_refuses_is_told_in_one_sentence(
    hub: Path, site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{site[1]}/vgg19-dcbb9e9d.pth"  # which is not there
    monkeypatch.setitem(URLS, "vgg19", url)
    with pytest.raises(UserError, match=r"404.*vgg\.weights=/path/to/vgg19-dcbb9e9d\.pth$") as raised:
        VGG(["relu1_2"], "vgg19")
    assert "\n" not in str(raised.value)
    assert list(hub.iterdir()) == []


def test_without_a_network_one_sentence_tells_the_way_out(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/vgg19-dcbb9e9d.pth"
        monkeypatch.setitem(URLS, "vgg19", url)
        with pytest.raises(UserError) as raised:
            VGG(["relu1_2"], "vgg19")
    assert url in str(raised.value)
    assert "vgg.weights=/path/to/vgg19-dcbb9e9d.pth" in str(raised.value)
    assert "\n" not in str(raised.value)


# --- the embedded file ----------------------------------------------------------------------------------


def test_the_embedded_file_is_what_it_should_be(embedded: dict[str, Tensor]) -> None:
    digest = hashlib.sha256()
    with safe_open(str(ASSET), framework="np") as file:
        names = sorted(file.keys(), key=lambda name: (int(name.split(".")[1]), "bias" in name))
        for name in names:
            digest.update(file.get_tensor(name).tobytes())
    assert digest.hexdigest() == EMBEDDED_SHA256 == fingerprint(embedded)
    assert {t.dtype for t in embedded.values()} == {torch.float16}
    convolutions = [(i, m) for i, m in enumerate(bare("vgg16")) if isinstance(m, nn.Conv2d)]
    up_to_relu4_3 = {f"features.{i}.{p}": getattr(m, p).shape for i, m in convolutions[:10] for p in ("weight", "bias")}
    assert {name: t.shape for name, t in embedded.items()} == up_to_relu4_3
    assert tuple(LAYERS) == layer_names()


def test_pack_makes_the_embedded_file_again(embedded: dict[str, Tensor], tmp_path: Path) -> None:
    full = {**{k: t for k, t in made_up("vgg16").items() if int(k.split(".")[1]) > 21}, **embedded}
    assert len(full) == 26
    weights, out = tmp_path / "full.pth", tmp_path / "packed.safetensors"
    torch.save({k: t.float() for k, t in full.items()}, weights)
    assert write_embedded(str(out), str(weights)) == EMBEDDED_SHA256
    weights.unlink()
    again = load_file(str(out))
    assert again.keys() == embedded.keys()
    assert all(torch.equal(again[name], t) and again[name].dtype == t.dtype for name, t in embedded.items())


@pytest.mark.parametrize("layers", [12, 3])
def test_pack_refuses_other_numbers(layers: int, tmp_path: Path) -> None:
    weights, out = tmp_path / "other.safetensors", tmp_path / "packed.safetensors"
    save_file(made_up("vgg16", layers), weights)
    with pytest.raises(UserError, match=f"other weights than OneStroke's .* not {EMBEDDED_SHA256[:12]}"):
        write_embedded(str(out), str(weights))
    assert not out.exists()


def test_one_changed_number_changes_the_fingerprint(embedded: dict[str, Tensor]) -> None:
    bias = embedded["features.21.bias"].clone()
    bias[-1] += 1
    assert fingerprint({**embedded, "features.21.bias": bias}) != EMBEDDED_SHA256


def test_pack_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "packed.safetensors"
    command = ("vgg", "pack", f"out={out}", f"weights={ASSET}")
    done = Started(as_module, "onestroke", *command, cwd=tmp_path).done()
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(EMBEDDED_SHA256, done.stdout)
    assert load_file(str(out)).keys() == load_file(str(ASSET)).keys()
    assert pack([f"out={out}", "weights=lost.pth"]) == 2
    assert capsys.readouterr().err == "onestroke: vgg.weights: there is no file lost.pth\n"
    for wrong, words in (([], "out=FILE"), (["weights=a"], "out is needed"), (["out=a", "weight=b"], "'weight'")):
        assert pack(wrong) == 2
        said = capsys.readouterr()
        assert words in (said.err if wrong else said.out)


@pytest.mark.parametrize("sides", [(6, 8), (5, 8)])
def test_the_gradient_by_the_picture_is_that_of_the_plain_convolution(sides: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, *sides, generator=generator, dtype=torch.float64)
    ours, plain = FrozenConv(3, 7, 3, padding=1).double(), nn.Conv2d(3, 7, 3, padding=1).double()
    plain.load_state_dict(ours.requires_grad_(False).state_dict())
    weighing = torch.randn(2, 7, *sides, generator=generator, dtype=torch.float64)
    gradients = []
    for convolve in (ours, plain):
        leaf = image.clone().requires_grad_()
        output = convolve(leaf)
        assert torch.equal(output, plain(image))
        (gradient,) = torch.autograd.grad((output * weighing).sum(), leaf)
        gradients.append(gradient)
    assert float((gradients[0] - gradients[1]).abs().max()) < 1e-12
