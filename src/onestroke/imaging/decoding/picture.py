"""A decoded picture, and how an image that Pillow has loaded becomes one."""

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
    """A decoded picture, upright and in sRGB. Colours that can't be seen are those of what is visible beside them.

    pixels: (1, 1 or 3, H, W), uint8, or float32 in [0, 1] where the file has more than 8 bits or was shrunk.
    cover: alpha likewise, (1, 1, H, W), or None.
    exif: the EXIF block as the file has it, beginning with `Exif\\0\\0` or with the byte order, or None.
    frames: how many frames or pages the file has; this is the first.
    """

    pixels: Tensor
    cover: Tensor | None = None
    exif: bytes | None = None
    frames: int = 1

    @property
    def rgb(self) -> Tensor:
        """(1, 3, H, W), float32 in [0, 1]: made at each call, since it takes four times the memory; to be read only."""
        return _unit(self.pixels).expand(-1, 3, -1, -1)

    @property
    def alpha(self) -> Tensor | None:
        """(1, 1, H, W), float32 in [0, 1], or None where all is opaque."""
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
        """Resized as `images.fit` does, each colour counting as much as it can be seen.

        Raises:
            UserError: a side asked for is below 1.
        """
        return self.resized(*fitting(*self.size, short_side=short_side, max_side=max_side))

    def resized(self, height: int, width: int) -> Picture:
        """At another size, each colour counting as much as it can be seen."""
        if (height, width) == self.size:
            return self
        colours, alpha = _unit(self.pixels), self.alpha
        if alpha is None:
            return Picture(resize(colours, height, width), None, self.exif, self.frames)
        colours, small = resize_weighted(colours, alpha, height, width)
        fill(colours, small)
        return Picture(colours, small, self.exif, self.frames)


def _unit(values: Tensor) -> Tensor:
    return values.to(torch.float32).div_(255) if values.dtype == torch.uint8 else values


def fitting(height: int, width: int, *, short_side: int | None = None, max_side: int | None = None) -> tuple[int, int]:
    """Height and width of a picture that is resized with its aspect kept, no side below one pixel.

    Raises:
        UserError: a side asked for is below 1.
    """
    for name, side in (("short_side", short_side), ("max_side", max_side)):
        if side is not None and side < 1:
            raise UserError(f"{name} is {side}, but a picture has at least one pixel a side; use 1 or more")
    scale = 1.0 if short_side is None else short_side / min(height, width)
    if max_side is not None:
        scale = min(scale, max_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def to_picture(image: Image.Image, name: str, size: tuple[int, int] | None = None, alpha_hides: bool = True) -> Picture:
    """Upright, in sRGB, with the alpha of any kind of transparency.

    Args:
        image: of any mode, loaded.
        name: what messages call it.
        size: height and width to shrink it to, in the orientation of the file; None for its own.
        alpha_hides: False where alpha is no transparency but a mask, so that all colours stay.

    Raises:
        UserError: grey of more than 8 bits holds values outside of the range that it has.
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
    """A copy of colours (1, 3, H, W), those that alpha (1, 1, H, W) hides being as what is visible beside them."""
    result = rgb.clone(memory_format=torch.contiguous_format)
    fill(result, alpha)
    return result


_TOLD_IN_TIFF = (
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software,
    ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright,
)  # fmt: skip


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF block of an opened image, or None; of a TIFF, whose own tags it is, what they tell of the photo."""
    try:
        if not isinstance(image, TiffImagePlugin.TiffImageFile):
            exif = image.info.get("exif")
            return exif if isinstance(exif, bytes) and exif else None
        own, kept = image.getexif(), Image.Exif()
        for tag in _TOLD_IN_TIFF:
            if tag in own:
                kept[tag] = own[tag]
        for block in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if found := own.get_ifd(block):
                kept.get_ifd(block).update(found)
        return kept.tobytes() if len(kept) else None
    except Exception:
        return None  # A broken EXIF block is no reason to refuse the pixels.
