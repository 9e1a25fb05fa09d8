"""The base class of transform networks: pictures of any size, several styles, controls, the sum with the photo."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.networks.conditioning import Conditioning, Setting
from onestroke.networks.layers import Colours, Conv, LowPass
from onestroke.networks.tables import Condition, Conditioned, tables_of

# Adam changes all weights equally fast; with this gain the colour transform is learned within a few hundred steps.
_COLOUR_GAIN = 16.0


LARGEST = {
    "channels": 1024, "blocks": 128, "ends": 31, "styles": 1024, "low_pass": 64, "layers": 32, "growth": 256,
    "width": 1024, "groups": 1024, "expansion": 16, "keys": 256,
}  # fmt: skip
"""Largest values of a network's arguments, since an untrusted style file may ask for any amount of memory."""


class TransformNetwork(Conditioned):
    """Maps a photo to a painting of the same size: its output is added to the photo under a learned colour transform.

    So an untrained network returns the photo. Without the colour transform, the photo's colours would persist and a
    style would be learned much more slowly. With `low_pass`, a blurred photo is added: then every detail is painted
    by the network, none of the photo's shows through, and large forms keep their place.

    The result depends on the pixels and on a `Condition`, the parameters of the norms (see conditioning.py). `forward`
    computes it from a mix of styles and the controls, `fixed` and `blended` build one into the weights, and
    `paint_with` takes any.

    Args:
        paint: the last convolution of `painted`.
        conditioning: the layout of the norm tables.
        adds_photo: whether the output is added to the photo.
        multiple: pictures are padded to sides that are multiples of this, by repeating the last pixels.
        smallest: pictures are padded to at least this side.
        low_pass: details of the added photo of fewer pixels than this are removed; 0: the photo as it is.

    Raises:
        UserError: for arguments that make no network.
    """

    def __init__(
        self, paint: Conv, conditioning: Conditioning, adds_photo: bool, multiple: int, smallest: int, low_pass: int = 0
    ) -> None:
        super().__init__()
        if not isinstance(adds_photo, bool):
            raise UserError(f"network.adds_photo is true or false, not {adds_photo!r}")
        whole = isinstance(low_pass, int) and not isinstance(low_pass, bool)
        if not whole or not 0 <= low_pass <= LARGEST["low_pass"] or (low_pass and not adds_photo):
            raise UserError(
                f"network.low_pass is a whole number of pixels up to {LARGEST['low_pass']}, 0 for none, and above 0 "
                f"only with network.adds_photo=true, not {low_pass!r}"
            )
        self.conditioning = conditioning
        self.opacity = 1.0
        self.multiple, self.smallest = multiple, smallest
        self.paint = paint
        self.colour = Colours(conditioning.rows, _COLOUR_GAIN) if adds_photo else None
        self.low_pass = LowPass(low_pass) if low_pass else None
        if adds_photo:
            _start_small(paint.convolution)

    @property
    def styles(self) -> int:
        """Number of styles."""
        return self.conditioning.styles

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of its controls."""
        return self.conditioning.controls

    added: ClassVar[tuple[str, ...]] = ()
    """Prefixes of weights that the files of a simpler network may lack from which this one can be initialised."""

    def painted(self, image: Tensor, condition: Condition) -> Tensor:
        """The output before it is added to the photo, (N, 3, H, W), about [-0.5, 0.5].

        Args:
            image: (N, 3, H, W) in [-1, 1], padded.
            condition: parameters of the norms.
        """
        raise NotImplementedError

    def forward(
        self, image: Tensor, mix: Tensor | None = None, strength: Setting = None, stroke: Setting = None
    ) -> Tensor:
        """Paint a batch of photos.

        Args:
            image: float RGB, (N, 3, H, W), in [0, 1]; any H and W of at least 1.
            mix: weight of each style, (N, styles), or for each pixel, (N, styles, H, W); None for a single style.
            strength: 0 (the photo) to 1 (the painting), (N,) or one for all; None: 0.5.
            stroke: 0 (strokes of the size trained for) to 1 (twice that), (N,) or one for all; None: 0.

        Returns:
            The same shape; about [0, 1], not clamped.
        """
        settings = {"strength": strength, "stroke": stroke}
        return self.paint_with(image, self.conditioning.condition(image, mix, settings))

    def paint_with(self, image: Tensor, condition: Condition) -> Tensor:
        """As `forward`, for a given condition; shares for each pixel have the size of the picture."""
        height, width = image.shape[-2:]
        sides = (max(self.smallest, -(-side // self.multiple) * self.multiple) for side in (height, width))
        bottom, right = (wanted - side for wanted, side in zip(sides, (height, width), strict=True))
        if bottom or right:
            image = F.pad(image, [0, right, 0, bottom], mode="replicate")
            condition = condition.padded(right, bottom)
        return self.at_full_size(image, condition)[:, :, :height, :width]

    def at_full_size(self, image: Tensor, condition: Condition) -> Tensor:
        """As `paint_with`, for pictures that need no padding."""
        return self.composed(image, self.painted((image - 0.5) * 2, condition), condition)

    def composed(self, image: Tensor, painted: Tensor, condition: Condition) -> Tensor:
        """The painting, (N, 3, H, W): the output of `painted`, and of the photo what belongs to it.

        Args:
            image: (N, 3, H, W) in [0, 1], padded.
            painted: see `painted`.
            condition: as for `painted`.
        """
        centred = image - 0.5
        result = 0.5 + painted
        if self.colour is not None:
            added = centred if self.low_pass is None else self.low_pass(centred)
            result = result + self.colour(added, condition)
        if condition.fade is not None:
            result = torch.lerp(image, result, condition.fade.to(image.dtype).view(-1, 1, 1, 1))
        if self.opacity < 1:
            result = image + self.opacity * (result - image)
        return result

    def fixed(
        self, strength: float | None = None, stroke: float | None = None, into: TransformNetwork | None = None
    ) -> TransformNetwork:
        """A network without controls that paints as this one does at these settings.

        Args:
            strength: in [0, 1]; None is the default.
            stroke: in [0, 1]; None is the default.
            into: what this returned for other settings; it is written over and returned, which is faster than a copy.
        """
        if not self.conditioning.controls:
            return copy.deepcopy(self) if into is None else into
        each = torch.eye(self.styles)
        condition = self.conditioning.condition(each, each, {"strength": strength, "stroke": stroke})
        assert condition.shares is not None
        one = self._over(condition.shares, into)
        if condition.fade is None:
            return one
        fade = float(condition.fade[0])
        if self.colour is None or self.low_pass is not None:
            one.opacity = fade
        else:
            # the whole photo is in the sum: its share goes into the weights, which costs nothing when painting
            with torch.no_grad():
                one.paint.convolution.weight.mul_(fade)
                one.paint.convolution.bias.mul_(fade)  # type: ignore[union-attr]
                colour = one.colour
                assert colour is not None
                unchanged = torch.eye(3).to(colour.weight) / colour.gain
                colour.weight.lerp_(unchanged.expand_as(colour.weight), 1 - fade)
                colour.bias.mul_(fade)
        return one

    def blended(self, mix: Tensor, into: TransformNetwork | None = None) -> TransformNetwork:
        """A network of one style that paints as this one does with a fixed mix; for networks without controls.

        Args:
            mix: weight of each style, (styles,).
            into: as for `fixed`.
        """
        return self._over(mix[None], into)

    def _over(self, shares: Tensor, into: TransformNetwork | None = None) -> TransformNetwork:
        """A network without controls whose table rows are weighted sums of these: weights (styles, rows)."""
        one = copy.deepcopy(self) if into is None else into
        one.conditioning = Conditioning(len(shares))
        with torch.no_grad():
            for layer, own in zip(tables_of(one), tables_of(self), strict=True):
                mixed = zip(list(layer.named_parameters(recurse=False)), own.mixed(shares), strict=True)
                for (name, before), table in mixed:
                    if into is None:
                        setattr(layer, name, nn.Parameter(table, before.requires_grad))
                    else:
                        before.copy_(table)
            if into is not None:  # what `fixed` changes besides tables
                one.opacity = self.opacity
                for before, now in zip(one.paint.parameters(), self.paint.parameters(), strict=True):
                    before.copy_(now)
        return one


def sound(channels: object, count: int, **others: object) -> bool:
    """Whether there are `count` channels, and they and the others are whole numbers from 1 to those of LARGEST."""
    if not isinstance(channels, Sequence) or len(channels) != count:
        return False
    given = [*(("channels", n) for n in channels), *others.items()]
    return all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= LARGEST[name] for name, n in given)


def check_sound(name: str, channels: object, count: int, **others: object) -> None:
    """Check a network's arguments, see `sound`.

    Raises:
        UserError: naming all of them, for any that makes no network.
    """
    if not sound(channels, count, **others):
        takes = ", ".join(f"{other} of 1 to {LARGEST[other]}" for other in others)
        given = ", ".join(f"{other}={value!r}" for other, value in (("channels", channels), *others.items()))
        raise UserError(
            f"a {name} takes channels=[{','.join('abcde'[:count])}] of 1 to {LARGEST['channels']}, {takes}, whole "
            f"numbers, not {given}"
        )


@torch.no_grad()
def _start_small(paint: nn.Conv2d) -> None:
    assert paint.bias is not None
    paint.weight.mul_(0.005)
    paint.bias.zero_()
