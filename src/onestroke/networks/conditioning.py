"""Conditioning: the norm parameters that each picture is painted with. Defines the order of rows in the norm tables.

A network of several styles has separate norm parameters for each style and shares all convolutions (conditional
instance norm: Dumoulin et al., "A learned representation for artistic style", 2017). A network with controls has them
for several anchor positions of each control, and interpolates linearly in between (Babaeizadeh and Ghiasi, "Adjustable
real-time style transfer", 2020).

There is one table for each parameter, and a row for each style at each combination of anchor positions. Rows are
ordered by style, then strength, then stroke, in whatever order a network lists its controls.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onestroke.errors import UserError, near
from onestroke.networks.tables import Condition

ANCHORS = {"strength": 3, "stroke": 2}
"""The controls that a network may have, in row order, and the number of evenly spaced anchor positions of each."""
DEFAULTS = {"strength": 0.5, "stroke": 0.0}
# Below this strength the painting is also blended with the photo, so that strength 0 is the photo itself.
FADES_UNTIL = 0.25

Setting = Tensor | float | None
"""A control's value in [0, 1], (N,) or one for all pictures; None: its default."""


@dataclass(frozen=True)
class Conditioning:
    """The layout of a network's norm tables.

    styles: number of styles. controls: the names of those controls of ANCHORS that the network has.
    """

    styles: int = 1
    controls: tuple[str, ...] = ()

    @classmethod
    def of(cls, styles: int, controls: Sequence[str]) -> Conditioning:
        """Check the arguments from a config or a style file.

        Raises:
            UserError: for controls that don't exist or are named twice.
        """
        listed = isinstance(controls, Sequence) and not isinstance(controls, str)
        if not listed or len(set(map(str, controls))) < len(controls):
            raise UserError(
                f"network.controls is a list, each control once, such as [strength,stroke], not {controls!r}"
            )
        for control in controls:
            if control not in ANCHORS:
                raise UserError(f"network.controls: there is no '{control}': {near(str(control), ANCHORS)}")
        return cls(styles, tuple(controls))

    @property
    def rows(self) -> int:
        """Number of rows of each table."""
        return self.styles * len(self.positions())

    def positions(self) -> list[dict[str, float]]:
        """The values of the controls for each row of a style, in row order."""
        own = [control for control in ANCHORS if control in self.controls]
        even = ([i / (ANCHORS[control] - 1) for i in range(ANCHORS[control])] for control in own)
        return [dict(zip(own, position, strict=True)) for position in itertools.product(*even)]

    def shares(self, count: int, mix: Tensor | None, settings: Mapping[str, Setting]) -> Tensor | None:
        """The weight of each table row.

        Args:
            count: pictures in the batch, N.
            mix: weight of each style, (N, styles), or for each pixel, (N, styles, H, W); None for one style without
                controls.
            settings: values of the controls in [0, 1]; missing ones have their defaults.

        Returns:
            (N, rows) or (N, rows, H, W); None for a single row.

        Raises:
            ValueError: for a control that the network lacks, and for controls without a mix.
        """
        for control, value in settings.items():
            if value is not None and control not in self.controls:
                raise ValueError(f"this network has no control for {control}")
        if not self.controls:
            return mix
        if mix is None:
            raise ValueError(f"a network of {self.styles} styles needs their mix")
        for control, anchors in ANCHORS.items():
            if control in self.controls:
                value = _each(settings, control, count, mix.device)
                share = _interpolation(value, anchors).to(mix.dtype)
                share = share.view(*share.shape, *[1] * (mix.ndim - 2))
                mix = (mix[:, :, None] * share[:, None]).flatten(1, 2)
        return mix

    def fade(self, count: int, settings: Mapping[str, Setting], device: torch.device) -> Tensor | None:
        """Opacity of the painting over the photo, (N,) in [0, 1]; None, for 1, without a strength control."""
        if "strength" not in self.controls:
            return None
        return (_each(settings, "strength", count, device) / FADES_UNTIL).clamp(max=1)

    def condition(self, image: Tensor, mix: Tensor | None, settings: Mapping[str, Setting]) -> Condition:
        """The condition of a batch (N, ...). Arguments as for `shares`, but a single style needs no mix."""
        if self.controls and mix is None and self.styles == 1:
            mix = image.new_ones(len(image), 1)
        return Condition(
            self.shares(len(image), mix, settings),
            self.fade(len(image), settings, image.device),
        )


def conditioning_of(network: nn.Module) -> Conditioning:
    """The layout of a network's norm tables; one style and no controls for a network without any."""
    found = getattr(network, "conditioning", None)
    return found if isinstance(found, Conditioning) else Conditioning()


def _each(settings: Mapping[str, Setting], control: str, count: int, device: torch.device) -> Tensor:
    """The control's value for each picture, (N,), fp32."""
    value = settings.get(control)
    value = DEFAULTS[control] if value is None else value
    return torch.as_tensor(value, dtype=torch.float32, device=device).expand(count)


def _interpolation(value: Tensor, anchors: int) -> Tensor:
    """Weights of evenly spaced anchors in linear interpolation: (N,) in [0, 1] -> (N, anchors)."""
    positions = torch.arange(anchors, device=value.device)
    return (1 - (value[:, None] * (anchors - 1) - positions).abs()).clamp_min(0)
