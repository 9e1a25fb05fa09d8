"""Which features a style uses most: channels whose share of a Gram matrix's diagonal exceeds that of photos.

An element of the diagonal is the mean square of a channel, its energy. Divided by the trace it is the channel's share
of the layer's energy, which doesn't depend on contrast or on the size of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onestroke.kernels.gram import gram_matrix
from onestroke.perception.style import Style
from onestroke.perception.vgg import VGG, layer_names

TOP = 4  # channels of each layer
SMALLEST_PATCH = 24  # side in pixels; the receptive field of relu1_2 alone, 5 pixels, shows too little


@dataclass(frozen=True, eq=False)
class Patch:
    """Where a channel responds most.

    row, column: the pixel in the middle of what the feature sees. top, left: the first pixel of the patch. picture: the
    patch, (1, 3, H, W) in [0, 1].
    """

    row: int
    column: int
    top: int
    left: int
    picture: Tensor


@dataclass(frozen=True, eq=False)
class Channel:
    """A channel of a layer: its share of the layer's energy in the style, in photos (mean) and in the painting.

    photo, painting: the patches of the explained photo and of its painting where it responds most.
    """

    layer: str
    index: int
    share: float
    share_of_photos: float
    share_of_painting: float
    photo: Patch
    painting: Patch

    @property
    def ratio(self) -> float:
        """The share in the style over that in photos; infinity for a channel that photos don't have."""
        return self.share / self.share_of_photos if self.share_of_photos else float("inf")


def shares(gram: Tensor) -> Tensor:
    """Each channel's share of the energy: (..., C, C) -> (..., C); zeros for an empty layer."""
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    return diagonal / diagonal.sum(dim=-1, keepdim=True).clamp_min(1e-30)


@torch.no_grad()
def top_channels(
    style: Style,
    output: Tensor,
    photo: Tensor,
    photos: Sequence[Tensor],
    vgg: VGG,
    layers: Sequence[str],
    count: int = TOP,
) -> list[Channel]:
    """For each layer the channels whose share in the style exceeds the mean share in photos most, by the difference.

    By the ratio alone, channels that almost never respond would come first.

    Args:
        style: with the statistics of all layers.
        output: the painting, (1, 3, H, W) in [0, 1].
        photo: that was painted, the same shape.
        photos: to compare with, each (1, 3, H, W) in [0, 1].
        vgg: the feature extractor.
        layers: names of the layers.
        count: number of channels for each layer.
    """
    of_photos = {layer: torch.zeros(()) for layer in layers}
    for one in photos:
        for layer, features in vgg(one, layers).items():
            of_photos[layer] = of_photos[layer] + shares(gram_matrix(features))[0] / len(photos)
    seen, painted = vgg(photo, layers), vgg(output, layers)
    found = []
    for layer in layers:
        own, usual = shares(style.gram(layer)), of_photos[layer]
        reached = shares(gram_matrix(painted[layer]))[0]
        for index in (own - usual).topk(min(count, len(own))).indices.tolist():
            patches = [_patch(f[layer][0, index], x, layer) for f, x in ((seen, photo), (painted, output))]
            numbers = (float(own[index]), float(usual[index]), float(reached[index]))
            found.append(Channel(layer, index, *numbers, *patches))
    return found


def receptive_field(layer: str, arch: str = "vgg16") -> tuple[int, int]:
    """Side in pixels of what one feature of a layer sees, and the distance of neighbouring features in pixels."""
    side, stride = 1, 1
    names = layer_names(arch)
    for before, name in zip(("relu1", *names), names, strict=False):
        if name[4] != before[4]:  # a pooling of 2 x 2 comes first
            side, stride = side + stride, 2 * stride
        side += 2 * stride
        if name == layer:
            return side, stride
    raise ValueError(f"{arch} has no layer {layer}")


def _patch(response: Tensor, picture: Tensor, layer: str) -> Patch:
    """The patch of a picture that causes the largest response, (H, W), of one channel, shifted into the picture."""
    side, stride = receptive_field(layer)
    height, width = picture.shape[-2:]
    peak = int(response.argmax())
    row, column = (int((i + 0.5) * stride) for i in divmod(peak, response.shape[1]))
    side = min(max(side, SMALLEST_PATCH), height, width)
    top, left = (min(max(0, at - side // 2), size - side) for at, size in ((row, height), (column, width)))
    return Patch(row, column, top, left, picture[..., top : top + side, left : left + side])
