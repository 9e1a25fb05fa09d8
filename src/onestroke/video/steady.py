"""Steady painting of a clip: strokes move along with what they were painted on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onestroke.video.flow import Motion

Paint = Callable[[np.ndarray], np.ndarray]
"""uint8 (H, W, 3), RGB, to the same."""

DEFAULT = 0.5
"""The amount that is taken where none is given."""


class Steady:
    """Paints the frames of a clip one after the other.

    Args:
        paint: paints one frame, uint8 (H, W, 3), RGB, to the same shape.
        amount: from 0, each frame is painted for itself, to 1, strokes are kept for as long as they fit.
    """

    def __init__(self, paint: Paint, amount: float = DEFAULT) -> None:
        if not 0 <= amount <= 1:
            raise ValueError(f"steady is {amount}, not from 0 to 1")
        self.paint, self.amount = paint, amount

    def __call__(self, frame: np.ndarray, motion: Motion | None) -> np.ndarray:
        """Paint the next frame.

        Args:
            frame: uint8 (H, W, 3), RGB.
            motion: from the frame before to this one; None for the first one. A cut starts painting afresh.

        Returns:
            uint8 (H, W, 3), RGB.
        """
        if motion is None or motion.cut:
            self.restart()
        return self.paint(frame)

    def restart(self) -> None:
        """Forget all frames so far."""

    def state(self) -> dict[str, np.ndarray]:
        """All that the next frame depends on; see `restore`."""
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on where `state` was taken."""
