"""Frames along the edges, as padding can cause them."""

from __future__ import annotations

import torch
from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check

_FRAME = 16  # pixels


def border(output: Tensor, photo: Tensor) -> Tensor:
    """How much a frame along the edges differs from the picture inside, beyond the difference in the photo.

    Frames of 4 and of 16 pixels are compared with the next 16 pixels inside: the mean of each channel in standard
    deviations of the picture, and the logarithms of the ratios of contrast and gradient. The whole middle would be a
    worse comparison, as sky is above and ground below.

    Args:
        output, photo: (N, 3, H, W) in [0, 1]; frames are a quarter of the shorter side where that is less than 16.

    Returns:
        (N,), from 0 to about 5, the largest difference: 1 for a mean that is off by a standard deviation, or a
        contrast or gradient that is off by a factor of e.
    """
    check(output, photo)
    width = min(_FRAME, min(output.shape[-2:]) // 4)
    worst = []
    for frame in (width // 4, width):
        (mean, *ratios), (photo_mean, *photo_ratios) = (_frame(image, frame, width) for image in (output, photo))
        worst.append((mean.abs().amax(dim=1) - photo_mean.abs().amax(dim=1)).clamp_min(0))
        for ratio, before in zip(ratios, photo_ratios, strict=True):
            allowed = ratio.clamp(before.clamp_max(0), before.clamp_min(0))
            worst.append((ratio - allowed).abs())
    return torch.stack(worst).amax(dim=0)


def _frame(image: Tensor, frame: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Differences of frame and inside: means in deviations (N, 3), log ratios of contrast and gradient (N,)."""
    steep = image.diff(dim=2)[..., :-1].square() + image.diff(dim=3)[..., :-1, :].square()
    means, spreads, slopes = [], [], []
    for first, last in ((0, frame), (width, 2 * width)):
        colours = image[..., _ring(image, first, last)]
        means.append(colours.mean(dim=2))
        spreads.append(colours.var(dim=2).mean(dim=1).sqrt())
        slopes.append(steep[..., _ring(steep, first, last)].mean(dim=(1, 2)).sqrt())
    whole = image.flatten(1).std(dim=1)[:, None]
    # the small constants keep invisible differences from giving large ratios
    spread, slope = (
        (frame + e).log() - (inside + e).log() for (frame, inside), e in ((spreads, 0.01), (slopes, 0.005))
    )
    return (means[0] - means[1]) / (whole + 0.01), spread, slope


def _ring(image: Tensor, first: int, last: int) -> Tensor:
    """Mask (H, W), true where the distance from the edge in pixels is in [first, last)."""
    height, width = image.shape[-2:]
    y, x = (torch.minimum(torch.arange(n), torch.arange(n).flip(0)) for n in (height, width))
    distance = torch.minimum(y[:, None], x).to(image.device)
    return (distance >= first) & (distance < last)
