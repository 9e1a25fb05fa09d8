"""Give transparent pixels the colour of visible neighbours, so that hidden colours don't affect a painting."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_VISIBLE = 16 / 255
"""From this alpha on a pixel keeps its exact colour; below, it is blended with the colour of its neighbours."""
_BLOCK = 4
_NEUTRAL = 0.5


def fill(pixels: Tensor, alpha: Tensor) -> None:
    """Replace the colour of pixels with little or no alpha by that of visible pixels near them, in place.

    So two pictures that look the same give the same results for convolutions and for statistics of colours. The colours
    come from a pyramid of block means weighted by alpha: holes in a level are filled from the next coarser level. A
    wholly transparent picture becomes middle grey.

    Args:
        pixels: (1, C, H, W), uint8, or float32 in [0, 1].
        alpha: (1, 1, H, W), of the same dtype.
    """
    levels = pixels.dtype == torch.uint8
    if float(alpha.min()) >= _VISIBLE * (255 if levels else 1):
        return
    if not bool(alpha.any()):  # there is no colour to take; _filled would give the same
        pixels.fill_(int(_NEUTRAL * 255 + 0.5) if levels else _NEUTRAL)
        return
    height, width = pixels.shape[-2:]
    coarse = _filled(*_blocks(pixels, alpha))
    rows = max(1, 2**18 // width) * _BLOCK
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        weight = _weight(alpha[..., top:bottom, :])
        if bool((weight == 1).all()):
            continue
        part = pixels[..., top:bottom, :]
        beside = _enlarged(coarse, top // _BLOCK, -(-bottom // _BLOCK))[..., : bottom - top, :width]
        if levels:
            beside = beside.mul_(255)
        mixed = beside.lerp(part.to(torch.float32), weight)
        part.copy_(torch.where(weight == 1, part, (mixed + 0.5).to(torch.uint8) if levels else mixed))


def _unit(values: Tensor) -> Tensor:
    return values.to(torch.float32).div_(255) if values.dtype == torch.uint8 else values


def _weight(alpha: Tensor) -> Tensor:
    return (_unit(alpha) / _VISIBLE).clamp_(0, 1)


def _blocks(pixels: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Means of colour times weight, and of weight, over blocks of _BLOCK x _BLOCK pixels; zero-padded at the edges."""
    height, width = pixels.shape[-2:]
    sums, weights = [], []
    rows = max(1, 2**18 // width) * _BLOCK
    for top in range(0, height, rows):
        weight = _weight(alpha[..., top : top + rows, :])
        colour = _unit(pixels[..., top : top + rows, :]) * weight
        pad = (0, -width % _BLOCK, 0, -weight.shape[-2] % _BLOCK)
        sums.append(F.avg_pool2d(F.pad(colour, pad), _BLOCK))
        weights.append(F.avg_pool2d(F.pad(weight, pad), _BLOCK))
    return torch.cat(sums, -2), torch.cat(weights, -2)


def _filled(sums: Tensor, weight: Tensor) -> Tensor:
    """Colours of blocks (1, C, h, w); blocks with no visible pixel take the colour of coarser blocks."""
    own = sums / weight.clamp_min(1e-8)
    height, width = weight.shape[-2:]
    if height == width == 1:
        return torch.where(weight > 0, own, own.new_full((), _NEUTRAL))
    pad = (0, width % 2, 0, height % 2)
    coarser = _filled(F.avg_pool2d(F.pad(sums, pad), 2), F.avg_pool2d(F.pad(weight, pad), 2))
    beside = F.interpolate(coarser, scale_factor=2.0, mode="bilinear", align_corners=False)[..., :height, :width]
    # Blocks of which less than a sixteenth is visible are blended with their neighbours.
    return beside.lerp(own, (weight * _BLOCK * _BLOCK).clamp(0, 1))


def _enlarged(coarse: Tensor, top: int, bottom: int) -> Tensor:
    """Rows `top` to `bottom` of the blocks at full size, equal to those rows of the whole enlarged at once."""
    height = coarse.shape[-2]
    rows = torch.arange(top - 1, bottom + 1).clamp_(0, height - 1)
    near = F.pad(coarse[..., rows, :], (1, 1, 0, 0), mode="replicate")
    large = F.interpolate(near, scale_factor=float(_BLOCK), mode="bilinear", align_corners=False)
    return large[..., _BLOCK:-_BLOCK, _BLOCK:-_BLOCK]
