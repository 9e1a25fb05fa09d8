"""Export a style file to one ONNX file whose style, strength and stroke are inputs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onestroke import style_file
from onestroke.errors import UserError
from onestroke.export.exporting import (
    LIMITS,
    SIDE,
    Exported,
    compare_all,
    facts_of,
    fits,
    largest,
    milliseconds,
    paint_of,
)
from onestroke.graphs import onnx_graph
from onestroke.graphs.live import trace_live
from onestroke.graphs.onnx_file import check_exported
from onestroke.inference.backends import Torch
from onestroke.inference.exported import Onnx
from onestroke.networks.base import TransformNetwork
from onestroke.networks.conditioning import ANCHORS, DEFAULTS, FADES_UNTIL, Conditioning
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.networks.tables import Condition
from onestroke.style_document import FORMAT

_SETTINGS = 4  # random mixes and controls at which the file is compared with torch, after the first style's defaults


def export_live(path: Path, pixels: str, past: bool = True) -> Exported:
    """Export all styles and controls of a style file, compare with torch at several settings, and time it.

    Args:
        path: a style file.
        pixels: "uint8" or "float", as in onnx_graph.build.
        past: whether the past of a recurrent network is an input too.

    Raises:
        UserError: the style file can't be read or has a single style and no control, the network can't be exported, a
            package is missing, or the paintings differ from torch's by LIMITS["fp32"] or more.
    """
    network, metadata = style_file.load(path)
    if not isinstance(network, TransformNetwork) or network.conditioning.rows == 1:
        raise UserError(f"{path} has one style and no control, so there is nothing to be live: leave controls out")
    live = trace_live(network, past and isinstance(network, RecurrentNetwork))
    document = json.dumps({"version": FORMAT, **asdict(metadata)}, allow_nan=False)
    model = onnx_graph.build(live.core, document, pixels, tables=live.tables)
    onnx = Onnx(check_exported(model))
    found = []
    for rows, fade in _settings(network.conditioning):
        onnx.set(rows, fade)
        fixed = _Fixed(network, Condition(rows, fade))
        found.append(compare_all(onnx, fixed, pixels))
    difference = largest(found)
    if not fits(difference, LIMITS["fp32"]):
        raise UserError(
            f"{path} would differ from torch's paintings by {difference} of 255 levels: nothing was written"
        )
    facts = facts_of(network, "fp32", pixels, difference, onnx.recurrent)
    onnx_graph.note(model, facts | {"live": inputs(network.conditioning, metadata.styles)})
    other = Torch(fixed, torch.device("cpu"))
    other.recurrent = onnx.recurrent
    own, others = milliseconds([paint_of(onnx), paint_of(other)], SIDE)
    return Exported(model.SerializeToString(), difference, own, "torch", others)


def inputs(conditioning: Conditioning, styles: list[str]) -> dict[str, Any]:
    """What another program needs to compute the inputs of the graph from a style and controls.

    `rows` has a weight for each style (in the order of `styles`) at each anchor of strength and of stroke (as far as
    listed, in this order; the last changes fastest): the product of the style's share and of the shares of the two
    anchors around each control, linearly. `fade` is strength / fades_until, at most 1.
    """
    anchors = {name: np.linspace(0, 1, ANCHORS[name]).tolist() for name in ANCHORS if name in conditioning.controls}
    return {
        "styles": styles,
        "anchors": anchors,
        "defaults": {name: DEFAULTS[name] for name in anchors},
        "fades_until": FADES_UNTIL if "strength" in anchors else 0,
    }


class _Fixed(torch.nn.Module):
    """A network under one condition, for batches of any size."""

    def __init__(self, network: TransformNetwork, condition: Condition) -> None:
        super().__init__()
        self.network, self.condition = network, condition

    def forward(self, image: torch.Tensor, past: torch.Tensor | None = None) -> torch.Tensor:
        """(N, 3, H, W) -> the same shape."""
        rows, fade = self.condition.shares, self.condition.fade
        assert rows is not None and fade is not None
        count = len(image)
        return self.network.paint_with(image, Condition(rows.expand(count, -1), fade.expand(count), past=past))


def _settings(conditioning: Conditioning) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weights of the table rows and the opacity: of the first style, and of random mixes and controls."""
    generator = torch.Generator().manual_seed(0)
    mixes = [torch.eye(conditioning.styles)[:1]]
    values: list[dict[str, float]] = [{}]
    for _ in range(_SETTINGS):
        mix = torch.rand(1, conditioning.styles, generator=generator)
        mixes.append(mix / mix.sum())
        values.append({name: float(torch.rand((), generator=generator)) for name in conditioning.controls})
    found = []
    for mix, settings in zip(mixes, values, strict=True):
        rows, fade = conditioning.shares(1, mix, settings), conditioning.fade(1, settings, mix.device)
        assert rows is not None
        found.append((rows, torch.ones(1) if fade is None else fade))
    return found
