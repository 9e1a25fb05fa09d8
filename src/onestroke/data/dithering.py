"""Single-colour crops get a little noise, since instance norm has no usable gradient where nothing varies.

A norm divides by the standard deviation of each channel. Where that is nought it multiplies the gradient by
`1 / sqrt(eps)` = 316, and the next norm does so again, until it overflows; the batch is lost then. With noise of a few
levels, which dithering is, the first norm brings the features to their usual size, and the crop counts in its batch as
any other does. docs/ablation.md compares this with the alternatives.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FLAT = 3.0  # standard deviation in levels of 255, mean over channels, below which a crop counts as flat
LEVELS = 4  # of noise either way
_SPACED = 8  # pixels between those that are looked at first


def dithered(crop: npt.NDArray[np.uint8], number: int) -> npt.NDArray[np.uint8]:
    """A flat crop with noise of up to LEVELS levels either way; any other crop as it is.

    Args:
        crop: uint8 (H, W, 3).
        number: of the sample, which the noise follows from.
    """
    for apart in (_SPACED, 1):
        # a channel after the other, as numpy takes three times as long over triples of bytes
        some = np.ascontiguousarray(crop[::apart, ::apart].reshape(-1, 3).T, dtype=np.float32)
        # the squares of some pixels alone may be enough: all of them add up to no less
        if some.var(axis=1).mean() * some.shape[1] >= FLAT**2 * crop.shape[0] * crop.shape[1]:
            return crop
    noise = np.random.default_rng(number).integers(-LEVELS, LEVELS, crop.shape, np.int16, endpoint=True)
    noisy: npt.NDArray[np.uint8] = np.clip(crop + noise, 0, 255).astype(np.uint8)
    return noisy
