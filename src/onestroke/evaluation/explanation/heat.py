"""Heat maps over a photo."""

from __future__ import annotations

import torch
from torch import Tensor

from onestroke.imaging.blur import gaussian_blur
from onestroke.imaging.images import luminance

_COLOURS = torch.tensor([[0.35, 0.05, 0.45], [0.85, 0.10, 0.30], [1.0, 0.50, 0.05], [1.0, 0.97, 0.50]])
"""RGB from the lowest to the highest value: violet, red, orange, light yellow, so that lightness rises evenly."""
_GREY = 0.7  # the highest lightness of the photo below, so that the brightest colours stand out
_SMALLEST = 1e-12


def heat_map(values: Tensor, photo: Tensor, top: float, sigma: float = 0.0) -> Tensor:
    """Colours for values over a photo in grey: low values show the photo, high values hide it.

    Args:
        values: (H, W), at least 0.
        photo: (1, 3, H, W) in [0, 1].
        top: the value of the last colour; larger ones look the same.
        sigma: standard deviation in pixels of a Gaussian blur of the values; 0 for none.

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    if sigma:
        values = gaussian_blur(values[None, None], sigma, border="replicate")[0, 0]
    level = (values / max(top, _SMALLEST)).clamp(0, 1)
    position = level * (len(_COLOURS) - 1)
    below = position.floor().long().clamp_max(len(_COLOURS) - 2)
    share = (position - below)[..., None]
    colour = (_COLOURS[below] * (1 - share) + _COLOURS[below + 1] * share).permute(2, 0, 1)
    return level * colour[None] + (1 - level) * _GREY * luminance(photo)


def top_of(values: Tensor, sigma: float = 0.0) -> float:
    """The value that 99 % of all pixels (blurred as for `heat_map`) don't exceed; outliers don't change it."""
    if sigma:
        values = gaussian_blur(values[None, None], sigma, border="replicate")
    return float(values.flatten().kthvalue(max(1, round(0.99 * values.numel()))).values)
