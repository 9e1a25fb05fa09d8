"""Ripples: lines that repeat like those of a fingerprint, mostly beside edges."""

from __future__ import annotations

from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check
from onestroke.perception.appearance import Appearance
from onestroke.perception.ripple_response import ripple_response

_LEAST = 0.2  # smallest response of a painting that is divided by


def ripple(output: Tensor, photo: Tensor, painting: Appearance) -> Tensor:
    """The ripple response of an output beyond its photo's, over that of the style's painting.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].
        painting: the appearance of the style's painting at the size of the output.

    Returns:
        (N,), at least 0; see `onestroke.perception.ripple_response`.
    """
    check(output, photo)
    return ripple_response(output, photo) / max(_LEAST, painting.ripple)
