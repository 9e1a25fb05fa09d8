"""Training crops from any folder of photos, in an order that a seed and a number fully decide."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onestroke.data.cache import AUTO, entry_key, open_cache
from onestroke.data.heldout import VAL_EXAMPLE, centre, check_count, choose, validation_photos
from onestroke.data.listing import check_folder, tell, walk
from onestroke.data.resized import MAX_ZOOM, Crop, cut, decoded, look, read_resized, reason, too_small
from onestroke.data.store import Store
from onestroke.errors import UserError
from onestroke.files import home
from onestroke.imaging.finding import LeftOut
from onestroke.imaging.kinds import KNOWN

MIN_PHOTOS = 5
COCO = "train2017"
_LOOKED_AT = 200
_DECODED = 16


class Photos:
    """A folder of photos and all folders below it, as endless training crops and fixed held-out pictures.

    Files count as photos by their content, see `listing.walk`; hidden ones do not. Links are followed, and what they
    lead to is taken once. What is left out is told by `preflight`. A root that has COCO's `train2017` stands for that
    folder alone.

    Args:
        root: Folder of the training photos.
        val: Folder of the held-out photos, never trained on even if it lies in root; None takes some of root.
        validation: How many pictures to hold out.
        min_size: Photos whose shorter side has fewer pixels are skipped.
        cache: Where decoded photos are kept once `prepare` has been called: auto, a folder, or None for nowhere.
            What is sampled does not depend on it.
    """

    def __init__(
        self,
        root: str,
        val: str | None = None,
        validation: int = 8,
        min_size: int = 64,
        cache: str | None = AUTO,
    ) -> None:
        given = Path(home(root))
        self.given = root
        self.root = given / COCO if os.path.isdir(given / COCO) else given
        self.val = None if val is None else Path(home(val))
        self.validation = validation
        self.min_size = min_size
        self.cache = cache
        self._all: list[str] | None = None
        self.left_out = LeftOut()
        self._parts: tuple[list[str], list[str]] | None = None
        self._order: tuple[tuple[int, int], npt.NDArray[np.int64]] | None = None
        self._bad: dict[int, dict[str, str]] = {}
        self._caches: dict[int, Store] = {}
        self._keys: dict[str, bytes | None] = {}

    def preflight(self) -> None:
        """Look whether the folders are there and enough of a sample of their photos can be read.

        Raises:
            UserError: If root is missing, no folder, or has fewer than MIN_PHOTOS readable photos among up to
                200 that are looked at; or if the val folder is missing or has no readable photo.
        """
        check_count(self.validation)
        looked_at = spaced(self.files(), _LOOKED_AT)
        tell(self.root, self.left_out)
        reasons = [look(path, self.min_size)[1] for path in looked_at]
        fit = [path for path, wrong in zip(looked_at, reasons, strict=True) if not wrong]
        why = next(filter(None, reasons), "")
        sound = 0
        for path in spaced(fit, _DECODED):
            try:
                decoded(path, self.min_size)
                sound += 1
            except UserError as error:
                why = why or reason(path, error)
            if sound == MIN_PHOTOS:
                break
        else:
            raise UserError(
                f"fewer than {MIN_PHOTOS} of {len(looked_at)} photos looked at in {self.root} can be used "
                f"(one {why}): add photos, or set data.root to another folder"
            )
        self._split()

    def prepare(self, crop: int) -> None:
        """Have what is sampled at this crop come from the cache, or go into it, where `cache` and the disk allow.

        Raises:
            UserError: If root is missing or has too few photos.
        """
        self._caches.pop(crop, None)
        store = open_cache(self.cache, crop, self._split()[0])
        if store is not None:
            self._caches[crop] = store

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
            photo = None if path in bad else self._read(path, crop, bad)
            if photo is not None:
                return cut(photo, crop, zoom, down, right, mirror < 0.5), skipped
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
        return f"photos: {len(self.files())} in {self.root}"

    def files(self) -> list[str]:
        """All photos, held out or not.

        Raises:
            UserError: If root is missing or has too few photos.
        """
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
            left_out = LeftOut()
            self._all = walk(self.root, self.val, left_out)
            self.left_out = left_out
        if len(self._all) < MIN_PHOTOS:
            others = f"; {self.left_out}" if self.left_out.count else ""
            raise UserError(
                f"{self.root} has {len(self._all)} photos ({KNOWN}) where training takes {MIN_PHOTOS} or more: add "
                f"photos, or set data.root=/path/to/photos{others}"
            )
        return self._all

    def _split(self) -> tuple[list[str], list[str]]:
        """The photos to train on and those held out."""
        if self._parts is None:
            files = self.files()
            if self.val is None:
                # At least one is held out, even of the fewest photos that will do.
                count = min(self.validation, max(1, len(files) - MIN_PHOTOS))
                held = choose(files, [(2 * i + 1) * len(files) // (2 * count) for i in range(count)], self.min_size)
                files = [path for path in files if path not in held]
            else:
                left_out = LeftOut()
                held = validation_photos(self.val, self.validation, self.min_size, left_out, self.root)
                tell(self.val, left_out)
            self._parts = files, held
        return self._parts

    def _read(self, path: str, crop: int, bad: dict[str, str]) -> Crop | None:
        """The photo at the size that crops are cut from, the same whether the cache has it or not."""
        cache = self._caches.get(crop)
        key = None if cache is None else self._key(path)
        found = None if cache is None or key is None else cache.get(key)
        if found is not None and not too_small(found.side, self.min_size):
            return found.photo
        try:
            photo, side = read_resized(path, crop, self.min_size)
        except UserError as error:
            bad[path] = str(error)
            return None
        if cache is not None and key is not None:
            cache.put(key, photo, side)
        return photo

    def _key(self, path: str) -> bytes | None:
        # Asked once: a folder on the network takes its time to answer.
        if path not in self._keys:
            self._keys[path] = entry_key(self.root, path)
        return self._keys[path]

    def _permutation(self, seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
        if self._order is None or self._order[0] != (seed, epoch):
            self._order = (seed, epoch), np.random.default_rng([seed, epoch]).permutation(count)
        return self._order[1]


def spaced(files: list[str], count: int) -> list[str]:
    """At most `count` of the files, evenly spaced."""
    count = min(count, len(files))
    return [files[i * len(files) // count] for i in range(count)]
