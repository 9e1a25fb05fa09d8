"""The residual transform network of Johnson et al. (2016), at any width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.networks.layers import Conv, ConvNormReLU, Residual, Upsample

_SMALLEST = 16  # so that a quarter of it is still larger than what the convolutions in the middle reflect

# Adam moves every weight at one pace; with this the photo's colours can be let go within a few hundred steps.
_COLOUR_GAIN = 16.0


class ResidualNetwork(nn.Module):
    """Down to a quarter of the size, residual blocks, up again; what it paints is added to the photo.

    Departs from the paper in four ways: instance norm for batch norm (Ulyanov et al., 2017), nearest-neighbour
    upsampling for transposed convolutions (Odena et al., 2016), reflection padding everywhere, and the sum with the
    photo under a learned change of its colours, so that an untrained network gives the photo back and training starts
    from there. A plain sum would hold on to the photo: a style is learned much slower then.

    Args:
        channels: at full, half and quarter size; 32, 64, 128 in the paper.
        blocks: residual blocks at a quarter of the size; 5 in the paper.
        ends: kernel of the first and the last convolution; 9 in the paper.

    Raises:
        UserError: for arguments that make no network.
    """

    def __init__(self, channels: Sequence[int] = (32, 64, 128), blocks: int = 5, ends: int = 9) -> None:
        super().__init__()
        sizes = [*channels, blocks, ends] if isinstance(channels, Sequence) and len(channels) == 3 else [None]
        if not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 1024 for n in sizes) or ends % 2 == 0:
            raise UserError(
                "a ResidualNetwork takes channels=[a,b,c], blocks and an odd number of ends, whole numbers of 1 to "
                f"1024, not channels={channels!r}, blocks={blocks!r}, ends={ends!r}"
            )
        full, half, quarter = channels
        self.encoder = nn.Sequential(
            ConvNormReLU(3, full, ends), ConvNormReLU(full, half, 3, 2), ConvNormReLU(half, quarter, 3, 2)
        )
        self.middle = nn.Sequential(*(Residual(quarter) for _ in range(blocks)))
        self.decoder = nn.Sequential(Upsample(quarter, half), Upsample(half, full))
        self.paint = Conv(full, 3, ends)
        self.colour = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.paint.convolution.weight.mul_(0.01)
            assert self.paint.convolution.bias is not None
            self.paint.convolution.bias.zero_()
            assert self.colour.bias is not None
            self.colour.weight.copy_(torch.eye(3).view(3, 3, 1, 1) / _COLOUR_GAIN)
            self.colour.bias.zero_()

    def forward(self, image: Tensor) -> Tensor:
        """Paint.

        Args:
            image: float RGB, (N, 3, H, W), in [0, 1]; any H and W of at least 1.

        Returns:
            The same shape; about [0, 1], not clamped.
        """
        height, width = image.shape[-2:]
        bottom, right = (max(_SMALLEST, -(-side // 4) * 4) - side for side in (height, width))
        padded = F.pad(image, [0, right, 0, bottom], mode="replicate") if bottom or right else image
        centred = padded - 0.5
        painted = (
            0.5 + _COLOUR_GAIN * self.colour(centred) + self.paint(self.decoder(self.middle(self.encoder(centred * 2))))
        )
        result: Tensor = painted[:, :, :height, :width]
        return result
