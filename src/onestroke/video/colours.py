"""How the colours of a clip are coded, and conversions to and from RGB that heed it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

# numbers of ITU-T H.273, which all containers use
UNKNOWN = 2
BT709, BT601, RGB = 1, 6, 0
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_PQ, _HLG = 16, 18
_LIMITED, _FULL = 1, 2

_WHITE = 203.0
"""Candela per square metre of diffuse white in HDR (ITU-R BT.2408)."""
_KNEE = 0.75  # share of diffuse white from which highlights are compressed
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


@dataclass(frozen=True)
class Colours:
    """The coding of a clip's colours, in the numbers of ITU-T H.273.

    matrix, primaries, transfer: 2 where the file doesn't say. limited: whether luma is 16 to 235 of 255.
    """

    matrix: int = UNKNOWN
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN
    limited: bool = True

    @property
    def hdr(self) -> bool:
        """Whether it is coded by PQ or HLG, and so has to be mapped to a display's range before it is painted."""
        return self.transfer in (_PQ, _HLG)

    @property
    def matrix_name(self) -> str:
        """FFmpeg's name of the matrix."""
        return _MATRICES.get(self.matrix, "bt709")

    @property
    def range_name(self) -> str:
        """FFmpeg's name of the range."""
        return "limited" if self.limited else "full"

    @property
    def range_code(self) -> int:
        """FFmpeg's number of the range."""
        return _LIMITED if self.limited else _FULL

    def settled(self, height: int) -> Colours:
        """These colours with an unknown matrix replaced by what players assume: BT.601 below 720 lines, else BT.709."""
        if self.matrix in _MATRICES:
            return self
        return replace(self, matrix=BT709 if height >= 720 else BT601)

    def written(self, height: int) -> Colours:
        """The colours of the painted clip: those of the clip, or BT.709 where it was RGB or HDR."""
        if self.hdr or self.matrix == RGB:
            return Colours(BT709, BT709, BT709)
        return self.settled(height)


UNTAGGED = Colours()
"""Of a file that says nothing."""


def standard_range(levels: np.ndarray, colours: Colours) -> np.ndarray:
    """Map an HDR frame to BT.709: diffuse white becomes white, highlights above it are compressed.

    Brightness is mapped by the largest of R, G and B, so that hues stay.

    Args:
        levels: uint16 (H, W, 3), RGB as coded, full range.
        colours: of the clip, whose transfer is PQ or HLG.

    Returns:
        uint8 (H, W, 3).
    """
    light = _linear(colours.transfer)[levels >> 4]  # 12 bits of levels are enough for a table
    if colours.primaries in (9, UNKNOWN):
        light = np.clip(light @ _BT2020_TO_BT709.T, 0, None)
    brightest = light.max(axis=2, keepdims=True)
    light *= _compressed(brightest) / np.maximum(brightest, 1e-6)
    coded = np.where(light < 0.018, 4.5 * light, 1.099 * np.power(np.maximum(light, 1e-9), 0.45) - 0.099)
    return np.asarray(np.clip(coded * 255 + 0.5, 0, 255).astype(np.uint8))


def _compressed(light: np.ndarray) -> np.ndarray:
    """The identity up to the knee, and from there a curve of the same slope that approaches 1."""
    over = np.maximum(light - _KNEE, 0)
    room = 1 - _KNEE
    compressed: np.ndarray = np.minimum(light, _KNEE) + room * over / (over + room)
    return compressed


@cache
def _linear(transfer: int) -> np.ndarray:
    """Light of each of 4096 levels, 1 for diffuse white: the inverse of SMPTE ST 2084 (PQ) or of ARIB STD-B67 (HLG)."""
    coded = np.linspace(0, 1, 4096)
    if transfer == _PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = coded ** (1 / m2)
        light = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / _WHITE
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
        light = scene**1.2 * 1000 / _WHITE  # the display's gamma at 1000 candela per square metre
    return light.astype(np.float32)
