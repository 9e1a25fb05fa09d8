"""Average each frame of a clip with those before along the motion, so that noise changes no strokes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onestroke.packages import require
from onestroke.video.flow import Motion
from onestroke.video.sampling import sharply, with_curvature

_AVERAGED = 6.0  # frames over which the input is averaged, in addition to the present one, at amount 1
_NOISE = 8.0  # levels by which averaged frames may differ


@dataclass(frozen=True)
class Averaged:
    """A frame averaged with those before.

    frame: uint8 (H, W, 3), RGB. motion: from the frame before; None where averaging starts afresh. average: float32
    (H, W, 3), in levels. clean: the same, rounded to uint8.
    """

    frame: np.ndarray
    motion: Motion | None
    average: np.ndarray
    clean: np.ndarray


class Averaging:
    """Averages the frames of a clip one after the other.

    Args:
        amount: from 0, where each frame stays as it is, to 1.

    Raises:
        UserError: OpenCV is not installed, and amount is not 0.
    """

    def __init__(self, amount: float) -> None:
        self._cv2: Any = require("cv2", "video") if amount else None
        self._share = np.float32(_AVERAGED * amount / (1 + _AVERAGED * amount))
        self.latest: np.ndarray | None = None
        """The latest average; None, as at the start, to begin afresh."""

    def __call__(self, frame: np.ndarray, motion: Motion | None) -> Averaged:
        """Average the next frame.

        Args:
            frame: uint8 (H, W, 3), RGB.
            motion: from the frame before to this one; None for the first one. A cut starts afresh.
        """
        if not self._share:
            return Averaged(frame, None, frame, frame)
        before = self.latest
        if motion is None or motion.cut or before is None or before.shape != frame.shape:
            self.latest = frame.astype(np.float32)
            return Averaged(frame, None, self.latest, frame)
        self.latest = self._with(before, frame, motion)
        return Averaged(frame, motion, self.latest, self._cv2.convertScaleAbs(self.latest))

    def _with(self, before: np.ndarray, frame: np.ndarray, motion: Motion) -> np.ndarray:
        """The average of the frame with those before, where they show the same."""
        cv2 = self._cv2
        present = frame.astype(np.float32)
        gap = sharply(cv2, with_curvature(cv2, before), motion.places, motion.places)
        gap -= present
        square = cv2.blur(mean_square(cv2, gap), (5, 5))
        share = cv2.exp(square * np.float32(-0.5 / _NOISE**2)) * motion.trust
        gap *= cv2.merge([share * self._share] * 3)
        gap += present
        average: np.ndarray = np.clip(gap, 0, 255, out=gap)
        return average


def mean_square(cv2: Any, gap: np.ndarray) -> np.ndarray:
    """The mean of the squares of three channels, float32 (H, W)."""
    found: np.ndarray = cv2.transform(cv2.multiply(gap, gap), np.full((1, 3), 1 / 3, np.float32))
    return found
