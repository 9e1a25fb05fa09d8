"""A network that others trained becomes a style file that paints the same."""

from __future__ import annotations

import os
from pathlib import Path

from onestroke import style_file
from onestroke.errors import UserError
from onestroke.files import atomic, make_folder
from onestroke.interop import converting, layout
from onestroke.style_document import Metadata
from onestroke.version import __version__


def adopt(path: Path, out: Path, name: str | None = None, range: str = "auto", overwrite: bool = False) -> None:
    """Make a style file of a network that others trained, and tell what was found.

    Args:
        path: weights that `torch.save` wrote; no code in them is run.
        out: the style file to write.
        name: what the style is called; default: as `path`.
        range: 255, 1 or imagenet, the values that the network takes and gives; auto finds out by painting.
        overwrite: whether an older `out` is replaced.

    Raises:
        UserError: for networks that OneStroke can't paint with, and where `out` is there or can't be written; nothing
            is written then, nor where what was written wouldn't paint as the original does.
    """
    style_file.check_name(out)
    if os.path.lexists(out) and not overwrite:
        raise UserError(f"out={out} is there already: choose another name, or add overwrite=true")
    original = layout.read(path)
    found = converting.convert(original, range)
    name = path.stem if name is None else name
    network = {"name": type(found.network).__name__, "args": found.arguments}
    training = {"imported": path.name, "range": found.range, "version": __version__}
    metadata = Metadata(network, {"name": name, "styles": [{"name": name}]}, training)
    make_folder(out.parent)
    with atomic(out) as temporary:
        style_file.save(temporary, found.network, metadata, found.dtype)
        difference = converting.difference(original, found.range, style_file.load(temporary)[0])
        if not difference < converting.TOLERANCE:
            raise UserError(f"{path} was not imported: the style file would paint another picture than the original")
    print(f"{original.describe()}\n{found.describe()}")
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB): {difference * 255:.2f} of 255 from the original at most")
