"""What all transform networks have in common: any size, several styles, dials, and the photo that is painted over."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError, near
from onestroke.networks.layers import Colours, Conv, Rows, Styled

# Adam moves every weight at one pace; with this the photo's colours can be let go within a few hundred steps.
_COLOUR_GAIN = 16.0

Settings = Mapping[str, Tensor | float | None]

KNOTS = {"strength": 3, "stroke": 2}
"""The dials that a network may have, and at how many places of a dial it learns norms of its own."""
DEFAULTS = {"strength": 0.5, "stroke": 0.0}
# Up to here the painting also fades into the photo, so that nothing of it is left at 0.
_FADES_UNTIL = 0.25


class TransformNetwork(Styled):
    """A photo to a painting of the same size; what is painted is added to the photo under a learned change of colours.

    So an untrained network gives the photo back and training starts from there. A plain sum would hold on to the photo:
    a style is learned much slower then.

    With dials, how strong or coarse the painting is can be chosen after training (Babaeizadeh and Ghiasi, "Adjustable
    real-time style transfer", 2020): every style has norms of its own at several places of each dial, and between them
    the norms are interpolated. So style n has rows n * places to (n + 1) * places - 1 of every table.

    Args:
        paint: the last convolution, which a subclass's `painted` ends with.
        styles: how many it paints in, each by norms of its own (Dumoulin et al., 2017).
        dials: of KNOTS, those that it has.
        adds_photo: whether what it paints is added to the photo; without, it starts from nothing.
        multiple: what the sides must be multiples of inside; pictures are padded to that by repeating the last pixels.
        smallest: the smallest side inside.

    Raises:
        UserError: for arguments that make no network.
    """

    def __init__(
        self, paint: Conv, styles: int, dials: Sequence[str], adds_photo: bool, multiple: int, smallest: int
    ) -> None:
        super().__init__()
        if dials and not adds_photo:
            raise UserError("network.dials needs network.adds_photo=true, as strength 0 is the photo itself")
        self.styles, self.dials = styles, tuple(dials)
        self.multiple, self.smallest = multiple, smallest
        self.paint = paint
        self.colour = Colours(rows_of(styles, dials), _COLOUR_GAIN) if adds_photo else None
        if adds_photo:
            _start_small(paint.convolution)

    def painted(self, image: Tensor, rows: Tensor | None) -> Tensor:
        """What is painted, about [-0.5, 0.5].

        Args:
            image: (N, 3, H, W) in [-1, 1], sides as said above.
            rows: the share of each row of the tables, (N, rows) or (N, rows, H, W); None where there is one row.
        """
        raise NotImplementedError

    def forward(
        self,
        image: Tensor,
        mix: Tensor | None = None,
        strength: Tensor | float | None = None,
        stroke: Tensor | float | None = None,
    ) -> Tensor:
        """Paint.

        Args:
            image: float RGB, (N, 3, H, W), in [0, 1]; any H and W of at least 1.
            mix: the share of each style, (N, styles), or over the picture, (N, styles, H, W); None where it has one.
            strength: 0 (the photo) to 1 (the painting), (N,) or one for all; None: 0.5.
            stroke: 0 (strokes of the size trained for) to 1 (twice that), (N,) or one for all; None: 0.

        Returns:
            The same shape; about [0, 1], not clamped.
        """
        height, width = image.shape[-2:]
        sides = (max(self.smallest, -(-side // self.multiple) * self.multiple) for side in (height, width))
        bottom, right = (wanted - side for wanted, side in zip(sides, (height, width), strict=True))
        if bottom or right:
            image = F.pad(image, [0, right, 0, bottom], mode="replicate")
            mix = mix if mix is None or mix.ndim == 2 else F.pad(mix, [0, right, 0, bottom], mode="replicate")
        settings = {"strength": strength, "stroke": stroke}
        rows = self.rows(image, mix, settings)
        centred = image - 0.5
        result = 0.5 + self.painted(centred * 2, rows)
        if self.colour is not None:
            result = result + self.colour(centred, rows)
        if "strength" in self.dials:
            fade = _fade(_each(image, settings, "strength")).to(image.dtype).view(-1, 1, 1, 1)
            result = torch.lerp(image, result, fade)
        return result[:, :, :height, :width]

    def rows(self, image: Tensor, mix: Tensor | None, settings: Settings) -> Tensor | None:
        """The share of each row of the tables, (N, rows); None where there is one row. Arguments as for `forward`."""
        for dial, value in settings.items():
            if value is not None and dial not in self.dials:
                raise ValueError(f"this network has no dial for {dial}")
        if not self.dials:
            return mix
        if mix is None:
            if self.styles > 1:
                raise ValueError(f"a network of {self.styles} styles needs their mix")
            mix = image.new_ones(len(image), 1)
        for dial in KNOTS:
            if dial in self.dials:
                share = _between(_each(image, settings, dial), KNOTS[dial]).to(mix.dtype)
                share = share.view(*share.shape, *[1] * (mix.ndim - 2))
                mix = (mix[:, :, None] * share[:, None]).flatten(1, 2)
        return mix

    def fixed(self, strength: float | None = None, stroke: float | None = None) -> TransformNetwork:
        """The network without dials that paints as this one does with them set so."""
        settings = {"strength": strength, "stroke": stroke}
        each = torch.eye(self.styles)
        rows = self.rows(each, each, settings)
        if not self.dials:
            return copy.deepcopy(self)
        assert rows is not None and self.colour is not None
        one = self._over(rows)
        if "strength" in self.dials:
            fade = float(_fade(_each(each[:1], settings, "strength")))
            with torch.no_grad():
                one.paint.convolution.weight.mul_(fade)
                one.paint.convolution.bias.mul_(fade)  # type: ignore[union-attr]
                colour = one.colour
                assert colour is not None
                unchanged = torch.eye(3).to(colour.weight) / colour.gain
                colour.weight.lerp_(unchanged.expand_as(colour.weight), 1 - fade)
                colour.bias.mul_(fade)
        return one

    def blended(self, mix: Tensor) -> TransformNetwork:
        """The network of one style that paints as this one, which has no dials, does with one mix for all.

        Args:
            mix: the share of each style, (styles,).
        """
        return self._over(mix[None])

    def _over(self, mixes: Tensor) -> TransformNetwork:
        """The network without dials whose tables' rows are mixes of these: (styles, rows)."""
        one = copy.deepcopy(self)
        one.styles, one.dials = len(mixes), ()
        with torch.no_grad():
            for module in one.modules():
                if isinstance(module, Rows):
                    tables = module.mixed(mixes)
                    for (name, before), table in zip(list(module.named_parameters(recurse=False)), tables, strict=True):
                        setattr(module, name, nn.Parameter(table, before.requires_grad))
        return one


def rows_of(styles: int, dials: Sequence[str]) -> int:
    """How many rows the tables have.

    Raises:
        UserError: for dials that there are not, or not once.
    """
    if not isinstance(dials, Sequence) or isinstance(dials, str) or len(set(map(str, dials))) < len(dials):
        raise UserError(f"network.dials is a list of dials, each once, such as [strength,stroke], not {dials!r}")
    rows = styles
    for dial in dials:
        if dial not in KNOTS:
            raise UserError(f"network.dials: there is no '{dial}': {near(str(dial), KNOTS)}")
        rows *= KNOTS[dial]
    return rows


def _each(image: Tensor, settings: Settings, dial: str) -> Tensor:
    """The dial's value for each picture, (N,), fp32."""
    value = settings.get(dial)
    value = DEFAULTS[dial] if value is None else value
    given = torch.as_tensor(value, dtype=torch.float32, device=image.device)
    return given.expand(len(image))


def _between(value: Tensor, knots: int) -> Tensor:
    """The share of each of the evenly spaced knots in linear interpolation: (N,) in [0, 1] -> (N, knots)."""
    places = torch.arange(knots, device=value.device)
    return (1 - (value[:, None] * (knots - 1) - places).abs()).clamp_min(0)


def _fade(strength: Tensor) -> Tensor:
    return (strength / _FADES_UNTIL).clamp(max=1)


@torch.no_grad()
def _start_small(paint: nn.Conv2d) -> None:
    assert paint.bias is not None
    paint.weight.mul_(0.005)
    paint.bias.zero_()
