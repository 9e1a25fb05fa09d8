"""Area blobs: large patches of a foreign colour on parts of the photo that are plain."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check
from onestroke.imaging.blur import gaussian_blur
from onestroke.imaging.lab import lab
from onestroke.perception.appearance import Appearance, plain_mask

_SMOOTH = 6.0  # pixels
_DEVIATION = 4.0  # units of L*, for a photo to be called plain
_SHARE = 0.02
_FAINT = 25.0  # variance of chroma, added to the painting's
_UPPER = 0.98  # quantile of the plain pixels, so that a patch of a fiftieth of them counts


def area_blobs(output: Tensor, photo: Tensor, painting: Appearance) -> Tensor:
    """Distance of the most foreign colour on plain parts of the photo from the colour that most of them have.

    Droplets of instance norm may be as large as a face. `blobs`, which looks for round spots of up to 20 pixels, misses
    them. Chroma (CIELAB) is smoothed by 6 pixels; its distance from the median of all plain parts is measured in
    deviations of the painting's colours (Mahalanobis, 1936), and that of the photo's own chroma is subtracted.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].
        painting: the appearance of the style's painting.

    Returns:
        (N,), at least 0, the 98 % quantile over the plain parts; NaN if less than a fiftieth of the photo is plain.
    """
    check(output, photo)
    covariance = output.new_tensor(
        [[painting.chroma_aa + _FAINT, painting.chroma_ab], [painting.chroma_ab, painting.chroma_bb + _FAINT]]
    )
    inverse = torch.linalg.inv(covariance)
    found = []
    smooth = [gaussian_blur(lab(image), _SMOOTH)[:, 1:] for image in (output, photo)]
    for painted, taken, plain in zip(*smooth, plain_mask(photo, _DEVIATION), strict=True):
        if plain.float().mean() < _SHARE:
            found.append(output.new_tensor(math.nan))
            continue
        beyond = (_distances(painted[:, plain], inverse) - _distances(taken[:, plain], inverse)).clamp_min(0)
        found.append(beyond.kthvalue(max(1, round(_UPPER * len(beyond)))).values)
    return torch.stack(found)


def _distances(chroma: Tensor, inverse: Tensor) -> Tensor:
    """Distances of chroma (2, places) from its median, (places,)."""
    apart = chroma - chroma.median(dim=1, keepdim=True).values
    return torch.einsum("ip,ij,jp->p", apart, inverse, apart).clamp_min(0).sqrt()
