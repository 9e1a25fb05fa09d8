"""Blob response: the strength of small, round blobs whose colour differs from the rest of a picture, such as stars.

The response is the smaller eigenvalue of the smoothed picture's Hessian, scale-normalised (Lindeberg, 1998). It is zero
along strokes and edges, however strong. Colours are whitened by the covariance of the picture's detail, so that a blob
counts by its distance from the palette: magenta among blues counts more than one blue among others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.imaging.blur import gaussian_blur

_SCALES = (4, 8)  # standard deviations in pixels, for blobs with radii of 3 to 20 pixels
_FAINT = 0.05  # standard deviation of colours that is added, so that invisible differences don't count


def own_blob_response(picture: Tensor) -> float:
    """The strongest blob response of one painting.

    Args:
        picture: (1, 3, H, W) in [0, 1].

    Returns:
        At least 0; 0.7 to 1.6 for paintings by van Gogh, Hokusai, Munch, Kandinsky and Picabia at 256 pixels, 3 to 4
        for a blob of a colour that the painting lacks.
    """
    return float(blob_response(picture))


def blob_response(picture: Tensor, photo: Tensor | None = None) -> Tensor:
    """The strongest blob response of each picture; with a photo, beyond the photo's response nearby.

    Args:
        picture, photo: (N, 3, H, W) in [0, 1], sides of at least 32.

    Returns:
        (N,), at least 0. A border of 8 pixels for small blobs and of 16 for large ones is left out.
    """
    found = []
    # lines that end at the border respond like blobs
    for sigma in (sigma for sigma in _SCALES if min(picture.shape[-2:]) > 4 * sigma):
        response = _response(_whitened(picture), sigma)
        if photo is not None:
            # a painting may shift details by a few pixels
            response = response - F.max_pool2d(_response(_whitened(photo), sigma), 4 * sigma + 1, 1, 2 * sigma)
        inside = response[..., 2 * sigma : -2 * sigma, 2 * sigma : -2 * sigma]
        found.append(inside.clamp_min(0).amax(dim=(1, 2, 3)))
    return torch.stack(found).amax(dim=0)


def _whitened(image: Tensor) -> Tensor:
    """Whiten colours by the covariance of the picture's detail; (N, 3, H, W) -> the same shape."""
    detail = (image - gaussian_blur(image, 8)).flatten(2)
    covariance = detail @ detail.transpose(1, 2) / detail.shape[2]
    covariance = covariance + _FAINT**2 * torch.eye(3, dtype=image.dtype, device=image.device)
    variances, directions = torch.linalg.eigh(covariance)
    return torch.einsum("ncd,nchw->ndhw", directions / variances.sqrt()[:, None], image)


def _response(image: Tensor, sigma: float) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W): sigma^2 times the smaller absolute eigenvalue where both have one sign, else 0."""
    middle = F.pad(gaussian_blur(image, sigma), (1, 1, 1, 1), mode="replicate")
    xx = middle[..., 1:-1, 2:] + middle[..., 1:-1, :-2] - 2 * middle[..., 1:-1, 1:-1]
    yy = middle[..., 2:, 1:-1] + middle[..., :-2, 1:-1] - 2 * middle[..., 1:-1, 1:-1]
    xy = (middle[..., 2:, 2:] + middle[..., :-2, :-2] - middle[..., 2:, :-2] - middle[..., :-2, 2:]) / 4
    smaller = ((xx + yy).abs() - ((xx - yy).square() + 4 * xy.square()).sqrt()).clamp_min(0) / 2
    strength: Tensor = sigma**2 * torch.linalg.vector_norm(smaller, dim=1, keepdim=True)
    return strength
