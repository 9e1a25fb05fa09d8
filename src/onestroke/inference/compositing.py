"""Combine a painting with its photo: colour preservation and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from onestroke.errors import UserError, near
from onestroke.imaging.blur import gaussian_blur
from onestroke.imaging.images import luminance

Colour = Literal["style", "photo", "match"]
COLOURS: tuple[str, ...] = get_args(Colour)

_LEAST = 1e-6  # added to variances, which may be 0; as a standard deviation, a quarter of a level of 255


def recoloured(painting: Tensor, photo: Tensor, colour: str, alpha: Tensor | None = None) -> Tensor:
    """Apply a colour mode to a painting (Gatys et al., "Preserving Color in Neural Artistic Style Transfer", 2016).

    Args:
        painting, photo: (N, 3, H, W) in [0, 1].
        colour: `style` changes nothing; `photo` takes the luminance of the painting and the chrominance of the photo;
            `match` transforms the painting's colours to the mean and covariance of the photo's.
        alpha: (N, 1, H, W) in [0, 1], the weights of pixels for `match`; None weights all alike.

    Returns:
        (N, 3, H, W) in [0, 1].

    Raises:
        UserError: `colour` is not one of COLOURS.
    """
    if colour == "style":
        return painting
    if colour == "photo":
        return (photo + luminance(painting - photo)).clamp(0, 1)
    if colour == "match":
        weights = [None] * len(photo) if alpha is None else torch.split(alpha, 1)
        pairs = zip(torch.split(painting, 1), torch.split(photo, 1), weights, strict=True)
        return torch.cat([repainted(one, palette(one, w), palette(other, w)) for one, other, w in pairs])
    raise UserError(f"color={colour}: {near(colour, COLOURS)}")


def composited(
    painting: Tensor, photo: Tensor, colour: str, alpha: Tensor | None, mask: Tensor | None, feather: float
) -> Tensor:
    """Recolour a painting, and keep the photo where a mask is black; see `recoloured` and `masked`."""
    result = recoloured(painting, photo, colour, alpha)
    return result if mask is None else masked(result, photo, mask, feather)


@dataclass(frozen=True)
class Palette:
    """The colours of a picture: their mean, float64 (3, 1), and covariance, float64 (3, 3)."""

    mean: Tensor
    covariance: Tensor

    def moved(self, towards: Palette, share: float) -> Palette:
        """A palette between this and another: share 0 is this one, 1 the other."""
        return Palette(
            torch.lerp(self.mean, towards.mean, share), torch.lerp(self.covariance, towards.covariance, share)
        )


def palette(picture: Tensor, alpha: Tensor | None = None) -> Palette:
    """The palette of a picture (1, 3, H, W); pixels are weighted by alpha (1, 1, H, W)."""
    weight = None if alpha is None or bool((alpha == 1).all()) else alpha[0].flatten(1).double()
    if weight is not None:
        weight = weight / weight.sum() if float(weight.sum()) > 0 else None
    colours = picture[0].flatten(1).double()
    if weight is None:
        mean = colours.mean(dim=1, keepdim=True)
        return Palette(mean, (colours - mean) @ (colours - mean).T / colours.shape[1])
    mean = (colours * weight).sum(dim=1, keepdim=True)
    return Palette(mean, ((colours - mean) * weight) @ (colours - mean).T)


def repainted(painting: Tensor, own: Palette, wanted: Palette) -> Tensor:
    """Transform the colours of a painting (1, 3, H, W) from one palette to another, by their Cholesky factors."""
    ridge = _LEAST * torch.eye(3, dtype=torch.float64)
    factors = [torch.linalg.cholesky(each.covariance + ridge) for each in (own, wanted)]
    colours = painting[0].flatten(1).double() - own.mean
    moved = factors[1] @ torch.linalg.solve_triangular(factors[0], colours, upper=False) + wanted.mean
    result: Tensor = moved.view_as(painting).to(painting.dtype).clamp(0, 1)
    return result


def masked(painting: Tensor, photo: Tensor, mask: Tensor, feather: float = 0.0) -> Tensor:
    """Blend painting and photo by a mask: white is the painting, black the photo.

    Args:
        painting, photo: (N, 3, H, W) in [0, 1].
        mask: (1 or N, 1, H, W) in [0, 1].
        feather: the standard deviation in pixels of a Gaussian blur of the mask; 0 for none.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    share = feathered(mask, feather).clamp(0, 1)
    return photo + share * (painting - photo)


def feathered(mask: Tensor, feather: float) -> Tensor:
    """Blur a mask (N, 1, H, W) with a Gaussian of standard deviation `feather` in pixels, padded by replication."""
    if feather <= 0:
        return mask
    return gaussian_blur(mask, feather, border="replicate")
