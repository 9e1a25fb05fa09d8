"""A network of separable convolutions (MobileNetV2, Sandler et al., 2018), with the work of the realtime network."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.networks.base import TransformNetwork, check_sound
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.layers import Chain, Conv, ConvNormReLU, InstanceNorm, SubpixelConv, Upsample
from onestroke.networks.tables import PLAIN, Condition, Conditioned

_FACTOR = 4


class InvertedResidual(Conditioned):
    """A 1x1 convolution to more channels, a 3x3 convolution of each alone, a 1x1 convolution back, and a skip.

    Args:
        channels: of the block's input and output.
        expansion: times as many channels in between.
        rows: of the norm tables.
    """

    def __init__(self, channels: int, expansion: int, rows: int = 1) -> None:
        super().__init__()
        inner = channels * expansion
        self.body = Chain(
            ConvNormReLU(channels, inner, 1, rows=rows),
            ConvNormReLU(inner, inner, 3, rows=rows, groups=inner),
            Conv(inner, channels, 1),
            InstanceNorm(channels, rows),
        )

    def forward(self, features: Tensor, condition: Condition = PLAIN) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        result: Tensor = features + self.body(features, condition)
        return result


class MobileNetwork(TransformNetwork):
    """The realtime network with inverted residual blocks, twice as many for the same work.

    At its default widths it needs 5,500 multiply-adds for each pixel, and the realtime network 5,400.

    Args:
        channels: at half and at a quarter of the size.
        blocks: number of inverted residual blocks, at a quarter of the size.
        expansion: times as many channels inside a block.
        styles: number of styles.
        adds_photo: whether the output is added to the photo.
        controls: strength, stroke, both or none.
        low_pass: details of the added photo of fewer pixels than this are removed; 0: none are.
        upsampling: bilinear or nearest.

    Raises:
        UserError: for arguments that make no network.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32),
        blocks: int = 6,
        expansion: int = 4,
        styles: int = 1,
        adds_photo: bool = True,
        controls: Sequence[str] = (),
        low_pass: int = 0,
        upsampling: str = "bilinear",
    ) -> None:
        check_sound("MobileNetwork", channels, 2, blocks=blocks, expansion=expansion, styles=styles)
        half, quarter = channels
        conditioning = Conditioning.of(styles, controls)
        super().__init__(SubpixelConv(half, 3, 3, 2), conditioning, adds_photo, _FACTOR, 4 * _FACTOR, low_pass)
        rows = conditioning.rows
        self.enter = nn.Conv2d(3, quarter, 2 * _FACTOR, _FACTOR)
        self.enter_norm = InstanceNorm(quarter, rows)
        self.middle = Chain(*(InvertedResidual(quarter, expansion, rows) for _ in range(blocks)))
        self.decoder = Upsample(quarter, half, rows, upsampling)

    def painted(self, image: Tensor, condition: Condition) -> Tensor:
        """See TransformNetwork."""
        features = self.enter(F.pad(image, [_FACTOR // 2] * 4, mode="reflect"))
        features = self.middle(F.relu(self.enter_norm(features, condition)), condition)
        result: Tensor = self.paint(self.decoder(features, condition))
        return result
