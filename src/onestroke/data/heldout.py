"""Choose the photos that are held out for validation, and crop them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from onestroke.data.listing import check_folder, walk
from onestroke.data.resized import Crop, decoded, header_size, inspect, reason
from onestroke.errors import UserError, printable
from onestroke.imaging.left_out import LeftOut

VAL_EXAMPLE = "/path/to/other/photos"
_MOST_HELD_OUT = 10_000


def validation_photos(
    folder: Path, count: int, min_size: int, left_out: LeftOut, apart: Path | None = None
) -> list[str]:
    """The paths of the first readable photos of a folder: `count`, or fewer if it has fewer.

    Args:
        folder: the folder given as `data.val`.
        count: number of photos.
        min_size: photos with a shorter side of fewer pixels are skipped.
        left_out: receives files that are not photos.
        apart: a folder below `folder` that is skipped, or None.

    Raises:
        UserError: the folder is missing, or has no readable photo although `count` is above 0.
    """
    check_folder(folder, "data.val", VAL_EXAMPLE)
    held = choose(walk(folder, apart, left_out), [0] * count, min_size)
    if count and not held:
        others = f"; {left_out}" if left_out.count else ""
        raise UserError(f"data.val={folder} has no readable photo: add some, or leave data.val out{others}")
    return held


def check_count(validation: object) -> None:
    """Check that `data.validation` is an integer from 0 to 10,000.

    Raises:
        UserError: it is not.
    """
    if isinstance(validation, bool) or not isinstance(validation, int) or not 0 <= validation <= _MOST_HELD_OUT:
        raise UserError(
            f"data.validation is {printable(validation)}, but it counts pictures: use 1 to {_MOST_HELD_OUT}"
        )


def choose(files: list[str], places: list[int], min_size: int) -> list[str]:
    """For each index in `places`, choose the first readable photo from there on (cyclically) that is not chosen yet."""
    return [files[i] for i in chosen(len(files), places, lambda i: not wrong_with(files[i], min_size))]


def chosen(count: int, places: list[int], reads: Callable[[int], bool]) -> list[int]:
    """For each of `places`, the first of `count` numbers from there on (cyclically) that `reads`, and is new."""
    found: list[int] = []
    tried: set[int] = set()
    for place in places:
        for number in (i % count for i in range(place, place + count)):
            if number not in tried:
                tried.add(number)
                if reads(number):
                    found.append(number)
                    break
    return found


def wrong_with(path: str, min_size: int) -> str:
    """What is wrong with a photo, which is decoded for it; empty if it can be used."""
    wrong = inspect(path, min_size)[1]
    if not wrong:
        try:
            decoded(path, min_size)
        except UserError as error:
            wrong = reason(path, error)
    return wrong


def centre(path: str, size: int) -> Crop:
    """The centre square of a photo, resized: uint8 sRGB (size, size, 3).

    Raises:
        UserError: as `images.read_training`.
    """
    side = min(header_size(path))
    # `read_training` refuses to enlarge more than twice, but the same photos must be usable at any size.
    photo = decoded(path, size if 2 * side >= size else side)
    if (short := min(photo.shape[:2])) < size:
        width, height = (round(length * size / short) for length in (photo.shape[1], photo.shape[0]))
        photo = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))
    top, left = (photo.shape[0] - size) // 2, (photo.shape[1] - size) // 2
    return np.ascontiguousarray(photo[top : top + size, left : left + size])
