"""Find out by experiment how far a network looks, and at which offsets its painting moves along with the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.graphs.tracing import padding
from onestroke.inference.norm_statistics import GivenNorms, Statistics

CELL = 64
"""Tiles begin at multiples of this many pixels, and norm statistics are summed over squares of this side."""
_ACROSS = 64  # height of the strips in which reach is measured, unless the network's smallest side is larger
_LONGEST = 4096  # of these strips; a network that looks further is taken for one that looks everywhere
_SHORTEST = 4 * CELL  # length of what is painted at once
_SAME = 1e-4  # of values in [0, 1]: no visible difference, and far more than rounding


@dataclass(frozen=True)
class ReceptiveField:
    """What it takes to paint a picture in tiles.

    multiple, smallest: the picture is padded to sides that are multiples of the one and at least the other. step:
    offsets at which a part of a picture is painted as in the whole. overlap: pixels around a tile on which its painting
    depends, a multiple of `step`. scales: of each norm, the size of its features by that of the picture.
    """

    multiple: int
    smallest: int
    step: int
    overlap: int
    scales: tuple[Fraction, ...]

    def padded(self, side: int) -> int:
        """The length of a side after padding."""
        return max(self.smallest, -(-side // self.multiple) * self.multiple)

    def around(self, begin: int, end: int, side: int, tile: int) -> tuple[int, int]:
        """Begin and end of what is painted for a part from `begin` to `end` of a padded side, in tiles of `tile`.

        All have one length, where the side has it, and none is short: convolutions of small pictures are computed in
        another order, and rounded otherwise.
        """
        length = max(tile + 2 * self.overlap, _SHORTEST, -(-self.smallest // self.step) * self.step)
        first = max(0, min(begin - self.overlap, (side - length) // self.step * self.step))
        return first, min(side, max(first + length, end + self.overlap))


def receptive_field(network: nn.Module, device: torch.device, inputs: int = 3) -> ReceptiveField:
    """Measure a network in eval mode on a device, which takes float (N, inputs, H, W), and returns (N, 3, H, W).

    Raises:
        UserError: the network can't be painted in tiles, and why.
    """
    on_cpu = next(network.parameters(), torch.empty(0)).device
    multiple, smallest = padding(network.to("cpu"), inputs)
    network.to(on_cpu)
    multiple = min(multiple, CELL)  # no padding changes what a network that does nothing paints; others are checked
    probe = _Probe(network, device, max(_ACROSS, -(-smallest // CELL) * CELL), inputs)
    reach = probe.reach()
    step = probe.step(reach, multiple)
    field = ReceptiveField(multiple, smallest, step, -(-reach // step) * step, probe.scales)
    probe.check(field)
    return field


class _Probe:
    """Runs a network on made-up strips, with the norm statistics of one of them.

    across: height of the strips in pixels. inputs: channels that the network takes.
    """

    def __init__(self, network: nn.Module, device: torch.device, across: int, inputs: int) -> None:
        self.network, self.device, self.across, self.inputs = network, device, across, inputs
        self.name = type(network).__name__
        self.statistics, self.scales = self._norms(across, 2 * across)
        if self._norms(2 * across, across + CELL)[1] != self.scales or any(not s or CELL * s % 1 for s in self.scales):
            raise UserError(
                f"{self.name} normalises features of other sizes than a half, a quarter and so on of the picture, so "
                "it can't paint in tiles: take a style of another network, or a smaller max_side"
            )

    def _norms(self, height: int, width: int) -> tuple[list[Statistics], tuple[Fraction, ...]]:
        with torch.inference_mode(), GivenNorms() as norms:
            self.network(self._picture(height, width))
        scales = [(Fraction(h, height), Fraction(w, width)) for h, w in norms.sizes]
        return norms.own, tuple(high if high == wide else Fraction(0, 1) for high, wide in scales)

    def _picture(self, height: int, width: int) -> Tensor:
        picture = torch.rand(1, self.inputs, height, width, generator=torch.Generator().manual_seed(0))
        return picture.to(self.device, memory_format=torch.channels_last)

    def _paint(self, picture: Tensor) -> Tensor:
        with torch.inference_mode(), GivenNorms(self.statistics):
            painted: Tensor = self.network(picture.contiguous(memory_format=torch.channels_last))
        return painted

    def reach(self) -> int:
        """How many pixels beyond an edge at a multiple of CELL the painting still depends on those behind it.

        Pixels behind the edge are not a number, which whatever is computed from them then isn't either.
        """
        length = 4 * CELL
        while length <= _LONGEST:
            half = length // 2
            found = 0
            for lying in (False, True):
                for behind in (slice(None, half), slice(half, None)):
                    picture = self._picture(*((self.across, length) if lying else (length, self.across)))
                    (picture if lying else picture.mT)[..., behind] = math.nan
                    unknown = self._paint(picture).isnan().any(1)[0].any(0 if lying else 1)
                    inside = unknown[half:] if behind.stop else unknown[:half].flip(0)
                    found = max(found, int(inside.nonzero().max()) + 1 if inside.any() else 0)
            if found < half:
                return found
            length *= 2
        raise UserError(
            f"{self.name} looks at the whole picture at once, so it can't paint in tiles: take a style of another "
            "network, or a smaller max_side"
        )

    def step(self, reach: int, multiple: int) -> int:
        """The smallest offset at which the painting of a part is that of the whole."""
        side = -(-(2 * reach + 3 * CELL) // CELL) * CELL
        picture = self._picture(self.across + CELL, side)
        whole = self._paint(picture)
        offset = multiple
        while offset <= CELL:
            part = self._paint(picture[..., offset:])
            inside = slice(reach, side - offset - reach)
            if float((part[..., inside] - whole[..., offset:][..., inside]).abs().max()) < _SAME:
                turned = picture.mT
                both = self._paint(turned)[:, :, offset:] - self._paint(turned[:, :, offset:])
                if float(both[:, :, inside].abs().max()) < _SAME:
                    return offset
            offset *= 2
        raise UserError(
            f"{self.name} paints parts of a picture otherwise than the whole, so it can't paint in tiles: take a style "
            "of another network, or a smaller max_side"
        )

    def check(self, field: ReceptiveField) -> None:
        """Paint a picture of an odd size in one piece and in tiles; raises a UserError if they differ."""
        height, width = CELL + 2 * field.multiple - 1, _SHORTEST + 2 * CELL + field.overlap + 1
        picture = self._picture(height, width)
        whole = self._paint(picture)
        sides = field.padded(height), field.padded(width)
        missing = [0, sides[1] - width, 0, sides[0] - height]
        padded = torch.nn.functional.pad(picture, missing, mode="replicate")
        for top in range(0, height, CELL):
            for left in range(0, width, CELL):
                a, b = field.around(top, top + CELL, sides[0], CELL)
                c, d = field.around(left, left + CELL, sides[1], CELL)
                tile = self._paint(padded[:, :, a:b, c:d])[:, :, top - a :, left - c :][:, :, :CELL, :CELL]
                wanted = whole[:, :, top : top + CELL, left : left + CELL]
                if not float((tile[:, :, : wanted.shape[2], : wanted.shape[3]] - wanted).abs().max()) < _SAME:
                    raise UserError(
                        f"{self.name} paints tiles otherwise than the whole picture, so it can't paint in tiles: take "
                        "a style of another network, or a smaller max_side"
                    )
