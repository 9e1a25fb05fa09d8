"""The Gaussian blur of pictures and masks as tensors. (Made-up scenes are drawn with Pillow, and blurred by it.)"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(image: Tensor, sigma: float, border: Literal["reflect", "replicate"] = "reflect") -> Tensor:
    """Blur by a Gaussian that is cut off at three standard deviations.

    Args:
        image: (N, C, H, W) of any floats; for `reflect`, H and W are above three sigma.
        sigma: the standard deviation in pixels, above 0.
        border: what lies beyond the picture: `reflect` mirrors it, `replicate` repeats its outermost pixels.

    Returns:
        The same shape, dtype and device.
    """
    reach = max(1, round(3 * sigma))
    places = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-places.square() / (2 * sigma**2))
    weights = weights / weights.sum()
    planes = F.pad(image.reshape(-1, 1, *image.shape[-2:]), [reach] * 4, mode=border)
    return F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1)).reshape(image.shape)
