"""A decoded picture, and its conversion from a loaded PIL image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import ExifTags, Image, TiffImagePlugin
from torch import Tensor

from onestroke.errors import UserError
from onestroke.imaging.decoding.alpha import fill
from onestroke.imaging.decoding.conversion import Source, turn_of, whole
from onestroke.imaging.decoding.shrinking import resize, resize_weighted, shrunk


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, upright and in sRGB. Transparent pixels have the colour of visible pixels near them.

    pixels: (1, 1 or 3, H, W), uint8, or float32 in [0, 1] where the file has more than 8 bits or was shrunk.
    cover: alpha, (1, 1, H, W), of the same dtype, or None.
    exif: the unchanged EXIF block of the file, which begins with `Exif\\0\\0` or with the byte order, or None.
    frames: the number of frames or pages of the file; the picture is the first.
    xmp: the unchanged XMP packet of the file, which may be anything, or None.
    """

    pixels: Tensor
    cover: Tensor | None = None
    exif: bytes | None = None
    frames: int = 1
    xmp: bytes | None = None

    @property
    def rgb(self) -> Tensor:
        """Colours (1, 3, H, W), float32 in [0, 1]; computed at each call to save memory; must not be written to."""
        return _unit(self.pixels).expand(-1, 3, -1, -1)

    @property
    def alpha(self) -> Tensor | None:
        """Alpha (1, 1, H, W), float32 in [0, 1], or None for an opaque picture."""
        return None if self.cover is None else _unit(self.cover)

    @property
    def height(self) -> int:
        return self.pixels.shape[-2]

    @property
    def width(self) -> int:
        return self.pixels.shape[-1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def fit(self, *, short_side: int | None = None, max_side: int | None = None) -> Picture:
        """Resize as `images.fit` does, with colours weighted by alpha.

        Raises:
            UserError: `short_side` or `max_side` is below 1.
        """
        return self.resized(*fitting(*self.size, short_side=short_side, max_side=max_side))

    def resized(self, height: int, width: int) -> Picture:
        """Resize to a height and width, with colours weighted by alpha."""
        if (height, width) == self.size:
            return self
        colours, alpha = _unit(self.pixels), self.alpha
        if alpha is None:
            return Picture(resize(colours, height, width), None, self.exif, self.frames, self.xmp)
        colours, small = resize_weighted(colours, alpha, height, width)
        fill(colours, small)
        return Picture(colours, small, self.exif, self.frames, self.xmp)


def _unit(values: Tensor) -> Tensor:
    return values.to(torch.float32).div_(255) if values.dtype == torch.uint8 else values


def fitting(height: int, width: int, *, short_side: int | None = None, max_side: int | None = None) -> tuple[int, int]:
    """Height and width after resizing with the aspect kept; arguments as in `images.fit`.

    Raises:
        UserError: `short_side` or `max_side` is below 1.
    """
    for name, side in (("short_side", short_side), ("max_side", max_side)):
        if side is not None and side < 1:
            raise UserError(f"{name} is {side}, but a picture has at least one pixel a side; use 1 or more")
    scale = 1.0 if short_side is None else short_side / min(height, width)
    if max_side is not None:
        scale = min(scale, max_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def to_picture(image: Image.Image, name: str, size: tuple[int, int] | None = None, alpha_hides: bool = True) -> Picture:
    """Convert a loaded image: upright, in sRGB, with alpha for any kind of transparency.

    Args:
        image: a loaded image of any mode.
        name: of the picture, for messages.
        size: height and width to shrink to, in the orientation of the file; None keeps the size.
        alpha_hides: False where alpha is a mask and not transparency: all pixels keep their colours.

    Raises:
        UserError: grey values of more than 8 bits are outside of the range of their type.
    """
    source, turn = Source(image, name), turn_of(image)
    if size is None or size == source.size:
        pixels, cover = whole(source, turn)
    else:
        pixels, cover = shrunk(source, *size, turn, alpha_hides)
    if cover is not None and alpha_hides:
        fill(pixels, cover)
    return Picture(pixels, cover)


def seen(rgb: Tensor, alpha: Tensor) -> Tensor:
    """A copy of colours (1, 3, H, W) with `fill` applied: where alpha (1, 1, H, W) hides them, those of neighbours."""
    result = rgb.clone(memory_format=torch.contiguous_format)
    fill(result, alpha)
    return result


_TIFF_TAGS_KEPT = (
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software,
    ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright, ExifTags.Base.XResolution,
    ExifTags.Base.YResolution, ExifTags.Base.ResolutionUnit,
)  # fmt: skip


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF block of an opened image, or None; for a TIFF, a new block with the tags that describe the photo."""
    try:
        if not isinstance(image, TiffImagePlugin.TiffImageFile):
            exif = image.info.get("exif")
            return exif if isinstance(exif, bytes) and exif else None
        own, kept = image.getexif(), Image.Exif()
        for tag in _TIFF_TAGS_KEPT:
            if tag in own:
                kept[tag] = own[tag]
        for block in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if found := own.get_ifd(block):
                kept.get_ifd(block).update(found)
        return kept.tobytes() if len(kept) else None
    except Exception:
        return None  # A broken EXIF block is no reason to refuse the pixels.


def xmp_of(image: Image.Image) -> bytes | None:
    """The XMP packet of an opened image, or None."""
    found = image.info.get("xmp")
    return found.encode() if isinstance(found, str) else found if isinstance(found, bytes) and found else None
