"""Add a little noise to single-colour crops, whose gradients would overflow in instance norms.

An instance norm divides by the standard deviation of each channel. If that is 0, the gradient is multiplied by
`1 / sqrt(eps)` = 316 in every norm until it overflows, and the batch is lost. With noise of a few levels (dithering),
the first norm scales the features to their usual size. docs/ablation.md compares this with alternatives.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FLAT = 3.0  # a crop is flat if its variance, averaged over channels, is below the square of this; in levels of 255
LEVELS = 4  # amplitude of the noise
_SPACED = 8  # every 8th pixel of every 8th row is checked first


def dithered(crop: npt.NDArray[np.uint8], number: int) -> npt.NDArray[np.uint8]:
    """Add uniform noise from -LEVELS to LEVELS to a flat crop; other crops are returned unchanged.

    Args:
        crop: uint8 (H, W, 3).
        number: of the sample; seeds the noise.

    Returns:
        uint8 (H, W, 3).
    """
    for apart in (_SPACED, 1):
        # channels first, since numpy is three times as slow on interleaved channels
        some = np.ascontiguousarray(crop[::apart, ::apart].reshape(-1, 3).T, dtype=np.float32)
        # the sum of squared deviations over a subset is a lower bound of that over all pixels
        if some.var(axis=1).mean() * some.shape[1] >= FLAT**2 * crop.shape[0] * crop.shape[1]:
            return crop
    noise = np.random.default_rng(number).integers(-LEVELS, LEVELS, crop.shape, np.int16, endpoint=True)
    noisy: npt.NDArray[np.uint8] = np.clip(crop + noise, 0, 255).astype(np.uint8)
    return noisy
