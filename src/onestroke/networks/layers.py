"""The blocks that transform networks are built from."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.kernels.convolutions import by_fours
from onestroke.networks.tables import PLAIN, Condition, Conditioned, Tables

_LOW_PASS_STEP = 4  # pixels of a side that LowPass averages before it blurs, which makes the blur cheap


class Chain(Conditioned, nn.Sequential):
    """A sequence of layers; conditioned ones also get the condition."""

    def forward(self, features: Tensor, condition: Condition = PLAIN) -> Tensor:
        """(N, C, H, W) -> the output of the last layer."""
        for layer in self:
            features = layer(features, condition) if isinstance(layer, Conditioned) else layer(features)
        return features


class InstanceNorm(Tables):
    """Instance normalisation with a learned scale and shift for each channel (Ulyanov et al., 2017) and table row.

    With more than one row this is the conditional instance norm of Dumoulin et al. (2017), see conditioning.py.

    It keeps the memory layout, where `nn.InstanceNorm2d` returns contiguous tensors, so that each convolution of a
    channels_last network would convert twice. Statistics are computed in fp32, also under autocast.

    Args:
        channels: number of channels.
        rows: number of table rows.
        eps: added to the variance.
    """

    def __init__(self, channels: int, rows: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(rows, channels))
        self.bias = nn.Parameter(torch.zeros(rows, channels))

    def forward(self, features: Tensor, condition: Condition = PLAIN) -> Tensor:
        """(N, C, H, W) with more than one pixel -> the same shape, dtype and memory layout."""
        given = condition.statistics.get(self)
        shares = condition.shares
        if shares is not None and shares.ndim == 4 and self not in condition.parameters:
            shares = F.interpolate(shares, features.shape[-2:], mode="bilinear", antialias=True)
            with torch.autocast(features.device.type, enabled=False):
                weight, bias = (torch.einsum("nshw,sc->nchw", shares, table) for table in (self.weight, self.bias))
            return self._scaled(features, weight, bias, given)
        weight, bias = self.chosen(len(features), condition)
        if features.device.type == "cpu" and given is None:
            # batch norm of a single picture is instance norm, and its kernels support channels_last and bf16: three
            # times as fast as `_scaled`, forward and backward
            ones = zip(torch.split(features, 1), weight.unbind(), bias.unbind(), strict=True)
            return torch.cat([F.batch_norm(f, None, None, w, b, True, 0.0, self.eps) for f, w, b in ones])
        return self._scaled(features, weight[:, :, None, None], bias[:, :, None, None], given)

    def _scaled(
        self, features: Tensor, weight: Tensor, bias: Tensor, given: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            x = features.float()
            if given is None:
                variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
            else:
                mean, variance = (part[:, :, None, None] for part in given)
            scale = weight.float() * torch.rsqrt(variance + self.eps)
            return torch.addcmul(bias.float() - mean * scale, x, scale).to(features.dtype)

    def extra_repr(self) -> str:
        rows, channels = self.weight.shape
        return f"{channels}, rows={rows}, eps={self.eps}"


class Colours(Tables):
    """An affine colour transform, the same at every pixel: a 3x3 matrix and a shift per table row, initially identity.

    Args:
        rows: number of table rows.
        gain: factor of its parameters, so that it is learned faster by an optimizer with steps of equal size.
    """

    def __init__(self, rows: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.weight = nn.Parameter((torch.eye(3) / gain).repeat(rows, 1, 1))
        self.bias = nn.Parameter(torch.zeros(rows, 3))

    def forward(self, features: Tensor, condition: Condition = PLAIN) -> Tensor:
        """(N, 3, H, W) -> the same shape; in fp32 also under autocast, as bf16 has 8 bits only."""
        with torch.autocast(features.device.type, enabled=False):
            given, shares = self in condition.parameters, condition.shares
            if shares is not None and shares.ndim == 4 and not given:
                tables = (self.weight, self.bias)
                weight, bias = (torch.einsum("nshw,s...->n...hw", self.gain * shares, table) for table in tables)
                return torch.einsum("noihw,nihw->nohw", weight, features) + bias
            if shares is None and not given and len(self.weight) == 1:
                return F.conv2d(features, self.gain * self.weight[0, :, :, None, None], self.gain * self.bias[0])
            weight, bias = (self.gain * part for part in self.chosen(len(features), condition))
            return torch.einsum("noi,nihw->nohw", weight, features) + bias[:, :, None, None]

    def extra_repr(self) -> str:
        return f"rows={len(self.weight)}, gain={self.gain}"


class LowPass(nn.Module):
    """Remove details that are smaller than a given size from a picture.

    Averages of 4 x 4 pixels are averaged twice with their neighbours, which is close to a Gaussian blur, and enlarged
    bilinearly.

    Args:
        size: details of fewer pixels than this vanish; the standard deviation of the blur is about half of it.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        # twice a mean of n neighbours has a variance of (n^2 - 1) / 6
        deviation = size / 2 / _LOW_PASS_STEP
        self.reach = max(1, round((math.sqrt(6 * deviation**2 + 1) - 1) / 2))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) with sides that are multiples of 4 -> the same shape; in fp32 also under autocast."""
        with torch.autocast(image.device.type, enabled=False):
            blurred = F.avg_pool2d(image, _LOW_PASS_STEP)
            for _ in range(2):
                padded = F.pad(blurred, [self.reach] * 4, mode="replicate")
                blurred = F.avg_pool2d(padded, 2 * self.reach + 1, 1)
            return F.interpolate(blurred, scale_factor=float(_LOW_PASS_STEP), mode="bilinear", align_corners=False)

    def extra_repr(self) -> str:
        return f"{self.size}"


class Conv(nn.Module):
    """A convolution that keeps the size (stride 1) or halves it (stride 2), with reflection padding.

    Unlike zero padding, reflection causes no dark frame. Sides must be larger than half the kernel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.pad = kernel // 2
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride), rounded up."""
        with torch.autocast(features.device.type, enabled=False):  # autocast pads in fp32 on a CPU, six times as slow
            padded = F.pad(features, [self.pad] * 4, mode="reflect") if self.pad else features
        if self._is_narrow(features):
            return by_fours(padded, self.convolution.weight, self.convolution.bias)
        result: Tensor = self.convolution(padded)
        return result

    def _is_narrow(self, features: Tensor) -> bool:
        """Whether `by_fours` is faster: few outputs, on a CPU, while training. Exported graphs stay plain."""
        if not self.training or not torch.is_grad_enabled() or features.device.type != "cpu":
            return False
        even = all(side % 2 == 0 for side in features.shape[-2:])
        plain = self.convolution.stride == (1, 1) and self.convolution.groups == 1
        return even and plain and self.convolution.out_channels <= 4


class SubpixelConv(Conv):
    """Convolution and pixel shuffle (Shi et al., 2016) that leave no checkerboard on flat features.

    Each pixel of a block has its own kernel, but all kernels have the same sum, the condition for no checkerboard
    (Sugawara et al., "Super-resolution using convolutional neural networks without any checkerboard artifacts", 2018).
    All kernels of a block start equal (Aitken et al., 2017), so that at first there is none on gradients either.

    Args:
        factor: side of a block in pixels.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, factor: int) -> None:
        super().__init__(inputs, outputs * factor**2, kernel)
        self.factor = factor
        with torch.no_grad():
            for table in self.convolution.parameters():
                blocks = table.view(outputs, factor**2, *table.shape[1:])
                blocks.copy_(blocks[:, :1].clone().expand_as(blocks))

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, factor H, factor W)."""
        raw, bias, pixels = self.convolution.weight, self.convolution.bias, self.factor**2
        assert bias is not None
        sums = raw.mean(dim=(2, 3), keepdim=True)
        weight = raw - sums + _over_blocks(sums, pixels)
        padded = F.pad(features, [self.pad] * 4, mode="reflect")
        return F.pixel_shuffle(F.conv2d(padded, weight, _over_blocks(bias, pixels)), self.factor)


def _over_blocks(table: Tensor, pixels: int) -> Tensor:
    """Replace the values of each block's pixels by their mean; same shape."""
    blocks = table.view(-1, pixels, *table.shape[1:])
    return blocks.mean(dim=1, keepdim=True).expand_as(blocks).reshape(table.shape)


class ConvNormReLU(Chain):
    """Convolution, instance norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, rows: int = 1, groups: int = 1) -> None:
        norm = InstanceNorm(outputs, rows)
        super().__init__(Conv(inputs, outputs, kernel, stride, groups), norm, nn.ReLU(inplace=True))


class Residual(Conditioned):
    """Two 3x3 convolutions and a skip connection, without activation after the sum (Johnson et al., 2016, appendix)."""

    def __init__(self, channels: int, rows: int = 1) -> None:
        super().__init__()
        first = ConvNormReLU(channels, channels, 3, rows=rows)
        self.body = Chain(first, Conv(channels, channels, 3), InstanceNorm(channels, rows))

    def forward(self, features: Tensor, condition: Condition = PLAIN) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        result: Tensor = features + self.body(features, condition)
        return result


class Upsample(Chain):
    """Interpolation to twice the size, then convolution, norm, ReLU: no checkerboard (Odena et al., 2016).

    With nearest neighbours, each pixel comes twice, and convolutions learn to treat the two differently, which paints a
    faint grid with a period of 2 pixels. Bilinear interpolation avoids that.

    Raises:
        UserError: for a mode that is neither.
    """

    def __init__(self, inputs: int, outputs: int, rows: int = 1, mode: str = "bilinear") -> None:
        if mode not in ("bilinear", "nearest"):
            raise UserError(f"network.upsampling is bilinear or nearest, not {mode!r}")
        super().__init__(nn.Upsample(scale_factor=2, mode=mode), ConvNormReLU(inputs, outputs, 3, rows=rows))
