"""How much of the photo's structure a painting keeps: SSIM and self-similarity."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.errors import UserError
from onestroke.imaging.images import luminance
from onestroke.perception.vgg import VGG

_WINDOW, _SIGMA = 11, 1.5
_MOST_PLACES = 1024  # as many as STROTSS samples


def check_alike(output: Tensor, photo: Tensor) -> None:
    """Raise a ValueError if two batches differ in shape, which broadcasting would hide."""
    if output.shape != photo.shape:
        raise ValueError(f"output {tuple(output.shape)} and photo {tuple(photo.shape)} must have the same shape")


def ssim(output: Tensor, photo: Tensor) -> float:
    """Structural similarity of luminance (Wang et al., 2004): Gaussian window of 11 x 11, K1 = 0.01, K2 = 0.03.

    Luminance is Rec. 601 of the sRGB values; only windows that are completely inside count, as in the paper.

    Returns:
        1 for equal pictures, 0 for unrelated ones, -1 for a negative.

    Raises:
        UserError: a side is below the window's.
        ValueError: the pictures are not alike in shape.
    """
    check_alike(output, photo)
    if min(output.shape[-2:]) < _WINDOW:
        height, width = output.shape[-2:]
        raise UserError(f"SSIM needs at least {_WINDOW} x {_WINDOW} pixels, and the picture is {width} x {height}")
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds to import

    # float64, as variances are small differences of large sums; on the CPU, as not every device has float64
    a, b = (luminance(image.detach().cpu().double()) for image in (output, photo))
    _, by_window = structural_similarity_index_measure(a, b, sigma=_SIGMA, data_range=1.0, return_full_image=True)
    inside = _WINDOW // 2  # torchmetrics adds windows across the border, which the paper leaves out
    return float(by_window[..., inside:-inside, inside:-inside].mean())


@torch.no_grad()
def self_similarity(output: Tensor, photo: Tensor, vgg: VGG, layer: str = "relu3_3") -> float:
    """Change of a picture's self-similarity: parts that look alike in the photo should look alike in the painting.

    It compares cosine distances between the features of all pairs of positions, normalised to sum 1 for each position,
    as in the content loss of STROTSS (Kolkin et al., 2019); the result is half their absolute difference. CFSD (Chung
    et al., CVPR 2024) compares softmaxes of inner products instead, which depend on the scale of the features. Features
    are averaged to at most 1024 positions, so that results for pictures of different sizes are comparable.

    Returns:
        0 for equal pictures to 1 for distances that don't overlap. Direct optimisation for 60 iterations has 0.07,
        another photo 0.13, an empty picture 0.6.

    Raises:
        ValueError: the pictures are not alike in shape.
    """
    check_alike(output, photo)
    distances = [_self_distances(vgg(image, [layer])[layer].float()) for image in (output, photo)]
    return float((distances[0] - distances[1]).abs().sum(dim=1).mean() / 2)


def _self_distances(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, positions, positions); each column sums to 1."""
    height, width = features.shape[-2:]
    scale = min(1.0, math.sqrt(_MOST_PLACES / (height * width)))
    pooled = F.adaptive_avg_pool2d(features, (max(1, int(height * scale)), max(1, int(width * scale))))
    directions = F.normalize(pooled.flatten(2), dim=1)
    distances = (1 - directions.transpose(1, 2) @ directions).clamp_min(0)
    # if all positions look alike, only rounding errors are left, which must not be scaled up
    return distances / distances.sum(dim=1, keepdim=True).clamp_min(1e-5 * distances.shape[-1])
