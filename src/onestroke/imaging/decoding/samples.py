"""What the stored numbers of a picture of other than 8 bits stand for; of TIFF, what its tags say."""

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
_NATIVE = {("I", "16"): "I;16NS", ("I", "32"): "I;32NS", ("F", "32"): "F;32NF"}
"""Mode and bits to the name of samples with a sign, or a fraction, in the machine's byte order."""


@dataclass(frozen=True)
class Samples:
    """How deep grey is read: `top` is white, or black where `inverted`; `view` tells of what type the bytes are."""

    top: float
    inverted: bool = False
    view: str | None = None

    def scaled(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Stored numbers to [0, 1]."""
        grey = values.astype(np.float32)
        grey /= np.float32(self.top)
        return np.subtract(np.float32(1), grey, out=grey) if self.inverted else grey

    def stored(self, image: Image.Image) -> npt.NDArray[np.generic]:
        """The numbers of an image as they were meant."""
        values = np.asarray(image)
        return values if self.view is None else values.view(self.view)


def samples_of(image: Image.Image) -> Samples | None:
    """What the numbers of an image stand for; None where they are the 8 bits or less that Pillow knows by itself.

    Mode I counts as 16 bit grey, as Pillow has it, and mode F as grey in [0, 1], where no tag says otherwise.
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
        # 32 bits with a sign are how Pillow stores its mode I, which is 16 bit grey.
        return Samples(2 ** (bits - 1) - 1 if bits < 32 else 65535, inverted)
    if image.mode == "L" and kind == _SIGNED:
        return Samples(127, inverted, view="i1")
    return None


def check_tags(image: Image.Image, name: str) -> None:
    """See that a TIFF's first page is the picture itself, and of samples that Pillow reads rightly.

    Raises:
        UserError: it is the small preview of a raw photo, or planes lie apart in a way that Pillow mixes up.
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
    """Have Pillow take what libtiff unpacks in the machine's byte order, which it forgets of signs and fractions."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    for i, tile in enumerate(image.tile):
        if tile[0] == "libtiff" and isinstance(tile[3], tuple) and isinstance(tile[3][0], str):
            native = _NATIVE.get((image.mode, tile[3][0].rstrip("NSF").rstrip("B")[-2:]))
            if native is not None:
                image.tile[i] = ImageFile._Tile(tile[0], tile[1], tile[2], (native, *tile[3][1:]))


def unknown(file: IO[bytes], name: str) -> UserError:
    """The sentence for a TIFF whose samples Pillow can't read.

    Raises:
        Exception: anything, where its tags can't be read either, or don't tell.
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
    """How many pages a TIFF has, previews, reduced copies and masks of a page left out."""
    count = 0
    for page in range(image.n_frames):
        image.seek(page)
        count += not _first(image.tag_v2.get(_SUBFILE), 0) & (_REDUCED | _MASK)
    image.seek(0)
    return max(1, count)
