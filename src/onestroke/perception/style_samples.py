"""What a style keeps of its pictures beyond statistics, for loss terms that compare with the painting itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from onestroke.perception.vgg import VGG

SAMPLES = 4096
"""Number of places at which a style's features are kept."""


class Samples(nn.Module):
    """Features of a style's pictures, and the pictures, as buffers.

    Args:
        features: layer name -> features at SAMPLES places, (C, SAMPLES); of the pixels for `image`.
        pictures: the pictures, each (1, 3, H, W) in [0, 1].
    """

    def __init__(self, features: Mapping[str, Tensor], pictures: Sequence[Tensor]) -> None:
        super().__init__()
        self.layers, self.pictures = tuple(features), len(pictures)
        for layer, of_layer in features.items():
            self.register_buffer(f"features_{layer}", of_layer.float(), persistent=False)
        for number, picture in enumerate(pictures):
            self.register_buffer(f"picture_{number}", picture.float(), persistent=False)

    def of(self, layer: str) -> Tensor:
        """Features of a layer, (C, SAMPLES), fp32."""
        return self.get_buffer(f"features_{layer}")

    def patches(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """Patches at random places of randomly chosen pictures; see `Style.patches`."""
        found = []
        for which, down, right in torch.rand(count, 3, generator=generator).tolist():
            picture = self.get_buffer(f"picture_{int(which * self.pictures)}")
            top, left = int(down * (picture.shape[2] - side + 1)), int(right * (picture.shape[3] - side + 1))
            found.append(picture[:, :, top : top + side, left : left + side])
        return torch.cat(found)


def sample(pictures: Sequence[Tensor], vgg: VGG, layers: Collection[str]) -> dict[str, Tensor]:
    """Features at random places, the same in each call and of about as many places in each picture.

    Args:
        pictures: each (1, 3, H, W) in [0, 1].
        vgg: the feature extractor.
        layers: to sample; `image` for the pixels.

    Returns:
        {layer: (C, SAMPLES)}, fp32; a layer of fewer places has some of them several times.
    """
    if not layers:
        return {}
    share = -(-SAMPLES // len(pictures))
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    for number, picture in enumerate(pictures):
        with torch.no_grad():
            features = vgg(picture, layers)
        for layer, f in features.items():
            rows = f[0].flatten(1).float()
            order = torch.randperm(rows.shape[1], generator=torch.Generator().manual_seed(number))
            found[layer].append(rows[:, order.repeat(-(-share // len(order)))[:share]])
    return {layer: torch.cat(parts, dim=1)[:, :SAMPLES] for layer, parts in found.items()}
