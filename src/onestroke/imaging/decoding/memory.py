"""How much memory a picture takes to decode, from its header, and whether there is as much."""

from __future__ import annotations

from PIL import ImageFile, TiffImagePlugin

from onestroke import devices
from onestroke.errors import UserError

_ONE_BYTE = ("1", "L", "P")
# Bytes a pixel that decoders take beside Pillow's own, measured as the peak of a process that reads large noise.
_DECODER = {"WEBP": 9.0, "AVIF": 9.0, "HEIF": 12.0, "GIF": 1.0}
_WIDE_SAMPLE = 4  # bytes in which the decoders of JPEG 2000 and progressive JPEG hold one
_FIXED = 40 * 2**20  # strips, tables, small pictures, and rows that wait while a picture is shrunk


def check(image: ImageFile.ImageFile, name: str, size: tuple[int, int], shrinks: bool) -> None:
    """See that there is memory to decode a picture of which only the header was read.

    Args:
        image: what was opened.
        name: what messages call it.
        size: width and height that messages tell, as a JPEG may be about to be decoded at a reduced scale.
        shrinks: whether it is made much smaller right away.

    Raises:
        UserError: there is less than it takes.
    """
    needed, free = needs(image, shrinks), devices.free_memory()
    if needed > free:
        raise UserError(
            f"{name} is too large for the memory: {size[0]} x {size[1]} needs about {_told(needed)} to decode "
            f"and {_told(free)} are free; make it smaller first"
        )


def needs(image: ImageFile.ImageFile, shrinks: bool) -> int:
    """Bytes at the peak of decoding and converting, the result included."""
    bands = len(image.getbands())
    stored = 1 if image.mode in _ONE_BYTE else 2 if image.mode.startswith("I;") else 4
    scratch = _DECODER.get(image.format or "", 0.0)
    if image.format == "JPEG2000":
        scratch = _WIDE_SAMPLE * bands
    elif image.info.get("progressive"):
        scratch = 2 * bands  # coefficients of all blocks are held till the last scan
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        scratch = _strip_of(image)
    result = 0 if shrinks else 4 * bands if image.mode in ("I", "F") or image.mode.startswith("I;") else bands
    if not shrinks and image.mode in ("P", "PA"):
        result = 4
    return int(image.width * image.height * (stored + max(scratch, result))) + _FIXED


def _strip_of(image: TiffImagePlugin.TiffImageFile) -> float:
    """Bytes a pixel of the whole that one strip or tile holds when it is unpacked."""
    rows = image.tag_v2.get(278)
    part = min(rows, image.height) / image.height if isinstance(rows, int) and rows > 0 else 1.0
    bits = image.tag_v2.get(258, (1,))
    depth = bits if isinstance(bits, tuple) else (bits,)
    return part * sum(depth) / 8


def _told(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
