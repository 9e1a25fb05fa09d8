"""Encode a PIL image in a format, with its metadata."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, PngImagePlugin

from onestroke.imaging import metadata

WRITABLE = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""Suffix -> Pillow's name of the format. GIF is not written, since 256 colours are too few for a painting."""
LOSSY = ("JPEG", "WEBP")
"""The formats that have a quality setting."""
WITHOUT_ALPHA = ("JPEG", "BMP")
"""The formats that hold no alpha."""
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
"""The largest sides in pixels of the formats that have a limit."""
WITH_XMP = ("JPEG", "PNG", "WEBP", "TIFF")
"""The formats that hold an XMP packet."""

_OPTIONS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}
_MOST_XMP_IN_JPEG = 65533 - len(b"http://ns.adobe.com/xap/1.0/\0")
_MOST_XMP = 2**20


class Seal(Protocol):
    """Protocol of what is done to an encoded file last, such as signing it."""

    def seal(self, content: bytes, kind: str) -> bytes:
        """The content of a file of a kind (Pillow's name) -> the content to write."""
        ...

    def check(self, path: Path, kind: str) -> None:
        """Check the written file, before it gets its name; raises a UserError if it is not as it should be."""
        ...


def xmp_room(suffix: str) -> int:
    """The size in bytes of the largest XMP packet that a file with this suffix holds; 0 if it holds none."""
    kind = WRITABLE.get(suffix.lower())
    if suffix.lower() == ".dzi":  # a file of its own, beside a pyramid of tiles
        return _MOST_XMP
    return 0 if kind not in WITH_XMP else _MOST_XMP_IN_JPEG if kind == "JPEG" else _MOST_XMP


def encode(image: Image.Image, kind: str, quality: int | None, exif: bytes | None, xmp: bytes | None) -> bytes:
    """The content of a file with an image.

    Args:
        image: in RGB or RGBA.
        kind: one of the formats of WRITABLE.
        quality: 1 to 100, for the formats in LOSSY; None is 95.
        exif: a block of `metadata.of_painting`, or None; BMP gets OneStroke's mark alone.
        xmp: a packet, of at most `xmp_room` bytes, or None.
    """
    options = dict(_OPTIONS.get(kind, {}))
    if quality is not None and kind in LOSSY:
        options["quality"] = quality
    if exif is not None and kind in ("JPEG", "PNG", "WEBP"):
        options["exif"] = metadata.for_jpeg(exif) if kind == "JPEG" else exif
    if xmp is not None and kind in ("JPEG", "WEBP"):
        options["xmp"] = xmp
    if xmp is not None and kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    encoded = BytesIO()
    image.save(encoded, kind, **options)
    if exif is not None and kind == "TIFF":
        metadata.into_tiff(encoded, exif, xmp)
    if exif is not None and kind == "BMP":
        metadata.mark_bmp(encoded)
    return encoded.getvalue()
