"""The learned perceptual distance LPIPS, if a package that computes it is installed."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable

import torch
from torch import Tensor

from onestroke.evaluation.structure import check_alike
from onestroke.perception.vgg_weights import network_timeout


def lpips(output: Tensor, photo: Tensor) -> float | None:
    """LPIPS (Zhang et al., 2018) of AlexNet, version 0.1: from 0, for equal pictures, to about 1.

    It needs torchvision (the extra `lpips`), which downloads AlexNet's weights once (233 MB).

    Args:
        output, photo: (N, 3, H, W) in [0, 1].

    Returns:
        The mean over the batch; None without such a package, without its weights, or for pictures that are too small.

    Raises:
        ValueError: the shapes differ.
    """
    check_alike(output, photo)
    distance = _lpips_network()
    if distance is None:
        return None
    try:
        with torch.no_grad():
            return float(distance(*(image.detach().cpu().float().clamp(0, 1) for image in (output, photo))).mean())
    except Exception:  # a failure of this optional metric must not lose the others
        return None


@functools.cache
def _lpips_network() -> Callable[[Tensor, Tensor], Tensor] | None:
    """The distance function for pictures in [0, 1]; cached, also when it is not available."""
    for make in (_from_torchmetrics, _from_lpips):
        try:
            with network_timeout(10):
                return make()
        except Exception:  # optional packages may raise anything; then they count as missing
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
