"""Styles: the target statistics of VGG features, for one size of the strokes.

They are measured from one or several pictures, or read from a style card (see style_card.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from onestroke.documents import TEXT
from onestroke.errors import UserError, printable
from onestroke.imaging import images
from onestroke.kernels.gram import gram_matrix
from onestroke.perception.appearance import Appearance, appearance_of
from onestroke.perception.blob_response import own_blob_response
from onestroke.perception.style_samples import Samples, sample
from onestroke.perception.vgg import VGG

FROM_PICTURES = "a style card has only statistics, so name the picture itself, style.image=..."
"""What to do where a term needs more of a style than a card has."""


@dataclass(frozen=True)
class Facts:
    """Facts about a painting; empty if unknown."""

    title: str = ""
    artist: str = ""
    year: str = ""
    licence: str = ""
    source: str = ""


class Style(nn.Module):
    """Statistics of one style, as buffers, so that they move with the objective to its device.

    Args:
        name: of the style.
        grams: layer name -> Gram matrix (C, C).
        means: layer name -> channel means (C,).
        facts: about the painting.
        size: the shorter side in pixels at which it was measured, which sets the size of the strokes.
        blob_response: that of the painting at this size, see `onestroke.perception.blob_response`; 0 if unknown.
        kept: samples of the pictures, which a style card has none of.
        appearance: of the pictures at this size; None if unknown.
    """

    def __init__(
        self,
        name: str,
        grams: Mapping[str, Tensor],
        means: Mapping[str, Tensor],
        facts: Facts,
        size: int,
        blob_response: float = 0.0,
        kept: Samples | None = None,
        appearance: Appearance | None = None,
    ) -> None:
        super().__init__()
        self.name, self.facts, self.size, self.blob_response = name, facts, size, blob_response
        self.appearance, self.kept = appearance, kept or Samples({}, [])
        for layer, gram in grams.items():
            self.register_buffer(f"gram_{layer}", gram.float(), persistent=False)
        for layer, mean in means.items():
            self.register_buffer(f"mean_{layer}", mean.float(), persistent=False)

    def gram(self, layer: str) -> Tensor:
        """The Gram matrix of a layer, (C, C), fp32."""
        return self.get_buffer(f"gram_{layer}")

    def mean(self, layer: str) -> Tensor:
        """The mean of each channel of a layer, (C,), fp32."""
        return self.get_buffer(f"mean_{layer}")

    def samples(self, layer: str) -> Tensor:
        """Features of a layer at SAMPLES places of the pictures, (C, SAMPLES), fp32.

        Raises:
            UserError: for a style that was made without them.
        """
        if layer not in self.kept.layers:
            raise UserError(f"the style {printable(self.name)} holds no samples of {layer}: {FROM_PICTURES}")
        return self.kept.of(layer)

    def patches(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """Patches at random places of randomly chosen pictures.

        Args:
            count: number of patches.
            side: in pixels, at most the style's size.
            generator: of the random numbers, on the CPU.

        Returns:
            (count, 3, side, side) in [0, 1].

        Raises:
            UserError: for a style that was made without pictures.
        """
        if not self.kept.pictures:
            raise UserError(f"the style {printable(self.name)} holds no pictures: {FROM_PICTURES}")
        return self.kept.patches(count, side, generator)


class StyleOfEach:
    """The statistics for a batch of pictures in different styles.

    Args:
        styles: the styles to choose from.
        which: (N,), the index of each picture's style.
    """

    def __init__(self, styles: Iterable[nn.Module], which: Tensor) -> None:
        self.styles = [style for style in styles if isinstance(style, Style)]
        self.which = which.tolist()

    def gram(self, layer: str) -> Tensor:
        """(N, C, C), fp32."""
        return torch.stack([self.styles[i].gram(layer) for i in self.which])

    def mean(self, layer: str) -> Tensor:
        """(N, C), fp32."""
        return torch.stack([self.styles[i].mean(layer) for i in self.which])

    def samples(self, layer: str) -> Tensor:
        """(N, C, SAMPLES), fp32."""
        return torch.stack([self.styles[i].samples(layer) for i in self.which])

    def patches(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """One patch for each picture, from its own style; `count` is their number, the rest as `Style.patches`."""
        assert count == len(self.which)
        return torch.cat([self.styles[i].patches(1, side, generator) for i in self.which])

    @property
    def size(self) -> int:
        """The smallest size of the styles in pixels, which is the largest side of a patch."""
        return min(style.size for style in self.styles)


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
