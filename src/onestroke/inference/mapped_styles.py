"""Several styles of one file in one picture, another in each place."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from onestroke.errors import UserError
from onestroke.inference.backends import Torch
from onestroke.inference.controls import Look, open_controls, over_the_picture


class MappedStyles:
    """The styles that were chosen of a file, to be painted where a map says.

    Args:
        path: the style file.
        look: the styles, in the order of the map's levels, and the controls.
        device: where it paints.

    Raises:
        UserError: as `open_controls`, and where no style was chosen.
    """

    def __init__(self, path: Path, look: Look, device: torch.device) -> None:
        if look.mix is None:
            raise UserError("style_map needs two styles of a file that holds several: style=starry_night,great_wave")
        self.mix = look.mix
        network, metadata = open_controls(path, look)
        self.backend, self.names = Torch(network, device), metadata.styles

    def paint(self, image: Tensor, style_map: Tensor) -> Tensor:
        """Paint a batch.

        Args:
            image: float (N, 3, H, W) in [0, 1].
            style_map: grey (N or 1, 1, H, W) in [0, 1], see `over_the_picture`.

        Returns:
            The shape of the image, fp32, in [0, 1], on the CPU.
        """
        guide = style_map.cpu().float().expand(len(image), -1, -1, -1)
        return self.backend.paint_over(image, over_the_picture(self.mix, self.names, guide))

    def memory(self, count: int, height: int, width: int) -> float:
        """As a Backend's."""
        return self.backend.memory(count, height, width, len(self.names))
