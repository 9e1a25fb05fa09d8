"""A frozen VGG, the feature extractor of the perceptual losses (Simonyan and Zisserman, 2014; Johnson et al., 2016).

Layers are named (`relu3_3` is the ReLU after the third convolution of the third block), the network ends at the deepest
layer that is needed, and pixels are normalised here as the weights need it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError, near
from onestroke.kernels.convolutions import FrozenConv
from onestroke.kernels.pooling import max_pool_2x2
from onestroke.perception.vgg_weights import fill, randomise, read_weights

_CAFFE_MEAN = (123.68, 116.779, 103.939)  # RGB, of 0..255
_CAFFE_STD = (1.0, 1.0, 1.0)
_TORCHVISION_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_TORCHVISION_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


_WIDTHS = (64, 128, 256, 512, 512)


@dataclass(frozen=True)
class Arch:
    """The architecture of published weights: convolutions per block, mean and deviation of inputs in 0..255."""

    blocks: tuple[int, ...]  # convolutions in each block; block b has _WIDTHS[b] channels
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


ARCHS: dict[str, Arch] = {
    "vgg16": Arch((2, 2, 3, 3), _CAFFE_MEAN, _CAFFE_STD),
    "vgg16_features": Arch((2, 2, 3, 3, 3), _CAFFE_MEAN, _CAFFE_STD),
    "vgg16_torchvision": Arch((2, 2, 3, 3, 3), _TORCHVISION_MEAN, _TORCHVISION_STD),
    "vgg19": Arch((2, 2, 4, 4, 4), _TORCHVISION_MEAN, _TORCHVISION_STD),
}


def layer_names(arch: str = "vgg16") -> tuple[str, ...]:
    """The layers of `arch` from shallow to deep: relu1_1, relu1_2, relu2_1, ..."""
    return tuple(f"relu{b}_{i}" for b, n in enumerate(ARCHS[arch].blocks, 1) for i in range(1, n + 1))


def check_layers(layers: Collection[str], arch: str = "vgg16") -> None:
    """Raise a UserError for an unknown `arch` or layer name; `image` is a layer of every architecture."""
    if arch not in ARCHS:
        raise UserError(f"vgg.arch: there is no '{arch}': {near(arch, ARCHS)}")
    known = ("image", *layer_names(arch))
    for layer in layers:
        if layer not in known:
            raise UserError(f"{arch} has no layer '{layer}': {near(layer, known)}")


class VGG(nn.Module):
    """The convolutions of a VGG, frozen, up to the deepest of the given layers.

    Args:
        layers: names of the layers that can be computed.
        arch: `vgg16` (embedded, up to relu4_3), `vgg16_features`, `vgg16_torchvision` or `vgg19` (downloaded).
        weights: a local file of the weights (.safetensors, or torchvision's .pth), in place of a download.
        random: seeded random weights in place of trained ones, for fast tests.
        dtype: of the convolutions. bfloat16 halves the time on processors that have it.

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
            randomise(self.convolutions)
        elif names:
            fill(self.convolutions, read_weights(arch, weights), arch)
        self.convolutions.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor, layers: Collection[str] | None = None) -> dict[str, Tensor]:
        """Features of an image.

        Args:
            image: float RGB, (N, 3, H, W), in [0, 1].
            layers: names of the layers to return, `image` for the pixels; default: all layers of the constructor.

        Returns:
            Layer name -> (N, C, H / 2^(b-1), W / 2^(b-1)) for block b, sides rounded down, in the compute dtype;
            `image` is the input itself.

        Raises:
            ValueError: for a layer that was not given to the constructor.
        """
        wanted = self.layers if layers is None else layers
        features = {"image": image} if "image" in wanted else {}
        # in a list, as torch.compile of PyTorch 2.6 can't make a set here
        left = [name for name in dict.fromkeys(wanted) if name != "image"]
        x = ((image.float() * 255 - self.mean) / self.std).to(self.compute_dtype)
        with torch.autocast(image.device.type, enabled=False):  # the compute dtype is chosen here, not by the caller
            block = "1"
            for name, convolution in self.convolutions.items():
                if not left:
                    break
                if name[4] != block:
                    x, block = max_pool_2x2(x), name[4]
                x = F.relu(convolution(x), inplace=True)
                if name in left:
                    features[name] = x
                    left.remove(name)
        if left:
            raise ValueError(f"layers {sorted(left)} were not asked for when this VGG was made")
        return features

    def train(self, mode: bool = True) -> VGG:
        """Stay in evaluation mode whatever `mode` is, as nothing in it is trained."""
        return super().train(False)
