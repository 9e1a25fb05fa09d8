"""Conditioning: which norm parameters each picture is painted with. The only code that knows how the norm tables lie.

A network of several styles has norm parameters of its own for each of them and shares all convolutions (conditional
instance norm: Dumoulin et al., "A learned representation for artistic style", 2017). A network with controls has them
at several anchor positions of each control as well, and between two positions they are interpolated linearly
(Babaeizadeh and Ghiasi, "Adjustable real-time style transfer", 2020).

All of them are rows of tables, one table for each parameter. A row belongs to one style at one anchor position of
every control. Rows are ordered by style, then by position of strength, then of stroke, whatever controls there are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onestroke.errors import UserError, near

ANCHORS = {"strength": 3, "stroke": 2}
"""The controls that a network may have, in the order of their rows, and at how many even positions each has norms."""
DEFAULTS = {"strength": 0.5, "stroke": 0.0}
# Below this strength the painting also fades into the photo, so that strength 0 is the photo itself.
_FADES_UNTIL = 0.25

Setting = Tensor | float | None
"""A control's value in [0, 1], (N,) or one for all pictures; None: its default."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Condition:
    """What one forward pass is painted with: all that a network depends on besides pixels and weights.

    shares: of each table row, (N, rows), or over the picture, (N, rows, H, W); None where the tables have one row.
    fade: how much of the painting is shown over the photo, (N,) in [0, 1]; None: all of it.
    parameters: for a layer with tables, the parameters to use in place of its tables', each (N, ...).
    statistics: for a norm, mean and variance to use in place of the picture's own, each (N, C) or (1, C).
    """

    shares: Tensor | None = None
    fade: Tensor | None = None
    parameters: Mapping[nn.Module, Sequence[Tensor]] = field(default_factory=dict)
    statistics: Mapping[nn.Module, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def padded(self, right: int, bottom: int) -> Condition:
        """The same for a picture with so many more columns and rows, which repeat its last ones."""
        if self.shares is None or self.shares.ndim == 2:
            return self
        shares = F.pad(self.shares, [0, right, 0, bottom], mode="replicate")
        return Condition(shares, self.fade, self.parameters, self.statistics)


PLAIN = Condition()
"""Of a network with one row in its tables: its norms as they are."""


class Conditioned(nn.Module):
    """A layer that depends on the condition: `forward(features, condition)`."""


class Tables(Conditioned):
    """A layer whose parameters are tables, (rows, ...): it computes with a weighted sum of their rows."""

    def mixed(self, shares: Tensor) -> list[Tensor]:
        """Its parameters for shares of the rows: (N, rows) -> (N, ...) each, in the tables' dtype."""
        with torch.autocast(shares.device.type, enabled=False):
            return [torch.tensordot(shares.to(table.dtype), table, dims=1) for table in self.parameters(recurse=False)]

    def chosen(self, count: int, condition: Condition) -> Sequence[Tensor]:
        """Its parameters for a batch of `count` pictures that have one condition all over: (N, ...) each.

        Raises:
            ValueError: several rows, and no shares of them.
        """
        if self in condition.parameters:
            return condition.parameters[self]
        if condition.shares is not None:
            return self.mixed(condition.shares)
        tables = list(self.parameters(recurse=False))
        if len(tables[0]) > 1:
            raise ValueError(f"a network of {len(tables[0])} styles needs their mix")
        return [table.expand(count, *table.shape[1:]) for table in tables]


def tables_of(network: nn.Module) -> list[Tables]:
    """The layers of a network that have tables."""
    return [module for module in network.modules() if isinstance(module, Tables)]


def table_names(network: nn.Module) -> set[str]:
    """The names of all tables among a network's parameters."""
    named = ((name, module) for name, module in network.named_modules() if isinstance(module, Tables))
    return {f"{name}.{part}" for name, module in named for part, _ in module.named_parameters(recurse=False)}


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


@dataclass(frozen=True)
class Assignment:
    """What each picture of a batch is painted in, (N,) each; None where there is no choice.

    style: the number of its style. strength, stroke: the controls, in [0, 1]. target: where its statistics, those of
    its style at its stroke's size, are in `Draw.targets`. repeated: whether it is painted a second time, for the term
    that compares the two.
    """

    style: Tensor | None = None
    strength: Tensor | None = None
    stroke: Tensor | None = None
    target: Tensor | None = None
    repeated: Tensor | None = None

    def of(self, some: Tensor) -> Assignment:
        """That of some of the pictures, by their numbers in the batch."""
        return Assignment(*(None if each is None else each[some] for each in vars(self).values()))

    def arguments(self, styles: int, device: torch.device) -> dict[str, Tensor]:
        """What a network of so many styles is called with besides the pictures."""
        given = {} if self.style is None else {"mix": F.one_hot(self.style, styles).float()}
        given |= {n: v for n, v in (("strength", self.strength), ("stroke", self.stroke)) if v is not None}
        return {name: value.to(device) for name, value in given.items()}


@dataclass(frozen=True)
class Draw:
    """Draws what each training picture is painted in. It follows from the seed and the picture's number alone.

    conditioning: the network's. styles: how many are trained, all in turn. sizes: of how many style sizes there are
    statistics, evenly spaced over the control of strokes. strength: where the control of that name stands by default.
    seed: of the controls. moving: the share of the pictures whose controls are drawn, and not at their defaults.
    """

    conditioning: Conditioning
    styles: int
    sizes: int
    strength: float
    seed: int
    moving: float

    @staticmethod
    def targets(by_size: Iterable[Sequence[T]]) -> list[T]:
        """Statistics of each style at each size, in the order that `Assignment.target` counts in."""
        return [one for sizes in by_size for one in sizes]

    def defaults(self, style: Tensor) -> Assignment:
        """The controls at their defaults, in styles by number, (N,)."""
        ones = torch.ones(len(style))
        return Assignment(
            style if self.styles > 1 else None,
            self.strength * ones if "strength" in self.conditioning.controls else None,
            0 * ones if "stroke" in self.conditioning.controls else None,
        )

    def of(self, numbers: Sequence[int]) -> Assignment:
        """What falls to pictures by their numbers in the run, on the CPU."""
        style = torch.tensor([n % self.styles for n in numbers])
        # every other picture, and every other of each style
        repeated = torch.tensor([sum(divmod(n, self.styles)) % 2 == 0 for n in numbers])
        default = self.defaults(style)
        if not self.conditioning.controls:
            return Assignment(default.style, target=default.style, repeated=repeated)
        # the first number decides whether the controls move at all, so that every style has its share of defaults
        drawn = np.stack([np.random.default_rng((self.seed, n)).random(3) for n in numbers])
        moves, at, coarse = torch.from_numpy(drawn).float().unbind(1)
        moved = moves < self.moving
        size = torch.where(moved, torch.floor(coarse * self.sizes), 0)
        # a fifth at the very end, which is learned from its neighbourhood alone otherwise
        strength = (1.25 * at).clamp(max=1)
        return Assignment(
            default.style,
            None if default.strength is None else torch.where(moved, strength, default.strength),
            None if default.stroke is None else size / max(self.sizes - 1, 1),
            style * self.sizes + size.long(),
            repeated,
        )

    def restrict_gradients(self, network: nn.Module) -> None:
        """Change the gradients of the norm tables as `moving` asks for.

        With 0, what is learned at the defaults is taken over at all other anchor positions: a start whose controls work
        keeps them, and all photos are there for what is painted most. With 1, what is painted at the defaults stays.
        """
        if self.conditioning.controls and self.moving == 0:
            self.conditioning.tie(network)
        if self.conditioning.controls and self.moving == 1:
            self.conditioning.hold(network, self.strength)


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
