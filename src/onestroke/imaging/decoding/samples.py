"""Interpret the stored samples of pictures with other than 8 unsigned bits, for TIFF by its tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin

from onestroke.errors import UserError

_BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT = 258, 262, 277, 339
_SUBFILE, _SUBFILES = 254, 330
_MIN_IS_WHITE = 0
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_FORMATS = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "floating point"}
_REDUCED, _MASK = 1, 4
_PLANAR, _APART = 284, 2
_COLOURS = ("RGB", "RGBA", "CMYK", "YCbCr", "LAB")
_STRIP = 2**20  # pixels that are converted at once
_NATIVE = {("I", "16"): "I;16NS", ("I", "32"): "I;32NS", ("F", "32"): "F;32NF"}
"""(mode, bits) -> Pillow's raw mode of signed or floating point samples in the machine's byte order."""


@dataclass(frozen=True)
class Samples:
    """How grey samples are scaled to [0, 1].

    top: the value of white, or of black where inverted. view: numpy dtype of the stored bytes, if not the array's own.
    """

    top: float
    inverted: bool = False
    view: str | None = None

    def scaled(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Stored values -> float32 in [0, 1]."""
        grey = values.astype(np.float32)
        grey /= np.float32(self.top)
        return np.subtract(np.float32(1), grey, out=grey) if self.inverted else grey

    def check_range(self, low: float, high: float, name: str) -> None:
        """Raise a UserError where stored values from `low` to `high` are outside of the range of their type."""
        if not (low >= 0 and high <= self.top):  # also true where NaN is
            raise UserError(
                f"{name} holds grey values from {low:g} to {high:g} where 0 to {self.top:g} is the range; "
                "convert it to 8 or 16 bit first"
            )

    def stored(self, image: Image.Image) -> npt.NDArray[np.generic]:
        """The stored values of an image (H, W), in their real dtype."""
        values = np.asarray(image)
        return values if self.view is None else values.view(self.view)


def eight_bits(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """Samples of 16 bits -> the nearest of 8 bits, where white stays white: a 257th, rounded."""
    found: npt.NDArray[np.uint8] = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return found


def samples_of(image: Image.Image) -> Samples | None:
    """How the samples of an image are scaled; None for samples of up to 8 bits, which Pillow converts itself.

    Where no TIFF tag says otherwise, mode I is read as 16 bit grey, as Pillow does, and mode F as grey in [0, 1].
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _of_tags(image)
    if image.mode == "F":
        return Samples(1)
    return Samples(65535) if image.mode.startswith("I") else None


def _of_tags(image: TiffImagePlugin.TiffImageFile) -> Samples | None:
    tags = image.tag_v2
    bits, kind = _first(tags.get(_BITS), 1), _first(tags.get(_FORMAT), _UNSIGNED)
    inverted = tags.get(_PHOTOMETRIC, _MIN_IS_WHITE) == _MIN_IS_WHITE
    if image.mode == "F":
        return Samples(1, inverted)
    if image.mode.startswith("I;"):
        return Samples(2**bits - 1, inverted)
    if image.mode == "I":
        if kind == _UNSIGNED and bits == 32:
            return Samples(2**32 - 1, inverted, view="u4")
        # Pillow writes its mode I, which is 16 bit grey, as 32 signed bits.
        return Samples(2 ** (bits - 1) - 1 if bits < 32 else 65535, inverted)
    if image.mode == "L" and kind == _SIGNED:
        return Samples(127, inverted, view="i1")
    return None


def check_tags(image: Image.Image, name: str) -> None:
    """Check that the first page of a TIFF is the picture itself, with samples that Pillow reads correctly.

    Raises:
        UserError: it is the preview of a raw photo, or has a planar layout that Pillow reads wrongly.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    tags = image.tag_v2
    if _first(tags.get(_SUBFILE), 0) & _REDUCED and _SUBFILES in tags:
        raise UserError(f"{name} is a raw photo, of which only a preview can be read; develop it to a TIFF or JPEG")
    count, packed = _first(tags.get(_SAMPLES), 1), image.tile[0][0] == "libtiff" if image.tile else False
    if count > 1 and tags.get(_PLANAR, 1) == _APART:
        bits = set(_all(tags.get(_BITS), 1))
        if image.mode not in _COLOURS or count > 4 or not (bits == {8} or (bits == {16} and packed)):
            raise _refused(tags, name)


def in_native_order(image: Image.Image) -> None:
    """Correct Pillow's raw mode: libtiff gives signed and float samples in the machine's byte order, not the file's."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    for i, tile in enumerate(image.tile):
        if tile[0] == "libtiff" and isinstance(tile[3], tuple) and isinstance(tile[3][0], str):
            native = _NATIVE.get((image.mode, tile[3][0].rstrip("NSF").rstrip("B")[-2:]))
            if native is not None:
                image.tile[i] = ImageFile._Tile(tile[0], tile[1], tile[2], (native, *tile[3][1:]))


def keep_both_bytes(image: ImageFile.ImageFile) -> bool:
    """Let Pillow decode a PNG of 16 bit grey with alpha without taking the upper 8 bits alone; see `from_both_bytes`.

    Returns:
        Whether the picture is one.
    """
    if image.format != "PNG" or not image.tile or image.tile[0][3] != "LA;16B":
        return False
    # as many bytes a pixel, so that the filters of PNG stay right
    image.tile = [ImageFile._Tile(tile[0], tile[1], tile[2], "RGBA") for tile in image.tile]
    return True


def from_both_bytes(image: ImageFile.ImageFile) -> None:
    """Make mode LA of a decoded picture whose channels are the two bytes of grey and those of alpha; rounded."""
    whole = Image.new("LA", image.size)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        pairs = np.ascontiguousarray(strip).view(">u2").astype(np.uint16)
        whole.paste(Image.fromarray(eight_bits(pairs), "LA"), (0, top))
    image.im, image._mode = whole.im, "LA"


def unknown(file: IO[bytes], name: str) -> UserError:
    """The UserError for a TIFF whose samples Pillow can't read.

    Raises:
        Exception: of any class, if its tags are missing or can't be read.
    """
    file.seek(0)
    head = file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head + (file.read(8) if head[2] == 43 else b""))
    file.seek(tags.next)
    tags.load(file)
    return _refused(tags, name)


def _refused(tags: TiffImagePlugin.ImageFileDirectory_v2, name: str) -> UserError:
    bits = " and ".join(map(str, sorted(set(_all(tags[_BITS], 1)))))
    kind = _FORMATS.get(_first(tags.get(_FORMAT), _UNSIGNED), "unknown")
    apart = ", each in a plane of its own" if tags.get(_PLANAR, 1) == _APART else ""
    return UserError(
        f"{name} is a TIFF with {_first(tags.get(_SAMPLES), 1)} {kind} samples a pixel of {bits} bits{apart}, "
        f"photometric interpretation {tags[_PHOTOMETRIC]}, which can't be read; convert it to 8 bits a sample first"
    )


def _all(value: object, default: int) -> tuple[int, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(v for v in values if isinstance(v, int)) or (default,)


def _first(value: object, default: int) -> int:
    return _all(value, default)[0]


def pages(image: TiffImagePlugin.TiffImageFile) -> int:
    """The number of pages of a TIFF, not counting previews, reduced copies and masks."""
    count = 0
    for page in range(image.n_frames):
        image.seek(page)
        count += not _first(image.tag_v2.get(_SUBFILE), 0) & (_REDUCED | _MASK)
    image.seek(0)
    return max(1, count)
