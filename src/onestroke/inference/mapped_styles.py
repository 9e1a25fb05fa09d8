"""Paint a picture in several styles of one file, chosen per pixel by a style map."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from onestroke.errors import UserError
from onestroke.inference.backends import Torch
from onestroke.inference.controls import StyleControls, open_controls, shares_of_map


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

    def memory(self, count: int, height: int, width: int) -> float:
        """Estimate of the peak memory in bytes, see `Backend.memory`."""
        return self.backend.memory(count, height, width, len(self.names))
