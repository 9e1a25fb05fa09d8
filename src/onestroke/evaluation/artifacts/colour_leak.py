"""Colour leak: the photo's colours that show through in a painting."""

from __future__ import annotations

import torch
from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check
from onestroke.imaging.blur import gaussian_blur
from onestroke.imaging.lab import lab

_SMOOTH, _STEP = 6.0, 4  # pixels: strokes are below this size
_FAINT = 1.0  # variance of chroma that is added, for a painting without colour


def colour_leak(output: Tensor, photo: Tensor) -> Tensor:
    """Share of the variance of an output's chroma that the photo's chroma explains (an increment of R squared).

    Chroma, a* and b* of CIELAB, is smoothed by 6 pixels and fitted by least squares. What the photo's lightness and its
    square explain is not counted, as a palette from dark blue to light yellow is no leak, even though skies are light
    and blue. A palette that is turned as a whole is one: if blue always becomes green, the photo's colours are seen.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].

    Returns:
        (N,), from 0 to 1: near 1 for a photo whose lightness tells nothing of its colours.
    """
    check(output, photo)
    found = []
    for painted, taken in zip(_smooth(output), _smooth(photo), strict=True):
        chroma, lightness = painted[:, 1:], taken[:, :1]
        without = torch.cat([torch.ones_like(lightness), lightness, lightness.square()], dim=1)
        left = _unexplained(chroma, without) - _unexplained(chroma, torch.cat([without, taken[:, 1:]], dim=1))
        total = (chroma - chroma.mean(dim=0)).square().sum() + _FAINT * len(chroma)
        found.append((left / total).clamp(0, 1))
    return torch.stack(found).to(output.dtype)


def _smooth(image: Tensor) -> Tensor:
    """(N, 3, H, W) -> smooth CIELAB at every fourth pixel, (N, places, 3), fp64."""
    smooth = gaussian_blur(lab(image), _SMOOTH)[..., ::_STEP, ::_STEP]
    return smooth.flatten(2).transpose(1, 2).double()


def _unexplained(values: Tensor, design: Tensor) -> Tensor:
    """Squares that a least squares fit leaves: values (places, 2), design (places, columns)."""
    scaled = design / design.square().mean(dim=0).sqrt().clamp_min(1e-6)
    # columns may be constant or alike, so a small ridge keeps the fit defined
    products = scaled.T @ scaled + 1e-8 * len(scaled) * torch.eye(scaled.shape[1], dtype=scaled.dtype)
    left: Tensor = values - scaled @ torch.linalg.solve(products, scaled.T @ values)
    return left.square().sum()
