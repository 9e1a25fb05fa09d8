"""Paint a picture in several styles of one file, chosen per pixel by a style map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.inference.backends import Torch
from onestroke.inference.controls import StyleControls, open_controls, shares_of_map
from onestroke.inference.tiles import Source


class MappedStyles:
    """A network with several styles that paints by a style map.

    Args:
        path: the style file.
        controls: the styles, in the order of the map's grey levels, and strength and stroke.
        device: the device to run on.

    Raises:
        UserError: as `open_controls`, or if no style is chosen.
    """

    def __init__(self, path: Path, controls: StyleControls, device: torch.device) -> None:
        if controls.mix is None:
            raise UserError("style_map needs two styles of a file that holds several: style=starry_night,great_wave")
        self.mix = controls.mix
        network, metadata = open_controls(path, controls)
        self.backend, self.names = Torch(network, device), metadata.styles

    def paint(self, image: Tensor, style_map: Tensor) -> Tensor:
        """Paint a batch.

        Args:
            image: float (N, 3, H, W) in [0, 1].
            style_map: grey (N or 1, 1, H, W) in [0, 1], see `shares_of_map`.

        Returns:
            (N, 3, H, W), fp32, in [0, 1], on the CPU.
        """
        style_map = style_map.cpu().float().expand(len(image), -1, -1, -1)
        return self.backend.paint_mapped(image, shares_of_map(self.mix, self.names, style_map))

    def network(self) -> MappedNetwork:
        """The network, for painting in tiles."""
        return MappedNetwork(self.backend.network, self.mix, self.names)

    def memory(self, count: int, height: int, width: int) -> float:
        """Estimate of the peak memory in bytes, see `Backend.memory`."""
        return self.backend.memory(count, height, width, len(self.names))


class MappedNetwork(nn.Module):
    """A network of several styles that takes a photo and its style map as one picture of four channels.

    Args:
        network: of the styles.
        mix: the styles, in the order of the map's grey levels.
        names: of all styles of the network.
    """

    INPUTS = 4

    def __init__(self, network: nn.Module, mix: str, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.mix, self.names = network, mix, names

    def forward(self, picture: Tensor) -> Tensor:
        """(N, 4, H, W): RGB and the grey style map, in [0, 1] -> (N, 3, H, W)."""
        photo = picture[:, :3].contiguous(memory_format=torch.channels_last)
        painted: Tensor = self.network(photo, shares_of_map(self.mix, self.names, picture[:, 3:]))
        return painted


class PhotoWithMap:
    """A photo and its style map as one picture of four channels, read band by band; see `tiles.Source`."""

    def __init__(self, photo: Source, style_map: Source) -> None:
        self.photo, self.style_map = photo, style_map
        self.height, self.width = photo.height, photo.width

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """The rows from `top` to `bottom`, (bottom - top, width, 4)."""
        return np.concatenate([self.photo.rows(top, bottom), self.style_map.rows(top, bottom)], axis=2)
