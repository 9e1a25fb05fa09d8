"""The full pipeline as a torch.export program; graphs/onnx_graph.py does the same for ONNX."""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.graphs.tracing import Core


class Pipeline(nn.Module):
    """Pixels in, padding, the network, cropping, clamping, pixels out; can be exported for pictures of any size.

    Args:
        core: the traced network.
        pixels: as in `onnx_graph.build`.
    """

    def __init__(self, core: Core, pixels: str) -> None:
        super().__init__()
        self.core = core
        self.uint8_pixels = pixels == "uint8"

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) or float (N, 3, H, W) in [0, 1] -> the same."""
        if self.uint8_pixels:
            image = image.permute(0, 3, 1, 2).float() / 255
        height, width = image.shape[-2:]
        # Indices instead of F.pad and slices, for which torch.export can't prove that the sizes are not negative.
        for axis, side in ((2, height), (3, width)):
            image = image.index_select(axis, torch.arange(self._padded(side)).clamp(max=side - 1))
        painting: Tensor = self.core(image)
        for axis, side in ((2, height), (3, width)):
            painting = painting.index_select(axis, torch.arange(side))
        painting = painting.clamp(0, 1)
        return (painting * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1) if self.uint8_pixels else painting

    def _padded(self, side: int) -> int:
        # a multiple of `multiple`, so that torch can prove that down- and upsampling give the same size
        multiple = self.core.multiple
        blocks = torch.sym_max(self.core.smallest // multiple, (side + multiple - 1) // multiple)
        return blocks * multiple  # type: ignore[return-value]  # a symbolic integer in the export


def build(core: Core, document: str, pixels: str) -> bytes:
    """Export a network as a torch.export program for pictures of any size and any batch size.

    Args:
        core: the traced network.
        document: the style's document as JSON, stored as the extra file onestroke.json.
        pixels: as in `onnx_graph.build`.

    Returns:
        The content of a .pt2 file.

    Raises:
        UserError: this version of PyTorch can't export the network for pictures of any size.
    """
    uint8_pixels = pixels == "uint8"
    side = max(core.smallest, 2 * core.multiple) + 1
    shape = (2, side, side + 2, 3) if uint8_pixels else (2, 3, side, side + 2)
    example = torch.zeros(shape, dtype=torch.uint8 if uint8_pixels else torch.float32)
    names = ("n", "height", "width")
    axes = (0, 1, 2) if uint8_pixels else (0, 2, 3)
    dynamic = {axis: torch.export.Dim(name, min=1) for axis, name in zip(axes, names, strict=True)}
    try:
        with torch.no_grad():
            program = torch.export.export(Pipeline(core, pixels), (example,), dynamic_shapes=(dynamic,), strict=False)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"torch.export of PyTorch {torch.__version__} can't follow this network for pictures of any size "
            f"({reason}): use a newer PyTorch, such as 2.14, or format=onnx"
        ) from error
    memory = io.BytesIO()
    torch.export.save(program, memory, extra_files={"onestroke.json": document})
    return memory.getvalue()
