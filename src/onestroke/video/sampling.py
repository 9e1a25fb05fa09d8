"""Sample a picture where the motion to the next frame says that each pixel was.

Linear interpolation blurs between pixels. Cubic splines don't, and take OpenCV six times as long. A linear and a cubic
spline through the same pixels differ by what the second differences of the picture are there, so those of its luma are
kept as a fourth channel, sampled with it, and subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onestroke.packages import require

_SHARPEN = 1.0  # of the second differences; 0.5, along each axis by itself, would be Catmull and Rom's spline
_ZERO, _UNIT = 128, 2  # as bytes: the value that stands for 0, and levels by unit


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


def with_curvature(cv2: Any, picture: np.ndarray) -> np.ndarray:
    """A picture, uint8 or float32 (H, W, 3), with the second differences of its luma: the same type, (H, W, 4)."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if picture.dtype == np.uint8:
        differences = cv2.Laplacian(luma, cv2.CV_16S, scale=1 / _UNIT, delta=_ZERO, borderType=cv2.BORDER_REPLICATE)
        return _four(cv2, picture, np.clip(differences, 0, 255).astype(np.uint8))
    return _four(cv2, picture, cv2.Laplacian(luma, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE))


def sharply(cv2: Any, picture: np.ndarray, at: Sequence[np.ndarray], between: Sequence[np.ndarray]) -> np.ndarray:
    """A picture `with_curvature` at some places, as sharp between pixels as on them.

    Args:
        picture: (H, W, 4).
        at: x and y of the places in it, float32 (h, w) each; beyond its edges these are repeated.
        between: numbers that differ from those by whole pixels.

    Returns:
        (h, w, 3), of the picture's type.
    """
    sampled = cv2.remap(picture, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    differences = cv2.extractChannel(sampled, 3)
    if picture.dtype == np.uint8:
        differences = (differences.astype(np.float32) - _ZERO) * np.float32(_UNIT)
    x, y = (each - np.floor(each) for each in between)
    differences *= (x - x * x + y - y * y) * np.float32(_SHARPEN / 2)
    colours, depth = cv2.cvtColor(sampled, cv2.COLOR_RGBA2RGB), (cv2.CV_8U if picture.dtype == np.uint8 else -1)
    found: np.ndarray = cv2.subtract(colours, cv2.cvtColor(differences, cv2.COLOR_GRAY2RGB), dtype=depth)
    return found


def _four(cv2: Any, colours: np.ndarray, fourth: np.ndarray) -> np.ndarray:
    four: np.ndarray = cv2.cvtColor(colours, cv2.COLOR_RGB2RGBA)
    cv2.insertChannel(fourth, four, 3)
    return four
