"""A network for video, cameras and large pictures: nearly all of its work is done at a quarter of the size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.networks.base import TransformNetwork, rows_of
from onestroke.networks.layers import Chain, Conv, InstanceNorm, Residual, Upsample

_FACTOR = 4


class RealtimeNetwork(TransformNetwork):
    """Sixteen pixels at a time to features, residual blocks, a painting of half the size, interpolated.

    The first convolution moves by four pixels, which is space to depth and a convolution in one. What is painted has
    half the size of the picture; what is finer comes from the photo. Painted at full size by a pixel shuffle of four
    (Shi et al., 2016), pictures are covered with coloured noise of single pixels, which a VGG takes for strokes and
    people do not. The painting is blurred a little, by a kernel that takes out the period of two of its pixels and
    nothing else for good: that is where upsampling leaves its grid. At 32 channels and 3 blocks it takes 5.1 thousand
    multiply-adds for a pixel, where Johnson's network takes 154.

    Args:
        channels: at half and at a quarter of the size.
        blocks: residual blocks, at a quarter of the size.
        styles: how many it paints in.
        adds_photo: whether what it paints is added to the photo; without, it starts from nothing.
        dials: strength, stroke, both or none.

    Raises:
        UserError: for arguments that make no network.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32),
        blocks: int = 3,
        styles: int = 1,
        adds_photo: bool = True,
        dials: Sequence[str] = (),
    ) -> None:
        sizes = [*channels, blocks, styles] if isinstance(channels, Sequence) and len(channels) == 2 else [None]
        if not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 1024 for n in sizes):
            raise UserError(
                "a RealtimeNetwork takes channels=[a,b], blocks and styles, whole numbers of 1 to 1024, not "
                f"channels={channels!r}, blocks={blocks!r}, styles={styles!r}"
            )
        half, quarter = channels
        rows = rows_of(styles, dials)
        # reflection in the blocks needs two of their pixels, so eight of the picture's
        super().__init__(Conv(half, 3, 3), styles, dials, adds_photo, _FACTOR, 4 * _FACTOR)
        self.enter = nn.Conv2d(3, quarter, 2 * _FACTOR, _FACTOR)
        self.enter_norm = InstanceNorm(quarter, rows)
        self.middle = Chain(*(Residual(quarter, rows) for _ in range(blocks)))
        self.decoder = Upsample(quarter, half, rows)

    def painted(self, image: Tensor, rows: Tensor | None) -> Tensor:
        """See TransformNetwork."""
        features = self.enter(F.pad(image, [_FACTOR // 2] * 4, mode="reflect"))
        features = self.middle(F.relu(self.enter_norm(features, rows)), rows)
        return F.interpolate(_blurred(self.paint(self.decoder(features, rows))), scale_factor=2, mode="bilinear")


def _blurred(image: Tensor) -> Tensor:
    """By (-1, 4, 10, 4, -1) / 16 in both directions: (N, C, H, W) -> the same shape.

    Nothing of the period of two pixels is left, three quarters of four, and nearly all of what is coarser.
    """
    line = torch.tensor([-1, 4, 10, 4, -1], dtype=image.dtype, device=image.device) / 16
    kernel = (line[:, None] * line).expand(image.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(image, [2] * 4, mode="reflect"), kernel, groups=image.shape[1])
