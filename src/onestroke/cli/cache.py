"""`onestroke cache build`: decode photos for a training before it begins, on all cores."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass

from onestroke.cli.options import CommandOptions, command, option
from onestroke.data import cache
from onestroke.data.photos import Photos
from onestroke.errors import UserError

USAGE = "onestroke cache build root=/path/to/photos [options]"
EPILOGUE = """\
It may be stopped and started again at any point. A training fills the cache too, as it comes to each photo; with a
cache that was built before, the first pass over the photos is as fast as all others."""
_SHOWN = 10  # files that are named of those that can't be read
_SAID_EVERY = 2.0  # seconds between two lines


@dataclass
class Options(CommandOptions):
    """Which photos, for which training, and where they are kept."""

    root: str = option("the folder of the photos", placeholder="FOLDER", example="/path/to/photos", path=True)
    crop: int = option("that of the training, from which the size follows that is kept", 256, low=1)
    cache: str = option("where they are kept: a folder, or auto for the user's cache folder", "auto", path=True)
    workers: int | None = option("processes; default: one for each core", None, placeholder="N", low=1)


def run(options: Options) -> None:
    """Put all photos into the cache, and say now and then how far it is."""
    photos = Photos(options.root)
    files = photos.files()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    store = cache.open_cache(options.cache, options.crop, files)
    if store is None or not store.writes:
        raise UserError("the cache can't be built there: make room, or name another folder by cache=")
    builder = cache.Builder(store, photos.root, options.crop, photos.min_size)
    bad, told, begun = [], time.monotonic(), time.monotonic()
    for done, wrong in enumerate(cache.build(builder, files, options.workers or os.cpu_count() or 1), 1):
        bad += [wrong] if wrong else []
        now = time.monotonic()
        if now - told > _SAID_EVERY or done == len(files):
            told, pace = now, done / (now - begun)
            left = f"{(len(files) - done) / pace:.0f} s left"
            print(f"{done} of {len(files)} photos, {pace:.0f}/s, {left}", flush=True)
    for line in bad[:_SHOWN]:
        print(f"skipped {line}")
    if photos.left_out.count:
        print(photos.left_out)
    size = cache.readable_size(store.size())
    print(f"{len(files) - len(bad)} photos in {store.folder}, {size}; {len(bad)} files were skipped")


def build(arguments: list[str] | None = None) -> int:
    """The command line: 2 and one sentence for a user's mistake, else 0."""
    return command(Options, USAGE, run, arguments, EPILOGUE)
