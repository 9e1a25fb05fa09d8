"""Training crops from the photos of shards, tars as WebDataset has them; the n-th depends on n, seed and size alone.

Photos are read one by one, in an order that mixes those of all shards anew in each epoch, and no shard is copied to a
disk. docs/training.md compares this with reading whole shards through a shuffle buffer, whose order depends on the
number of processes, and which can't be entered in the middle.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from onestroke.byte_ranges import RangedFile, ranged
from onestroke.data.draws import MIN_PHOTOS, Draws, Unavailable
from onestroke.data.heldout import centre, check_count, chosen, validation_photos, wrong_with
from onestroke.data.resized import Crop, read_resized
from onestroke.data.shard_index import ShardIndex, beside, index_of
from onestroke.data.shard_reading import EXTRA, ShardReader
from onestroke.errors import UserError, printable
from onestroke.files import holding, home
from onestroke.imaging.left_out import LeftOut

log = logging.getLogger(__name__)

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_SHARDS = 100_000
_AT_ONCE = 8  # shards whose indexes are read
_DECODED = 16  # photos that the preflight decodes, at most
_EXAMPLE = "data.urls='s3://bucket/photos-{000..117}.tar'"


class Shards:
    """Source of endless training crops and fixed held-out pictures from shards.

    Args:
        urls: addresses of the shards: paths, http(s)://, s3://, gs://, or others that fsspec knows. Braces stand for
            several: {000..117}, {train,more}.
        val: folder of the held-out photos; None holds out photos of the shards, which are then not trained on.
        validation: number of held-out pictures, 0 to 10,000.
        min_size: photos with a shorter side of fewer pixels are skipped.
    """

    def __init__(
        self, urls: str | Sequence[str], val: str | None = None, validation: int = 8, min_size: int = 64
    ) -> None:
        given = [urls] if isinstance(urls, str) else list(urls)
        self.addresses = [address for one in given if one for address in expanded(home(one))]
        self.val = None if val is None else Path(home(val))
        self.validation, self.min_size = validation, min_size
        self.reader = ShardReader(self.addresses)
        self._indexes: list[ShardIndex] | None = None
        self._ends: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._parts: tuple[npt.NDArray[np.int64], list[int]] | None = None
        self._draws: Draws | None = None

    def preflight(self) -> None:
        """Check that each shard can be reached and that enough of their photos can be read.

        Raises:
            UserError: no shards are given, one can't be reached or is no tar, or they have too few photos that can be
                used; or the val folder is missing or has no readable photo.
        """
        check_count(self.validation)
        indexes = self.indexes()
        others: Counter[str] = Counter()
        for address, index in zip(self.addresses, indexes, strict=True):
            if index.damage:
                log.warning("%s: %s; its other %d photos are used", printable(address), index.damage, len(index))
            elif not len(index):
                log.warning("%s has no photos", printable(address))
            others += index.others
        if others:
            listed = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common(8))
            log.info("shards: members that are no photos by their names are left out: %s", listed)
        if self.val is not None:
            validation_photos(self.val, self.validation, self.min_size, LeftOut())
        count, sound, why = int(self._ends[-1]), 0, ""
        for i in range(min(_DECODED, count)):
            wrong = self._wrong(i * count // min(_DECODED, count))
            sound, why = sound + (not wrong), why or wrong
            if sound == MIN_PHOTOS:
                break
        else:
            raise UserError(f"fewer than {MIN_PHOTOS} of {min(_DECODED, count)} photos looked at in {self._where()} "
                            f"can be used (one {why}): set data.urls to other shards")  # fmt: skip
        self._split()

    def sample(self, n: int, seed: int, crop: int) -> tuple[Crop, list[str]]:
        """The n-th training crop, and what was skipped for it, as `draws.Draws.sample`.

        Raises:
            UserError: too few photos can be used at this crop size, or a shard can't be read any more.
        """
        return self._drawn().sample(n, seed, crop)

    def expect(self, numbers: Sequence[int], seed: int) -> None:
        """Begin to read the photos of these samples, which will be asked for next."""
        draws, trained = self._drawn(), self._split()[0]
        self.reader.expect([self._place(int(trained[draws.photo(n, seed)])) for n in numbers])

    def held_out(self, size: int) -> list[Crop]:
        """The pictures that are never trained on, each uint8 sRGB (size, size, 3): the same photos for every size."""
        if self.val is not None:
            paths = validation_photos(self.val, self.validation, self.min_size, LeftOut())
            return [centre(path, size) for path in paths]
        found = []
        for number in self._split()[1]:
            with self._file(number) as path:
                found.append(centre(path, size))
        return found

    def describe(self) -> str:
        """Number and place of the photos, in one line."""
        self.indexes()
        return f"shards: {int(self._ends[-1])} photos in {self._where()}"

    def indexes(self) -> list[ShardIndex]:
        """The index of each shard.

        Raises:
            UserError: no shards are given, one can't be reached or is no tar, or they have too few photos.
        """
        if self._indexes is None:
            if not self.addresses:
                raise UserError(f"no shards are given: set {_EXAMPLE}")
            for address in self.addresses:
                _check(address)
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                self._indexes = list(threads.map(_index, self.addresses))
            self._ends = np.cumsum([len(index) for index in self._indexes])
        if self._ends[-1] < MIN_PHOTOS:
            damage = next((f"; {index.damage}" for index in self._indexes if index.damage), "")
            raise UserError(f"{self._where()} have {self._ends[-1]} photos where training takes {MIN_PHOTOS} or more: "
                            f"set data.urls to other shards{damage}")  # fmt: skip
        return self._indexes

    def _where(self) -> str:
        count = len(self.addresses)
        return f"{count} shards, {self.addresses[0]} and so on" if count > 1 else f"1 shard, {self.addresses[0]}"

    def _drawn(self) -> Draws:
        if self._draws is None:
            trained = self._split()[0]
            self._draws = Draws(len(trained), self._read, self._name, self._where())
        return self._draws

    def _split(self) -> tuple[npt.NDArray[np.int64], list[int]]:
        """The numbers of the training photos and of the held-out photos, over all shards."""
        if self._parts is None:
            self.indexes()
            total, held = int(self._ends[-1]), list[int]()
            if self.val is None:
                count = min(self.validation, max(1, total - MIN_PHOTOS))
                places = [(2 * i + 1) * total // (2 * count) for i in range(count)]
                held = chosen(total, places, lambda number: not self._wrong(number))
            self._parts = np.setdiff1d(np.arange(total), held), held
        return self._parts

    def _found(self, number: int) -> tuple[int, ShardIndex, int]:
        """The shard of a photo, with its index, and the photo's number in it."""
        shard = int(np.searchsorted(self._ends, number, side="right"))
        index = self.indexes()[shard]
        return shard, index, number - int(self._ends[shard]) + len(index)

    def _place(self, number: int) -> tuple[int, int, int]:
        """Shard, start and length of a photo."""
        shard, index, own = self._found(number)
        return shard, int(index.starts[own]), int(index.lengths[own])

    def _name(self, number: int) -> str:
        """Shard and name of a training photo."""
        shard, index, own = self._found(int(self._split()[0][number]))
        return f"{self.addresses[shard]}/{index.name(own)}"

    @contextmanager
    def _file(self, number: int) -> Iterator[str]:
        """Context manager: yield the path of a temporary file with a photo."""
        content = self.reader.read(*self._place(number))
        with ExitStack() as stack:
            try:
                path = stack.enter_context(holding(content))
            except UserError as error:
                raise Unavailable(str(error)) from error
            yield str(path)

    def _wrong(self, number: int) -> str:
        """What is wrong with a photo, or ""."""
        with self._file(number) as path:
            return wrong_with(path, self.min_size)

    def _read(self, number: int, crop: int) -> Crop:
        """A training photo at the size of `read_resized`."""
        with self._file(int(self._split()[0][number])) as path:
            return read_resized(path, crop, self.min_size)[0]


def expanded(address: str) -> list[str]:
    """The addresses that one with braces stands for: x{08..10} is x08, x09 and x10; {a,b}y is ay and by.

    Raises:
        UserError: there are too many.
    """
    for found in _BRACES.finditer(address):
        span = _RANGE.fullmatch(found[1])
        if span is None and "," not in found[1]:
            continue
        if span is None:
            words = found[1].split(",")
        else:
            first, last, width = int(span[1]), int(span[2]), max(map(len, span.groups())) * (span[1][0] == "0")
            if abs(last - first) >= _MOST_SHARDS:
                raise UserError(f"data.urls stands for more than {_MOST_SHARDS:,} shards: {printable(address)}")
            step = 1 if last >= first else -1
            words = [str(i).zfill(width) for i in range(first, last + step, step)]
        ends = expanded(address[found.end() :])
        if len(words) * len(ends) > _MOST_SHARDS:
            raise UserError(f"data.urls stands for more than {_MOST_SHARDS:,} shards: {printable(address)}")
        return [address[: found.start()] + word + end for word in words for end in ends]
    return [address]


def _check(address: str) -> None:
    if "://" in address and urlsplit(address).password is not None:
        raise UserError("data.urls has a password, which would be stored in the style file: give it in the environment")


def _index(address: str) -> ShardIndex:
    shard = ranged(address, EXTRA)
    index: RangedFile | None
    try:
        index = ranged(beside(address), EXTRA)
    except UserError:
        index = None
    return index_of(shard, address, index)
