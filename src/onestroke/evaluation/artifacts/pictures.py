"""The check of the detectors' inputs: a batch of paintings and their photos."""

from __future__ import annotations

from torch import Tensor

from onestroke.errors import UserError

SMALLEST = 32
"""Shortest side in pixels that detectors accept."""


def check(output: Tensor, photo: Tensor) -> None:
    """Check that paintings and photos are (N, 3, H, W) of the same shape.

    Raises:
        UserError: a side is below SMALLEST.
        ValueError: the shapes differ or are not (N, 3, H, W).
    """
    if output.ndim != 4 or output.shape[1] != 3 or output.shape != photo.shape:
        raise ValueError(
            f"output and photo must have the same shape, (N, 3, H, W), not {tuple(output.shape)} and "
            f"{tuple(photo.shape)}"
        )
    height, width = output.shape[-2:]
    if min(height, width) < SMALLEST:
        raise UserError(
            f"artefacts need at least {SMALLEST} x {SMALLEST} pixels, and the picture is {width} x {height}"
        )
