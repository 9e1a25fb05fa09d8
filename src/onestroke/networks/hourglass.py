"""The frame that networks with other layers in the middle share with the residual network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from onestroke.networks.base import TransformNetwork
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.layers import Chain, Conv, ConvNormReLU, Upsample
from onestroke.networks.tables import Condition

_SMALLEST = 16  # large enough for the reflection padding of the first kernel, and of the blocks


class Hourglass(TransformNetwork):
    """Down to a quarter of the size, any layers there, up again.

    Args:
        channels: at full, half and quarter size.
        middle: makes the layers at a quarter of the size, for a number of table rows.
        ends: kernel size of the first and the last convolution, odd.
        multiple, smallest: of the picture's sides, see TransformNetwork.
        styles, adds_photo, upsampling, controls, low_pass: see ResidualNetwork.
    """

    def __init__(
        self, channels: Sequence[int], middle: Callable[[int], Chain], ends: int, styles: int, adds_photo: bool,
        upsampling: str, controls: Sequence[str], low_pass: int, multiple: int = 4, smallest: int = _SMALLEST,
    ) -> None:  # fmt: skip
        full, half, quarter = channels
        conditioning = Conditioning.of(styles, controls)
        super().__init__(Conv(full, 3, ends), conditioning, adds_photo, multiple, smallest, low_pass)
        rows = conditioning.rows
        self.encoder = Chain(
            ConvNormReLU(3, full, ends, 1, rows),
            ConvNormReLU(full, half, 3, 2, rows),
            ConvNormReLU(half, quarter, 3, 2, rows),
        )
        self.middle = middle(rows)
        self.decoder = Chain(Upsample(quarter, half, rows, upsampling), Upsample(half, full, rows, upsampling))

    def painted(self, image: Tensor, condition: Condition) -> Tensor:
        """See TransformNetwork."""
        features = self.middle(self.encoder(image, condition), condition)
        result: Tensor = self.paint(self.decoder(features, condition))
        return result
