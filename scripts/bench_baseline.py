"""The classic recipe, written anew as the most-used example of the field has it: what bench.py compares with.

Eager, fp32, NCHW: `nn.InstanceNorm2d`, `nn.ReflectionPad2d`, nearest-neighbour upsampling; the pictures of both VGG
passes go all the way to relu4_3; the style's Gram matrices are repeated to the batch; Adam; both losses are read back
after each step. Nothing in it is slower than it is there.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.nn.functional as F
from bench_measure import peak
from torch import Tensor, nn

from onestroke.losses.raw import SCALE
from onestroke.perception.style import Style
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
CONTENT_WEIGHT, STYLE_WEIGHT = 1e5, 1e10


class _Convolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(kernel // 2)
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.convolution(self.pad(features))
        return result


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _Convolution(channels, channels, 3), _Convolution(channels, channels, 3)
        self.first_norm, self.second_norm = (nn.InstanceNorm2d(channels, affine=True) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(features)))
        result: Tensor = self.second_norm(self.second(inner)) + features
        return result


class _Upsample(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = _Convolution(inputs, outputs, 3)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.convolution(F.interpolate(features, scale_factor=2.0, mode="nearest"))
        return result


class ClassicNetwork(nn.Module):
    """32-64-128 channels, five residual blocks. Takes and gives [0, 1], as ours do, where the example has [0, 255]."""

    def __init__(self, channels: Sequence[int] = (32, 64, 128), blocks: int = 5) -> None:
        super().__init__()
        full, half, quarter = channels

        def normed(convolution: nn.Module, outputs: int) -> list[nn.Module]:
            return [convolution, nn.InstanceNorm2d(outputs, affine=True), nn.ReLU()]

        self.layers = nn.Sequential(
            *normed(_Convolution(3, full, 9), full),
            *normed(_Convolution(full, half, 3, 2), half),
            *normed(_Convolution(half, quarter, 3, 2), quarter),
            *(_Residual(quarter) for _ in range(blocks)),
            *normed(_Upsample(quarter, half), half),
            *normed(_Upsample(half, full), full),
            _Convolution(full, 3, 9),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W), sides a multiple of 4 -> the same."""
        result: Tensor = 0.5 + self.layers((image - 0.5) * 2)
        return result


class ClassicVGG(nn.Module):
    """VGG16 to relu4_3 in NCHW, always to the end; our weights and their mean, in the example's form."""

    mean: Tensor
    std: Tensor

    def __init__(self, random: bool = False) -> None:
        super().__init__()
        ours = VGG(LAYERS, random=random)
        slices: list[list[nn.Module]] = [[]]
        for name, convolution in ours.convolutions.items():
            slices[-1] += [convolution, nn.ReLU(inplace=True)]
            if name in LAYERS:
                slices.append([nn.MaxPool2d(2, 2)])
        self.slices = nn.ModuleList(nn.Sequential(*part) for part in slices[:-1])
        self.register_buffer("mean", ours.mean)
        self.register_buffer("std", ours.std)
        self.slices.to(memory_format=torch.contiguous_format)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The features of each of LAYERS, of (N, 3, H, W) in [0, 1]."""
        features = (image * 255 - self.mean) / self.std
        found = []
        for part in self.slices:
            features = part(features)
            found.append(features)
        return found


def gram_matrix(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, C)."""
    n, c, h, w = features.shape
    rows = features.view(n, c, h * w)
    return rows.bmm(rows.transpose(1, 2)) / (c * h * w)


class ClassicStep:
    """One step of training.

    Args:
        style: whose Gram matrices are to be met.
        batch: how many photos a step has.
        device: where it computes.
        network, vgg: other ones, for tests.
    """

    def __init__(
        self,
        style: Style,
        batch: int,
        device: torch.device,
        network: nn.Module | None = None,
        vgg: ClassicVGG | None = None,
    ) -> None:
        self.network = (network or ClassicNetwork()).to(device)
        self.vgg = (vgg or ClassicVGG()).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3)
        self.grams = [style.gram(layer).to(device).repeat(batch, 1, 1) for layer in LAYERS]
        self.content = self.style = 0.0

    def losses(self, output: Tensor, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Content and style, weighted. The scale makes the weights mean what they do with the example's VGG."""
        painted, original = self.vgg(output), self.vgg(photos)
        content = CONTENT_WEIGHT / SCALE**2 * F.mse_loss(painted[1], original[1])
        style = torch.zeros((), device=output.device)
        for features, gram in zip(painted, self.grams, strict=True):
            style = style + F.mse_loss(gram_matrix(features), gram[: len(output)])
        return content, STYLE_WEIGHT / SCALE**4 * style

    def __call__(self, photos: Tensor) -> None:
        """Learn from (N, 3, H, W) in [0, 1]."""
        self.optimizer.zero_grad()
        content, style = self.losses(self.network(photos), photos)
        torch.autograd.backward(content + style)
        self.optimizer.step()
        self.content += content.item()
        self.style += style.item()


class Apart:
    """A ClassicStep in a process of its own, which starts with the first call; a call is a step, and gives its seconds.

    Args:
        photos: (N, 3, H, W) in [0, 1].
        device: where it computes.
    """

    def __init__(self, photos: Tensor, device: torch.device) -> None:
        self.photos, self.device, self.peak = photos, device, 0
        self._line: Connection | None = None

    def __call__(self) -> float:
        """Raises EOFError where the process has ended."""
        if self._line is None:
            context = multiprocessing.get_context("spawn")
            self._line, other = context.Pipe()
            orders = (other, self.photos.numpy(), self.device.type, torch.get_num_threads())
            context.Process(target=_serve, args=orders, daemon=True).start()
            other.close()
        self._line.send(None)
        seconds, self.peak = self._line.recv()
        return float(seconds)


def _serve(line: Connection, photos: np.ndarray, kind: str, threads: int) -> None:
    torch.set_num_threads(threads)
    device, ready = torch.device(kind), torch.from_numpy(photos)
    step = ClassicStep(from_card("starry_night", 256, LAYERS), len(ready), device)
    while True:
        try:
            line.recv()
        except EOFError:
            return
        started = time.perf_counter()
        step(ready.to(device))  # which waits for the device, as it reads its losses
        line.send((time.perf_counter() - started, peak(device)))
