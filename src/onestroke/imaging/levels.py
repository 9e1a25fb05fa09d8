"""Pixels as levels of 255, rounded: what files, frames and browsers hold."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def levels_of(planes: Tensor) -> np.ndarray:
    """Planes, uint8 (C, H, W), or float of any range, clamped to [0, 1], as pixels: uint8 (H, W, C), on the CPU."""
    levels = planes if planes.dtype == torch.uint8 else (planes.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()
