"""From a style file to a file that others can open: built, checked against torch, and measured."""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from onestroke.data.scenes import Scenes
from onestroke.errors import UserError
from onestroke.export import torch_program
from onestroke.export.fold_norms import freeze
from onestroke.export.quantize import quantise
from onestroke.graphs import onnx_graph
from onestroke.graphs.onnx_file import as_read
from onestroke.graphs.onnx_operators import Model
from onestroke.graphs.tracing import Core, trace
from onestroke.inference.backends import Onnx, Torch, first_channels
from onestroke.inference.controls import AS_IT_IS, Look, open_style
from onestroke.style_document import FORMAT
from onestroke.version import __version__

Photo = np.ndarray
Paint = Callable[[Tensor], Tensor]

SIZES = ((97, 131), (203, 77), (255, 254))  # height, width: none a multiple of what a network halves
SIDE = 512  # of the picture whose painting is timed
_TINY = ((1, 1), (2, 5))
_ROUNDS = 5
_MADE_UP, _MADE_UP_SIDE = 8, 256


@dataclass(frozen=True)
class Difference:
    """From what torch paints, in levels of 255 and beyond the rounding to whole ones: the largest, and the mean."""

    largest: float
    mean: float

    def __str__(self) -> str:
        return f"{self.largest:.3g} at most and {self.mean:.2g} on average"


LIMITS: Mapping[str, Difference] = {
    "fp32": Difference(1.0, 0.1),
    "fp16": Difference(4.0, 0.5),
    "frozen": Difference(256.0, 32.0),
    "int8": Difference(256.0, 8.0),
}
"""Variant -> what its difference stays below, or it is not written."""


@dataclass(frozen=True)
class Exported:
    """What is to be written, and what was measured of it.

    milliseconds: to paint SIDE x SIDE. rival, rival_milliseconds: the same for what it is compared with.
    """

    content: bytes
    difference: Difference
    milliseconds: float
    rival: str
    rival_milliseconds: float


def export(
    path: Path, kind: str, variant: str, pixels: str, photos: Sequence[Photo] | None = None, look: Look = AS_IT_IS
) -> Exported:
    """Build, check and measure what a style file becomes.

    Args:
        path: a style file.
        kind: "onnx", or "torch" for torch.export, which has the variant fp32 alone.
        variant: of LIMITS.
        pixels: "uint8" or "float", as in onnx_graph.build.
        photos: what frozen statistics and 8 bits are measured on, uint8 (H, W, 3) of one size; None for made-up scenes.
        look: what is chosen of what the file offers.

    Raises:
        UserError: for a style file that can't be read, a network that can't be exported, a package that is missing, and
            for what differs from what torch paints by more than LIMITS.
    """
    network, metadata = open_style(path, look)
    document = json.dumps({"version": FORMAT, **asdict(metadata)}, allow_nan=False)
    core = trace(network)
    if kind == "torch":
        content = torch_program.build(core, document, pixels)
        paint = _paint(content, pixels)
        difference = _checked(path, paint, network, pixels, variant)
    else:
        if photos is None and variant in ("frozen", "int8"):
            photos = Scenes(validation=_MADE_UP).held_out(_MADE_UP_SIDE)
        model = _model(core, document, variant, pixels, photos or [])
        paint = Onnx(as_read(model)).paint
        difference = _checked(path, paint, network, pixels, variant)
        onnx_graph.note(
            model,
            {
                "variant": variant, "pixels": pixels, "channels": first_channels(network),
                "difference": asdict(difference), "sizes": SIZES, "onestroke": __version__,
            },
        )  # fmt: skip
        content = model.SerializeToString()
    if variant == "fp32":
        rival, other = "torch", Torch(network, torch.device("cpu")).paint
    else:
        rival, other = "fp32", Onnx(as_read(onnx_graph.build(core, document, pixels))).paint
    own, others = milliseconds([paint, other], SIDE)
    return Exported(content, difference, own, rival, others)


def _model(core: Core, document: str, variant: str, pixels: str, photos: Sequence[Photo]) -> Model:
    if variant == "frozen":
        batch = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255
        core = freeze(core, batch)
    model = onnx_graph.build(core, document, pixels, half=variant == "fp16")
    if variant != "int8":
        return model
    one_each = [photo[None] for photo in photos]
    if pixels == "float":
        one_each = [np.ascontiguousarray(p.transpose(0, 3, 1, 2), np.float32) / 255 for p in one_each]
    return quantise(model, one_each)


def _paint(content: bytes, pixels: str) -> Paint:
    """What a torch.export program paints, as a backend does."""
    module = torch.export.load(io.BytesIO(content)).module()

    def paint(image: Tensor) -> Tensor:
        with torch.inference_mode():
            if pixels == "float":
                return module(image)  # type: ignore[no-any-return]
            levels = (image * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
            return module(levels).permute(0, 3, 1, 2).float() / 255  # type: ignore[no-any-return]

    return paint


def _checked(path: Path, paint: Paint, network: nn.Module, pixels: str, variant: str) -> Difference:
    difference, limit = compare(paint, network, pixels), LIMITS[variant]
    # not >=, which is false for what is not a number
    if not (difference.largest < limit.largest and difference.mean < limit.mean):
        raise UserError(
            f"{path} as {variant} would differ from what torch paints by {difference} of 255 levels, and must by less "
            f"than {limit.largest:g} and {limit.mean:g}: nothing was written"
        )
    return difference


def compare(paint: Paint, network: nn.Module, pixels: str) -> Difference:
    """Paint pictures of three odd sizes, and two at once, as torch does and otherwise.

    Of tiny ones the size alone is looked at: a norm makes much of the rounding in what is all of one colour.

    Args:
        paint: the other way; takes and gives float (N, 3, H, W) in [0, 1].
        network: torch's way.
        pixels: "uint8" where the other way rounds to whole levels.
    """
    scenes = torch.from_numpy(np.stack(Scenes(validation=2).held_out(256))).permute(0, 3, 1, 2).float() / 255
    images = [scenes[:1, :, :height, :width] for height, width in SIZES]
    images.append(scenes[:, :, : SIZES[0][0], : SIZES[0][1]])
    found: list[Tensor] = []
    for image in images + [scenes[:1, :, :height, :width] for height, width in _TINY]:
        painted = paint(image) * 255
        if painted.shape != image.shape:
            raise UserError(f"a picture of {tuple(image.shape)} was painted as {tuple(painted.shape)}: a bug of ours")
        if image.shape[-2:] in _TINY:
            continue
        with torch.inference_mode():
            wanted = network(image).clamp(0, 1) * 255
        rounding = 0.5 if pixels == "uint8" else 0.0
        largest = ((painted - wanted).abs() - rounding).clamp(min=0).max()
        mean = (painted - (wanted.round() if pixels == "uint8" else wanted)).abs().mean()
        found.append(torch.stack((largest, mean)))
    largest, mean = torch.stack(found).amax(0).tolist()
    return Difference(largest, mean)


def milliseconds(ways: Sequence[Paint], side: int) -> list[float]:
    """The median time of each way to paint one picture, taking turns."""
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    times: list[list[float]] = [[] for _ in ways]
    for turn in range(_ROUNDS + 1):
        for way, taken in zip(ways, times, strict=True):
            start = time.perf_counter()
            way(image)
            if turn:  # the first warms up
                taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]
