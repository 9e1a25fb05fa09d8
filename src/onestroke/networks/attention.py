"""A residual network with self-attention at an eighth of the size: each place may look at the whole picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from onestroke.networks.base import check_sound
from onestroke.networks.hourglass import Hourglass
from onestroke.networks.layers import Chain, Conv, ConvNormReLU, InstanceNorm, Residual
from onestroke.networks.tables import PLAIN, Condition, Conditioned

_FACTOR = 8  # of the attention; reflection needs sides of at least two pixels there


class LinearAttention(Conditioned):
    """Self-attention at half the size of its input, whose memory grows with the pixels and not with their square.

    Each key is a weighted average of the whole picture, and each place takes its own mixture of these averages
    (Shen et al., "Efficient attention: attention with linear complexities", 2021).

    Args:
        channels: of the block's input and output.
        keys: number of averages.
        rows: of the norm tables.
    """

    def __init__(self, channels: int, keys: int, rows: int = 1) -> None:
        super().__init__()
        self.down = ConvNormReLU(channels, channels, 3, 2, rows)
        self.query, self.key = nn.Conv2d(channels, keys, 1), nn.Conv2d(channels, keys, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.result = Chain(
            nn.Upsample(scale_factor=2, mode="bilinear"), Conv(channels, channels, 1), InstanceNorm(channels, rows)
        )

    def forward(self, features: Tensor, condition: Condition = PLAIN) -> Tensor:
        """(N, C, H, W) with even sides of at least 4 -> the same shape."""
        small = self.down(features, condition)
        values = self.value(small).flatten(2)
        # The norm takes the mean out in any case. Without it here, what is all of one colour stays exactly so; the
        # norms that follow would enlarge the rounding of the products.
        values = values - values.mean(dim=2, keepdim=True)
        over_places = self.key(small).flatten(2).softmax(dim=2).to(values.dtype)  # (N, keys, places)
        averages = torch.bmm(over_places, values.transpose(1, 2))  # (N, keys, C)
        over_keys = self.query(small).softmax(dim=1).flatten(2).transpose(1, 2)  # (N, places, keys)
        mixed = torch.bmm(over_keys, averages.to(over_keys.dtype)).transpose(1, 2).view_as(small)
        result: Tensor = features + self.result(mixed, condition)
        return result


class AttentionNetwork(Hourglass):
    """The residual network with linear attention between its blocks.

    At its default widths it does about the work of the default network: 43,000 multiply-adds for each pixel.

    Args:
        channels: at full, half and quarter size.
        blocks: number of residual blocks, at a quarter of the size; the attention comes after the first half of them.
        keys: number of averages over the picture that the attention chooses from.
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
        blocks: int = 5,
        keys: int = 16,
        styles: int = 1,
        adds_photo: bool = True,
        controls: Sequence[str] = (),
        low_pass: int = 0,
        upsampling: str = "bilinear",
    ) -> None:
        check_sound("AttentionNetwork", channels, 3, blocks=blocks, keys=keys, styles=styles)

        def middle(rows: int) -> Chain:
            residual: list[nn.Module] = [Residual(channels[-1], rows) for _ in range(blocks)]
            residual.insert(blocks // 2, LinearAttention(channels[-1], keys, rows))
            return Chain(*residual)

        super().__init__(channels, middle, 9, styles, adds_photo, upsampling, controls, low_pass, _FACTOR, 2 * _FACTOR)
