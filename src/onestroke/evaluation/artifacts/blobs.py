"""Blobs: small and round, of a colour that is foreign to the painting."""

from __future__ import annotations

from torch import Tensor

from onestroke.evaluation.artifacts.pictures import check
from onestroke.perception.blob_response import blob_response


def blobs(output: Tensor, photo: Tensor, style_response: float = 0.0) -> Tensor:
    """Isolated blobs of extreme colour or brightness, which instance norm is prone to (droplets: Karras et al., 2020).

    How they are found, see `onestroke.perception.blob_response`. Where the photo has one, the painting may have one as
    strong. A border of 8 pixels for small blobs, and of 16 for large ones, is left out.

    Args:
        output, photo: (N, 3, H, W) in [0, 1].
        style_response: the blob response of the painting that was to be imitated. Stars are blobs, and who paints like
            van Gogh may paint them as strong as he did: above 1, it is the measure.

    Returns:
        (N,), from 0: the strongest response. About a quarter of what a blob's colour is off its surroundings by, in
        standard deviations of the painting's detail in that direction, or of `style_response` where that is above 1.
    """
    check(output, photo)
    return blob_response(output, photo) / max(1.0, style_response)
