#!/usr/bin/env python
"""Pack a folder of photos into shards (tar, as WebDataset has them) for `python train.py data=webdataset`.

    python scripts/shard_photos.py input=/data/coco/train2017 output=s3://bucket/shards name=coco
    python scripts/shard_photos.py input=/data/photos output=/mnt/shards size=512 max_side=640

The photos are in an order that depends on their names and seed= alone, and lie in the shards byte for byte as in their
files, under their own paths; max_side= makes larger ones smaller, as JPEGs. The same command makes the same shards.
Photos that can't be read are left out and named. Beside each shard is its index, a JSON file, by which training reads
single photos. Both are written once they are whole. The same command goes on where it was stopped; after a change of
photos or options it takes overwrite=true to replace the shards that are there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from onestroke.byte_ranges import ranged
from onestroke.cli.options import CommandOptions, command, option
from onestroke.data.listing import check_folder, log_left_out, walk
from onestroke.data.resized import decoded, header_size, inspect
from onestroke.data.shard_index import MOST_BYTES, SUFFIX, ShardIndex
from onestroke.data.shard_reading import EXTRA
from onestroke.errors import UserError, printable
from onestroke.files import home, make_folder
from onestroke.imaging.kinds import EXTENSIONS, HEAD, kind_of
from onestroke.imaging.left_out import LeftOut
from onestroke.stores import Store, is_web, join

_LEAST_SIDE = 64  # pixels of the shorter side, as training has it
_QUALITY = 95  # of the JPEGs of photos that are made smaller


@dataclass
class Options(CommandOptions):
    """What is packed, and into what."""

    input: str = option("folder of photos, with its subfolders", example="/path/to/photos", path=True)
    output: str = option("folder for the shards: a path, s3://bucket/folder, gs://...", example="shards", path=True)
    name: str = option("what the shards' names begin with: photos-000.tar", "photos")
    size: int = option("MB of photos in a shard, before max_side=", 256, low=1)
    photos: int | None = option("number of photos in a shard, in place of size=", None, low=1)
    max_side: int | None = option("longer side at most, in pixels; default: photos as they are", None, low=_LEAST_SIDE)
    seed: int = option("of the order", 0, low=0)
    overwrite: bool = option("whether shards of other photos or options are replaced", False)

    def check(self) -> None:
        if is_web(self.output):
            raise UserError("output= is an address of the web, which can't be written to: give a folder or s3://...")
        if not self.name or set(self.name) & set("/\\{}?*[]\"'") or self.name.startswith("."):
            raise UserError(f"name={printable(self.name)} can't begin the name of a file: use letters and digits")


def pack(options: Options) -> None:
    """Write the shards that are missing, and say how to train with them.

    Raises:
        UserError: for folders that can't be used, and where other shards are in the way.
    """
    source, store, left_out = Path(options.input), Store(options.output, EXTRA), LeftOut()
    check_folder(source, "input", "/path/to/photos")
    files = walk(source, None, left_out)
    log_left_out(source, left_out)
    if not files:
        raise UserError(f"input={source} has no photos{f': {left_out}' if left_out.count else ''}")
    plan = list(planned(files, options))
    width = max(3, len(str(len(plan) - 1)))
    names = [f"{options.name}-{number:0{width}}.tar" for number in range(len(plan))]
    done = whole(store, names, [fingerprint(source, one, options) for one in plan], options)
    count = sum(done.values())
    for name, one in zip(names, plan, strict=True):
        if name in done:
            continue
        index, content = shard(source, one, options)
        more = {"source": fingerprint(source, one, options)}
        store.write(name + SUFFIX, json.dumps({**json.loads(index.encoded()), **more}).encode())
        store.write(name, content)
        count += len(index)
        print(f"{name}: {len(index)} photos, {len(content) / 1e6:.1f} MB", flush=True)
    again = f", {len(done)} of them from before" if done else ""
    print(f"{count} of {len(files)} photos in {len(plan)} shards{again}; train with them by\n\n    "
          f"{training(options.output, options.name, width, len(plan))}")  # fmt: skip


def training(output: str, name: str, width: int, count: int) -> str:
    """The command that trains with the shards."""
    folder, mark, more = output.partition("?") if "://" in output else (output, "", "")
    numbers = f"{{{0:0{width}}..{count - 1:0{width}}}}" if count > 1 else f"{0:0{width}}"
    return shlex.join(["python", "train.py", "data=webdataset",
                       f"data.urls={folder.rstrip('/')}/{name}-{numbers}.tar{mark}{more}"])  # fmt: skip


def planned(files: list[str], options: Options) -> Iterator[list[str]]:
    """The photos of each shard, by the sizes of their files: no photo has to be read for it."""
    shard: list[str] = []
    held = 0
    for number in np.random.default_rng(options.seed).permutation(len(files)):
        size = os.path.getsize(files[number])
        full = len(shard) == options.photos if options.photos is not None else held + size > options.size * 10**6
        if shard and full:
            yield shard
            shard, held = [], 0
        shard.append(files[number])
        held += size
    yield shard


def fingerprint(source: Path, files: list[str], options: Options) -> str:
    """What a shard is made of: the photos' names, sizes and times of change, and what is done to them."""
    found = [(os.path.relpath(path, source), (stat := os.stat(path)).st_size, stat.st_mtime_ns) for path in files]
    return hashlib.sha256(repr((1, options.max_side, found)).encode()).hexdigest()


def whole(store: Store, names: list[str], made_of: list[str], options: Options) -> dict[str, int]:
    """The shards that are there already, with the numbers of their photos.

    Raises:
        UserError: shards of other photos or options are there, and overwrite is false.
    """
    folder = Path(home(store.address))
    if store.local:
        make_folder(folder)
    there = set(os.listdir(folder) if store.local else store.files(below=False))
    done: dict[str, int] = {}
    shards = re.compile(re.escape(options.name) + r"-\d+\.tar")
    others = sorted(name for name in there - set(names) if shards.fullmatch(name))
    for name, own in zip(names, made_of, strict=True):
        if name not in there:
            continue  # the index comes first
        try:
            file = ranged(join(store.address, name + SUFFIX), EXTRA)
            index = json.loads(file.read(0, file.size))
            same = (index["source"], index["size"]) == (own, ranged(join(store.address, name), EXTRA).size)
        except (UserError, ValueError, TypeError, KeyError):
            same = False
        if same:
            done[name] = len(index.get("starts", []))
        else:
            others.append(name)
    if others and not options.overwrite:
        raise UserError(
            f"output={options.output} has shards of other photos or options, such as {printable(others[0])}: "
            "overwrite=true replaces those of the same names, name= and output= name others"
        )
    if left := [name for name in others if name not in names]:
        print(f"{len(left)} shards of an earlier command stay there, such as {printable(left[0])}", file=sys.stderr)
    return done


def shard(source: Path, files: list[str], options: Options) -> tuple[ShardIndex, bytes]:
    """A shard with its index. Times and owners in it are none, so that the same photos give the same bytes."""
    buffer = io.BytesIO()
    listed: list[tuple[str, int, int]] = []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in files:
            try:
                name, content = photo(source, path, options.max_side)
            except UserError as error:
                reason = str(error).removeprefix(f"'{path}' ")
                print(f"{printable(path)} is left out: {reason}", file=sys.stderr)
                continue
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
            listed.append(
                (name, archive.offset - -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, len(content))
            )
    content = buffer.getvalue()
    return ShardIndex.of(len(content), listed), content


def photo(source: Path, path: str, max_side: int | None) -> tuple[str, bytes]:
    """The name and content of a photo in a shard.

    Raises:
        UserError: it can't be read, or not be trained on.
    """
    short, wrong = inspect(path, _LEAST_SIDE)
    if wrong:
        raise UserError(wrong)
    name = Path(os.path.relpath(path, source)).as_posix()
    low, high = sorted(header_size(path))
    if max_side is not None and high > max_side:
        small = decoded(path, max(_LEAST_SIDE, round(low * max_side / high)))
        buffer = io.BytesIO()
        Image.fromarray(small).save(buffer, "JPEG", quality=_QUALITY)
        return name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg", buffer.getvalue()
    decoded(path, short)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"can't be read: {error.strerror or error}") from error
    if len(content) > MOST_BYTES:
        raise UserError(f"is larger than {MOST_BYTES // 2**20} MiB")
    known = Path(name).suffix.lower() in EXTENSIONS
    return name if known else f"{name}.{str(kind_of(content[:HEAD])).lower()}", content


if __name__ == "__main__":
    sys.exit(command(Options, "python scripts/shard_photos.py input=FOLDER output=FOLDER [options]", pack, None))
