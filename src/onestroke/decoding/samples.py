"""What the stored numbers of a picture of other than 8 bits stand for; of TIFF, what its tags say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from onestroke.errors import UserError

_BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT = 258, 262, 277, 339
_SUBFILE, _SUBFILES = 254, 330
_MIN_IS_WHITE = 0
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_FORMATS = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "floating point"}
_REDUCED, _MASK = 1, 4


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
    """See that a TIFF's first page is the picture itself.

    Raises:
        UserError: it is the small preview of a raw photo.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        subfile = _first(image.tag_v2.get(_SUBFILE), 0)
        if subfile & _REDUCED and _SUBFILES in image.tag_v2:
            raise UserError(f"{name} is a raw photo, of which only a preview can be read; develop it to a TIFF or JPEG")


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
    bits = _all(tags[_BITS], 1)
    kind = _FORMATS.get(_first(tags.get(_FORMAT), _UNSIGNED), "of an unknown format")
    count = _first(tags.get(_SAMPLES), 1)
    return UserError(
        f"{name} is a TIFF with {count} {kind} samples a pixel of {' and '.join(map(str, sorted(set(bits))))} bits, "
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
