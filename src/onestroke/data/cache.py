"""A cache of decoded photos: where it is, whether it is used, and how it is filled at once.

    onestroke cache build root=/path/to/photos [crop=256] [cache=auto] [workers=N]

Photos are kept at the size that training cuts crops from (data/resized.py), so the cache is a memo and nothing else: a
sample is the same to the bit with and without it. A photo is written when it is first decoded, by whichever process
gets to it. So no run waits for the cache, the first pass over the photos costs what it costs without, and a short run
leaves to the next one what it has decoded; `build` is for those who want the first pass fast too. It may be stopped
and started again at any point. crop is that of the training, since the size kept follows from it.

A photo's key is its name below the root (and the root's), its size in bytes and its time of change to the nanosecond. A
hash of its content would be surer, but to have that, all of it must be read before each run: for COCO, minutes from a
disk, where decoding what is needed would have been as fast. So a photo that changes is decoded anew, one that is added
leaves the others as they are, and what isn't asked for any more stays until the folder is deleted, which is safe at any
time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import PIL
from PIL import features

from onestroke.data.resized import MAX_ZOOM, header_size, kept_side, read_resized
from onestroke.data.store import KEY_BYTES, Store, free_bytes
from onestroke.errors import UserError
from onestroke.files import home, user_cache

log = logging.getLogger(__name__)

AUTO = "auto"
_FORMAT = 1
_LOOKED_AT = 64
_SHARE_OF_FREE = 0.5


def cache_folder(setting: str, crop: int) -> Path:
    """Where photos for this crop are kept: below the user's cache folder for auto, or below `setting`.

    Decoders differ by a level now and then, so each version of them has a folder of its own.
    """
    if setting == AUTO:
        above = user_cache() / "photos"
    else:
        above = Path(home(setting))
    versions = (_FORMAT, MAX_ZOOM, PIL.__version__, *map(features.version, ("jpg", "libjpeg_turbo", "webp")))
    return above / f"crop{crop}-{hashlib.sha256(repr(versions).encode()).hexdigest()[:8]}"


def entry_key(root: Path, path: str) -> bytes | None:
    """What a photo below `root` is kept under, KEY_BYTES long; None if it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    told = (os.path.realpath(root), os.path.relpath(path, root), found.st_size, found.st_mtime_ns)
    return hashlib.blake2b(repr(told).encode(), digest_size=KEY_BYTES).digest()


def open_cache(setting: str | None, crop: int, files: Sequence[str]) -> Store | None:
    """The cache for so many photos, or None where it is off or its disk lacks room; tells in one line which.

    It lacks room where what is still to come would take more than half of what is free. A folder that can't be
    written to is still read from.

    Args:
        setting: auto, a folder, or None for no cache.
        crop: of the training.
        files: the photos.
    """
    if setting is None:
        return None
    folder = cache_folder(setting, crop)
    try:
        store = Store(folder)
        there, free = store.size(), free_bytes(folder)
    except OSError as error:
        log.info(
            "photo cache: none, as %s can't be used (%s); data.cache= names another folder", folder, error.strerror
        )
        return None
    expected = expected_bytes(files, crop)
    coming = max(0, expected - there)
    if coming > _SHARE_OF_FREE * free:
        log.info(
            "photo cache: none, as it would take %s of the %s free at %s; data.cache= names another folder",
            amount(coming), amount(free), folder,
        )  # fmt: skip
        return None
    store.writes = os.access(folder, os.W_OK)
    added = (
        "each photo is added when it is first read" if store.writes else "it may not be written to, so none is added"
    )
    log.info("photo cache: %s, %s of about %s there; %s", folder, amount(there), amount(max(there, expected)), added)
    return store


def expected_bytes(files: Sequence[str], crop: int) -> int:
    """How large the cache of these photos becomes, about: by the headers of some of them."""
    sizes = []
    for path in files[:: max(1, len(files) // _LOOKED_AT)]:
        try:
            low, high = sorted(header_size(path))
        except UserError:
            continue
        sizes.append(3 * kept_side(crop, low) ** 2 * high / low)
    return round(len(files) * sum(sizes) / len(sizes)) if sizes else 0


def amount(size: float) -> str:
    """Bytes as people say them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


@dataclass
class Builder:
    """Puts photos into a store, in whatever process it is sent to."""

    store: Store
    root: Path
    crop: int
    min_size: int

    def __call__(self, path: str) -> str:
        """What is wrong with a photo that couldn't be put there, else nothing.

        Raises:
            UserError: The store takes no more.
        """
        key = entry_key(self.root, path)
        if key is not None and self.store.get(key) is not None:
            return ""
        try:
            photo, side = read_resized(path, self.crop, self.min_size)
        except UserError as error:
            return f"{path}: {error}"
        if key is not None:
            self.store.put(key, photo, side)
        if not self.store.writes:
            raise UserError(f"the cache {self.store.folder} takes no more photos: make room, or name another by cache=")
        return ""


def build(builder: Builder, files: Sequence[str], workers: int) -> Iterator[str]:
    """Put all photos into the store, in so many processes; gives what Builder does of each, as it goes.

    Raises:
        UserError: The store takes no more.
    """
    with ProcessPoolExecutor(workers, initializer=_begin, initargs=(builder,)) as pool:
        try:
            yield from pool.map(_work, files, chunksize=16)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_builder: Builder | None = None


def _begin(builder: Builder) -> None:
    """Once in each process, which so reads the index once and writes to one pair of files."""
    global _builder
    _builder = builder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others
    logging.disable()  # what goes wrong is raised


def _work(path: str) -> str:
    assert _builder is not None
    return _builder(path)
