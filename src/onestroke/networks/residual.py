"""The residual transform network of Johnson et al. (2016), at any width."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.networks.layers import Chain, Conv, ConvNormReLU, InstanceNorm, Residual, Styled, Upsample

_SMALLEST = 16  # so that a quarter of it is still larger than what the convolutions in the middle reflect

# Adam moves every weight at one pace; with this the photo's colours can be let go within a few hundred steps.
_COLOUR_GAIN = 16.0


class ResidualNetwork(Styled):
    """Down to a quarter of the size, residual blocks, up again; what it paints is added to the photo.

    Departs from the paper in four ways: instance norm for batch norm (Ulyanov et al., 2017), bilinear
    interpolation for transposed convolutions (Odena et al., 2016), reflection padding everywhere, and the sum with the
    photo under a learned change of its colours, so that an untrained network gives the photo back and training starts
    from there. A plain sum would hold on to the photo: a style is learned much slower then.

    Args:
        channels: at full, half and quarter size; 32, 64, 128 in the paper.
        blocks: residual blocks at a quarter of the size; 5 in the paper.
        ends: kernel of the first and the last convolution; 9 in the paper.
        styles: how many it paints in, each by norms of its own (Dumoulin et al., 2017).
        upsampling: bilinear or nearest.
        adds_photo: whether what it paints is added to the photo; without, it starts from nothing, as in the paper.

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
    ) -> None:
        super().__init__()
        sizes = [*channels, blocks, ends, styles] if isinstance(channels, Sequence) and len(channels) == 3 else [None]
        if not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 1024 for n in sizes) or ends % 2 == 0:
            raise UserError(
                "a ResidualNetwork takes channels=[a,b,c], blocks, an odd number of ends and styles, whole numbers of "
                f"1 to 1024, not channels={channels!r}, blocks={blocks!r}, ends={ends!r}, styles={styles!r}"
            )
        if upsampling not in ("bilinear", "nearest"):
            raise UserError(f"a ResidualNetwork's upsampling is bilinear or nearest, not {upsampling!r}")
        full, half, quarter = channels
        self.styles = styles
        self.encoder = Chain(
            ConvNormReLU(3, full, ends, 1, styles),
            ConvNormReLU(full, half, 3, 2, styles),
            ConvNormReLU(half, quarter, 3, 2, styles),
        )
        self.middle = Chain(*(Residual(quarter, styles) for _ in range(blocks)))
        self.decoder = Chain(Upsample(quarter, half, styles, upsampling), Upsample(half, full, styles, upsampling))
        self.paint = Conv(full, 3, ends)
        self.colour = nn.Conv2d(3, 3, 1) if adds_photo else None
        if self.colour is not None:
            _start_as_identity(self.paint.convolution, self.colour)

    def forward(self, image: Tensor, mix: Tensor | None = None) -> Tensor:
        """Paint.

        Args:
            image: float RGB, (N, 3, H, W), in [0, 1]; any H and W of at least 1.
            mix: the share of each style, (N, styles), or over the picture, (N, styles, H, W); None where it has one.

        Returns:
            The same shape; about [0, 1], not clamped.
        """
        height, width = image.shape[-2:]
        bottom, right = (max(_SMALLEST, -(-side // 4) * 4) - side for side in (height, width))
        if bottom or right:
            image = F.pad(image, [0, right, 0, bottom], mode="replicate")
            mix = mix if mix is None or mix.ndim == 2 else F.pad(mix, [0, right, 0, bottom], mode="replicate")
        centred = image - 0.5
        painting = self.encoder(centred * 2, mix)
        painting = self.decoder(self.middle(painting, mix), mix)
        result: Tensor = 0.5 + self.paint(painting)
        if self.colour is not None:
            result = result + _COLOUR_GAIN * self.colour(centred)
        return result[:, :, :height, :width]

    def blended(self, mix: Tensor) -> ResidualNetwork:
        """The network of one style that paints as this one does with a mix that is the same all over.

        Args:
            mix: the share of each style, (styles,).
        """
        one = copy.deepcopy(self)
        one.styles = 1
        with torch.no_grad():
            for module in one.modules():
                if isinstance(module, InstanceNorm):
                    module.weight = nn.Parameter((mix @ module.weight)[None], module.weight.requires_grad)
                    module.bias = nn.Parameter((mix @ module.bias)[None], module.bias.requires_grad)
        return one


@torch.no_grad()
def _start_as_identity(paint: nn.Conv2d, colour: nn.Conv2d) -> None:
    assert paint.bias is not None and colour.bias is not None
    paint.weight.mul_(0.01)
    paint.bias.zero_()
    colour.weight.copy_(torch.eye(3).view(3, 3, 1, 1) / _COLOUR_GAIN)
    colour.bias.zero_()
