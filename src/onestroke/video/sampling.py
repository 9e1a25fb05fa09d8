"""Sample a picture where the motion to the next frame says that each pixel was."""

from __future__ import annotations

from typing import Any

import numpy as np

from onestroke.packages import require


def places(back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y that `back`, (H, W, 2), points to, in pixels; float32 (H, W) each."""
    height, width = back.shape[:2]
    x = np.arange(width, dtype=np.float32) + back[..., 0]
    return x, np.arange(height, dtype=np.float32)[:, None] + back[..., 1]


def moved(picture: np.ndarray, back: np.ndarray, bicubic: bool = False) -> np.ndarray:
    """A picture, (H, W) or (H, W, C), at the places that `back`, (H, W, 2), points to; edges are repeated.

    OpenCV's bicubic kernel keeps details, and displaces what it samples by up to 0.04 pixels; its linear one doesn't.

    Raises:
        UserError: OpenCV is not installed.
    """
    cv2 = require("cv2", "video")
    kernel = cv2.INTER_CUBIC if bicubic else cv2.INTER_LINEAR
    sampled: np.ndarray = cv2.remap(picture, *places(back), kernel, borderMode=cv2.BORDER_REPLICATE)
    return sampled


def squared(cv2: Any, vectors: np.ndarray) -> np.ndarray:
    """The squared lengths of vectors, (H, W, 2), as (H, W)."""
    x, y = cv2.split(vectors)
    lengths: np.ndarray = x * x + y * y
    return lengths
