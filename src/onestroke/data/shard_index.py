"""Where each photo lies in a shard, a tar as WebDataset has it, so that photos can be read one by one in any order.

The index of a shard is a JSON file beside it, `coco-000.tar` and `coco-000.tar.json`, which scripts/shard_photos.py
writes. A shard without one is scanned once, from header to header.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onestroke.byte_ranges import RangedFile
from onestroke.errors import UserError, printable
from onestroke.files import atomic, make_folder, user_cache
from onestroke.imaging.kinds import EXTENSIONS

log = logging.getLogger(__name__)

SUFFIX = ".json"
"""What the name of a shard's index ends with, after that of the shard."""
MOST_BYTES = 2**29
"""Bytes of a photo; a member of more is left out."""
_FORMAT = 1
_MOST_INDEX = 2**26  # bytes of an index
_BLOCK = tarfile.BLOCKSIZE
_LONGEST_NAME = 2**16  # bytes
_AHEAD = 2**22  # bytes that a scan reads at once
_PAX_PATH = re.compile(rb"^\d+ path=([^\n]*)\n", re.MULTILINE)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The photos of a shard.

    size: of the shard in bytes. starts, lengths: int64 (N,), of each photo in the shard, in bytes. damage: what of the
    shard can't be read, or "". others: number of members that are no photos by their names, by suffix.
    """

    size: int
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    lines: str  # the names, which are for messages alone: in one string, as millions of them take less memory so
    damage: str = ""
    others: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, size: int, photos: list[tuple[str, int, int]], damage: str = "", others: Any = ()) -> ShardIndex:
        """An index of photos, each a name, start and length."""
        names = "\n".join(name.replace("\n", "?") for name, _, _ in photos)
        starts, lengths = (np.asarray([photo[i] for photo in photos], np.int64) for i in (1, 2))
        return cls(size, starts, lengths, names, damage, Counter(dict(others)))

    def name(self, number: int) -> str:
        """The name of a photo."""
        return self.lines.split("\n")[number]

    def __len__(self) -> int:
        return len(self.starts)

    def encoded(self) -> str:
        """This as JSON."""
        listed = {"starts": self.starts.tolist(), "lengths": self.lengths.tolist(), "names": self.lines.split("\n")}
        more = {"damage": self.damage, "others": dict(self.others)}
        return json.dumps({"format": _FORMAT, "size": self.size, **(listed if len(self) else {}), **more})

    @classmethod
    def decoded(cls, content: bytes, size: int) -> ShardIndex | None:
        """What `encoded` returned, again; None if it is no index, or not of a shard of this size."""
        try:
            found = json.loads(content)
            starts, lengths = (array("q", found.get(name, [])) for name in ("starts", "lengths"))
            names, others = [str(name) for name in found.get("names", [])], Counter(found.get("others", {}))
            sound = found["format"] == _FORMAT and found["size"] == size and len(starts) == len(lengths) == len(names)
            listed = list(zip(names, starts, lengths, strict=True)) if sound else []
            damage = str(found.get("damage", ""))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None
        if not sound or any(
            start < _BLOCK or not 0 <= length <= min(size - start, MOST_BYTES) for _, start, length in listed
        ):
            return None
        return cls.of(size, listed, damage, {str(suffix): int(count) for suffix, count in others.items()})


def beside(address: str) -> str:
    """The address of the index of a shard; a query or options stay at its end."""
    path, mark, options = address.partition("?") if "://" in address else (address, "", "")
    return f"{path}{SUFFIX}{mark}{options}"


def index_of(shard: RangedFile, address: str, index: RangedFile | None) -> ShardIndex:
    """The index of a shard: the one beside it, one of an earlier scan, or a new scan.

    Raises:
        UserError: the shard can't be reached, or is no tar.
    """
    if index is not None and index.size <= _MOST_INDEX:
        found = ShardIndex.decoded(index.read(0, index.size), shard.size)
        if found is not None and _fits(shard, found):
            return found
    kept = _kept(address, shard)
    try:
        found = ShardIndex.decoded(kept.read_bytes(), shard.size)
    except OSError:
        found = None
    if found is None:
        log.info("%s has no index beside it that fits: it is scanned, once", printable(address))
        found = scan(shard, address)
        try:
            make_folder(kept.parent)
            with atomic(kept) as temporary:
                temporary.write_text(found.encoded(), encoding="utf-8")
        except UserError:
            pass  # without a cache folder, the next run scans again
    return found


def _fits(shard: RangedFile, index: ShardIndex) -> bool:
    """Whether the last photo of an index is where it says, and the last one of the shard, by two blocks of it."""
    if not len(index):
        return True
    start, length = int(index.starts[-1]), int(index.lengths[-1])
    try:
        header = tarfile.TarInfo.frombuf(shard.read(start - _BLOCK, _BLOCK), "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    after = shard.read(start - (-length // _BLOCK) * _BLOCK, _BLOCK)
    name = index.name(len(index) - 1)
    plain = name.isascii() and len(name) < tarfile.LENGTH_NAME  # other names are in headers of their own
    return header.size == length and (header.name == name or not plain) and not any(after)


def _kept(address: str, shard: RangedFile) -> Path:
    """Where the index of a scanned shard is kept."""
    parts = (_FORMAT, address if "://" in address else str(Path(address).absolute()), shard.size, shard.stamp)
    return user_cache() / "shards" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.json"


def scan(shard: RangedFile, address: str) -> ShardIndex:
    """Find the photos of a shard by its headers; what lies between damaged headers and the next sound one is lost.

    Photos are known by the suffix of their names. Links, folders and special files are passed over.

    Raises:
        UserError: the shard can't be reached, or is no tar.
    """
    head = shard.read(0, 8)
    if head.startswith(_COMPRESSED):
        raise UserError(f"'{address}' is compressed, so that photos can't be read one by one: unpack it to a .tar")
    photos: list[tuple[str, int, int]] = []
    others: Counter[str] = Counter()
    harm = _Harm()
    for name, start, length in _members(shard, harm):
        suffix = Path(name).suffix.lower()
        if Path(name).name.startswith(".") or suffix not in EXTENSIONS:
            others[suffix if suffix.isprintable() and len(suffix) <= 12 else ""] += 1
        elif length > MOST_BYTES:
            harm.large += 1
        else:
            photos.append((name, start, length))
    if shard.size and not photos and not others and harm.blocks:
        raise UserError(f"'{address}' is no tar: it has no header of one")
    return ShardIndex.of(shard.size, photos, str(harm), others)


@dataclass
class _Harm:
    """What a scan could not read. blocks: of 512 bytes, without a header where one should be. cut: the last member."""

    blocks: int = 0
    cut: bool = False
    large: int = 0

    def __str__(self) -> str:
        found = [
            f"{self.blocks * _BLOCK:,} bytes of it are damaged" if self.blocks else "",
            "it is cut short" if self.cut else "",
            f"{self.large} of its members are larger than {MOST_BYTES // 2**20} MiB" if self.large else "",
        ]
        return ", ".join(filter(None, found))


def _members(shard: RangedFile, harm: _Harm) -> Iterator[tuple[str, int, int]]:
    """Name, start and length of each regular file of a tar.

    Not by TarFile, which ends silently at the first damaged header.
    """
    file = io.BufferedReader(_Seekable(shard), _AHEAD)
    place, name = 0, ""
    while place < shard.size:
        file.seek(place)
        block = file.read(_BLOCK)
        place += _BLOCK
        if block.count(0) == len(block):
            continue
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if header.size < 0:
                raise ValueError("a negative size")
        except (tarfile.HeaderError, ValueError):
            harm.blocks += 1
            continue
        length = header.size if header.type not in _EMPTY else 0
        if place + length > shard.size:
            harm.cut = True
            return
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
            name = _long_name(file.read(min(length, _LONGEST_NAME)), header.type)
        else:
            if header.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
                yield name or header.name, place, length
            if header.type not in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
                name = ""
        place += -(-length // _BLOCK) * _BLOCK


_EMPTY = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)


def _long_name(content: bytes, kind: bytes) -> str:
    """The name that a header before that of a member has for it, or ""."""
    if kind == tarfile.XHDTYPE:
        found = _PAX_PATH.search(content)
        content = b"" if found is None else found[1]
    return content.rstrip(b"\0").decode("utf-8", "replace")


class _Seekable(io.RawIOBase):
    """A file of which parts are read, as Python's own buffered reader takes one."""

    def __init__(self, file: RangedFile) -> None:
        self.file, self.place = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.file.size}[whence]
        return self.place

    def readinto(self, buffer: Any) -> int:
        content = self.file.read(self.place, len(buffer))
        buffer[: len(content)] = content
        self.place += len(content)
        return len(content)
