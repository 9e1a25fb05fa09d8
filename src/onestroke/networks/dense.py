"""A network of densely connected blocks (DenseNet, Huang et al., 2017): each layer sees all before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from onestroke.networks.base import check_sound
from onestroke.networks.hourglass import Hourglass
from onestroke.networks.layers import Chain, ConvNormReLU
from onestroke.networks.tables import PLAIN, Condition, Conditioned


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


class DenseNetwork(Hourglass):
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

        def middle(rows: int) -> Chain:
            return Chain(*(DenseBlock(channels[-1], growth, layers, rows) for _ in range(blocks)))

        super().__init__(channels, middle, 9, styles, adds_photo, upsampling, controls, low_pass)
