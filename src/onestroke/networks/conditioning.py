"""Conditioning: which norm parameters each picture is painted with. Only here it is known what each table row is for.

A network of several styles has norm parameters of its own for each of them and shares all convolutions (conditional
instance norm: Dumoulin et al., "A learned representation for artistic style", 2017). A network with controls has them
at several anchor positions of each control as well, and between two positions they are interpolated linearly
(Babaeizadeh and Ghiasi, "Adjustable real-time style transfer", 2020).

All of them are rows of tables, one table for each parameter. A row belongs to one style at one anchor position of
every control. Rows are ordered by style, then by position of strength, then of stroke, whatever controls there are.
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
"""The controls that a network may have, in the order of their rows, and at how many even positions each has norms."""
DEFAULTS = {"strength": 0.5, "stroke": 0.0}
# Below this strength the painting also fades into the photo, so that strength 0 is the photo itself.
_FADES_UNTIL = 0.25

Setting = Tensor | float | None
"""A control's value in [0, 1], (N,) or one for all pictures; None: its default."""


@dataclass(frozen=True)
class Conditioning:
    """The layout of a network's norm tables.

    styles: how many styles the network paints in. controls: those of ANCHORS that it has.
    """

    styles: int = 1
    controls: tuple[str, ...] = ()

    @classmethod
    def of(cls, styles: int, controls: Sequence[str]) -> Conditioning:
        """Check what a config or a style file asks for.

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
        """How many rows each table has."""
        return self.styles * len(self.positions())

    def positions(self) -> list[dict[str, float]]:
        """The controls at each anchor position, in the order of a style's rows."""
        own = [control for control in ANCHORS if control in self.controls]
        even = ([i / (ANCHORS[control] - 1) for i in range(ANCHORS[control])] for control in own)
        return [dict(zip(own, position, strict=True)) for position in itertools.product(*even)]

    def shares(self, count: int, mix: Tensor | None, settings: Mapping[str, Setting]) -> Tensor | None:
        """The share of each table row.

        Args:
            count: pictures in the batch, N.
            mix: the share of each style, (N, styles), or over the picture, (N, styles, H, W); None where there is one
                style and no control.
            settings: the controls' values; those that are missing have their defaults.

        Returns:
            (N, rows) or (N, rows, H, W); None where there is one row.

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
        """How much of the painting is shown over the photo, (N,); None: all of it, without a control of strength."""
        if "strength" not in self.controls:
            return None
        return (_each(settings, "strength", count, device) / _FADES_UNTIL).clamp(max=1)

    def condition(self, image: Tensor, mix: Tensor | None, settings: Mapping[str, Setting]) -> Condition:
        """What a batch (N, ...) is painted with. As for `shares`, but that one style needs no mix."""
        if self.controls and mix is None and self.styles == 1:
            mix = image.new_ones(len(image), 1)
        return Condition(
            self.shares(len(image), mix, settings),
            self.fade(len(image), settings, image.device),
        )


def conditioning_of(network: nn.Module) -> Conditioning:
    """A network's layout; one without norm tables of ours has one style and no controls."""
    found = getattr(network, "conditioning", None)
    return found if isinstance(found, Conditioning) else Conditioning()


def _each(settings: Mapping[str, Setting], control: str, count: int, device: torch.device) -> Tensor:
    """The control's value for each picture, (N,), fp32."""
    value = settings.get(control)
    value = DEFAULTS[control] if value is None else value
    return torch.as_tensor(value, dtype=torch.float32, device=device).expand(count)


def _interpolation(value: Tensor, anchors: int) -> Tensor:
    """The share of each of the evenly spaced anchors in linear interpolation: (N,) in [0, 1] -> (N, anchors)."""
    positions = torch.arange(anchors, device=value.device)
    return (1 - (value[:, None] * (anchors - 1) - positions).abs()).clamp_min(0)
