"""Estimate from a picture's header how much memory decoding takes, and check that it is free."""

from __future__ import annotations

from PIL import ImageFile, TiffImagePlugin

from onestroke import devices
from onestroke.errors import UserError

_ONE_BYTE = ("1", "L", "P")
# Bytes per pixel that decoders take besides Pillow's image: the measured peak when decoding large pictures of noise.
_DECODER = {"WEBP": 9.0, "AVIF": 9.0, "HEIF": 12.0, "GIF": 1.0}
_WIDE_SAMPLE = 4  # bytes per sample in the decoder of JPEG 2000
_FIXED = 40 * 2**20  # bytes for strips, tables, small pictures, and buffered rows of a picture that is shrunk


def check(image: ImageFile.ImageFile, name: str, size: tuple[int, int], shrinks: bool) -> None:
    """Check that enough memory is free to decode a picture.

    Args:
        image: an opened image whose pixels are not decoded yet.
        name: of the picture, for messages.
        size: width and height for the message; `image` may have been set to a reduced scale.
        shrinks: whether the picture is shrunk while it is converted.

    Raises:
        UserError: decoding takes more memory than is free.
    """
    needed, free = needs(image, shrinks), devices.free_memory()
    if needed > free:
        raise UserError(
            f"{name} is too large for the memory: {size[0]} x {size[1]} needs about {_amount(needed)} to decode "
            f"and {_amount(free)} are free; make it smaller first"
        )


def needs(image: ImageFile.ImageFile, shrinks: bool) -> int:
    """Peak memory in bytes of decoding and converting, including the result."""
    bands = len(image.getbands())
    stored = 1 if image.mode in _ONE_BYTE else 2 if image.mode.startswith("I;") else 4
    scratch = _DECODER.get(image.format or "", 0.0)
    if image.format == "JPEG2000":
        scratch = _WIDE_SAMPLE * bands
    elif image.info.get("progressive"):
        scratch = 2 * bands  # 2 bytes for each coefficient, all held until the last scan
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        scratch = _strip_of(image)
    result = 0 if shrinks else 4 * bands if image.mode in ("I", "F") or image.mode.startswith("I;") else bands
    if not shrinks and image.mode in ("P", "PA"):
        result = 4
    return int(image.width * image.height * (stored + max(scratch, result))) + _FIXED


def _strip_of(image: TiffImagePlugin.TiffImageFile) -> float:
    """Bytes of one unpacked strip or tile, divided by the number of pixels of the picture."""
    rows = image.tag_v2.get(278)
    part = min(rows, image.height) / image.height if isinstance(rows, int) and rows > 0 else 1.0
    bits = image.tag_v2.get(258, (1,))
    depth = bits if isinstance(bits, tuple) else (bits,)
    return part * sum(depth) / 8


def _amount(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
