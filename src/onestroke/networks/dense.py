"""A network of densely connected blocks (DenseNet, Huang et al., 2017): each layer sees all before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from onestroke.networks.base import TransformNetwork, check_sound
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.layers import Chain, Conv, ConvNormReLU, Upsample
from onestroke.networks.tables import PLAIN, Condition, Conditioned

_SMALLEST = 16  # large enough for the reflection padding of the first kernel, and of the blocks


class DenseBlock(Conditioned):
    """3x3 convolutions, each of which adds channels to what the next ones see, and a 1x1 convolution at the end.

    Args:
        channels: of the block's input and output.
        growth: channels that each layer adds.
        layers: number of 3x3 convolutions.
        rows: of the norm tables.
    """

    def __init__(self, channels: int, growth: int, layers: int, rows: int = 1) -> None:
        super().__init__()
        self.grow = nn.ModuleList(
            ConvNormReLU(channels + number * growth, growth, 3, rows=rows) for number in range(layers)
        )
        self.transition = ConvNormReLU(channels + layers * growth, channels, 1, rows=rows)

    def forward(self, features: Tensor, condition: Condition = PLAIN) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        for layer in self.grow:
            features = torch.cat([features, layer(features, condition)], dim=1)
        result: Tensor = self.transition(features, condition)
        return result


class DenseNetwork(TransformNetwork):
    """The residual network with densely connected blocks at a quarter of the size.

    At its default widths it does about the work of the default network: 44,000 multiply-adds for each pixel.

    Args:
        channels: at full, half and quarter size.
        blocks: number of dense blocks.
        layers: number of 3x3 convolutions in each block.
        growth: channels that each of them adds.
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
        channels: Sequence[int] = (16, 32, 64),
        blocks: int = 4,
        layers: int = 6,
        growth: int = 16,
        styles: int = 1,
        adds_photo: bool = True,
        controls: Sequence[str] = (),
        low_pass: int = 0,
        upsampling: str = "bilinear",
    ) -> None:
        check_sound("DenseNetwork", channels, 3, blocks=blocks, layers=layers, growth=growth, styles=styles)
        full, half, quarter = channels
        conditioning = Conditioning.of(styles, controls)
        super().__init__(Conv(full, 3, 9), conditioning, adds_photo, 4, _SMALLEST, low_pass)
        rows = conditioning.rows
        self.encoder = Chain(
            ConvNormReLU(3, full, 9, 1, rows),
            ConvNormReLU(full, half, 3, 2, rows),
            ConvNormReLU(half, quarter, 3, 2, rows),
        )
        self.middle = Chain(*(DenseBlock(quarter, growth, layers, rows) for _ in range(blocks)))
        self.decoder = Chain(Upsample(quarter, half, rows, upsampling), Upsample(half, full, rows, upsampling))

    def painted(self, image: Tensor, condition: Condition) -> Tensor:
        """See TransformNetwork."""
        features = self.middle(self.encoder(image, condition), condition)
        result: Tensor = self.paint(self.decoder(features, condition))
        return result
