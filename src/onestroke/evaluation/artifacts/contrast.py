"""Contrast: how much of the painting's range of lightness and of colour an output has."""

from __future__ import annotations

from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check
from onestroke.imaging.lab import lab
from onestroke.perception.appearance import Appearance

_FAINT = 1.0  # units of CIELAB, so that a painting of one colour has a ratio too


def contrast(output: Tensor, photo: Tensor, painting: Appearance) -> tuple[Tensor, Tensor]:
    """Standard deviations of lightness and of colour (CIELAB), each over that of the painting.

    Args:
        output, photo: (N, 3, H, W) in [0, 1]; the photo is not used.
        painting: the appearance of the style's painting.

    Returns:
        (N,) each: 1 is the painting's contrast, 0 a flat field.
    """
    check(output, photo)
    lightness, *chroma = lab(output).flatten(2).var(dim=2).unbind(dim=1)
    deviations = lightness.sqrt(), sum(chroma).sqrt()  # type: ignore[union-attr]
    own = painting.lightness_deviation, painting.chroma_deviation
    ratios = [(found + _FAINT) / (expected + _FAINT) for found, expected in zip(deviations, own, strict=True)]
    return ratios[0], ratios[1]


def contrast_loss(output: Tensor, photo: Tensor, painting: Appearance) -> Tensor:
    """The share of the painting's deviation of lightness that an output lacks, (N,), from 0 to 1; milky blacks."""
    return (1 - contrast(output, photo, painting)[0]).clamp_min(0)
