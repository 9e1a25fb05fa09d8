"""A network for video, cameras and large pictures: most of its computation is at a quarter of the size."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.networks.base import LARGEST, TransformNetwork, sound
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.layers import Chain, InstanceNorm, Residual, SubpixelConv, Upsample
from onestroke.networks.tables import Condition

FACTOR = 4
"""Stride of the first convolution."""


class RealtimeNetwork(TransformNetwork):
    """A convolution of stride 4, residual blocks, upsampling to half the size, and a pixel shuffle to full size.

    Tried and rejected: a pixel shuffle of 4, which covers pictures with coloured noise of single pixels, and painting
    at half the size, which can't represent strokes of four pixels. With 32 channels and 3 blocks it needs 5,400
    multiply-adds for each pixel; Johnson's network needs 154,000.

    Args:
        channels: at half and at a quarter of the size.
        blocks: number of residual blocks, at a quarter of the size.
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
        blocks: int = 3,
        styles: int = 1,
        adds_photo: bool = True,
        controls: Sequence[str] = (),
        low_pass: int = 0,
        upsampling: str = "bilinear",
    ) -> None:
        if not sound(channels, 2, blocks=blocks, styles=styles):
            raise UserError(
                f"a {type(self).__name__} takes channels=[a,b] of 1 to {LARGEST['channels']}, blocks of 1 to "
                f"{LARGEST['blocks']} and styles of 1 to {LARGEST['styles']}, whole numbers, not "
                f"channels={channels!r}, blocks={blocks!r}, styles={styles!r}"
            )
        half, quarter = channels
        conditioning = Conditioning.of(styles, controls)
        # reflection in the blocks needs sides of at least two pixels, and so eight in the picture
        super().__init__(SubpixelConv(half, 3, 3, 2), conditioning, adds_photo, FACTOR, 4 * FACTOR, low_pass)
        rows = conditioning.rows
        self.enter = nn.Conv2d(3, quarter, 2 * FACTOR, FACTOR)
        self.enter_norm = InstanceNorm(quarter, rows)
        self.middle = Chain(*(Residual(quarter, rows) for _ in range(blocks)))
        self.decoder = Upsample(quarter, half, rows, upsampling)

    def painted(self, image: Tensor, condition: Condition) -> Tensor:
        """See TransformNetwork."""
        result: Tensor = self.paint(self.features(self.entered(image, condition), condition))
        return result

    def entered(self, image: Tensor, condition: Condition) -> Tensor:
        """The features before the first norm, (N, C, H / 4, W / 4), of a picture as `painted` takes it."""
        result: Tensor = self.enter(F.pad(image, [FACTOR // 2] * 4, mode="reflect"))
        return result

    def features(self, entered: Tensor, condition: Condition) -> Tensor:
        """The features before the last convolution, (N, C, H / 2, W / 2)."""
        features = self.middle(F.relu(self.enter_norm(entered, condition)), condition)
        result: Tensor = self.decoder(features, condition)
        return result
