"""`onestroke cache build`: decode the photos of a training in advance, on all cores."""

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
It can be stopped and started again at any time. A training adds each photo to the cache when it first reads it; with a
cache that was built in advance, the first epoch is as fast as the later ones."""
_SHOWN = 10  # skipped files that are listed
_REPORT_EVERY = 2.0  # seconds between two lines of progress


@dataclass
class Options(CommandOptions):
    """The options of `onestroke cache build`."""

    root: str = option("the folder of the photos", placeholder="FOLDER", example="/path/to/photos", path=True)
    crop: int = option("crop size of the training; the size of the stored photos follows from it", 256, low=1)
    cache: str = option("where they are kept: a folder, or auto for the user's cache folder", "auto", path=True)
    workers: int | None = option("processes; default: one for each core", None, placeholder="N", low=1)


def run(options: Options) -> None:
    """Put all photos into the cache, and print the progress."""
    photos = Photos(options.root)
    files = photos.files()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    store = cache.open_cache(options.cache, options.crop, files)
    if store is None or not store.writes:
        raise UserError("the cache can't be built there: make room, or name another folder by cache=")
    builder = cache.Builder(store, photos.root, options.crop, photos.min_size)
    bad, reported, begun = [], time.monotonic(), time.monotonic()
    for done, wrong in enumerate(cache.build(builder, files, options.workers or os.cpu_count() or 1), 1):
        bad += [wrong] if wrong else []
        now = time.monotonic()
        if now - reported > _REPORT_EVERY or done == len(files):
            reported, pace = now, done / (now - begun)
            left = f"{(len(files) - done) / pace:.0f} s left"
            print(f"{done} of {len(files)} photos, {pace:.0f}/s, {left}", flush=True)
    for line in bad[:_SHOWN]:
        print(f"skipped {line}")
    if photos.left_out.count:
        print(photos.left_out)
    size = cache.readable_size(store.size())
    print(f"{len(files) - len(bad)} photos in {store.folder}, {size}; {len(bad)} files were skipped")


def build(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after printing the user's mistake in one sentence."""
    return command(Options, USAGE, run, arguments, EPILOGUE)
