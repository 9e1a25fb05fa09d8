"""Write a picture as a pyramid of tiles (DeepZoom), and a page in which to move through it."""

from __future__ import annotations

import html
import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from onestroke.errors import UserError
from onestroke.files import atomic
from onestroke.imaging import metadata
from onestroke.imaging.encoding import encode
from onestroke.imaging.raw_rows import RawRows

PYRAMID = ".dzi"
"""The suffix of a pyramid's description, which lies beside the folder of its tiles."""
_TILE = 256
_PAGE = Path(__file__).with_name("pyramid.html")


def write_pyramid(path: Path, pixels: RawRows, quality: int | None, style: str, xmp: bytes | None = None) -> None:
    """Write `name.dzi`, its tiles in `name_files`, the page `name.html`, and `name.xmp`.

    What has these names is replaced, at last `name.dzi`. The tiles are JPEG, or PNG with alpha, and marked as painted.

    Args:
        path: the description, `name.dzi`.
        pixels: the picture; the folder of its file also takes what is written until it is whole.
        quality: 1 to 100, of JPEG; None is 95.
        style: for the mark.
        xmp: a packet.

    Raises:
        UserError: it can't be written.
    """
    levels = max(1, (max(pixels.height, pixels.width) - 1).bit_length() + 1)
    kind = "JPEG" if pixels.channels == 3 else "PNG"
    suffix = "jpg" if kind == "JPEG" else "png"
    new, files = pixels.path.parent / "tiles", path.with_name(f"{path.stem}_files")
    shutil.rmtree(new, ignore_errors=True)
    mark = metadata.of_painting(None, _TILE, _TILE, style)
    try:
        level = pixels
        for number in reversed(range(levels)):
            (new / str(number)).mkdir(parents=True)
            smaller = RawRows(
                pixels.path.with_name(f"level_{number}.raw"),
                -(-level.height // 2),
                -(-level.width // 2),
                level.channels,
            )
            for top in range(0, level.height, 2 * _TILE):
                band = level.rows(top, min(top + 2 * _TILE, level.height))
                _write_tiles(new / str(number), band, top // _TILE, kind, suffix, quality, mark)
                smaller.write(top // 2, _halved(band))
            if level is not pixels:
                level.path.unlink()
            level = smaller
        level.path.unlink()
        shutil.rmtree(files, ignore_errors=True)
        os.replace(new, files)
    except OSError as error:
        raise UserError(f"cannot write '{files}': {error.strerror or error}") from error
    _write_beside(path, pixels, levels, suffix, xmp)


def _write_tiles(
    folder: Path, band: np.ndarray, first: int, kind: str, suffix: str, quality: int | None, mark: bytes
) -> None:
    """Write the tiles of two rows."""
    for row in range(-(-len(band) // _TILE)):
        for column in range(-(-band.shape[1] // _TILE)):
            part = band[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE]
            content = encode(Image.fromarray(np.ascontiguousarray(part)), kind, quality, mark, None)
            (folder / f"{column}_{first + row}.{suffix}").write_bytes(content)


def _halved(band: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, rounded: (h, w, C) -> (h / 2, w / 2, C), rounded up."""
    even = np.pad(band, ((0, len(band) % 2), (0, band.shape[1] % 2), (0, 0)), mode="edge").astype(np.uint16)
    sums = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return ((sums + 2) // 4).astype(np.uint8)


def _write_beside(path: Path, pixels: RawRows, levels: int, suffix: str, xmp: bytes | None) -> None:
    facts = {
        "width": pixels.width, "height": pixels.height, "tile": _TILE, "levels": levels,
        "files": f"{path.stem}_files", "format": suffix,
    }  # fmt: skip
    page = _PAGE.read_text(encoding="utf-8").replace("TITLE", html.escape(path.stem))
    page = page.replace("PICTURE", json.dumps(facts).replace("<", "\\u003c"))
    description = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" '
        f'Format="{suffix}" Overlap="0" TileSize="{_TILE}"><Size Width="{pixels.width}" Height="{pixels.height}"/>'
        "</Image>\n"
    )
    contents = {".html": page.encode(), ".xmp": xmp, PYRAMID: description.encode()}
    for ending, content in contents.items():
        if content is not None:
            with atomic(path.with_suffix(ending)) as temporary:
                temporary.write_bytes(content)
