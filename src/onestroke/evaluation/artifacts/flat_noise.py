"""Flat noise: grain that is painted where the photo is flat."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check
from onestroke.imaging.blur import gaussian_blur

_LEVEL = 1 / 255
_WINDOW, _FLAT, _SHARE = 9, 0.02, 0.02
_HIDDEN = 4 * _LEVEL  # deviation added to the detail, so that faint grain on an empty field counts little
_THREE_QUARTERS = 1.1503  # upper quartile of the absolute value of a standard normal variable


def flat_noise(output: Tensor, photo: Tensor) -> Tensor:
    """Fine grain where the photo is flat or a soft gradient, relative to all detail that is painted there.

    Grain is estimated by the filter of Immerkaer (1996), which responds to changes from pixel to pixel in both
    directions; strokes, which are wider and straight, contribute a tenth or two of their contrast. The upper quartile
    in place of his mean ignores edges of strokes and detects salt-and-pepper noise. The photo's grain is subtracted.
    Detail, the deviation from the picture smoothed by 2 pixels, masks grain, so the result is their ratio; 4 levels of
    255 are added to detail, so that faint grain on an empty field counts little.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].

    Returns:
        (N,), from 0 to 1 if all detail is white noise (up to 2.3 for a checkerboard of single pixels). White noise of
        3 levels on an empty field has 0.6, flawless paintings of networks have 0.1, real paintings at 256 pixels 0.1 to
        0.4. NaN if less than a fiftieth of the photo is flat.
    """
    check(output, photo)
    return torch.stack([_flat_noise(one, other) for one, other in zip(output, photo, strict=True)])


def _flat_noise(output: Tensor, photo: Tensor) -> Tensor:
    flat = _flat(photo[None])[0, 0]
    if flat.float().mean() < _SHARE:
        return output.new_tensor(math.nan)
    grain, own = (_grain(image[None])[0][:, flat[1:-1, 1:-1]] for image in (output, photo))
    excess = _deviation(grain).square() - _deviation(own).square()
    detail = (output[None] - gaussian_blur(output[None], 2))[0][:, flat]
    return (excess.clamp_min(0) / (detail.square().mean() + _HIDDEN**2)).sqrt()


def _flat(photo: Tensor) -> Tensor:
    """Mask (N, 1, H, W), true where no channel has a standard deviation above 5 levels of 255 in 9 x 9 pixels."""
    padded = F.pad(photo, [_WINDOW // 2] * 4, mode="reflect")
    mean = F.avg_pool2d(padded, _WINDOW, 1)
    variance = F.avg_pool2d(padded.square(), _WINDOW, 1) - mean.square()
    return variance.amax(dim=1, keepdim=True) < _FLAT**2


def _grain(image: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H - 2, W - 2): Immerkaer's filter, scaled so that white noise keeps its deviation."""
    rows = image[..., 2:, :] + image[..., :-2, :] - 2 * image[..., 1:-1, :]
    return (rows[..., 2:] + rows[..., :-2] - 2 * rows[..., 1:-1]) / 6


def _deviation(values: Tensor) -> Tensor:
    """Standard deviation of the normal distribution with the same upper quartile of absolute values."""
    flat = values.abs().flatten()  # torch.quantile accepts 16 million values at most
    return flat.kthvalue(max(1, round(0.75 * len(flat)))).values / _THREE_QUARTERS


def flat_noise_of(paint: Callable[[Tensor], Tensor], seed: int = 0) -> float:
    """Flat noise of a network without photos: the largest `flat_noise` of its paintings of synthetic pictures.

    Each is a sky, of one colour or a gradient, over a ground of coloured squares, since a completely flat picture is a
    special case for instance norm. It has the grain of a good camera, one level of 255, which should not be amplified.

    Args:
        paint: image (1, 3, H, W) in [0, 1] to image of the same shape.
        seed: of grain and ground.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return max(float(flat_noise(paint(photo), photo)) for photo in _fields(generator))


def _fields(generator: torch.Generator, side: int = 160) -> list[Tensor]:
    grey, sky, white = (0.5, 0.5, 0.5), (0.55, 0.7, 0.9), (0.93, 0.93, 0.9)
    night, skin, leaf, dusk = (0.08, 0.08, 0.15), (0.8, 0.6, 0.5), (0.3, 0.45, 0.2), (0.9, 0.6, 0.4)
    ends = [(c, c) for c in (grey, sky, white, night, skin, leaf)] + [(night, white), (dusk, sky)]
    fields = []
    for top, bottom in ends:
        first, last = (torch.tensor(colour).view(1, 3, 1, 1) for colour in (top, bottom))
        field = (first + (last - first) * torch.linspace(0, 1, side).view(1, 1, side, 1)).expand(-1, -1, -1, side)
        squares = torch.rand(1, 3, side // 32, side // 8, generator=generator)
        ground = F.interpolate(squares, scale_factor=8, mode="nearest")
        scene = torch.cat([field[:, :, : side - side // 4], ground], dim=2)
        fields.append((scene + _LEVEL * torch.randn(scene.shape, generator=generator)).clamp(0, 1))
    return fields
