"""What each layer alone asks for: pictures whose pixels are optimised for the Gram matrix of a single layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from onestroke.evaluation.metrics import style_errors
from onestroke.imaging import images
from onestroke.imaging.blur import gaussian_blur
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.optimization.descent import optimise
from onestroke.perception.style import Style
from onestroke.perception.vgg import VGG

SIDE = 128  # pictures have as many pixels as a square of this side: with more, relu4_3 takes too long on one core
ITERATIONS = 30
Start = Literal["noise", "photo"]
STARTS: tuple[Start, ...] = ("noise", "photo")
_SHORTEST = 16  # pixels that a side has at least: relu4_3 sees two of its features then
_NOISE = 0.1  # standard deviation of the noise around mid-grey
_SMOOTH = 4.0  # standard deviation in pixels of its blur: deep layers don't remove the grain of white noise


@dataclass(frozen=True, eq=False)
class LayerPicture:
    """A picture that was optimised for one layer.

    layer: its name. start: smooth noise, or the photo. picture: (1, 3, H, W) in [0, 1]. before: the style error
    of the layer at the start. errors: the style error of the picture at every layer, see `metrics.style_errors`.
    """

    layer: str
    start: Start
    picture: Tensor
    before: float
    errors: dict[str, float]


def layer_pictures(
    photo: Tensor, style: Style, vgg: VGG, layers: Sequence[str], *, side: int = SIDE, iterations: int = ITERATIONS
) -> list[LayerPicture]:
    """Optimise a picture for each layer and start; nothing but the Gram matrix of that layer is in the objective.

    Args:
        photo: (1, 3, H, W) in [0, 1].
        style: with the statistics of all layers.
        vgg: the feature extractor, in fp32, with all layers.
        layers: names of the layers, from shallow to deep.
        side: in pixels, of a square with as many pixels as each picture.
        iterations: of L-BFGS, at most, for each picture.
    """
    short, long = sorted(photo.shape[-2:])
    small = images.fit(photo, short_side=max(_SHORTEST, round(side * math.sqrt(short / long))))
    found = []
    for layer in layers:
        objective = Objective({"gram": Gram([layer])}, vgg, style).eval()
        for start in STARTS:
            initial = small if start == "photo" else _noise(small)
            trace = optimise(objective, small, iterations=iterations, start=initial)
            picture = trace.picture.clamp(0, 1)
            before = style_errors(initial, style, vgg, [layer])[layer]
            found.append(LayerPicture(layer, start, picture, before, style_errors(picture, style, vgg, layers)))
    return found


def _noise(like: Tensor) -> Tensor:
    """Smooth noise in [0, 1] of the shape of a picture, always the same."""
    white = torch.randn(like.shape, generator=torch.Generator().manual_seed(0))
    smooth = gaussian_blur(white, _SMOOTH, border="replicate")
    return (0.5 + _NOISE * smooth / smooth.std()).clamp(0, 1).to(like)
