"""Decoded photos in memory-mapped files that several processes and runs fill and read at once.

A store is a folder of pairs of files: NAME.pixels holds photos end to end, uint8 (H, W, 3), and NAME.index a record for
each: key, place, size, checksum. Few large files rather than one a photo, since to open 118,000 files each epoch costs
more than to read them. Every process appends to pairs of its own, so nobody waits for a lock; a photo's pixels are
written before its record, and both have checksums, so whatever a kill, a full disk or a power cut leaves behind is
either whole or not there. What is written twice or left half-written takes room and does no harm.

It is ours because LMDB reads as fast (33 us for a photo of 256 x 340 pixels, 37 us here), but takes 13 ms to write one
that outlives a power cut (0.8 ms here); without that, says its documentation, a power cut may spoil the whole database.
LMDB also lets only one process write at a time, and does not work on network file systems.
"""

from __future__ import annotations

import logging
import mmap
import os
import secrets
import shutil
import struct
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

KEY_BYTES = 16
SHARD_BYTES = 2**30  # where the next pair of files is begun: FAT takes 4 GiB a file
SPARE_BYTES = 2**31  # of the disk, that are left to others
_LOOK_EVERY = 2**26  # bytes written between two looks at how much room is left
_BODY = struct.Struct("<16sQIIII")  # key, offset, height, width, the file's shorter side, CRC 32 of the pixels
_CHECK = struct.Struct("<I4x")  # CRC 32 of the body
RECORD_BYTES = _BODY.size + _CHECK.size


@dataclass(frozen=True, eq=False)
class Entry:
    """A photo, uint8 (H, W, 3), that must not be written to, and the shorter side that its file had."""

    photo: npt.NDArray[np.uint8]
    side: int


class Store:
    """A folder of decoded photos, found by key; made where it isn't there.

    Instances may be forked and pickled. Photos are checked when they are first read in a process.

    Raises:
        OSError: The folder can't be made or listed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.writes = folder, True
        folder.mkdir(parents=True, exist_ok=True)
        self._begin()
        self._scan()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "writes": self.writes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.folder, self.writes = state["folder"], state["writes"]
        self._begin()

    def _begin(self) -> None:
        self._rows: dict[bytes, int] = {}
        self._more: dict[bytes, list[int]] = {}  # other rows of the same key
        self._records = bytearray()
        self._checked = bytearray()  # of each row, whether its pixels are known to be whole
        self._shard_of = array("I")
        self._shards: list[str] = []
        self._read_to: dict[str, int] = {}
        self._maps: dict[int, npt.NDArray[np.uint8]] = {}
        self._writer: _Writer | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def size(self) -> int:
        """Bytes on the disk."""
        with os.scandir(self.folder) as files:
            return sum(file.stat().st_size for file in files)

    def get(self, key: bytes) -> Entry | None:
        """The photo of a key; None where there is none, or none that is whole."""
        if key not in self._rows:
            self._scan()  # another process may have written it
        while (row := self._rows.get(key)) is not None:
            if (entry := self._entry(row)) is not None:
                return entry
            if others := self._more.get(key):
                self._rows[key] = others.pop()
            else:
                del self._rows[key]
        return None

    def put(self, key: bytes, photo: npt.NDArray[np.uint8], side: int) -> None:
        """Keep a photo, uint8 (H, W, 3), unless another process has done so meanwhile.

        Where the disk can't take it, that is told once and nothing more is written.
        """
        if not self.writes:
            return
        self._scan()
        if key in self._rows:
            return
        try:
            # Files that were opened before a fork are the parent's.
            if self._writer is None or self._writer.process != os.getpid() or self._writer.offset >= SHARD_BYTES:
                self._writer = _Writer(self.folder)
            self._writer.append(key, np.ascontiguousarray(photo), side)
        except OSError as error:
            self.writes = False
            self._writer = None
            log.warning("photo cache: %s takes no more photos (%s); going on without", self.folder, error.strerror)

    def _entry(self, row: int) -> Entry | None:
        _, offset, height, width, side, checksum = _BODY.unpack_from(self._records, row * RECORD_BYTES)
        size = height * width * 3
        pixels = self._map(self._shard_of[row], offset + size)
        if pixels is None:
            return None
        photo = pixels[offset : offset + size].reshape(height, width, 3)
        if not self._checked[row]:
            if zlib.crc32(photo.data) != checksum:
                return None
            self._checked[row] = 1
        return Entry(photo, side)

    def _map(self, shard: int, end: int) -> npt.NDArray[np.uint8] | None:
        """A pair's pixels, at least `end` bytes of them, or None where there are fewer."""
        pixels = self._maps.get(shard)
        if pixels is None or len(pixels) < end:
            try:
                path = self.folder / f"{self._shards[shard]}.pixels"
                mapped = np.memmap(path, np.uint8, "r")
            except (OSError, ValueError):  # gone, or empty
                return None
            if hasattr(mmap, "MADV_RANDOM"):
                mapped._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]
            # A plain array: a memmap's slices cost ten times as much to make.
            self._maps[shard] = pixels = np.asarray(mapped)
        return pixels if len(pixels) >= end else None

    def _scan(self) -> None:
        """Take in the records that were added since the last time."""
        try:
            with os.scandir(self.folder) as files:
                grown = [
                    (name, self._read_to.get(name, 0))
                    for name, size in sorted((f.name, f.stat().st_size) for f in files if f.name.endswith(".index"))
                    if size - self._read_to.get(name, 0) >= RECORD_BYTES
                ]
            for name, start in grown:
                with (self.folder / name).open("rb") as file:
                    file.seek(start)
                    added = file.read()
                self._take(name, added[: len(added) // RECORD_BYTES * RECORD_BYTES])
        except OSError:
            return  # what can't be read isn't there

    def _take(self, name: str, added: bytes) -> None:
        if name not in self._read_to:
            self._shards.append(name.removesuffix(".index"))
        self._read_to[name] = self._read_to.get(name, 0) + len(added)
        shard = self._shards.index(name.removesuffix(".index"))
        for start in range(0, len(added), RECORD_BYTES):
            record = added[start : start + RECORD_BYTES]
            (check,) = _CHECK.unpack_from(record, _BODY.size)
            if check != zlib.crc32(record[: _BODY.size]):
                continue
            row = len(self._shard_of)
            self._shard_of.append(shard)
            self._records += record
            self._checked.append(0)
            key = record[:KEY_BYTES]
            if self._rows.setdefault(key, row) != row:
                self._more.setdefault(key, []).append(row)


class _Writer:
    """A pair of files that this process alone appends to.

    Raises:
        OSError: They can't be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.process, self.offset = folder, os.getpid(), 0
        self._look_at = 0
        name = secrets.token_hex(8)
        # Unbuffered, and pixels first: no record may come to the disk's cache before what it tells of.
        self._pixels = (folder / f"{name}.pixels").open("xb", buffering=0)
        self._index = (folder / f"{name}.index").open("xb", buffering=0)

    def append(self, key: bytes, photo: npt.NDArray[np.uint8], side: int) -> None:
        """Raises an OSError where the disk is full, or nearly."""
        if self.offset >= self._look_at:
            free = free_bytes(self.folder)
            if free < SPARE_BYTES:
                raise OSError(0, f"only {free / 1e9:.1f} GB are free")
            self._look_at = self.offset + _LOOK_EVERY
        start = self._pixels.tell()  # of the file, since Ctrl-C may have come in the middle of the last photo
        _write(self._pixels, photo.data.cast("B"))
        self.offset = start + photo.nbytes
        body = _BODY.pack(key, start, *photo.shape[:2], side, zlib.crc32(photo.data))
        _write(self._index, memoryview(body + _CHECK.pack(zlib.crc32(body))))


def _write(file: Any, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def free_bytes(folder: Path) -> int:
    """How much of its disk is free."""
    return shutil.disk_usage(folder).free
