"""What can't be seen must not matter: colours under alpha, and their place in sums over neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SEEN = 16 / 255
"""From this alpha on a pixel keeps its colour to the bit; below it goes over to that of its neighbours."""
_BLOCK = 4
_NEUTRAL = 0.5


def fill(pixels: Tensor, alpha: Tensor) -> None:
    """Give what can't be seen, or hardly, the colour of what is visible beside it, in place.

    So any two pictures that look the same are the same for whatever looks at neighbours or sums up colours. Means of
    ever larger squares, each weighted by what can be seen, fill the holes of the next finer ones. What is wholly
    transparent becomes middle grey.

    Args:
        pixels: (1, C, H, W), uint8 or float32 in [0, 1].
        alpha: (1, 1, H, W), of the same dtype.
    """
    levels = pixels.dtype == torch.uint8
    if float(alpha.min()) >= _SEEN * (255 if levels else 1):
        return
    if not bool(alpha.any()):  # nothing to take a colour from, so what _filled comes down to
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
    return (_unit(alpha) / _SEEN).clamp_(0, 1)


def _blocks(pixels: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Colour times weight, and weight, as means of blocks of _BLOCK x _BLOCK, beyond the edges nothing."""
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
    """The colours of blocks, those without any taken from coarser ones."""
    own = sums / weight.clamp_min(1e-8)
    height, width = weight.shape[-2:]
    if height == width == 1:
        return torch.where(weight > 0, own, own.new_full((), _NEUTRAL))
    pad = (0, width % 2, 0, height % 2)
    coarser = _filled(F.avg_pool2d(F.pad(sums, pad), 2), F.avg_pool2d(F.pad(weight, pad), 2))
    beside = F.interpolate(coarser, scale_factor=2.0, mode="bilinear", align_corners=False)[..., :height, :width]
    # A block of which a sixteenth is visible is known; those with less go over to their neighbours.
    return beside.lerp(own, (weight * _BLOCK * _BLOCK).clamp(0, 1))


def _enlarged(coarse: Tensor, top: int, bottom: int) -> Tensor:
    """The rows of blocks from `top` to `bottom` at full size, as though the whole had been enlarged at once."""
    height = coarse.shape[-2]
    rows = torch.arange(top - 1, bottom + 1).clamp_(0, height - 1)
    near = F.pad(coarse[..., rows, :], (1, 1, 0, 0), mode="replicate")
    large = F.interpolate(near, scale_factor=float(_BLOCK), mode="bilinear", align_corners=False)
    return large[..., _BLOCK:-_BLOCK, _BLOCK:-_BLOCK]
