"""The picture formats that can be read: first bytes, suffixes, and the packages that they need."""

from __future__ import annotations

import re
from importlib.util import find_spec

from PIL import features

HEAD = 64
"""Number of bytes at the start of a file by which its format is detected."""

_SUFFIXES = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png .apng",
    "WEBP": ".webp",
    "TIFF": ".tif .tiff",
    "BMP": ".bmp",
    "GIF": ".gif",
    "AVIF": ".avif",
    "HEIF": ".heic .heif",
    "PPM": ".ppm .pgm .pbm .pnm",
    "JPEG2000": ".jp2 .j2k .jpx .j2c .jpc",
}
EXTENSIONS = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes.split())
KNOWN = ", ".join(sorted(EXTENSIONS))
"""EXTENSIONS as text for messages."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG2000 = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")
_HEIF = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))  # valid sizes of the header after the first 14 bytes
_PPM = re.compile(rb"P([1-6]|F|f)(\s+|\s*#[^\n]*\n\s*)+[0-9]")


def kind_of(head: bytes) -> str | None:
    """Detect a picture format from the first HEAD bytes of a file.

    For signatures that are also the start of text files (`BM`, `P3`), the bytes that follow are checked too.

    Returns:
        Pillow's name of the format; None if the file is not a known picture.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(_TIFF):
        return "TIFF"
    if head.startswith(_JPEG2000):
        return "JPEG2000"
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return "PPM" if _PPM.match(head) else None


def _of_brands(head: bytes) -> str | None:
    """AVIF, HEIF or None, by the brands in an ftyp box."""
    box = head[8 : int.from_bytes(head[:4], "big")]
    brands = {box[:4], *(box[i : i + 4] for i in range(8, len(box), 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if box[:4] in _HEIF else None


def unreadable(kind: str) -> str:
    """What must be installed to read a format, as the end of a sentence; empty if it can be read."""
    if kind == "HEIF":
        return "" if find_spec("pillow_heif") else "needs pip install 'onestroke[heic]'"
    feature = {"AVIF": "avif", "WEBP": "webp", "JPEG2000": "jpg_2000"}.get(kind)
    if feature is None or (feature in features.features or feature in features.modules or feature in features.codecs):
        return "" if feature is None or features.check(feature) else f"needs a Pillow with {kind}"
    return "needs Pillow 11.3 or newer"
