"""Which photo the n-th training crop is cut from, and where, from n and the seed alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from onestroke.data.resized import MAX_ZOOM, Crop, cut
from onestroke.errors import UserError

MIN_PHOTOS = 5
Read = Callable[[int, int], Crop]
"""number of the photo, crop size -> the photo at the size of `read_resized`; a UserError where it can't be used."""


class Unavailable(UserError):
    """A photo can't be had, through no fault of its own. The run ends: another photo would make it another run."""


class Draws:
    """Crops of a fixed number of photos: each photo once an epoch, in a new order.

    Args:
        count: number of the photos.
        read: gives a photo. Its UserError is a predicate without the photo's name, such as "is too small".
        name: gives the name of a photo.
        where: what the photos are in, for a message.
    """

    def __init__(self, count: int, read: Read, name: Callable[[int], str], where: str) -> None:
        self.count, self.read, self.name, self.where = count, read, name, where
        self._order: tuple[tuple[int, int], npt.NDArray[np.int64]] | None = None
        self._bad: dict[int, dict[int, str]] = {}

    def sample(self, n: int, seed: int, crop: int) -> tuple[Crop, list[str]]:
        """The n-th training crop, which depends on (n, seed, crop) alone.

        A photo that can't be used is replaced by the next one in the epoch's order.

        Args:
            n: number of the sample, 0 or more.
            seed: of the run, 0 or more.
            crop: side of the crop in pixels.

        Returns:
            The crop, uint8 sRGB (crop, crop, 3), and `name: reason` of each photo that was skipped for it.

        Raises:
            Unavailable: as `read` raises it.
            UserError: too few photos can be used at this crop size.
        """
        random = np.random.default_rng([seed, n])
        zoom, down, right, mirror = random.uniform(1, MAX_ZOOM), *random.random(3)
        bad = self._bad.setdefault(crop, {})
        skipped: list[str] = []
        for step in range(self.count):
            if self.count - len(bad) < min(MIN_PHOTOS, self.count):
                break
            number = self.photo(n, seed, step)
            photo = None if number in bad else self._read(number, crop, bad)
            if photo is not None:
                return cut(photo, crop, zoom, down, right, mirror < 0.5), skipped
            skipped.append(f"{self.name(number)}: {bad[number]}")
        number, reason = next(iter(bad.items()))
        raise UserError(
            f"{len(bad)} of {self.count} photos in {self.where} cannot be used at size {crop}, too many to "
            f"train on the others (one is {self.name(number)} {reason}): add photos, or use others"
        )

    def photo(self, n: int, seed: int, step: int = 0) -> int:
        """The number of the photo that sample n shows, or that which replaces it after `step` bad ones."""
        key = (seed, n // self.count)
        if self._order is None or self._order[0] != key:
            self._order = key, np.random.default_rng(key).permutation(self.count)
        return int(self._order[1][(n + step) % self.count])

    def _read(self, number: int, crop: int, bad: dict[int, str]) -> Crop | None:
        """A photo; None, noted in `bad`, if it can't be used."""
        try:
            return self.read(number, crop)
        except Unavailable:
            raise
        except UserError as error:
            bad[number] = str(error)
            return None
