"""Write a picture of any size from its rows: TIFF with tifffile or pyvips, other kinds with Pillow or pyvips."""

from __future__ import annotations

import importlib
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onestroke.errors import UserError
from onestroke.files import atomic
from onestroke.imaging import metadata
from onestroke.imaging.animation_xmp import insert_xmp
from onestroke.imaging.directories import decode_block
from onestroke.imaging.encoding import LONGEST_SIDE, WITHOUT_ALPHA, WRITABLE, encode
from onestroke.imaging.large_reading import NEEDS, vips
from onestroke.imaging.raw_rows import RawRows
from onestroke.packages import installed

_TILE = 512  # side of a tile of a TIFF
_CLASSIC = 4 * 10**9  # bytes of tiles above which a TIFF is a BigTIFF
_ENCODING = 3.0  # times its pixels, what Pillow takes to encode a picture
_X, _Y, _UNIT = 0x011A, 0x011B, 0x0128


def check_writable_size(path: Path, height: int, width: int, memory: float) -> None:
    """Check before painting that a picture of this size can be written.

    Raises:
        UserError: the format can't hold it, or a package is missing.
    """
    kind = WRITABLE[path.suffix.lower()]
    longest = LONGEST_SIDE.get(kind)
    if longest is not None and max(height, width) > longest:
        raise UserError(
            f"cannot write '{path}': {kind} holds at most {longest} pixels a side and the picture is "
            f"{width} x {height}; use .tif or .png"
        )
    if kind == "TIFF" and installed("tifffile"):
        return
    if _fits(height, width, memory) or (kind in ("JPEG", "PNG", "WEBP", "TIFF") and installed("pyvips")):
        return
    if kind == "BMP":
        raise UserError(f"cannot write '{path}': a BMP is written at once, which takes too much memory; use .tif")
    raise UserError(f"cannot write '{path}': a picture of {width} x {height} needs {NEEDS}")


def write_rows(
    path: Path,
    pixels: RawRows,
    memory: float,
    quality: int | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    finish: Callable[[Path], None] = lambda path: None,
) -> None:
    """Encode a picture in the format of the suffix and write the file atomically.

    Args:
        path: the file to write; one that exists is replaced.
        pixels: RGB or RGBA; for formats without alpha, RGB.
        memory: bytes that this may take.
        quality: 1 to 100, of JPEG and WebP; None is 95.
        exif: a block of `metadata.of_painting`.
        xmp: a packet, or None.
        finish: is called with the whole file before it gets its name, and may change it.

    Raises:
        UserError: it can't be written.
    """
    kind = WRITABLE[path.suffix.lower()]
    assert pixels.channels == 3 or kind not in WITHOUT_ALPHA
    with atomic(path) as temporary:
        if kind == "TIFF" and installed("tifffile"):
            _by_tifffile(temporary, pixels, exif, xmp)
        elif _fits(pixels.height, pixels.width, memory):
            whole = Image.fromarray(pixels.rows(0, pixels.height))
            temporary.write_bytes(encode(whole, kind, quality, exif, xmp))
        else:
            _by_vips(temporary, kind, pixels, quality, exif, xmp)
        finish(temporary)


def _fits(height: int, width: int, memory: float) -> bool:
    return _ENCODING * 4 * height * width <= memory


def _by_tifffile(path: Path, pixels: RawRows, exif: bytes | None, xmp: bytes | None) -> None:
    """A tiled TIFF, or BigTIFF above 4 GB; the latter without the blocks of camera settings and places."""
    tifffile: Any = importlib.import_module("tifffile")
    tiles = math.ceil(pixels.height / _TILE) * math.ceil(pixels.width / _TILE)
    large = tiles * _TILE**2 * pixels.channels > _CLASSIC
    extra = []
    if large and xmp is not None:
        extra.append((0x02BC, 1, len(xmp), xmp, True))
    if large and exif is not None:
        _, main, _, _ = decode_block(exif)
        # tifffile writes in the order of this machine, and bytes as they are: so only what has no order
        extra += [(tag, kind, count, value, True) for tag, (kind, count, value) in main.items() if kind in (1, 2, 7)]
    with tifffile.TiffWriter(path, bigtiff=large) as writer:
        writer.write(
            _tiles(pixels),
            shape=(pixels.height, pixels.width, pixels.channels),
            dtype=np.uint8,
            tile=(_TILE, _TILE),
            photometric="rgb",
            extrasamples=["unassalpha"] if pixels.channels == 4 else None,
            metadata=None,
            software=False,
            extratags=extra,
            **_resolution(exif),
        )
    if exif is not None and not large:
        with path.open("r+b") as file:
            metadata.into_tiff(file, exif, xmp)


def _resolution(exif: bytes | None) -> dict[str, Any]:
    """tifffile's arguments for the resolution of an EXIF block; empty if it has none."""
    if exif is None:
        return {}
    order, main, _, _ = decode_block(exif)
    if not {_X, _Y, _UNIT} <= main.keys():
        return {}
    x, y = (struct.unpack(order + "2I", main[tag][2][:8]) for tag in (_X, _Y))
    unit = struct.unpack(order + "H", main[_UNIT][2][:2])[0]
    return {"resolution": (x, y), "resolutionunit": unit} if x[1] and y[1] and unit in (1, 2, 3) else {}


def _tiles(pixels: RawRows) -> Iterator[np.ndarray]:
    for top in range(0, pixels.height, _TILE):
        band = pixels.rows(top, min(top + _TILE, pixels.height))
        for left in range(0, pixels.width, _TILE):
            part = band[:, left : left + _TILE]
            missing = ((0, _TILE - part.shape[0]), (0, _TILE - part.shape[1]), (0, 0))
            yield np.pad(part, missing, mode="edge")


def _by_vips(
    path: Path, kind: str, pixels: RawRows, quality: int | None, exif: bytes | None, xmp: bytes | None
) -> None:
    pyvips = vips()
    image = pyvips.Image.rawload(str(pixels.path), pixels.width, pixels.height, pixels.channels)
    resolution = _resolution(exif)
    if resolution and resolution["resolutionunit"] in (2, 3):
        inch = 25.4 if resolution["resolutionunit"] == 2 else 10.0
        x, y = (number / (over * inch) for number, over in resolution["resolution"])
        image = image.copy(xres=x, yres=y)
    image = image.copy(interpretation="srgb")
    # libvips would compress the packet of a PNG, in a chunk where XMP is not looked for
    for name, block in (("exif-data", exif and b"Exif\0\0" + exif), ("xmp-data", None if kind == "PNG" else xmp)):
        if block:
            image.set_type(pyvips.GValue.blob_type, name, block)
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"Q": quality or 95, "subsample_mode": "off"},
        "WEBP": {"Q": quality or 95},
        "PNG": {},
        "TIFF": {"tile": True, "tile_width": _TILE, "tile_height": _TILE, "bigtiff": True},
    }
    try:
        image.write_to_file(str(path), **options[kind])
    except pyvips.Error as error:
        raise UserError(f"cannot write '{path.name}': {str(error).strip()}") from error
    if kind == "PNG" and xmp is not None:
        insert_xmp(path, kind, xmp)
