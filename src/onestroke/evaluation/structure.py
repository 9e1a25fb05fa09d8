"""How much of the photo's structure is left in a painting: SSIM and self-similarity."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.errors import UserError
from onestroke.imaging.images import luminance
from onestroke.perception.vgg import VGG

_WINDOW, _SIGMA = 11, 1.5
_MOST_PLACES = 1024  # STROTSS samples as many


def check_alike(output: Tensor, photo: Tensor) -> None:
    """Raise a ValueError where two batches differ in shape, before broadcasting makes numbers of them."""
    if output.shape != photo.shape:
        raise ValueError(f"output {tuple(output.shape)} and photo {tuple(photo.shape)} must be alike in shape")


def ssim(output: Tensor, photo: Tensor) -> float:
    """Structural similarity of luminance (Wang et al., 2004): Gaussian window of 11 x 11, K1 = 0.01, K2 = 0.03.

    Luminance is Rec. 601's, of the sRGB values; only windows that lie wholly inside count, as in the paper.

    Returns:
        1 for the same picture, 0 where they have nothing in common, -1 for the negative.

    Raises:
        UserError: a side is below the window's.
        ValueError: the pictures are not alike in shape.
    """
    check_alike(output, photo)
    if min(output.shape[-2:]) < _WINDOW:
        height, width = output.shape[-2:]
        raise UserError(f"SSIM needs at least {_WINDOW} x {_WINDOW} pixels, and the picture is {width} x {height}")
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds to import

    # float64, as variances are small differences of large sums (and on the CPU, as not every device has it)
    a, b = (luminance(image.detach().cpu().double()) for image in (output, photo))
    _, by_window = structural_similarity_index_measure(a, b, sigma=_SIGMA, data_range=1.0, return_full_image=True)
    inside = _WINDOW // 2  # torchmetrics mirrors the pictures at the border, by windows that the paper leaves out
    return float(by_window[..., inside:-inside, inside:-inside].mean())


@torch.no_grad()
def self_similarity(output: Tensor, photo: Tensor, vgg: VGG, layer: str = "relu3_3") -> float:
    """How far the picture's likeness to itself has changed: what looked alike should look alike when painted.

    Cosine distances between the features of any two places, those to one place divided by their sum, as the content
    loss of STROTSS has it (Kolkin et al., 2019); from the photo to the painting they move by half their absolute
    difference. CFSD (Chung et al., CVPR 2024) compares softmaxes of inner products instead, whose size depends on
    that of the features. Features are averaged to at most 1024 places, so that pictures of all sizes compare.

    Returns:
        0 for the same picture, 1 where no two distances overlap. Direct optimisation for 60 iterations has 0.07,
        another photo 0.13, an empty picture 0.6.

    Raises:
        ValueError: the pictures are not alike in shape.
    """
    check_alike(output, photo)
    distances = [_self_distances(vgg(image, [layer])[layer].float()) for image in (output, photo)]
    return float((distances[0] - distances[1]).abs().sum(dim=1).mean() / 2)


def _self_distances(features: Tensor) -> Tensor:
    """(N, C, H, W) to (N, places, places), of which each column has the sum 1."""
    height, width = features.shape[-2:]
    scale = min(1.0, math.sqrt(_MOST_PLACES / (height * width)))
    pooled = F.adaptive_avg_pool2d(features, (max(1, int(height * scale)), max(1, int(width * scale))))
    directions = F.normalize(pooled.flatten(2), dim=1)
    distances = (1 - directions.transpose(1, 2) @ directions).clamp_min(0)
    # where all places look alike, what is left is rounding, which must not become structure
    return distances / distances.sum(dim=1, keepdim=True).clamp_min(1e-5 * distances.shape[-1])
