"""Content and style errors of paintings for a comparison: one pass through the VGG for all style sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onestroke.evaluation.comparison import Errors
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.term import Views
from onestroke.perception.style import Style
from onestroke.perception.style_of_each import StyleOfEach
from onestroke.perception.vgg import VGG


class PairedErrors:
    """The errors of several paintings of one photo: the content and Gram terms of the objective at their layers.

    Args:
        photo: (1, 3, H, W) in [0, 1].
        styles: the style at each style size.
        vgg: the feature extractor, with the layers of both terms.
    """

    def __init__(self, photo: Tensor, styles: Sequence[Style], vgg: VGG) -> None:
        self.styles, self.vgg = styles, vgg
        self.content, self.gram = Content().eval(), Gram().eval()
        self.layers = dict.fromkeys((*self.content.layers, *self.gram.layers))
        self.photo = photo
        with torch.no_grad():
            self.features = vgg(photo, self.layers)
        self.of_photo = self._of(self.features)

    @torch.no_grad()
    def __call__(self, output: Tensor) -> Errors:
        """The errors of a painting, (1, 3, H, W) in [0, 1] of the photo's size."""
        if torch.allclose(output, self.photo, rtol=0, atol=1e-6):  # strength 0 paints the photo
            return self.of_photo
        return self._of(self.vgg(output, self.layers))

    @torch.no_grad()
    def _of(self, features: dict[str, Tensor]) -> Errors:
        # the Gram term broadcasts one picture over the statistics of several styles
        each = StyleOfEach(self.styles, torch.arange(len(self.styles)))
        views = Views(features, self.features, each)
        style = {style.size: float(e) for style, e in zip(self.styles, self.gram(views), strict=True)}
        return Errors(float(self.content(views)), style)
