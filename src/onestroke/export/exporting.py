"""Export a style file to ONNX or torch.export: build the file, compare it with torch, and time it."""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
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
from onestroke.graphs.onnx_file import check_exported
from onestroke.graphs.onnx_nodes import Model
from onestroke.graphs.tracing import Core, trace
from onestroke.inference.backend import Backend
from onestroke.inference.backends import Torch, first_channels
from onestroke.inference.controls import DEFAULT_CONTROLS, StyleControls, open_style
from onestroke.inference.exported import Onnx
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.style_document import FORMAT
from onestroke.version import __version__

Photo = np.ndarray
Paint = Callable[[Tensor], Tensor]

SIZES = (
    (97, 131),
    (203, 77),
    (255, 254),
)  # height, width of the compared pictures; no multiples of powers of 2
SIDE = 512  # side in pixels of the picture that is timed
_TINY = ((1, 1), (2, 5))  # sizes at which only the shape of the painting is checked
_ROUNDS = 5  # timed runs
_SCENES, _SCENE_SIDE = 8, 256  # number and side of the scenes for calibration


@dataclass(frozen=True)
class Difference:
    """The largest and the mean absolute difference from torch's painting, in levels of 255, beyond rounding."""

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
"""Variant -> upper limits of its differences; a file that reaches them is not written."""
WITH_PAST = ("fp32", "fp16")
"""The variants in which a recurrent network takes its past; the others are calibrated on photos, which have none."""


@dataclass(frozen=True)
class Exported:
    """An exported file and its measurements.

    content: of the file. difference: from torch. milliseconds: to paint a picture of SIDE x SIDE. baseline,
    baseline_milliseconds: name and time of what it is compared with.
    """

    content: bytes
    difference: Difference
    milliseconds: float
    baseline: str
    baseline_milliseconds: float


def export(
    path: Path,
    kind: str,
    variant: str,
    pixels: str,
    photos: Sequence[Photo] | None = None,
    controls: StyleControls = DEFAULT_CONTROLS,
    past: bool = True,
) -> Exported:
    """Export a style file, compare it with torch, and time it.

    Args:
        path: a style file.
        kind: "onnx", or "torch" for torch.export, which has the variant fp32 alone.
        variant: a key of LIMITS.
        pixels: "uint8" or "float", as in onnx_graph.build.
        photos: to measure the statistics of frozen and the ranges of int8, each uint8 (H, W, 3), all of one size;
            None takes scenes.
        controls: the style, strength and stroke to export.
        past: whether the past of a recurrent network is an input too, in the variants of WITH_PAST.

    Raises:
        UserError: the style file can't be read, the network can't be exported, a package is missing, or the paintings
            differ from torch's by LIMITS or more.
    """
    network, metadata = open_style(path, controls)
    document = json.dumps({"version": FORMAT, **asdict(metadata)}, allow_nan=False)
    past = past and isinstance(network, RecurrentNetwork) and kind == "onnx" and variant in WITH_PAST
    core = trace(network, past=past)
    if kind == "torch":
        content = torch_program.build(core, document, pixels)
        paint = _paint(content, pixels)
        difference = _checked(path, compare(paint, network, pixels), variant)
    else:
        if photos is None and variant in ("frozen", "int8"):
            photos = Scenes(validation=_SCENES).held_out(_SCENE_SIDE)
        model = _model(core, document, variant, pixels, photos or [])
        onnx = Onnx(check_exported(model))
        paint = paint_of(onnx)
        difference = _checked(path, compare_all(onnx, network, pixels), variant)
        onnx_graph.note(model, facts_of(network, variant, pixels, difference, past))
        content = model.SerializeToString()
    baseline, other = _baseline(core, network, variant, pixels)
    own, others = milliseconds([paint, paint_of(other)], SIDE)
    return Exported(content, difference, own, baseline, others)


def facts_of(network: nn.Module, variant: str, pixels: str, difference: Difference, past: bool) -> dict[str, object]:
    """The facts about an export in its metadata; past: whether the past is an input."""
    found = {
        "variant": variant, "pixels": pixels, "channels": first_channels(network), "difference": asdict(difference),
        "sizes": SIZES, "onestroke": __version__,
    }  # fmt: skip
    return found | {"past": onnx_graph.PAST_INPUTS} if past else found


def _baseline(core: Core, network: nn.Module, variant: str, pixels: str) -> tuple[str, Backend]:
    """Name and backend of what a variant's time is compared with."""
    if variant != "fp32":
        return "fp32", Onnx(check_exported(onnx_graph.build(core, "", pixels)))
    backend = Torch(network, torch.device("cpu"))
    backend.recurrent = core.past
    return "torch", backend


def _model(core: Core, document: str, variant: str, pixels: str, photos: Sequence[Photo]) -> Model:
    """Build the ONNX model of a variant; `photos` are for frozen and int8."""
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
    """A function that paints with a torch.export program: float (N, 3, H, W) in [0, 1] -> the same."""
    module = torch.export.load(io.BytesIO(content)).module()

    def paint(image: Tensor) -> Tensor:
        with torch.inference_mode():
            if pixels == "float":
                return module(image)  # type: ignore[no-any-return]
            levels = (image * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
            return module(levels).permute(0, 3, 1, 2).float() / 255  # type: ignore[no-any-return]

    return paint


def _checked(path: Path, difference: Difference, variant: str) -> Difference:
    """The difference from torch; raises a UserError if it is not below the limits of the variant."""
    limit = LIMITS[variant]
    if not fits(difference, limit):
        raise UserError(
            f"{path} as {variant} would differ from what torch paints by {difference} of 255 levels, and must by less "
            f"than {limit.largest:g} and {limit.mean:g}: nothing was written"
        )
    return difference


def fits(difference: Difference, limit: Difference) -> bool:
    """Whether a difference is below a limit; one that is not a number is not."""
    return difference.largest < limit.largest and difference.mean < limit.mean


def compare_all(backend: Backend, network: Callable[..., Tensor], pixels: str) -> Difference:
    """`compare`, without a past and, for a graph that takes one, also with it: the larger differences."""
    found = [compare(backend.paint, network, pixels)]
    if backend.recurrent:
        found.append(compare(paint_of(backend), lambda image: network(image, past=example_past(image)), pixels))
    return largest(found)


def largest(found: Sequence[Difference]) -> Difference:
    """The largest of several differences; not a number if one is not."""
    return Difference(*(float(np.max([getattr(one, name) for one in found])) for name in ("largest", "mean")))


def paint_of(backend: Backend) -> Paint:
    """A function that paints, with an example of a past if the backend takes one."""
    return (lambda image: backend.paint(image, example_past(image))) if backend.recurrent else backend.paint


def example_past(image: Tensor) -> Tensor:
    """A past to compare and to time with, (N, 4, H, W): the picture mirrored, and known more and more to the right."""
    known = torch.linspace(0, 1, image.shape[-1]).expand(len(image), 1, *image.shape[-2:])
    return torch.cat([image.flip(-1), known], dim=1)


def compare(paint: Paint, network: Callable[..., Tensor], pixels: str) -> Difference:
    """Compare an exported file with torch on pictures of three odd sizes, and on a batch of two.

    For tiny pictures only the shape is checked, since norms amplify rounding errors in pictures of nearly one colour.

    Args:
        paint: the exported file; float (N, 3, H, W) in [0, 1] -> the same.
        network: the network in torch.
        pixels: "uint8" if `paint` rounds to levels of 255, else "float".
    """
    scenes = _scenes()
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


@cache
def _scenes() -> Tensor:
    """Two rendered scenes to compare with, (2, 3, 256, 256) in [0, 1]."""
    return torch.from_numpy(np.stack(Scenes(validation=2).held_out(256))).permute(0, 3, 1, 2).float() / 255


def milliseconds(paints: Sequence[Paint], side: int) -> list[float]:
    """The median time in milliseconds of each function to paint a picture of side x side; they take turns."""
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    times: list[list[float]] = [[] for _ in paints]
    for turn in range(_ROUNDS + 1):
        for paint, taken in zip(paints, times, strict=True):
            start = time.perf_counter()
            paint(image)
            if turn:  # the first turn is a warm-up
                taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]
