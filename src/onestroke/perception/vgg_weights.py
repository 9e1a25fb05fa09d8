"""The weights of VGG networks: download, reading and checks, and the command that makes the file that ships.

To make that file, from a download or from a local file:

    onestroke vgg pack out=src/onestroke/assets/vgg16.safetensors [weights=vgg16_features.pth]
"""

from __future__ import annotations

import hashlib
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from onestroke import documents, torch_files
from onestroke.errors import UserError, printable, quoted
from onestroke.files import atomic

_HOST = "https://download.pytorch.org/models/"
URLS = {
    # the original Caffe weights, which torchvision calls VGG16_Weights.IMAGENET1K_FEATURES
    "vgg16_features": _HOST + "vgg16_features-amdegroot-88682ab5.pth",
    "vgg16_torchvision": _HOST + "vgg16-397923af.pth",
    "vgg19": _HOST + "vgg19-dcbb9e9d.pth",
}
"""Download addresses by architecture; weights of all other architectures ship with the package."""
EMBEDDED_SHA256 = "fda2c66e260011b6c561492b625a8471664482624099387819f41fcad105c884"
"""sha256 of the fp16 bytes of the embedded convolutions in order; see `fingerprint`."""
_MAX_BYTES = 2**30  # all of VGG19 has 575 MB


def read_weights(arch: str, weights: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of `arch` by torchvision's names, from the file `weights`, the package or a download.

    Raises:
        UserError: for a missing or unreadable file, and a failed download.
    """
    if weights is None:
        if arch in URLS:
            return _downloaded(URLS[arch])
        return load_file(str(files("onestroke") / "assets" / f"{arch}.safetensors"))
    if not isinstance(weights, str | Path):
        raise UserError(f"vgg.weights must be a file's path, not {quoted(weights)}")
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
    return dict(loaded) if isinstance(loaded, Mapping) else {}  # `fill` reports what is missing


def _downloaded(url: str) -> dict[str, Tensor]:
    """Download by torch's hub, once, into its own folder; checked by the hash in the file's name."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    try:
        if path.is_file() and not _has_hash_of_name(path):  # the hub checks new downloads only
            path.unlink()
        with network_timeout(30), redirect_stdout(sys.stderr):
            return dict(torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True))
    except (OSError, RuntimeError, HTTPException) as error:
        reason = printable(str(error) or type(error).__name__)
        raise UserError(
            f"cannot download {url} ({reason}), so go online and run again, or pass a local copy of {path.name} as "
            f"vgg.weights=/path/to/{path.name}"
        ) from error


def _has_hash_of_name(path: Path) -> bool:
    """Whether the sha256 of a file starts with the digits after the last dash of its name."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest().startswith(path.stem.rsplit("-", 1)[-1])


@contextmanager
def network_timeout(seconds: float) -> Iterator[None]:
    """Limit how many seconds a library's download waits for a network without answer, else minutes."""
    usual = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(usual)


def randomise(convolutions: nn.ModuleDict) -> None:
    """Give the convolutions of a VGG random weights from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    for convolution in convolutions.values():
        assert isinstance(convolution, nn.Conv2d)
        fan_in = convolution.weight[0].numel()
        with torch.no_grad():
            convolution.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            convolution.bias.zero_()  # type: ignore[union-attr]


def fill(convolutions: nn.ModuleDict, tensors: Mapping[str, Tensor], arch: str) -> None:
    """Copy weights into the convolutions of a VGG, in order.

    Raises:
        UserError: if they are not the weights of `arch`.
    """
    pairs = _pairs(tensors)
    for i, (name, convolution) in enumerate(convolutions.items()):
        assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
        expected = [convolution.weight.shape, (convolution.out_channels,)]
        if i >= len(pairs) or [t.shape for t in pairs[i]] != expected:
            raise UserError(
                f"these are not {arch}'s weights: {name} should have the shape {tuple(convolution.weight.shape)}; "
                "pass the right file as vgg.weights, or leave it out"
            )
        with torch.no_grad():
            convolution.weight.copy_(pairs[i][0])
            convolution.bias.copy_(pairs[i][1])


def _pairs(tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of the convolutions of torchvision's `features`, in order.

    Raises:
        UserError: if there are none of these names.
    """
    indices = sorted(int(m[1]) for m in (re.fullmatch(r"features\.(\d+)\.weight", str(k)) for k in tensors) if m)
    pairs = [(tensors.get(f"features.{i}.weight"), tensors.get(f"features.{i}.bias")) for i in indices]
    whole = [(w, b) for w, b in pairs if isinstance(w, Tensor) and isinstance(b, Tensor)]
    if not whole or len(whole) < len(pairs):
        raise UserError(
            "these are not the weights of a VGG, whose names are such as features.0.weight and features.0.bias; "
            "pass the right file as vgg.weights, or leave it out"
        )
    return whole


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of the fp16 bytes of weights and biases in order, whatever the kind of file."""
    digest = hashlib.sha256()
    for pair in _pairs(tensors):
        for tensor in pair:
            digest.update(tensor.half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_embedded(out: str, weights: str | None = None) -> str:
    """Write the embedded file: vgg16's convolutions up to relu4_3 in fp16, checked by hash.

    Args:
        out: the .safetensors file to write.
        weights: a local file to take them from; default: torchvision's VGG16_Weights.IMAGENET1K_FEATURES.

    Raises:
        UserError: if they are not the weights that OneStroke was built with.
    """
    pairs = _pairs(read_weights("vgg16_features", weights))
    # torchvision counts activations and pools as layers too, hence the gaps in the numbers
    indices = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21]
    tensors: dict[str, Tensor] = {}
    for i, (weight, bias) in zip(indices, pairs, strict=False):  # other weights fail the hash below
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
