"""Blobs: small round spots of a colour that differs from the rest of the painting."""

from __future__ import annotations

from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check
from onestroke.perception.blob_response import blob_response


def blobs(output: Tensor, photo: Tensor, style_response: float = 0.0) -> Tensor:
    """Strength of isolated blobs of extreme colour, to which instance norm is prone (droplets: Karras et al., 2020).

    It is the blob response beyond that of the photo, see `onestroke.perception.blob_response`. A border of 8 pixels for
    small blobs and of 16 for large ones is left out.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].
        style_response: the blob response of the style's painting. If above 1, responses are divided by it, since blobs
            such as stars may belong to the style.

    Returns:
        (N,), at least 0: the strongest response, about a quarter of the difference between a blob's colour and its
        surroundings in standard deviations of the painting's detail.
    """
    check(output, photo)
    return blob_response(output, photo) / max(1.0, style_response)
