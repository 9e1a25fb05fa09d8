"""The picture's whole road as a torch.export program: what graph.py is to ONNX."""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

from onestroke.errors import UserError
from onestroke.graphs.tracing import Core


class Road(nn.Module):
    """Pixels in, padding, the network, cutting, clamping, pixels out; for any size, also where it is traced.

    Args:
        core: what the network does.
        pixels: as in graph.build.
    """

    def __init__(self, core: Core, pixels: str) -> None:
        super().__init__()
        self.core = core
        self.whole = pixels == "uint8"

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) or float (N, 3, H, W) in [0, 1] -> the same."""
        if self.whole:
            image = image.permute(0, 3, 1, 2).float() / 255
        height, width = image.shape[-2:]
        # By index and not by F.pad and slices: torch.export would have to prove that nothing is negative, and can't.
        for axis, side in ((2, height), (3, width)):
            image = image.index_select(axis, torch.arange(self._wanted(side)).clamp(max=side - 1))
        painting: Tensor = self.core(image)
        for axis, side in ((2, height), (3, width)):
            painting = painting.index_select(axis, torch.arange(side))
        painting = painting.clamp(0, 1)
        return (painting * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1) if self.whole else painting

    def _wanted(self, side: int) -> int:
        # in whole blocks, so that torch can tell that halving and doubling lead back to the same size
        multiple = self.core.multiple
        blocks = torch.sym_max(self.core.smallest // multiple, (side + multiple - 1) // multiple)
        return blocks * multiple  # type: ignore[return-value]  # a symbol where it is traced


def build(core: Core, document: str, pixels: str) -> bytes:
    """Write a network as a torch.export program (.pt2) for pictures of any size, any number at once.

    Args:
        core: what the network does.
        document: JSON, carried over as the extra file onestroke.json.
        pixels: as in graph.build.

    Raises:
        UserError: where this PyTorch can't follow the network for pictures of any size.
    """
    whole = pixels == "uint8"
    side = max(core.smallest, 2 * core.multiple) + 1
    shape = (2, side, side + 2, 3) if whole else (2, 3, side, side + 2)
    example = torch.zeros(shape, dtype=torch.uint8 if whole else torch.float32)
    names = ("n", "height", "width")
    axes = (0, 1, 2) if whole else (0, 2, 3)
    dynamic = {axis: torch.export.Dim(name, min=1) for axis, name in zip(axes, names, strict=True)}
    try:
        with torch.no_grad():
            program = torch.export.export(Road(core, pixels), (example,), dynamic_shapes=(dynamic,), strict=False)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"torch.export of PyTorch {torch.__version__} can't follow this network for pictures of any size "
            f"({reason}): use a newer PyTorch, such as 2.14, or format=onnx"
        ) from error
    memory = io.BytesIO()
    torch.export.save(program, memory, extra_files={"onestroke.json": document})
    return memory.getvalue()
