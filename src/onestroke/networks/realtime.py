"""A network for video, cameras and large pictures: nearly all of its work is done at a quarter of the size."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.networks.base import LARGEST, TransformNetwork, sound
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.layers import Chain, InstanceNorm, Residual, SubpixelConv, Upsample
from onestroke.networks.tables import Condition

_FACTOR = 4


class RealtimeNetwork(TransformNetwork):
    """Sixteen pixels at a time to features, residual blocks, half the size, and four pixels at once.

    The first convolution moves by four pixels, which is space to depth and a convolution in one; the last gives 2 x 2
    pixels. Tried and left: a pixel shuffle of four, which covers pictures with coloured noise of single pixels, and
    painting at half the size, which has no room for strokes of four pixels. At 32 channels and 3 blocks it takes 5.4
    thousand multiply-adds for a pixel, where Johnson's network takes 154.

    Args:
        channels: at half and at a quarter of the size.
        blocks: residual blocks, at a quarter of the size.
        styles: how many it paints in.
        adds_photo: whether what it paints is added to the photo; without, it starts from nothing.
        controls: strength, stroke, both or none.

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
    ) -> None:
        if not sound(channels, 2, blocks=blocks, styles=styles):
            raise UserError(
                f"a RealtimeNetwork takes channels=[a,b] of 1 to {LARGEST['channels']}, blocks of 1 to "
                f"{LARGEST['blocks']} and styles of 1 to {LARGEST['styles']}, whole numbers, not "
                f"channels={channels!r}, blocks={blocks!r}, styles={styles!r}"
            )
        half, quarter = channels
        conditioning = Conditioning.of(styles, controls)
        # reflection in the blocks needs two of their pixels, so eight of the picture's
        super().__init__(SubpixelConv(half, 3, 3, 2), conditioning, adds_photo, _FACTOR, 4 * _FACTOR)
        rows = conditioning.rows
        self.enter = nn.Conv2d(3, quarter, 2 * _FACTOR, _FACTOR)
        self.enter_norm = InstanceNorm(quarter, rows)
        self.middle = Chain(*(Residual(quarter, rows) for _ in range(blocks)))
        self.decoder = Upsample(quarter, half, rows)

    def painted(self, image: Tensor, condition: Condition) -> Tensor:
        """See TransformNetwork."""
        features = self.enter(F.pad(image, [_FACTOR // 2] * 4, mode="reflect"))
        features = self.middle(F.relu(self.enter_norm(features, condition)), condition)
        result: Tensor = self.paint(self.decoder(features, condition))
        return result
