"""A U-Net (Ronneberger et al., 2015): details go around the deep layers by skips, so that these see large forms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from onestroke.networks.base import TransformNetwork, check_sound
from onestroke.networks.conditioning import Conditioning
from onestroke.networks.layers import Chain, Conv, ConvNormReLU, Residual, Upsample
from onestroke.networks.tables import Condition

_FACTOR = 8  # of the deepest layers; reflection needs sides of at least two pixels there


class UNetwork(TransformNetwork):
    """Down to an eighth of the size, residual blocks, up again, with the features of each size concatenated.

    At its default widths it does about the work of the default network: 41,000 multiply-adds for each pixel.

    Args:
        channels: at full, half, quarter and an eighth of the size.
        blocks: number of residual blocks, at an eighth of the size.
        styles: number of styles.
        adds_photo: whether the output is added to the photo.
        controls: strength, stroke, both or none.
        low_pass: details of the added photo of fewer pixels than this are removed; 0: none are.
        upsampling: nearest or bilinear. With the latter, what is all of one colour gets a texture: the interpolation
            rounds, and the many norms that follow enlarge that.

    Raises:
        UserError: for arguments that make no network.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128),
        blocks: int = 2,
        styles: int = 1,
        adds_photo: bool = True,
        controls: Sequence[str] = (),
        low_pass: int = 0,
        upsampling: str = "nearest",
    ) -> None:
        check_sound("UNetwork", channels, 4, blocks=blocks, styles=styles)
        conditioning = Conditioning.of(styles, controls)
        super().__init__(Conv(channels[0], 3, 3), conditioning, adds_photo, _FACTOR, 2 * _FACTOR, low_pass)
        rows = conditioning.rows
        self.encoder = nn.ModuleList(
            ConvNormReLU(inputs, outputs, 3, 2 if number else 1, rows)
            for number, (inputs, outputs) in enumerate(pairwise((3, *channels)))
        )
        self.middle = Chain(*(Residual(channels[-1], rows) for _ in range(blocks)))
        upwards = list(pairwise(reversed(channels)))
        self.decoder = nn.ModuleList(Upsample(inputs, outputs, rows, upsampling) for inputs, outputs in upwards)
        self.merging = nn.ModuleList(ConvNormReLU(2 * outputs, outputs, 3, 1, rows) for _, outputs in upwards)

    def painted(self, image: Tensor, condition: Condition) -> Tensor:
        """See TransformNetwork."""
        skips = []
        features = image
        for layer in self.encoder:
            features = layer(features, condition)
            skips.append(features)
        features = self.middle(features, condition)
        for upsample, merge, skip in zip(self.decoder, self.merging, reversed(skips[:-1]), strict=True):
            features = merge(torch.cat([upsample(features, condition), skip], dim=1), condition)
        result: Tensor = self.paint(features)
        return result
