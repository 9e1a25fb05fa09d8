"""A frozen VGG as the eye of the perceptual losses (Simonyan and Zisserman, 2014; Johnson et al., 2016).

Layers go by name (`relu3_3` is the ReLU behind the third convolution of the third block), the network is cut after the
deepest one asked for, and the mean and scale that the weights were trained with are known here and nowhere else.

Make the embedded weights again, from the network or from a local file:

    onestroke vgg pack out=src/onestroke/assets/vgg16.safetensors [weights=vgg16_features.pth]
"""

from __future__ import annotations

import hashlib
import re
import socket
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from onestroke import documents, torch_files
from onestroke.errors import UserError, near, printable
from onestroke.files import atomic
from onestroke.kernels.convolutions import FrozenConv

_CAFFE_MEAN = (123.68, 116.779, 103.939)  # RGB, of 0..255
_CAFFE_STD = (1.0, 1.0, 1.0)
_TORCHVISION_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_TORCHVISION_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True)
class Arch:
    """One set of published weights: its convolutions, its input's mean and scale (of 0..255), and where it is."""

    blocks: tuple[int, ...]  # convolutions in each block; block b has _WIDTHS[b] channels
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    url: str | None  # None: ships with the package


_WIDTHS = (64, 128, 256, 512, 512)
_HOST = "https://download.pytorch.org/models/"
# vgg16's are the original Caffe weights that torchvision calls VGG16_Weights.IMAGENET1K_FEATURES.
_MAX_BYTES = 2**30  # all of VGG19 has 575 MB

ARCHS: dict[str, Arch] = {
    "vgg16": Arch((2, 2, 3, 3), _CAFFE_MEAN, _CAFFE_STD, None),
    "vgg16_features": Arch((2, 2, 3, 3, 3), _CAFFE_MEAN, _CAFFE_STD, _HOST + "vgg16_features-amdegroot-88682ab5.pth"),
    "vgg16_torchvision": Arch((2, 2, 3, 3, 3), _TORCHVISION_MEAN, _TORCHVISION_STD, _HOST + "vgg16-397923af.pth"),
    "vgg19": Arch((2, 2, 4, 4, 4), _TORCHVISION_MEAN, _TORCHVISION_STD, _HOST + "vgg19-dcbb9e9d.pth"),
}
# sha256 over the fp16 bytes of the embedded convolutions, in order; see `fingerprint`
EMBEDDED_SHA256 = "fda2c66e260011b6c561492b625a8471664482624099387819f41fcad105c884"


def layer_names(arch: str = "vgg16") -> tuple[str, ...]:
    """The layers of `arch` from shallow to deep: relu1_1, relu1_2, relu2_1, ..."""
    return tuple(f"relu{b}_{i}" for b, n in enumerate(ARCHS[arch].blocks, 1) for i in range(1, n + 1))


def check_layers(layers: Collection[str], arch: str = "vgg16") -> None:
    """Raise a UserError for an unknown `arch`, or the first name that is no layer of it (`image` is one everywhere)."""
    if arch not in ARCHS:
        raise UserError(f"vgg.arch: there is no '{arch}': {near(arch, ARCHS)}")
    known = ("image", *layer_names(arch))
    for layer in layers:
        if layer not in known:
            raise UserError(f"{arch} has no layer '{layer}': {near(layer, known)}")


class VGG(nn.Module):
    """The convolutions of a VGG, frozen, cut after the deepest layer asked for.

    Args:
        layers: names of the layers that will be asked for, at most.
        arch: `vgg16` (embedded, up to relu4_3), `vgg16_features`, `vgg16_torchvision` or `vgg19` (downloaded).
        weights: a local file of the weights (.safetensors, or torchvision's .pth) to take instead of downloading.
        random: seeded random weights in place of trained ones, for fast tests.
        dtype: what the convolutions compute in. bfloat16 halves the time on processors that have it.

    Raises:
        UserError: for unknown names, and for weights that are missing, unreadable or of another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layers: Collection[str],
        arch: str = "vgg16",
        weights: str | None = None,
        random: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        check_layers(layers, arch)
        self.arch = arch
        self.compute_dtype = dtype
        self.layers = tuple(name for name in layer_names(arch) if name in layers)
        names = layer_names(arch)
        names = names[: names.index(self.layers[-1]) + 1] if self.layers else ()
        self.convolutions = nn.ModuleDict()
        channels = 3
        for name in names:
            width = _WIDTHS[int(name[4]) - 1]
            kind = nn.Conv2d if channels > 3 else FrozenConv
            self.convolutions[name] = kind(channels, width, 3, padding=1)
            channels = width
        self.register_buffer("mean", torch.tensor(ARCHS[arch].mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(ARCHS[arch].std).view(1, 3, 1, 1), persistent=False)
        if random:
            self._randomise()
        elif names:
            self._fill(read_weights(arch, weights))
        self.convolutions.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor, layers: Collection[str] | None = None) -> dict[str, Tensor]:
        """Features of an image.

        Args:
            image: float RGB, (N, 3, H, W), in [0, 1].
            layers: the layers wanted, `image` among them if the pixels are; default: all that were named at the start.

        Returns:
            A dict from layer name to (N, C, H / 2^(b-1), W / 2^(b-1)) for block b, in the compute dtype. Sides are
            rounded down. `image` is the input itself.
        """
        wanted = set(self.layers if layers is None else layers)
        features = {"image": image} if "image" in wanted else {}
        left = wanted - {"image"}
        x = ((image.float() * 255 - self.mean) / self.std).to(self.compute_dtype)
        with torch.autocast(image.device.type, enabled=False):  # the compute dtype is chosen here, not by the caller
            block = "1"
            for name, convolution in self.convolutions.items():
                if not left:
                    break
                if name[4] != block:
                    x, block = _halved(x), name[4]
                x = F.relu(convolution(x), inplace=True)
                if name in left:
                    features[name] = x
                    left.discard(name)
        if left:
            raise ValueError(f"layers {sorted(left)} were not asked for when this VGG was made")
        return features

    def train(self, mode: bool = True) -> VGG:
        """Stays in evaluation mode: nothing in it is trained."""
        return super().train(False)

    def _randomise(self) -> None:
        generator = torch.Generator().manual_seed(0)
        for convolution in self.convolutions.values():
            assert isinstance(convolution, nn.Conv2d)
            fan_in = convolution.weight[0].numel()
            with torch.no_grad():
                convolution.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                convolution.bias.zero_()  # type: ignore[union-attr]

    def _fill(self, tensors: Mapping[str, Tensor]) -> None:
        pairs = _pairs(tensors)
        for i, (name, convolution) in enumerate(self.convolutions.items()):
            assert isinstance(convolution, nn.Conv2d)
            if i >= len(pairs) or [t.shape for t in pairs[i]] != [
                convolution.weight.shape,
                (convolution.out_channels,),
            ]:
                raise UserError(
                    f"these are not {self.arch}'s weights: {name} should have the shape "
                    f"{tuple(convolution.weight.shape)}; pass the right file as vgg.weights, or leave it out"
                )
            with torch.no_grad():
                convolution.weight.copy_(pairs[i][0])
                convolution.bias.copy_(pairs[i][1])  # type: ignore[union-attr]


def _halved(features: Tensor) -> Tensor:
    """The largest of 2 x 2: (N, C, H, W) -> (N, C, H / 2, W / 2), rounded down."""
    if features.requires_grad or features.device.type != "cpu":
        return F.max_pool2d(features, 2)
    # where there is no gradient, nobody asks which of the four it was: five times as fast
    height, width = (side // 2 * 2 for side in features.shape[-2:])
    rows = torch.maximum(features[:, :, 0:height:2, :width], features[:, :, 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])


def read_weights(arch: str, weights: str | None = None) -> dict[str, Tensor]:
    """The tensors of `arch` by torchvision's names, from `weights`, from the package, or from the download.

    Raises:
        UserError: where the file is missing or unreadable, or the download can't be had.
    """
    if weights is None:
        url = ARCHS[arch].url
        return (
            load_file(str(files("onestroke") / "assets" / f"{arch}.safetensors")) if url is None else _downloaded(url)
        )
    path = Path(weights)
    if not path.is_file():
        raise UserError(f"vgg.weights: there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            documents.check_header(path)
            return load_file(str(path))
        loaded = torch_files.read(path, _MAX_BYTES)
    except (SafetensorError, documents.NotWhole, OSError, RuntimeError, ValueError) as error:
        reason = printable((str(error) or type(error).__name__).splitlines()[0])
        raise UserError(f"vgg.weights: {path} can't be read as weights: {reason}") from error
    except torch_files.NotPlain as error:
        raise UserError(
            f"vgg.weights: {path} is not a plain file of weights, and nothing else is loaded: {error}"
        ) from error
    return dict(loaded) if isinstance(loaded, Mapping) else {}  # of which whoever asks says what is missing


def _downloaded(url: str) -> dict[str, Tensor]:
    """What torch's hub downloads, once, into its own folder, and checks by the hash in the file's name."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    try:
        if path.is_file() and not _has_hash_of_name(path):  # the hub only checks what it has just downloaded
            path.unlink()
        with patience(30), redirect_stdout(sys.stderr):
            return dict(torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True))
    except (OSError, RuntimeError, HTTPException) as error:
        reason = printable(str(error) or type(error).__name__)
        raise UserError(
            f"cannot download {url} ({reason}), so go online and run again, or pass a local copy of {path.name} as "
            f"vgg.weights=/path/to/{path.name}"
        ) from error


def _has_hash_of_name(path: Path) -> bool:
    """Whether the sha256 of a file begins with the digits behind the last dash of its name."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest().startswith(path.stem.rsplit("-", 1)[-1])


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """How long a library's download waits for a network that swallows packets, which would else be for minutes."""
    usual = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(usual)


def _pairs(tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of the convolutions of torchvision's `features`, in order.

    Raises:
        UserError: where the tensors go by other names, or are none.
    """
    indices = sorted(int(m[1]) for m in (re.fullmatch(r"features\.(\d+)\.weight", str(k)) for k in tensors) if m)
    pairs = [(tensors.get(f"features.{i}.weight"), tensors.get(f"features.{i}.bias")) for i in indices]
    whole = [(w, b) for w, b in pairs if isinstance(w, Tensor) and isinstance(b, Tensor)]
    if not whole or len(whole) < len(pairs):
        raise UserError(
            "these are not the weights of a VGG, which go by names such as features.0.weight and features.0.bias; "
            "pass the right file as vgg.weights, or leave it out"
        )
    return whole


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over the fp16 bytes of weights and biases in order, whatever the container they came in."""
    digest = hashlib.sha256()
    for pair in _pairs(tensors):
        for tensor in pair:
            digest.update(tensor.half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def pack(out: str, weights: str | None = None) -> str:
    """Write the embedded file: vgg16's convolutions up to relu4_3 in fp16, checked by hash.

    Args:
        out: the .safetensors file to write.
        weights: a local file to take them from; default: torchvision's VGG16_Weights.IMAGENET1K_FEATURES.

    Raises:
        UserError: where the weights are not the ones that OneStroke was built on.
    """
    pairs = _pairs(read_weights("vgg16_features", weights))[: len(layer_names("vgg16"))]
    # torchvision counts activations and pools as layers too, hence the gaps in the numbers
    indices = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21]
    tensors: dict[str, Tensor] = {}
    for i, (weight, bias) in zip(indices, pairs, strict=False):  # where there are fewer, the hash tells
        tensors[f"features.{i}.weight"] = weight.half().contiguous()
        tensors[f"features.{i}.bias"] = bias.half().contiguous()
    found = fingerprint(tensors)
    if found != EMBEDDED_SHA256:
        raise UserError(f"these are other weights than OneStroke's (sha256 {found[:12]}, not {EMBEDDED_SHA256[:12]})")
    with atomic(Path(out)) as temporary:
        temporary.write_bytes(
            serialize(tensors, metadata={"source": "VGG16, Visual Geometry Group, Oxford; CC BY 4.0"})
        )
    return found
