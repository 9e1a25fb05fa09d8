"""Smoothness: total variation of the pixels (Rudin et al., 1992; Johnson et al., 2016). Off by default."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from onestroke.losses.term import Term, Views


class TotalVariation(Term):
    """Squared differences of neighbouring pixels, relative to the photos' own.

    1 means that the output is as rough as the photo. The denominator is the mean over the batch, as for content, and at
    least that of a picture whose neighbours differ by one level of 255, so that the loss stays finite for flat photos.
    """

    side = "content"
    reads_content = True

    def __init__(self, layers: Sequence[str] = ("image",), weight: float = 0.05) -> None:
        super().__init__(layers, weight)

    def forward(self, views: Views) -> Tensor:
        total = views.output[self.layers[0]].new_zeros(())
        for layer in self.layers:
            own = self.over_batch(roughness(views.content[layer].float()))
            total = total + roughness(views.output[layer].float()) / own.clamp_min(2 / 255**2)
        return total / len(self.layers)


def roughness(image: Tensor) -> Tensor:
    """Mean squared difference of vertical neighbours plus that of horizontal ones; (N, C, H, W), H and W at least 2."""
    rows = (image[:, :, 1:] - image[:, :, :-1]).square().mean()
    columns = (image[:, :, :, 1:] - image[:, :, :, :-1]).square().mean()
    return rows + columns
