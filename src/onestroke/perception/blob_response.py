"""Blob response: how strongly a painting has something small and round of a colour that is foreign, as stars are.

A blob is where a smoothed picture curves in all directions alike: the smaller eigenvalue of its Hessian, scaled by the
smoothing (Lindeberg, 1998), which is nothing along strokes and edges, however strong. Colours are whitened by those of
the picture's detail, so that a blob counts by how foreign it is to the palette: magenta among blues more than one blue
among others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.imaging.blur import gaussian_blur

_SCALES = (4, 8)  # standard deviations in pixels: for blobs of 3 to 20 pixels' radius
_FAINT = 0.05  # deviation of colours below which a difference isn't seen as one


def own_blob_response(picture: Tensor) -> float:
    """The strongest response of one painting by itself.

    Args:
        picture: (1, 3, H, W) in [0, 1].

    Returns:
        From 0; 0.7 to 1.6 for paintings of 256 pixels by van Gogh, Hokusai, Munch, Kandinsky and Picabia. A blob of a
        colour that a painting does not have is at 3 to 4.
    """
    return float(blob_response(picture))


def blob_response(picture: Tensor, photo: Tensor | None = None) -> Tensor:
    """The strongest response of each picture; if there is a photo, above what that has nearby.

    Args:
        picture, photo: (N, 3, H, W) in [0, 1], sides of at least 32.

    Returns:
        (N,), from 0. A border of 8 pixels for small blobs, and of 16 for large ones, is left out.
    """
    found = []
    # lines that end at the border look like blobs there
    for sigma in (sigma for sigma in _SCALES if min(picture.shape[-2:]) > 4 * sigma):
        response = _response(_whitened(picture), sigma)
        if photo is not None:
            # painters may move things a little
            response = response - F.max_pool2d(_response(_whitened(photo), sigma), 4 * sigma + 1, 1, 2 * sigma)
        inside = response[..., 2 * sigma : -2 * sigma, 2 * sigma : -2 * sigma]
        found.append(inside.clamp_min(0).amax(dim=(1, 2, 3)))
    return torch.stack(found).amax(dim=0)


def _whitened(image: Tensor) -> Tensor:
    """Colours in standard deviations of the picture's detail, in three directions that don't correlate."""
    detail = (image - gaussian_blur(image, 8)).flatten(2)
    covariance = detail @ detail.transpose(1, 2) / detail.shape[2]
    covariance = covariance + _FAINT**2 * torch.eye(3, dtype=image.dtype, device=image.device)
    variances, directions = torch.linalg.eigh(covariance)
    return torch.einsum("ncd,nchw->ndhw", directions / variances.sqrt()[:, None], image)


def _response(image: Tensor, sigma: float) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W): sigma^2 times the smaller eigenvalue of the Hessian, where both have one sign."""
    middle = F.pad(gaussian_blur(image, sigma), (1, 1, 1, 1), mode="replicate")
    xx = middle[..., 1:-1, 2:] + middle[..., 1:-1, :-2] - 2 * middle[..., 1:-1, 1:-1]
    yy = middle[..., 2:, 1:-1] + middle[..., :-2, 1:-1] - 2 * middle[..., 1:-1, 1:-1]
    xy = (middle[..., 2:, 2:] + middle[..., :-2, :-2] - middle[..., 2:, :-2] - middle[..., :-2, 2:]) / 4
    smaller = ((xx + yy).abs() - ((xx - yy).square() + 4 * xy.square()).sqrt()).clamp_min(0) / 2
    strength: Tensor = sigma**2 * torch.linalg.vector_norm(smaller, dim=1, keepdim=True)
    return strength
