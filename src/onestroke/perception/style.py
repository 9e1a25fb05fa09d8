"""Styles: the target statistics of VGG features, for one size of the strokes.

They are measured from pictures (see style_from_pictures.py) or read from a style card (see style_card.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onestroke.errors import UserError, printable
from onestroke.perception.appearance import Appearance
from onestroke.perception.style_samples import Samples

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

    def deviations(self) -> Tensor:
        """Standard deviation of L*, and of a* and b* together, (2,), in units of CIELAB.

        Raises:
            UserError: for a style card of before, which does not have them.
        """
        if self.appearance is None:
            raise UserError(f"the style {printable(self.name)} holds no contrast: measure its card anew")
        return torch.tensor([self.appearance.lightness_deviation, self.appearance.chroma_deviation])

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
