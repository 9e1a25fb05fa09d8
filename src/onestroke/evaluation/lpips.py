"""The learned perceptual distance LPIPS, where a package that computes it is installed."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable

import torch
from torch import Tensor

from onestroke.evaluation.structure import check_alike
from onestroke.perception.vgg_weights import patience


def lpips(output: Tensor, photo: Tensor) -> float | None:
    """Learned perceptual distance (Zhang et al., 2018) of AlexNet, version 0.1: from 0, the same picture, to about 1.

    It needs torchvision (the extra `lpips`), which downloads AlexNet's weights once (233 MB).

    Returns:
        None where no package is there, its weights can't be had, or the picture is too small for it.

    Raises:
        ValueError: the pictures are not alike in shape.
    """
    check_alike(output, photo)
    distance = _lpips_network()
    if distance is None:
        return None
    try:
        with torch.no_grad():
            return float(distance(*(image.detach().cpu().float().clamp(0, 1) for image in (output, photo))).mean())
    except Exception:  # an optional number must not cost the others
        return None


@functools.cache
def _lpips_network() -> Callable[[Tensor, Tensor], Tensor] | None:
    """The distance of two pictures in [0, 1]; made once, so that weights are asked for in vain only once too."""
    for make in (_from_torchmetrics, _from_lpips):
        try:
            with patience(10):
                return make()
        except Exception:  # whatever an optional package raises, it is not there
            continue
    return None


def _from_torchmetrics() -> Callable[[Tensor, Tensor], Tensor]:
    room = importlib.import_module("torchmetrics.image.lpip")
    metric: Callable[[Tensor, Tensor], Tensor] = room.LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    return metric


def _from_lpips() -> Callable[[Tensor, Tensor], Tensor]:
    network = importlib.import_module("lpips").LPIPS(net="alex", verbose=False).eval()

    def distance(output: Tensor, photo: Tensor) -> Tensor:
        found: Tensor = network(output, photo, normalize=True)
        return found

    return distance
