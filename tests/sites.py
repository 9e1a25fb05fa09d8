"""Exported pages for tests: a small style file, and a stand-in for the runtime that paints in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from onestroke import style_file
from onestroke.export.web_runtime import WASM, WEBGPU
from onestroke.networks.tables import tables_of
from onestroke.style_document import Metadata

NAMES = ["waves", "stars", "scream"]


def small_style(
    path: Path, styles: int = 3, controls: tuple[str, ...] = ("strength", "stroke"), channels: tuple[int, int] = (4, 8)
) -> Path:
    """A style file of the realtime network in which every row of every table differs."""
    torch.manual_seed(0)
    args = {"channels": list(channels), "blocks": 1, "styles": styles, "controls": list(controls)}
    network: Any = style_file.network_classes()["RealtimeNetwork"](**args)
    for layer in tables_of(network):
        for table in layer.parameters(recurse=False):
            nn.init.normal_(table, float(table.detach().mean()), 0.1)
    nn.init.normal_(network.paint.convolution.weight, 0, 0.05)
    listed = [
        {"name": name, "title": name.title(), "artist": f"A. {name.title()}", "year": str(1900 + i)}
        for i, name in enumerate(NAMES[:styles])
    ]
    style = {"name": "all", "strength": 0.6, "styles": listed}
    style_file.save(path, network.eval(), Metadata({"name": "RealtimeNetwork", "args": args}, style))
    return path


def no_runtime(folder: Path) -> Path:
    """A folder with the names of the runtime's files, and nothing in them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*WASM, *WEBGPU):
        (folder / name).write_bytes(name.encode())
    return folder
