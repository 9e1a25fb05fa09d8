"""Read and write the directories of an EXIF block.

EXIF is a small TIFF file: directories of entries, each with a tag, a type and a value. Values are copied byte for byte.
Pillow would decode and encode them, and lose all characters beyond ASCII.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import BinaryIO

Entry = tuple[int, int, bytes]
"""Type, count and value of an entry, in the byte order of its block."""
Directory = dict[int, Entry]
"""Tag -> entry."""

EXIF, GPS = 0x8769, 0x8825
"""Tags of the pointers to the two other directories of a block."""
SHORT, LONG, ASCII, BYTE, IFD = 3, 4, 2, 1, 13
"""Types of values."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_SWAPPED = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}  # type -> bytes that are swapped as a unit
_MOST_ENTRIES, _MOST_BYTES = 500, 2**20


def read_header(file: BinaryIO, base: int) -> tuple[str, int] | None:
    """Byte order and offset of the first directory of a block that starts at `base`; None if there is no block."""
    file.seek(base)
    head = file.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    return None if order is None or len(head) < 8 else (order, struct.unpack(order + "I", head[4:])[0])


def entries(file: BinaryIO, base: int, order: str, offset: int) -> list[tuple[int, int, int, int, bytes]]:
    """The valid entries of a directory: tag, type, count, size of the value in bytes, and the value or its offset."""
    file.seek(base + offset)
    head = file.read(2)
    count = min(_MOST_ENTRIES, struct.unpack(order + "H", head)[0]) if len(head) == 2 else 0
    table = file.read(12 * count)
    found = [struct.unpack_from(order + "HHI4s", table, 12 * i) for i in range(len(table) // 12)]
    return [(tag, kind, n, n * _SIZES[kind], value) for tag, kind, n, value in found if kind in _SIZES and n]


def read_directory(file: BinaryIO, base: int, order: str, offset: int) -> Directory:
    found: Directory = {}
    room = _MOST_BYTES  # for all values together, since many entries may point to the same bytes
    for tag, kind, count, size, field in entries(file, base, order, offset):
        value = read_value(file, base, order, size, field) if size <= room else b""
        if len(value) == size:
            found[tag] = (kind, count, value)
            room -= size
    return found


def read_value(file: BinaryIO, base: int, order: str, size: int, field: bytes) -> bytes:
    """Read the bytes of a value; fewer if the file ends, none if the value is too large."""
    if size <= 4:
        return field[:size]
    if size > _MOST_BYTES:
        return b""
    file.seek(base + struct.unpack(order + "I", field)[0])
    return file.read(size)


def read_big_text(file: BinaryIO, wanted: int) -> bytes:
    """The bytes of a tag of type ASCII in the first directory of a BigTIFF file; none where there is none.

    In BigTIFF, numbers and offsets have 8 bytes: the count of a directory, and in each entry that of its values.
    """
    file.seek(0)
    head = file.read(16)
    order = {b"II+\0": "<", b"MM\0+": ">"}.get(head[:4])
    if order is None or len(head) < 16:
        return b""
    number = f"{order}Q"
    file.seek(_within(struct.unpack(number, head[8:])[0]))
    count = file.read(8)
    table = file.read(20 * min(_MOST_ENTRIES, struct.unpack(number, count)[0])) if len(count) == 8 else b""
    for i in range(len(table) // 20):
        tag, kind, size, field = struct.unpack_from(f"{order}HHQ8s", table, 20 * i)
        if (tag, kind) == (wanted, ASCII) and size <= _MOST_BYTES:
            if size <= 8:
                return bytes(field[:size])
            file.seek(_within(struct.unpack(number, field)[0]))
            return file.read(size)
    return b""


def _within(offset: int) -> int:
    """An offset that a file can be asked for; beyond its end for one that is too large."""
    return min(offset, 2**62)


def read_subdirectory(file: BinaryIO, order: str, pointer: Entry | None) -> Directory:
    if pointer is None or pointer[0] not in (LONG, IFD) or pointer[1] != 1:
        return {}
    return read_directory(file, 0, order, struct.unpack(order + "I", pointer[2])[0])


def decode_block(exif: bytes) -> tuple[str, Directory, Directory, Directory]:
    """Decode a block of `of_painting`: byte order, and the main, EXIF and GPS directories."""
    file = BytesIO(exif)
    start = read_header(file, 0)
    assert start is not None, "no EXIF block"
    main = read_directory(file, 0, *start)
    return (start[0], main, *(read_subdirectory(file, start[0], main.pop(tag, None)) for tag in (EXIF, GPS)))  # type: ignore[return-value]


def encode_block(order: str, main: Directory, inner: Directory, gps: Directory) -> bytes:
    return encode_header(order, 8) + encode_directories(order, 8, main, inner, gps)


def encode_header(order: str, first: int) -> bytes:
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first)


def encode_directories(order: str, place: int, main: Directory, inner: Directory, gps: Directory) -> bytes:
    """Encode the directories of a block one after the other; the first starts at offset `place`."""
    below = {tag: directory for tag, directory in ((EXIF, inner), (GPS, gps)) if directory}
    pointers: Directory = dict.fromkeys(below, (LONG, 1, bytes(4)))
    at = place + len(_encode_directory(order, place, {**main, **pointers}))
    tail = b""
    for tag, directory in below.items():
        pointers[tag] = (LONG, 1, struct.pack(order + "I", at + len(tail)))
        tail += _encode_directory(order, at + len(tail), directory)
    return _encode_directory(order, place, {**main, **pointers}) + tail


def _encode_directory(order: str, place: int, directory: Mapping[int, Entry]) -> bytes:
    """Encode one directory that starts at offset `place`, followed by its values; it links to no next directory."""
    table, data = struct.pack(order + "H", len(directory)), b""
    behind = place + 2 + 12 * len(directory) + 4
    for tag, (kind, count, value) in sorted(directory.items()):
        field = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", behind + len(data))
        if len(value) > 4:
            data += value + bytes(len(value) % 2)
        table += struct.pack(order + "HHI4s", tag, kind, count, field)
    return table + bytes(4) + data


def swap_bytes(kind: int, value: bytes) -> bytes:
    """Swap the byte order of a value of type `kind`."""
    unit = _SWAPPED.get(kind, 1)
    return b"".join(value[i : i + unit][::-1] for i in range(0, len(value), unit))
