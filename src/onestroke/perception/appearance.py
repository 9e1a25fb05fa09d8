"""Appearance: how a painting looks without any network: its contrast, colours, calm parts, ripples and coloured lines.

The detectors of `evaluation/artifacts/` compare an output with these numbers, so that what belongs to a style is no
fault. All are in units of CIELAB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.imaging.blur import gaussian_blur
from onestroke.imaging.lab import lab
from onestroke.perception.ripple_response import ripple_response

_CALM = 0.25  # share of the picture that is called its plainest
_WINDOW = 17  # pixels
_EDGES = 0.1  # share of pixels whose gradients are called edges
_FAINT = 2.0  # units of L* per pixel: weaker gradients are none


@dataclass(frozen=True)
class Appearance:
    """Numbers of one painting at one size.

    lightness_deviation: standard deviation of L*. chroma_aa, chroma_ab, chroma_bb: covariance of a* and b*.
    plain_busyness: deviation of the detail of L* in the plainest quarter. ripple: the ripple response. fringe: the
    strength of thin coloured lines along edges.
    """

    lightness_deviation: float
    chroma_aa: float
    chroma_ab: float
    chroma_bb: float
    plain_busyness: float
    ripple: float
    fringe: float

    @property
    def chroma_deviation(self) -> float:
        """Standard deviation of colour, over both axes together."""
        return math.sqrt(self.chroma_aa + self.chroma_bb)


def appearance_of(pictures: Sequence[Tensor]) -> Appearance:
    """The appearance of a style from its pictures, (1, 3, H, W) each in [0, 1]; of several, the mean of each number."""
    each = [asdict(_of_one(picture)) for picture in pictures]
    return Appearance(**{f.name: sum(one[f.name] for one in each) / len(each) for f in fields(Appearance)})


def _of_one(picture: Tensor) -> Appearance:
    colours = lab(picture)[0].flatten(1).double()
    covariance = torch.cov(colours)
    calm = F.avg_pool2d(lightness_detail(picture).square(), _WINDOW, 4).flatten().sort().values
    calmest = calm[: max(1, int(_CALM * len(calm)))].mean().sqrt()
    edges = edge_mask(picture)[0]
    lines = coloured_lines(picture)[0][edges].mean().sqrt() if edges.any() else torch.zeros(())
    return Appearance(
        lightness_deviation=float(covariance[0, 0].sqrt()),
        chroma_aa=float(covariance[1, 1]),
        chroma_ab=float(covariance[1, 2]),
        chroma_bb=float(covariance[2, 2]),
        plain_busyness=float(calmest),
        ripple=float(ripple_response(picture)),
        fringe=float(lines),
    )


def lightness_detail(image: Tensor) -> Tensor:
    """L* minus its mean over a Gaussian of 4 pixels: (N, 3, H, W) -> (N, 1, H, W)."""
    lightness = lab(image)[:, :1]
    return lightness - gaussian_blur(lightness, 4)


def plain_mask(image: Tensor, deviation: float) -> Tensor:
    """Where L* varies by less than `deviation` in 17 x 17 pixels: (N, 3, H, W) -> bool (N, H, W)."""
    padded = F.pad(lab(image)[:, :1], [_WINDOW // 2] * 4, mode="reflect")
    mean = F.avg_pool2d(padded, _WINDOW, 1)
    variance = F.avg_pool2d(padded.square(), _WINDOW, 1) - mean.square()
    return (variance < deviation**2)[:, 0]


def edge_mask(image: Tensor) -> Tensor:
    """Two pixels around the tenth of pixels with the steepest lightness: (N, 3, H, W) -> bool (N, H, W)."""
    smooth = gaussian_blur(lab(image)[:, :1], 1)
    down, right = torch.gradient(smooth, dim=(2, 3))
    slope = torch.hypot(down, right)
    rank = max(1, round((1 - _EDGES) * slope[0].numel()))
    steep = slope.flatten(1).kthvalue(rank, dim=1).values.clamp_min(_FAINT)
    return F.max_pool2d((slope > steep.view(-1, 1, 1, 1)).float(), 5, 1, 2)[:, 0] > 0


def coloured_lines(image: Tensor) -> Tensor:
    """Squared difference of a* and b* smoothed by 1 and by 3 pixels: (N, 3, H, W) -> (N, H, W)."""
    chroma = lab(image)[:, 1:]
    return (gaussian_blur(chroma, 1) - gaussian_blur(chroma, 3)).square().sum(dim=1)
