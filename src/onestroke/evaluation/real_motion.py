"""The warping error of a real clip, by an optical flow that painting does not use: Farneback's."""

from __future__ import annotations

import math

import numpy as np

from onestroke.packages import require

_MARGIN = 8  # border in pixels that is left out
_APART = 1.0  # pixels by which the flow there and back may miss


class RealMotion:
    """Where each pixel of a frame was `gap` frames before, for all frames of a clip.

    A method is not judged by the flow that it follows: it would be steady even where that flow is wrong.

    Args:
        frames: uint8 (H, W, 3) each, RGB.
        gap: in frames, 1 or more.

    Raises:
        UserError: OpenCV is not installed.
    """

    def __init__(self, frames: list[np.ndarray], gap: int) -> None:
        self._cv2 = cv2 = require("cv2", "video")
        self.gap = gap
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        self._fields = [self._field(before, now) for before, now in zip(grey, grey[gap:], strict=False)]

    def _field(self, before: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x and y of the places, float32 (H, W), and where they are known."""
        cv2 = self._cv2
        back, forth = (
            cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 5, 21, 5, 7, 1.5, 0)
            for a, b in ((now, before), (before, now))
        )
        height, width = now.shape
        x = np.arange(width, dtype=np.float32) + back[..., 0]
        y = np.arange(height, dtype=np.float32)[:, None] + back[..., 1]
        there = cv2.remap(forth, x, y, cv2.INTER_LINEAR)
        known = np.square(back + there).sum(axis=2) < _APART**2
        known &= (x >= _MARGIN) & (y >= _MARGIN) & (x < width - _MARGIN) & (y < height - _MARGIN)
        known[:_MARGIN], known[-_MARGIN:], known[:, :_MARGIN], known[:, -_MARGIN:] = False, False, False, False
        return x, y, known

    def error(self, pictures: list[np.ndarray]) -> float:
        """The RMS difference, in [0, 1], between each picture and that of `gap` frames before, moved along."""
        squares, count = 0.0, 0
        for (x, y, known), before, now in zip(self._fields, pictures, pictures[self.gap :], strict=False):
            moved = self._cv2.remap(before, x, y, self._cv2.INTER_CUBIC)
            squares += float(np.square(now[known].astype(np.float64) - moved[known]).sum())
            count += 3 * int(known.sum())
        return math.sqrt(squares / count) / 255 if count else math.nan
