"""Measures a style from one or several pictures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from onestroke.documents import TEXT
from onestroke.errors import UserError
from onestroke.imaging import images
from onestroke.kernels.gram import gram_matrix
from onestroke.perception.appearance import appearance_of
from onestroke.perception.blob_response import own_blob_response
from onestroke.perception.style import Facts, Style
from onestroke.perception.style_samples import Samples, sample
from onestroke.perception.vgg import VGG


def measure(
    pictures: Sequence[Tensor], vgg: VGG, size: int, layers: Collection[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Mean Gram matrices and channel means of pictures that are resized to one shorter side.

    Args:
        pictures: each (1, 3, H, W) in [0, 1].
        size: shorter side in pixels.

    Returns:
        grams {layer: (C, C)} and means {layer: (C,)}.
    """
    grams: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}
    for picture in pictures:
        with torch.no_grad():
            features = vgg(images.fit(picture, short_side=size), layers)
        for layer, f in features.items():
            grams[layer] = grams.get(layer, torch.zeros(())) + gram_matrix(f)[0] / len(pictures)
            means[layer] = means.get(layer, torch.zeros(())) + f.float().mean(dim=(0, 2, 3)) / len(pictures)
    return grams, means


def from_pictures(
    name: str, paths: Sequence[str], size: int, layers: Collection[str], vgg: VGG, sampled: Collection[str] = ()
) -> Style:
    """Measure a style from one or several pictures of the user.

    Args:
        name: of the style.
        paths: of the pictures.
        size: shorter side in pixels.
        layers: to measure; `image` is skipped.
        vgg: the feature extractor.
        sampled: layers of which samples are kept too; with `image` among them, the pictures are as well.

    Raises:
        UserError: for pictures that can't be read or have a side below 64 pixels.
    """
    pictures = []
    for path in paths:
        picture = images.read(path)
        if min(picture.height, picture.width) < 64:
            size_of_it = f"{picture.width} x {picture.height}"
            raise UserError(f"style.image: {path} is only {size_of_it}; its shorter side must be at least 64")
        pictures.append(picture.fit(short_side=size).rgb)
    grams, means = measure(pictures, vgg, size, [layer for layer in layers if layer != "image"])
    response = max(own_blob_response(picture) for picture in pictures)
    sources = ", ".join(Path(path).name for path in paths)
    source = sources if len(sources) <= TEXT else f"{len(paths)} pictures"
    kept = Samples(sample(pictures, vgg, sampled), pictures if "image" in sampled else [])
    return Style(name, grams, means, Facts(source=source), size, response, kept, appearance_of(pictures))
