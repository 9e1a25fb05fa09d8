"""Motion between two frames of a clip: optical flow, where it can be trusted, and whether a cut lies between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onestroke.packages import require


@dataclass(frozen=True)
class Motion:
    """The motion from a frame, `before`, to the next, `now`.

    back: float32 (H, W, 2), for each pixel of `now` its offset to where it was in `before`, x and y in pixels.
    trust: float32 (H, W) in [0, 1], how well the flow forwards and backwards agree; 0 where a pixel was hidden before.
    cut: whether a cut lies between the two; `back` then means nothing.
    """

    back: np.ndarray
    trust: np.ndarray
    cut: bool


def motion(before: np.ndarray, now: np.ndarray) -> Motion:
    """Estimate the motion between two frames of the same size; may run in several threads at once.

    Args:
        before, now: uint8 (H, W, 3), RGB.

    Raises:
        UserError: OpenCV is not installed.
    """
    cv2 = require("cv2", "video")
    height, width = now.shape[:2]
    small = max(8, (width + 1) // 2), max(8, (height + 1) // 2)
    grey = [cv2.cvtColor(cv2.resize(f, small, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for f in (before, now)]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back = dis.calc(grey[1], grey[0], None)
    forth = dis.calc(grey[0], grey[1], None)
    there = _moved(cv2, forth, back)
    gap = np.square(back + there).sum(axis=2)
    limit = 0.01 * (np.square(back).sum(axis=2) + np.square(there).sum(axis=2)) + 0.25
    trust = (gap < limit).astype(np.float32)
    scale = np.array([width / small[0], height / small[1]], np.float32)
    back = cv2.resize(back, (width, height), interpolation=cv2.INTER_LINEAR) * scale
    return Motion(back, cv2.resize(trust, (width, height), interpolation=cv2.INTER_LINEAR), bool(trust.mean() < 0.1))


def _moved(cv2: Any, field: np.ndarray, back: np.ndarray) -> np.ndarray:
    """`field` at the places that `back` points to; (H, W, C) or (H, W)."""
    height, width = back.shape[:2]
    x = np.arange(width, dtype=np.float32) + back[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + back[..., 1]
    moved: np.ndarray = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved
