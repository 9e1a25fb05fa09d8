"""Convert the weights of a network that was trained elsewhere to a style file, and check that it paints the same."""

from __future__ import annotations

from pathlib import Path

from onestroke import style_file
from onestroke.errors import UserError
from onestroke.files import atomic, check_free, make_folder
from onestroke.interop import converting, layout
from onestroke.style_document import Metadata
from onestroke.version import __version__


def adopt(path: Path, out: Path, name: str | None = None, range: str = "auto", overwrite: bool = False) -> None:
    """Convert weights to a style file, and print what was detected. Nothing is written on an error.

    Args:
        path: a file of `torch.save`; no code in it is run.
        out: the style file to write.
        name: of the style; default: the name of `path` without its suffix.
        range: the value range of the network's input and output: 255, 1 or imagenet; auto detects it by painting.
        overwrite: whether an existing `out` is replaced.

    Raises:
        UserError: the network is not supported, the style file would paint another picture than the original, or `out`
            exists or can't be written.
    """
    style_file.check_name(out)
    check_free(out, overwrite)
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
