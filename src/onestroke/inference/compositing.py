"""What is done to a painting beside its photo: the photo's colours, and parts that stay as they were."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from onestroke.errors import UserError, near
from onestroke.imaging.blur import gaussian_blur
from onestroke.imaging.images import luminance

Colour = Literal["style", "photo", "match"]
COLOURS: tuple[str, ...] = get_args(Colour)

_LEAST = 1e-6  # added to variances, so that a picture of one colour has some: a quarter of a level of 255


def recoloured(painting: Tensor, photo: Tensor, colour: str, alpha: Tensor | None = None) -> Tensor:
    """A painting in its own colours or in its photo's (Gatys et al., "Preserving color", 2016).

    Args:
        painting, photo: (N, 3, H, W) in [0, 1].
        colour: `style` leaves it alone; `photo` keeps the photo's hue in each place, and takes luminance alone from the
            painting; `match` gives the painting the photo's palette: mean and covariance of its colours.
        alpha: (N, 1, H, W), by which `match` weighs colours, or None where all is opaque.

    Returns:
        The same shape, in [0, 1].

    Raises:
        UserError: for any other colour.
    """
    if colour == "style":
        return painting
    if colour == "photo":
        return (photo + luminance(painting - photo)).clamp(0, 1)
    if colour == "match":
        weights = [None] * len(photo) if alpha is None else torch.split(alpha, 1)
        pairs = zip(torch.split(painting, 1), torch.split(photo, 1), weights, strict=True)
        return torch.cat([_matched(*pair) for pair in pairs])
    raise UserError(f"color={colour}: {near(colour, COLOURS)}")


def _matched(painting: Tensor, photo: Tensor, alpha: Tensor | None) -> Tensor:
    """One painting with the photo's mean and covariance of colours, by their Cholesky factors."""
    means, factors = [], []
    weight = None if alpha is None or bool((alpha == 1).all()) else alpha[0].flatten(1).double()
    if weight is not None:
        weight = weight / weight.sum() if float(weight.sum()) > 0 else None
    for picture in (painting, photo):
        colours = picture[0].flatten(1).double()
        if weight is None:
            mean = colours.mean(dim=1, keepdim=True)
            covariance = (colours - mean) @ (colours - mean).T / colours.shape[1]
        else:
            mean = (colours * weight).sum(dim=1, keepdim=True)
            covariance = ((colours - mean) * weight) @ (colours - mean).T
        means.append(mean)
        factors.append(torch.linalg.cholesky(covariance + _LEAST * torch.eye(3, dtype=covariance.dtype)))
    colours = painting[0].flatten(1).double() - means[0]
    moved = factors[1] @ torch.linalg.solve_triangular(factors[0], colours, upper=False) + means[1]
    result: Tensor = moved.view_as(painting).to(painting.dtype).clamp(0, 1)
    return result


def masked(painting: Tensor, photo: Tensor, mask: Tensor, feather: float = 0.0) -> Tensor:
    """Paint in part: white paints, black keeps the photo, grey mixes.

    Args:
        painting, photo: (N, 3, H, W) in [0, 1].
        mask: (1 or N, 1, H, W) in [0, 1].
        feather: by how many pixels its edges are softened: the standard deviation of a Gaussian.
    """
    share = feathered(mask, feather).clamp(0, 1)
    return photo + share * (painting - photo)


def feathered(mask: Tensor, feather: float) -> Tensor:
    """(N, 1, H, W) under a Gaussian of this standard deviation in pixels; beyond the border goes on as it ends."""
    if feather <= 0:
        return mask
    return gaussian_blur(mask, feather, border="replicate")
