"""The residual transform network of Johnson et al. (2016), at any width."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from onestroke.errors import UserError
from onestroke.networks.base import LARGEST, TransformNetwork, sound
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.layers import Chain, Conv, ConvNormReLU, Residual, Upsample
from onestroke.networks.tables import Condition

# large enough for the reflection padding of the largest first kernel, and of the blocks at a quarter of the size
_SMALLEST = 16


class ResidualNetwork(TransformNetwork):
    """Down to a quarter of the size, residual blocks, up again.

    It differs from the paper in four ways: instance norm for batch norm (Ulyanov et al., 2017), bilinear
    interpolation for transposed convolutions (Odena et al., 2016), reflection padding everywhere, and the sum with the
    photo, see TransformNetwork.

    Args:
        channels: at full, half and quarter size; 32, 64, 128 in the paper.
        blocks: number of residual blocks at a quarter of the size; 5 in the paper.
        ends: kernel size of the first and the last convolution, odd; 9 in the paper.
        styles: number of styles.
        adds_photo: whether the output is added to the photo; not in the paper.
        upsampling: bilinear or nearest.
        controls: strength, stroke, both or none.
        low_pass: details of the added photo of fewer pixels than this are removed; 0: none are.

    Raises:
        UserError: for arguments that make no network.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128),
        blocks: int = 5,
        ends: int = 9,
        styles: int = 1,
        adds_photo: bool = True,
        upsampling: str = "bilinear",
        controls: Sequence[str] = (),
        low_pass: int = 0,
    ) -> None:
        if not sound(channels, 3, blocks=blocks, ends=ends, styles=styles) or ends % 2 == 0:
            raise UserError(
                f"a ResidualNetwork takes channels=[a,b,c] of 1 to {LARGEST['channels']}, blocks of 1 to "
                f"{LARGEST['blocks']}, odd ends of 1 to {LARGEST['ends']} and styles of 1 to {LARGEST['styles']}, "
                f"whole numbers, not channels={channels!r}, blocks={blocks!r}, ends={ends!r}, styles={styles!r}"
            )
        full, half, quarter = channels
        conditioning = Conditioning.of(styles, controls)
        super().__init__(Conv(full, 3, ends), conditioning, adds_photo, 4, _SMALLEST, low_pass)
        rows = conditioning.rows
        self.encoder = Chain(
            ConvNormReLU(3, full, ends, 1, rows),
            ConvNormReLU(full, half, 3, 2, rows),
            ConvNormReLU(half, quarter, 3, 2, rows),
        )
        self.middle = Chain(*(Residual(quarter, rows) for _ in range(blocks)))
        self.decoder = Chain(Upsample(quarter, half, rows, upsampling), Upsample(half, full, rows, upsampling))

    def painted(self, image: Tensor, condition: Condition) -> Tensor:
        """See TransformNetwork."""
        features = self.middle(self.encoder(image, condition), condition)
        result: Tensor = self.paint(self.decoder(features, condition))
        return result
