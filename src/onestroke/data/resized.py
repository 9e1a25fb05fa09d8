"""A photo as training keeps it, brought down to one size whatever is cut from it, and how crops are cut."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from onestroke.errors import UserError
from onestroke.imaging.decoding import MAX_PIXELS, opened
from onestroke.imaging.finding import PAINTING, is_painting
from onestroke.imaging.images import read_training

Crop = npt.NDArray[np.uint8]

MAX_ZOOM = 2.2  # how much larger than the crop the shorter side of a photo is drawn at most


def read_resized(path: str, crop: int, min_size: int) -> tuple[Crop, int]:
    """A photo at the size that crops are cut from: MAX_ZOOM x crop, or its own where that is less, or the crop's.

    Returns:
        uint8 sRGB (H, W, 3), and the shorter side that the file has.

    Raises:
        UserError: As `images.read_training`, or if the file's shorter side is below min_size. The sentence has no
            path: it begins with "is" or with what the file is.
    """
    side, wrong = look(path, min_size)
    if not wrong:
        try:
            return decoded(path, kept_side(crop, side)), side
        except UserError as error:
            wrong = reason(path, error)
    raise UserError(wrong)


def cut(photo: Crop, crop: int, zoom: float, down: float, right: float, mirror: bool) -> Crop:
    """The square of a photo that shows it as if its shorter side had been brought to zoom x crop pixels.

    Args:
        photo: uint8 (H, W, 3), its shorter side at least crop.
        crop: Side of the result.
        zoom: 1 for the largest square there is; less of the photo is shown the larger it is, and never enlarged.
        down: Place of the square, from 0 to below 1.
        right: Likewise.
        mirror: Whether left and right change places.

    Returns:
        uint8 (crop, crop, 3), contiguous, never a part of the photo's memory.
    """
    height, width = photo.shape[:2]
    short = min(height, width)
    side = round(crop * short / max(crop, min(round(crop * zoom), short)))
    top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
    # A copy, since the photo's memory may be a file that nothing may write to, which torch warns of.
    square = torch.from_numpy(photo[top : top + side, left : left + side].copy())
    if side != crop:
        # Torch's kernel for bytes takes a tenth of Pillow's time. It tells the layout by all four strides.
        image = square[None].permute(0, 3, 1, 2)
        image = F.interpolate(image, (crop, crop), mode="bicubic", antialias=True, align_corners=False)
        square = image.permute(0, 2, 3, 1)[0]
    if mirror:
        square = torch.flip(square, (1,))  # numpy takes ten times as long for triples of bytes
    return square.contiguous().numpy()


def kept_side(crop: int, side: int) -> int:
    """The shorter side at which a photo is kept whose file has `side`."""
    return max(crop, min(round(crop * MAX_ZOOM), side))


def look(path: str, min_size: int) -> tuple[int, str]:
    """Shorter side of a photo, 0 if the header does not tell, and what is wrong; empty if nothing is.

    A painting of OneStroke is no photo: a network that learned from its like would paint them.
    """
    try:
        side = min(header_size(path))
    except UserError as error:
        return 0, reason(path, error)
    return side, f"is a {PAINTING}, and no photo" if is_painting(path) else too_small(side, min_size)


def too_small(side: int, min_size: int) -> str:
    """What is wrong with a photo of that shorter side; empty if nothing is."""
    return f"is too small: its shorter side has {side} pixels, of {min_size} needed" if side < min_size else ""


def header_size(path: str) -> tuple[int, int]:
    """Width and height before any turn, from the header alone.

    Raises:
        UserError: As `images.read`, and for whatever else the file provokes.
    """
    with _of_photo(path), opened(Path(path), MAX_PIXELS) as image:
        return image.size


def decoded(path: str, side: int) -> Crop:
    """As `images.read_training`.

    Raises:
        UserError: As there, and for whatever else the file provokes.
    """
    with _of_photo(path):
        return read_training(path, side)


@contextmanager
def _of_photo(path: str) -> Iterator[None]:
    """Take what is raised for the photo's fault, which may cost the photo but not the training.

    Pillow, numpy and torch raise nearly anything on broken files, and not in the decoder alone. A name or a module that
    isn't there is no file's fault; and where our own code fails on every photo, too few are left to train on, and the
    sentence that says so names the kind of error.
    """
    try:
        yield
    except (UserError, NameError, ImportError):
        raise
    except Exception as error:
        detail = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        raise UserError(f"'{path}' can't be used ({detail}); replace it or leave it out") from error


def reason(path: str, error: UserError) -> str:
    """What is wrong with a photo, without its path."""
    return str(error).removeprefix(f"'{path}' ")
