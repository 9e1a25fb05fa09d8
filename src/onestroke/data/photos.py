"""Training crops from a folder of photos; the n-th crop depends on n, the seed and the crop size alone."""

from __future__ import annotations

import os
from pathlib import Path

from onestroke.data.cache import AUTO, entry_key, open_cache
from onestroke.data.draws import MIN_PHOTOS, Draws
from onestroke.data.heldout import VAL_EXAMPLE, centre, check_count, choose, validation_photos
from onestroke.data.listing import check_folder, log_left_out, walk
from onestroke.data.resized import Crop, decoded, inspect, read_resized, reason, too_small
from onestroke.data.store import Store
from onestroke.errors import UserError
from onestroke.files import home
from onestroke.imaging.kinds import KNOWN
from onestroke.imaging.left_out import LeftOut

COCO = "train2017"
_SAMPLED = 200  # photos whose headers the preflight reads, at most
_DECODED = 16  # of these, the number that it decodes, at most


class Photos:
    """Source of endless training crops and fixed held-out pictures from a folder of photos and its subfolders.

    Photos are recognised by their content, see `listing.walk`. `preflight` logs which files are left out. If root
    contains COCO's folder `train2017`, only that folder is used.

    Args:
        root: folder of the training photos.
        val: folder of the held-out photos, never trained on even if it is below root; None holds out photos of root.
        validation: number of held-out pictures, 0 to 10,000.
        min_size: photos with a shorter side of fewer pixels are skipped.
        cache: folder for decoded photos, used once `prepare` has been called: auto, a folder, or None for no cache.
            The samples do not depend on it.
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
        self._draws: Draws | None = None
        self._caches: dict[int, Store] = {}
        self._keys: dict[str, bytes | None] = {}

    def preflight(self) -> None:
        """Check that the folders exist and that enough of a sample of the photos can be read.

        Raises:
            UserError: root is missing, not a folder, or fewer than MIN_PHOTOS of up to 200 sampled photos are
                readable; or the val folder is missing or has no readable photo.
        """
        check_count(self.validation)
        sampled = spaced(self.files(), _SAMPLED)
        log_left_out(self.root, self.left_out)
        reasons = [inspect(path, self.min_size)[1] for path in sampled]
        fit = [path for path, wrong in zip(sampled, reasons, strict=True) if not wrong]
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
                f"fewer than {MIN_PHOTOS} of {len(sampled)} photos looked at in {self.root} can be used "
                f"(one {why}): add photos, or set data.root to another folder"
            )
        self._split()

    def prepare(self, crop: int) -> None:
        """Open the cache for a crop size, if `cache` is set and the disk has enough space.

        Raises:
            UserError: root is missing or has too few photos.
        """
        self._caches.pop(crop, None)
        store = open_cache(self.cache, crop, self._split()[0])
        if store is not None:
            self._caches[crop] = store

    def sample(self, n: int, seed: int, crop: int) -> tuple[Crop, list[str]]:
        """The n-th training crop, which depends on (n, seed, crop) alone.

        An epoch has as many samples as there are training photos, each photo once, in a new order. A photo that can't
        be used is replaced by the next one in that order.

        Args:
            n: number of the sample, 0 or more.
            seed: of the run, 0 or more.
            crop: side of the crop in pixels.

        Returns:
            The crop, uint8 sRGB (crop, crop, 3), and `path: reason` of each photo that was skipped for it.

        Raises:
            UserError: too few photos can be used at this crop size.
        """
        if self._draws is None:
            files = self._split()[0]
            self._draws = Draws(len(files), self._read, files.__getitem__, str(self.root))
        return self._draws.sample(n, seed, crop)

    def held_out(self, size: int) -> list[Crop]:
        """The pictures that are never trained on: the same photos for every size, in a fixed order.

        They are the first readable photos of `val`, or evenly spaced ones of root. There are fewer than `validation` if
        `val` has fewer, or if fewer than MIN_PHOTOS of root would be left to train on.

        Returns:
            Centre crops, each uint8 sRGB (size, size, 3).

        Raises:
            UserError: a folder is missing or has no readable photo, or a photo has become unreadable.
        """
        return [centre(path, size) for path in self._split()[1]]

    def describe(self) -> str:
        """Number and folder of the photos, in one line.

        Raises:
            UserError: root is missing or has too few photos.
        """
        return f"photos: {len(self.files())} in {self.root}"

    def files(self) -> list[str]:
        """The paths of all photos in root, held out or not.

        Raises:
            UserError: root is missing or has too few photos.
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
        """The paths of the training photos and of the held-out photos."""
        if self._parts is None:
            files = self.files()
            if self.val is None:
                # At least one is held out, even with the minimum number of photos.
                count = min(self.validation, max(1, len(files) - MIN_PHOTOS))
                held = choose(files, [(2 * i + 1) * len(files) // (2 * count) for i in range(count)], self.min_size)
                files = [path for path in files if path not in held]
            else:
                left_out = LeftOut()
                held = validation_photos(self.val, self.validation, self.min_size, left_out, self.root)
                log_left_out(self.val, left_out)
            self._parts = files, held
        return self._parts

    def _read(self, number: int, crop: int) -> Crop:
        """A training photo at the size of `read_resized`, from the cache or decoded; a UserError if unusable."""
        path = self._split()[0][number]
        cache = self._caches.get(crop)
        key = None if cache is None else self._key(path)
        found = None if cache is None or key is None else cache.get(key)
        if found is not None and not too_small(found.side, self.min_size):
            return found.photo
        photo, side = read_resized(path, crop, self.min_size)
        if cache is not None and key is not None:
            cache.put(key, photo, side)
        return photo

    def _key(self, path: str) -> bytes | None:
        # Stored, since stat is slow on network folders.
        if path not in self._keys:
            self._keys[path] = entry_key(self.root, path)
        return self._keys[path]


def spaced(files: list[str], count: int) -> list[str]:
    """At most `count` of the files, evenly spaced."""
    count = min(count, len(files))
    return [files[i * len(files) // count] for i in range(count)]
