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
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError, near
from onestroke.networks.tables import Condition, tables_of

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

    def rows_from(self, other: Conditioning, which: Sequence[int]) -> Tensor:
        """For each row of these tables, what it takes over from another network's: (rows, the other's rows).

        Args:
            other: the other network's layout. Controls that it lacks change nothing, those that it alone has stand at
                their defaults.
            which: for each style here, the number of the style there.
        """
        positions = self.positions()
        blocks = []
        for number in which:
            mix = F.one_hot(torch.full((len(positions),), number), other.styles).float()
            settings = {
                control: torch.tensor([position.get(control, DEFAULTS[control]) for position in positions])
                for control in other.controls
            }
            shares = other.shares(len(positions), mix, settings)
            assert shares is not None
            blocks.append(shares)
        return torch.cat(blocks)

    def at_defaults(self, strength: float) -> Tensor:
        """Whether each row is painted with where the controls stand at their defaults, (rows,) of bool.

        Args:
            strength: the default of that control, which a style may have of its own.
        """
        each = torch.eye(self.styles)
        shares = self.shares(self.styles, each, {"strength": strength} if "strength" in self.controls else {})
        assert shares is not None
        return shares.sum(0) > 0

    def tie(self, network: nn.Module) -> None:
        """Give all rows of a style the sum of their gradients, so that its anchor positions move as one."""
        for table in _with_gradient(network):
            by_style = table.grad.view(self.styles, -1, *table.shape[1:])
            table.grad = by_style.sum(1, keepdim=True).expand_as(by_style).clone().view(table.shape)

    def hold(self, network: nn.Module, strength: float) -> None:
        """Take the gradient from the rows that are painted with at the controls' defaults. `strength`: its default."""
        held = self.at_defaults(strength)
        for table in _with_gradient(network):
            table.grad.masked_fill_(held.view(-1, *[1] * (table.ndim - 1)).to(table.device), 0)


def conditioning_of(network: nn.Module) -> Conditioning:
    """A network's layout; one without norm tables of ours has one style and no controls."""
    found = getattr(network, "conditioning", None)
    return found if isinstance(found, Conditioning) else Conditioning()


def _with_gradient(network: nn.Module) -> list[Any]:
    """The tables of a network that have a gradient."""
    return [t for layer in tables_of(network) for t in layer.parameters(recurse=False) if t.grad is not None]


def _each(settings: Mapping[str, Setting], control: str, count: int, device: torch.device) -> Tensor:
    """The control's value for each picture, (N,), fp32."""
    value = settings.get(control)
    value = DEFAULTS[control] if value is None else value
    return torch.as_tensor(value, dtype=torch.float32, device=device).expand(count)


def _interpolation(value: Tensor, anchors: int) -> Tensor:
    """The share of each of the evenly spaced anchors in linear interpolation: (N,) in [0, 1] -> (N, anchors)."""
    positions = torch.arange(anchors, device=value.device)
    return (1 - (value[:, None] * (anchors - 1) - positions).abs()).clamp_min(0)
