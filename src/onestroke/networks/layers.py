"""The blocks that transform networks are built from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InstanceNorm(nn.Module):
    """Instance normalisation with a learned scale and shift for each channel (Ulyanov et al., 2017).

    `nn.InstanceNorm2d` returns contiguous pictures whatever came in, so that each convolution of a channels_last
    network converts twice. Here the layout survives. Statistics are taken in fp32, also under autocast.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W), of more than one pixel -> the same shape, dtype and memory layout."""
        if features.device.type == "cpu":
            # batch norm over a batch of one is instance norm, and its kernels know the layout and bf16: three times
            # as fast, forward and backward, as the lines below
            ones = (features[i : i + 1] for i in range(len(features)))
            return torch.cat([F.batch_norm(f, None, None, self.weight, self.bias, True, 0.0, self.eps) for f in ones])
        with torch.autocast(features.device.type, enabled=False):
            x = features.float()
            variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
            scale = self.weight.float().view(1, -1, 1, 1) * torch.rsqrt(variance + self.eps)
            shift = self.bias.float().view(1, -1, 1, 1) - mean * scale
            return torch.addcmul(shift, x, scale).to(features.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"


class Conv(nn.Module):
    """A convolution that keeps the size (stride 1) or halves it (stride 2), with reflection padding.

    Reflection leaves no dark frame, as zeros would. Sides must be larger than half the kernel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.pad = kernel // 2
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride), rounded up."""
        result: Tensor = self.convolution(F.pad(features, [self.pad] * 4, mode="reflect"))
        return result


class ConvNormReLU(nn.Sequential):
    """Convolution, instance norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(Conv(inputs, outputs, kernel, stride), InstanceNorm(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions around a skip, with no activation behind the sum (Johnson et al., 2016, appendix)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNormReLU(channels, channels, 3), Conv(channels, channels, 3), InstanceNorm(channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = features + self.body(features)
        return result


class Upsample(nn.Sequential):
    """Nearest neighbour to twice the size, then convolution, norm, ReLU: no checkerboard (Odena et al., 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.UpsamplingNearest2d(scale_factor=2), ConvNormReLU(inputs, outputs, 3))
