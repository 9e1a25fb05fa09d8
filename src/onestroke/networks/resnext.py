"""A residual network of grouped convolutions (ResNeXt, Xie et al., 2017): more layers for the same work."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from onestroke.errors import UserError
from onestroke.networks.base import check_sound
from onestroke.networks.hourglass import Hourglass
from onestroke.networks.layers import Chain, Conv, ConvNormReLU, InstanceNorm
from onestroke.networks.tables import PLAIN, Condition, Conditioned


class GroupedResidual(Conditioned):
    """A 1x1 convolution, a grouped 3x3 convolution, a 1x1 convolution, and a skip connection.

    Args:
        channels: of the block's input and output.
        width: channels of the grouped convolution.
        groups: number of its groups, each of which sees its own channels only.
        rows: of the norm tables.
    """

    def __init__(self, channels: int, width: int, groups: int, rows: int = 1) -> None:
        super().__init__()
        self.body = Chain(
            ConvNormReLU(channels, width, 1, rows=rows),
            ConvNormReLU(width, width, 3, rows=rows, groups=groups),
            Conv(width, channels, 1),
            InstanceNorm(channels, rows),
        )

    def forward(self, features: Tensor, condition: Condition = PLAIN) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        result: Tensor = features + self.body(features, condition)
        return result


class GroupedNetwork(Hourglass):
    """The residual network with blocks of grouped convolutions at a quarter of the size.

    At its default widths it does about the work of the default network: 41,000 multiply-adds for each pixel.

    Args:
        channels: at full, half and quarter size.
        blocks: number of residual blocks.
        width: channels of the grouped convolutions.
        groups: number of their groups, which divides the width.
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
        blocks: int = 10,
        width: int = 128,
        groups: int = 8,
        styles: int = 1,
        adds_photo: bool = True,
        controls: Sequence[str] = (),
        low_pass: int = 0,
        upsampling: str = "bilinear",
    ) -> None:
        check_sound("GroupedNetwork", channels, 3, blocks=blocks, width=width, groups=groups, styles=styles)
        if width % groups:
            raise UserError(f"a GroupedNetwork takes groups that divide its width, not {groups} for {width} channels")

        def middle(rows: int) -> Chain:
            return Chain(*(GroupedResidual(channels[-1], width, groups, rows) for _ in range(blocks)))

        super().__init__(channels, middle, 9, styles, adds_photo, upsampling, controls, low_pass)
