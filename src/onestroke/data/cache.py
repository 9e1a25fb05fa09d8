"""A cache of decoded photos on disk: its folder, whether it is used, and building it in advance.

    onestroke cache build root=/path/to/photos [crop=256] [cache=auto] [workers=N]

Photos are stored at the size from which training cuts crops (data/resized.py), so samples are identical to the bit with
and without the cache. Any process that decodes a photo for the first time stores it, so the first epoch takes as long
as without a cache, and later epochs and runs are faster. `build` fills the cache before a training; it can be stopped
and restarted at any time. Its `crop` must be that of the training, since the stored size depends on it.

The key of a photo is made of the root, its path below the root, its size in bytes and its modification time in
nanoseconds. A hash of the content would be safer, but all photos would have to be read before each run, which takes
minutes for COCO. A changed photo gets a new key and is decoded again. Old entries stay until the folder is deleted,
which is safe at any time.
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
_SAMPLED = 64  # photos whose headers are read to estimate the size
_SHARE_OF_FREE = 0.5  # of the free disk space that the cache may still take


def cache_folder(setting: str, crop: int) -> Path:
    """The cache folder for a crop size: below the user's cache folder for auto, else below `setting`.

    Versions of the image decoders can differ by a level of 255, so each set of versions has its own folder.
    """
    if setting == AUTO:
        above = user_cache() / "photos"
    else:
        above = Path(home(setting))
    versions = (_FORMAT, MAX_ZOOM, PIL.__version__, *map(features.version, ("jpg", "libjpeg_turbo", "webp")))
    return above / f"crop{crop}-{hashlib.sha256(repr(versions).encode()).hexdigest()[:8]}"


def entry_key(root: Path, path: str) -> bytes | None:
    """The key of a photo below `root`, KEY_BYTES long; None if the file doesn't exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    parts = (os.path.realpath(root), os.path.relpath(path, root), found.st_size, found.st_mtime_ns)
    return hashlib.blake2b(repr(parts).encode(), digest_size=KEY_BYTES).digest()


def open_cache(setting: str | None, crop: int, files: Sequence[str]) -> Store | None:
    """Open the cache for these photos, and log in one line whether it is used.

    The cache is not used if the photos that are still missing would take more than half of the free disk space. A
    folder without write permission is still read from.

    Args:
        setting: auto, a folder, or None for no cache.
        crop: crop size of the training in pixels.
        files: paths of the photos.

    Returns:
        The cache; None if it is off, can't be opened, or lacks disk space.
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
            readable_size(coming), readable_size(free), folder,
        )  # fmt: skip
        return None
    store.writes = os.access(folder, os.W_OK)
    added = (
        "each photo is added when it is first read" if store.writes else "it may not be written to, so none is added"
    )
    total = readable_size(max(there, expected))
    log.info("photo cache: %s, %s of about %s there; %s", folder, readable_size(there), total, added)
    return store


def expected_bytes(files: Sequence[str], crop: int) -> int:
    """Estimate the size in bytes of the full cache of these photos, from the headers of up to about 64 of them."""
    sizes = []
    for path in files[:: max(1, len(files) // _SAMPLED)]:
        try:
            low, high = sorted(header_size(path))
        except UserError:
            continue
        sizes.append(3 * kept_side(crop, low) ** 2 * high / low)
    return round(len(files) * sum(sizes) / len(sizes)) if sizes else 0


def readable_size(size: float) -> str:
    """A number of bytes as text, in MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


@dataclass
class Builder:
    """Decodes photos and puts them into a store; can be pickled to worker processes.

    root: folder of the photos. crop: crop size of the training. min_size: minimum shorter side of a photo; both in
    pixels.
    """

    store: Store
    root: Path
    crop: int
    min_size: int

    def __call__(self, path: str) -> str:
        """Put one photo into the store; returns an empty string, or `path: reason` for a photo that can't be used.

        Raises:
            UserError: the store can't be written to any more.
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
    """Put all photos into the store with `workers` processes; yields the result of `builder` for each photo.

    Raises:
        UserError: the store can't be written to any more.
    """
    with ProcessPoolExecutor(workers, initializer=_begin, initargs=(builder,)) as pool:
        try:
            yield from pool.map(_build_one, files, chunksize=16)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_builder: Builder | None = None


def _begin(builder: Builder) -> None:
    """Initialise a worker process, so that it reads the index once and writes to one pair of files."""
    global _builder
    _builder = builder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends the workers
    logging.disable()  # errors are raised instead


def _build_one(path: str) -> str:
    assert _builder is not None
    return _builder(path)
