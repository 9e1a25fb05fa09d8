"""Decode training photos at the size from which crops are cut, and cut the crops."""

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
from onestroke.imaging.finding import is_painting
from onestroke.imaging.images import read_training
from onestroke.imaging.left_out import PAINTING

Crop = npt.NDArray[np.uint8]

MAX_ZOOM = 2.2  # maximum ratio of a photo's shorter side to the crop


def read_resized(path: str, crop: int, min_size: int) -> tuple[Crop, int]:
    """Decode a photo at the size from which crops are cut: a shorter side of `kept_side` pixels.

    Args:
        path: of the photo.
        crop: crop size in pixels.
        min_size: minimum shorter side of the file in pixels.

    Returns:
        uint8 sRGB (H, W, 3), and the shorter side of the file.

    Raises:
        UserError: as `images.read_training`, or the file's shorter side is below min_size. The message is a predicate
            without the path, such as "is too small".
    """
    side, wrong = inspect(path, min_size)
    if not wrong:
        try:
            return decoded(path, kept_side(crop, side)), side
        except UserError as error:
            wrong = reason(path, error)
    raise UserError(wrong)


def cut(photo: Crop, crop: int, zoom: float, down: float, right: float, mirror: bool) -> Crop:
    """Cut a square from a photo, as if the photo had been resized to a shorter side of zoom * crop pixels.

    Args:
        photo: uint8 (H, W, 3), with a shorter side of at least crop.
        crop: side of the result in pixels.
        zoom: 1 or more; 1 cuts the largest square, larger values a smaller part. The photo is never enlarged.
        down: vertical position of the square, in [0, 1).
        right: horizontal position of the square, in [0, 1).
        mirror: whether the result is flipped horizontally.

    Returns:
        uint8 (crop, crop, 3), contiguous; shares no memory with `photo`.
    """
    height, width = photo.shape[:2]
    short = min(height, width)
    side = round(crop * short / max(crop, min(round(crop * zoom), short)))
    top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
    # A copy, since torch warns of read-only arrays, and the photo may be a read-only memory map.
    square = torch.from_numpy(photo[top : top + side, left : left + side].copy())
    if side != crop:
        # Torch's uint8 kernel takes a tenth of Pillow's time; it needs the strides of a channels_last batch.
        image = square[None].permute(0, 3, 1, 2)
        image = F.interpolate(image, (crop, crop), mode="bicubic", antialias=True, align_corners=False)
        square = image.permute(0, 2, 3, 1)[0]
    if mirror:
        square = torch.flip(square, (1,))  # numpy is ten times as slow here
    return square.contiguous().numpy()


def kept_side(crop: int, side: int) -> int:
    """The shorter side to decode a photo at, whose file has `side`: at most MAX_ZOOM * crop, and at least crop."""
    return max(crop, min(round(crop * MAX_ZOOM), side))


def inspect(path: str, min_size: int) -> tuple[int, str]:
    """Read the header of a photo.

    Paintings of OneStroke are refused, as a network should not be trained on paintings.

    Returns:
        The shorter side in pixels, 0 if the header can't be read; and what is wrong with the photo, or "".
    """
    try:
        side = min(header_size(path))
    except UserError as error:
        return 0, reason(path, error)
    return side, f"is a {PAINTING}, and no photo" if is_painting(path) else too_small(side, min_size)


def too_small(side: int, min_size: int) -> str:
    """The message for a photo whose shorter side is below min_size; empty if it is not."""
    return f"is too small: its shorter side has {side} pixels, of {min_size} needed" if side < min_size else ""


def header_size(path: str) -> tuple[int, int]:
    """Width and height in the file, before its EXIF orientation is applied; reads the header only.

    Raises:
        UserError: as `images.read`, and for any other exception that the file causes.
    """
    with _of_photo(path), opened(Path(path), MAX_PIXELS) as image:
        return image.size


def decoded(path: str, side: int) -> Crop:
    """`images.read_training`: uint8 sRGB (H, W, 3) with a shorter side of `side` pixels.

    Raises:
        UserError: as there, and for any other exception that the file causes.
    """
    with _of_photo(path):
        return read_training(path, side)


@contextmanager
def _of_photo(path: str) -> Iterator[None]:
    """Context manager: turn exceptions into a UserError about the photo, so that it is skipped and training continues.

    Broken files cause exceptions of any class in Pillow, numpy and torch. NameError and ImportError are never caused by
    a file and pass through. If a bug made every photo fail, too few would be left, and that error names the exception.
    """
    try:
        yield
    except (UserError, NameError, ImportError):
        raise
    except Exception as error:
        detail = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        raise UserError(f"'{path}' can't be used ({detail}); replace it or leave it out") from error


def reason(path: str, error: UserError) -> str:
    """The message of an error about a photo, without the path at its start."""
    return str(error).removeprefix(f"'{path}' ")
