"""Gaussian blur of pictures and masks as tensors. (Made-up scenes are drawn and blurred with Pillow.)"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(image: Tensor, sigma: float, border: Literal["reflect", "replicate"] = "reflect") -> Tensor:
    """Blur with a Gaussian that is truncated at three standard deviations.

    Args:
        image: float (N, C, H, W) in any range; for `reflect`, H and W must exceed 3 * sigma.
        sigma: the standard deviation in pixels, above 0.
        border: the padding: `reflect` mirrors the picture, `replicate` repeats its outermost pixels.

    Returns:
        The blurred image: same shape, dtype and device.
    """
    reach = max(1, round(3 * sigma))
    places = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-places.square() / (2 * sigma**2))
    weights = weights / weights.sum()
    planes = F.pad(image.reshape(-1, 1, *image.shape[-2:]), [reach] * 4, mode=border)
    return F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1)).reshape(image.shape)
