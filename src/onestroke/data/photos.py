"""Training crops from any folder of photos, in an order that a seed and a number fully decide."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from onestroke.data.listing import check_folder, walk
from onestroke.decoding import EXTENSIONS, MAX_PIXELS, opened
from onestroke.errors import UserError
from onestroke.images import read_training

Crop = npt.NDArray[np.uint8]

MIN_PHOTOS = 5
MAX_ZOOM = 2.2  # how much larger than the crop the shorter side of a photo is drawn at most
COCO = "train2017"
VAL_EXAMPLE = "/path/to/other/photos"
_LOOKED_AT = 200
_DECODED = 16


class Photos:
    """A folder of photos and all folders below it, as endless training crops and fixed held-out pictures.

    Files count as photos by their extension; hidden ones do not. Links are followed, and what they lead to is
    taken once. A root that has COCO's `train2017` stands for that folder alone.

    Args:
        root: Folder of the training photos.
        val: Folder of the held-out photos, never trained on even if it lies in root; None takes some of root.
        validation: How many pictures to hold out.
        min_size: Photos whose shorter side has fewer pixels are skipped.
    """

    def __init__(self, root: str, val: str | None = None, validation: int = 8, min_size: int = 64) -> None:
        given = Path(root).expanduser()
        self.given = root
        self.root = given / COCO if os.path.isdir(given / COCO) else given
        self.val = None if val is None else Path(val).expanduser()
        self.validation = validation
        self.min_size = min_size
        self._all: list[str] | None = None
        self._unlisted = 0
        self._parts: tuple[list[str], list[str]] | None = None
        self._order: tuple[tuple[int, int], npt.NDArray[np.int64]] | None = None
        self._bad: dict[int, dict[str, str]] = {}

    def preflight(self) -> None:
        """Look whether the folders are there and enough of a sample of their photos can be read.

        Raises:
            UserError: If root is missing, no folder, or has fewer than MIN_PHOTOS readable photos among up to
                200 that are looked at; or if the val folder is missing or has no readable photo.
        """
        if self.validation < 0:
            raise UserError(f"data.validation is {self.validation}, but it counts pictures: use 0 or more")
        looked_at = _spaced(self._listed(), _LOOKED_AT)
        reasons = [_look(path, self.min_size)[1] for path in looked_at]
        fit = [path for path, reason in zip(looked_at, reasons, strict=True) if not reason]
        why = next(filter(None, reasons), "")
        decoded = 0
        for path in _spaced(fit, _DECODED):
            try:
                read_training(path, self.min_size)
                decoded += 1
            except UserError as error:
                why = why or _reason(path, error)
            if decoded == MIN_PHOTOS:
                break
        else:
            raise UserError(
                f"fewer than {MIN_PHOTOS} of {len(looked_at)} photos looked at in {self.root} can be used "
                f"(one {why}): add photos, or set data.root to another folder"
            )
        self._split()

    def sample(self, n: int, seed: int, crop: int) -> tuple[Crop, list[str]]:
        """The n-th training crop: same (n, seed, crop), same picture, whatever was drawn before.

        An epoch is as many n as there are photos to train on, and has each of them once, in a new order.
        The place of a photo that cannot be used is taken by the next one of that order.

        Args:
            n: Number of the crop, 0 or more.
            seed: Of the run, 0 or more.
            crop: Side of the crop in pixels.

        Returns:
            The crop, uint8 sRGB (crop, crop, 3), and 'path: reason' of each photo skipped to get it.

        Raises:
            UserError: If the folder has too few photos that can be used at this crop.
        """
        files = self._split()[0]
        random = np.random.default_rng([seed, n])
        zoom, down, right, mirror = random.uniform(1, MAX_ZOOM), *random.random(3)
        order = self._permutation(seed, n // len(files), len(files))
        bad = self._bad.setdefault(crop, {})
        skipped: list[str] = []
        for step in range(len(files)):
            if len(files) - len(bad) < min(MIN_PHOTOS, len(files)):
                break
            path = files[order[(n + step) % len(files)]]
            photo = None if path in bad else self._read(path, crop, round(crop * zoom), bad)
            if photo is not None:
                top = int(down * (photo.shape[0] - crop + 1))
                left = int(right * (photo.shape[1] - crop + 1))
                photo = photo[top : top + crop, left : left + crop]
                return np.ascontiguousarray(photo[:, ::-1] if mirror < 0.5 else photo), skipped
            skipped.append(f"{path}: {bad[path]}")
        path, reason = next(iter(bad.items()))
        raise UserError(
            f"{len(bad)} of {len(files)} photos in {self.root} cannot be used at size {crop}, too many to "
            f"train on the others (one is {path} {reason}): add photos, or use others"
        )

    def held_out(self, size: int) -> list[Crop]:
        """The pictures that are never trained on, the same ones for every size, in a fixed order.

        They are the first readable ones of `val`, or else evenly spaced ones of root; fewer than `validation`
        where `val` has fewer, or where they would leave fewer than MIN_PHOTOS of root to train on.

        Returns:
            Each centre-cropped, uint8 sRGB (size, size, 3).

        Raises:
            UserError: If a folder is missing or has no readable photo, or a photo has become unreadable.
        """
        return [centre(path, size) for path in self._split()[1]]

    def describe(self) -> str:
        """How many photos there are and where, in a line.

        Raises:
            UserError: If root is missing or has too few photos.
        """
        count = len(self._listed())
        unlisted = f" ({self._unlisted} folders in it may not be listed)" if self._unlisted else ""
        return f"photos: {count} in {self.root}{unlisted}"

    def _listed(self) -> list[str]:
        if self._all is None:
            if not self.given:
                raise UserError("no folder of photos is given: set data.root=/path/to/photos")
            check_folder(self.root, "data.root", "/path/to/photos")
            if self.val is not None:
                check_folder(self.val, "data.val", VAL_EXAMPLE)
                if os.path.samefile(self.root, self.val):
                    raise UserError(
                        f"data.val is the folder of data.root, {self.root}: use other photos, or leave it out"
                    )
            self._all, self._unlisted = walk(self.root, self.val)
        if len(self._all) < MIN_PHOTOS:
            raise UserError(
                f"{self.root} has {len(self._all)} photos ({', '.join(sorted(EXTENSIONS))}) where training "
                f"takes {MIN_PHOTOS} or more: add photos, or set data.root=/path/to/photos"
            )
        return self._all

    def _split(self) -> tuple[list[str], list[str]]:
        """The photos to train on and those held out."""
        if self._parts is None:
            files = self._listed()
            if self.val is None:
                # At least one is held out, even of the fewest photos that will do.
                count = min(self.validation, max(1, len(files) - MIN_PHOTOS))
                held = _choose(files, [(2 * i + 1) * len(files) // (2 * count) for i in range(count)], self.min_size)
                files = [path for path in files if path not in held]
            else:
                held = validation_photos(self.val, self.validation, self.min_size, self.root)
            self._parts = files, held
        return self._parts

    def _read(self, path: str, crop: int, drawn: int, bad: dict[str, str]) -> Crop | None:
        """The photo with its shorter side `drawn`, less where it has less, `crop` at least."""
        side, reason = _look(path, self.min_size)
        if not reason:
            try:
                return read_training(path, max(crop, min(drawn, side)))
            except UserError as error:
                reason = _reason(path, error)
        bad[path] = reason
        return None

    def _permutation(self, seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
        if self._order is None or self._order[0] != (seed, epoch):
            self._order = (seed, epoch), np.random.default_rng([seed, epoch]).permutation(count)
        return self._order[1]


def validation_photos(folder: Path, count: int, min_size: int, apart: Path | None = None) -> list[str]:
    """The first `count` photos of a folder that read well; fewer where it has fewer.

    Args:
        folder: What `data.val` names.
        count: How many.
        min_size: Photos whose shorter side has fewer pixels are passed over.
        apart: A folder inside it that does not count.

    Raises:
        UserError: If the folder is missing, or has none although some are wanted.
    """
    check_folder(folder, "data.val", VAL_EXAMPLE)
    held = _choose(walk(folder, apart)[0], [0] * count, min_size)
    if count and not held:
        raise UserError(f"data.val={folder} has no readable photo: add some, or leave data.val out")
    return held


def _choose(files: list[str], places: list[int], min_size: int) -> list[str]:
    """For each place the first photo from there on that reads well and is not chosen yet."""
    chosen: list[str] = []
    tried: set[int] = set()
    for place in places:
        for index in (i % len(files) for i in range(place, place + len(files))):
            if index not in tried:
                tried.add(index)
                if _reads(files[index], min_size):
                    chosen.append(files[index])
                    break
    return chosen


def _reads(path: str, min_size: int) -> bool:
    try:
        return not _look(path, min_size)[1] and bool(read_training(path, min_size).size)
    except UserError:
        return False


def _look(path: str, min_size: int) -> tuple[int, str]:
    """Shorter side of a photo, 0 if the header does not tell, and what is wrong; empty if nothing is."""
    try:
        side = _short_side(path)
    except UserError as error:
        return 0, _reason(path, error)
    if side < min_size:
        return side, f"is too small: its shorter side has {side} pixels, of {min_size} needed"
    return side, ""


def _short_side(path: str) -> int:
    """From the header alone.

    Raises:
        UserError: As `images.read`.
    """
    with opened(Path(path), MAX_PIXELS) as image:
        return min(image.size)


def centre(path: str, size: int) -> Crop:
    """The middle square of a photo brought to one size, uint8 sRGB (size, size, 3).

    Raises:
        UserError: As `images.read_training`.
    """
    side = _short_side(path)
    # `read_training` refuses to enlarge more than twice, and held-out pictures stay the same at any size.
    photo = read_training(path, size if 2 * side >= size else side)
    if (short := min(photo.shape[:2])) < size:
        width, height = (round(length * size / short) for length in (photo.shape[1], photo.shape[0]))
        photo = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))
    top, left = (photo.shape[0] - size) // 2, (photo.shape[1] - size) // 2
    return np.ascontiguousarray(photo[top : top + size, left : left + size])


def _reason(path: str, error: UserError) -> str:
    return str(error).removeprefix(f"'{path}' ")


def _spaced(files: list[str], count: int) -> list[str]:
    """At most `count` of the files, evenly spaced."""
    count = min(count, len(files))
    return [files[i * len(files) // count] for i in range(count)]
