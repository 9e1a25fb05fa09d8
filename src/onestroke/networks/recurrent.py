"""The realtime network with a memory: it also sees its last painting, moved along with the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.networks.base import TransformNetwork
from onestroke.networks.conditioning import Setting
from onestroke.networks.layers import SubpixelConv
from onestroke.networks.realtime import FACTOR, RealtimeNetwork
from onestroke.networks.tables import Condition

_KEEP_GAIN = 4.0  # of the logit of what a pixel keeps, so that it is learned within a few hundred steps; at first, half


class RecurrentNetwork(RealtimeNetwork):
    """A realtime network for clips, whose last painting, carried along the motion of the picture, is a further input.

    Its first convolution sees the past, and so do its last ones, in detail: they choose for each pixel what share of
    the past it keeps, and a correction, since a past that has been moved again and again is blurred. Where the past is
    not known, and for still pictures, it paints as a `RealtimeNetwork` of the same weights.

    Args: see `RealtimeNetwork`.
    """

    added = ("enter_past.", "late_past.", "mix_past.")

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
        super().__init__(channels, blocks, styles, adds_photo, controls, low_pass, upsampling)
        half, quarter = channels
        self.enter_past = nn.Conv2d(4, quarter, 2 * FACTOR, FACTOR, bias=False)
        self.late_past = nn.Conv2d(4 * 2**2, half, 3, bias=False)
        self.mix_past = SubpixelConv(half, 4, 3, 2)
        self.faded = 1.0  # of a network with fixed controls: the opacity that is in its weights
        with torch.no_grad():
            for layer in (self.enter_past, self.late_past, self.mix_past.convolution):
                for parameter in layer.parameters():
                    parameter.zero_()

    def forward(
        self,
        image: Tensor,
        mix: Tensor | None = None,
        strength: Setting = None,
        stroke: Setting = None,
        past: Tensor | None = None,
    ) -> Tensor:
        """Paint a batch of frames; arguments as for `TransformNetwork`.

        Args:
            past: the painting of the frame before each, moved to where its content is now, (N, 4, H, W): RGB in
                [0, 1], and how well it is known, from 0 (hidden before, outside, or after a cut) to 1. None: nothing
                is known.
        """
        condition = self.conditioning.condition(image, mix, {"strength": strength, "stroke": stroke})
        if past is None and self.training:  # several processes wait for the gradients of all weights
            past = image.new_zeros(len(image), 4, *image.shape[-2:])
        return self.paint_with(image, replace(condition, past=past))

    def at_full_size(self, image: Tensor, condition: Condition) -> Tensor:
        """See TransformNetwork."""
        if condition.past is None:
            return super().at_full_size(image, condition)
        before, known = condition.past.split([3, 1], dim=1)
        seen = torch.cat([(before - 0.5) * known * 2, known], dim=1)
        entered = self.entered((image - 0.5) * 2, condition)
        entered = entered + self.enter_past(F.pad(seen, [FACTOR // 2] * 4, mode="reflect"))
        features = self.features(entered, condition)
        painting = self.composed(image, self.paint(features), condition)
        features = features + self.late_past(F.pad(F.pixel_unshuffle(seen, 2), [1] * 4, mode="reflect"))
        keep, correction = self.mix_past(features).float().split([1, 3], dim=1)
        known = known * (self.faded * self.opacity)
        if condition.fade is not None:  # at strength 0, the painting is the photo
            known = known * condition.fade.to(known.dtype).view(-1, 1, 1, 1)
        change = torch.sigmoid(_KEEP_GAIN * keep) * (before - painting) + correction
        result: Tensor = painting + (known * change).to(painting.dtype)
        return result

    def fixed(
        self, strength: float | None = None, stroke: float | None = None, into: TransformNetwork | None = None
    ) -> TransformNetwork:
        """See TransformNetwork."""
        one = super().fixed(strength, stroke, into)
        assert isinstance(one, RecurrentNetwork)
        fade = self.conditioning.fade(1, {"strength": strength}, torch.device("cpu"))
        one.faded = self.faded if fade is None or one.opacity < 1 else float(fade[0])
        return one

    def _over(self, shares: Tensor, into: TransformNetwork | None = None) -> TransformNetwork:
        one = super()._over(shares, into)
        assert isinstance(one, RecurrentNetwork)
        one.faded = self.faded
        return one
