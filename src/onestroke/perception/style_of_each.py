"""The statistics of a batch whose pictures are in different styles."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from onestroke.perception.style import Style


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

    def deviations(self) -> Tensor:
        """(N, 2), as `Style.deviations`."""
        return torch.stack([self.styles[i].deviations() for i in self.which])

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
