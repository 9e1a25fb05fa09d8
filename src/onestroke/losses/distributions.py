"""Samples of features and their one-dimensional distributions, for the terms that compare those with the painting's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from onestroke.errors import UserError


def check_count(term: object, name: str, value: object, most: int = 65536) -> int:
    """An argument of a term that is a whole number from 1 to `most`.

    Raises:
        UserError: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise UserError(f"{type(term).__name__}: {name} must be a whole number from 1 to {most}, not {value!r}")
    return value


def sampled(features: Tensor, places: int, generator: torch.Generator) -> Tensor:
    """Features at random places, the same for all pictures of a batch; all of them if there are no more.

    Args:
        features: (N, C, H, W) of any dtype.
        places: at most how many.
        generator: of the random numbers, on the CPU.

    Returns:
        (N, places, C) in fp32, or fp64 for fp64.
    """
    rows = features.permute(0, 2, 3, 1).flatten(1, 2)  # a view for channels_last
    if rows.shape[1] > places:
        chosen = torch.randperm(rows.shape[1], generator=generator)[:places]
        rows = rows.index_select(1, chosen.to(rows.device))
    return rows if rows.dtype == torch.float64 else rows.float()


def transport_error(values: Tensor, wanted: Tensor) -> Tensor:
    """Relative squared Wasserstein-2 distance of one-dimensional distributions, each given by samples.

    Both are sorted, and the k-th smallest is moved to the k-th smallest: the mean squared distance, over the mean of
    both variances, so that neither the scale of the features matters nor does an output of high contrast dominate.

    Args:
        values: (N, K, places), K distributions of each picture.
        wanted: (N or 1, K, others), those to reach; of another number of places, they are interpolated.

    Returns:
        (N,): 0 for equal distributions, 1 for means that are one standard deviation apart.
    """
    values, wanted = values.sort(dim=2).values, wanted.sort(dim=2).values
    if wanted.shape[2] != values.shape[2]:
        wanted = F.interpolate(wanted, size=values.shape[2], mode="linear", align_corners=False)
    error = (values - wanted).square().mean(dim=(1, 2))
    spread = values.var(dim=2, correction=0).mean(dim=1) + wanted.var(dim=2, correction=0).mean(dim=1)
    return 2 * error / spread.clamp_min(1e-12)
