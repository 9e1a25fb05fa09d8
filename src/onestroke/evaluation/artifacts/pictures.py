"""What detectors may be given: batches of paintings with their photos."""

from __future__ import annotations

from torch import Tensor

from onestroke.errors import UserError

SMALLEST = 32
"""Shortest side in pixels that can be judged."""


def check(output: Tensor, photo: Tensor) -> None:
    """Refuse what is no batch of paintings with their photos.

    Raises:
        UserError: a side is below SMALLEST.
        ValueError: the shapes are others than (N, 3, H, W), or differ.
    """
    if output.ndim != 4 or output.shape[1] != 3 or output.shape != photo.shape:
        raise ValueError(
            f"output and photo must be alike in shape, (N, 3, H, W), not {tuple(output.shape)} and {tuple(photo.shape)}"
        )
    height, width = output.shape[-2:]
    if min(height, width) < SMALLEST:
        raise UserError(
            f"artefacts need at least {SMALLEST} x {SMALLEST} pixels, and the picture is {width} x {height}"
        )
