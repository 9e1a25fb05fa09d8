"""Copy a photo's EXIF to its painting, and mark and recognise paintings.

EXIF is a small TIFF file: directories of entries, each with a tag, a type and a value. The entries that are kept are
copied byte for byte into a new block. Pillow would decode and encode them, and lose all characters beyond ASCII.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from io import BytesIO
from typing import BinaryIO

from onestroke.version import __version__

Entry = tuple[int, int, bytes]
"""Type, count and value of an entry, in the byte order of its block."""
Directory = dict[int, Entry]
"""Tag -> entry."""

_SOFTWARE, _EXIF, _GPS = 0x0131, 0x8769, 0x8825
_MAKER = "OneStroke "
_BMP_MARK = b"1STR"  # in the four header bytes of a BMP that are reserved for the writing program
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_SWAPPED = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}  # type -> bytes that are swapped as a unit
_MOST_ENTRIES, _MOST_BYTES = 500, 2**20
_MOST_IN_JPEG = 65533 - len(b"Exif\0\0")
_MOST_IN_NAME = 200
# Tags that are not copied: orientation, since the painting is upright; layout, colour and compression of the pixels;
# previews; blocks of other programs.
_NOT_KEPT = frozenset(
    (
        *(0x0112, 0x00FE, 0x00FF, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0107, 0x0108, 0x0109, 0x010A, 0x0111),
        *(0x0115, 0x0116, 0x0117, 0x0118, 0x0119, 0x011C, 0x0120, 0x0121, 0x0122, 0x0123, 0x0124, 0x0125, 0x012D),
        *(0x013D, 0x013E, 0x013F, 0x0140, 0x0141, 0x0142, 0x0143, 0x0144, 0x0145, 0x014A, 0x014C, 0x0152, 0x0153),
        *(0x0154, 0x0155, 0x0156, 0x015B, 0x0200, 0x0201, 0x0202, 0x0203, 0x0205, 0x0206, 0x0207, 0x0208, 0x0209),
        *(0x0211, 0x0212, 0x0213, 0x0214, 0x02BC, 0x8649, 0x8773, 0xC4A5),
    )
)
# Maker notes contain offsets from the start of the old block, which are wrong in the new one.
_MAKER_NOTE, _INTEROPERABILITY, _GAMMA = 0x927C, 0xA005, 0xA500
_COLOUR_SPACE, _WIDTH, _HEIGHT = 0xA001, 0xA002, 0xA003
_IFD = 13
_SUBFILE_TYPE, _DNG_VERSION = 0x00FE, 0xC612
_SHORT, _LONG, _ASCII = 3, 4, 2


def of_painting(exif: bytes | None, height: int, width: int, style: str) -> bytes:
    """Build the EXIF block of a painting from its photo's.

    The orientation, the thumbnail and the maker notes are dropped, the size and the colour space are set to those of
    the painting, and the Software tag is set to OneStroke's mark. Entries that are broken are dropped.

    Args:
        exif: the photo's block, with or without the prefix `Exif\\0\\0`, or None.
        height: of the painting, in pixels.
        width: of the painting, in pixels.
        style: the name of the style, for the mark.

    Returns:
        A block without prefix, beginning with the byte order.
    """
    blob = (exif or b"").removeprefix(b"Exif\0\0")
    order, main, inner, gps = "<", Directory(), Directory(), Directory()
    file = BytesIO(blob)
    if (start := _read_header(file, 0)) is not None:
        order, offset = start
        main = _read_directory(file, 0, order, offset)
        inner, gps = (_read_subdirectory(file, order, main.pop(tag, None)) for tag in (_EXIF, _GPS))
    # 0xC600 and above are tags of DNG
    main = {tag: entry for tag, entry in main.items() if tag not in _NOT_KEPT and tag < 0xC600}
    for tag in (_MAKER_NOTE, _INTEROPERABILITY, _GAMMA):
        inner.pop(tag, None)
    # other pointers to directories would be wrong in the new block
    main, inner, gps = (
        {tag: entry for tag, entry in part.items() if tag not in (_EXIF, _GPS) and entry[0] != _IFD}
        for part in (main, inner, gps)
    )
    if _COLOUR_SPACE in inner:
        inner[_COLOUR_SPACE] = (_SHORT, 1, struct.pack(order + "H", 1))  # sRGB
    for tag, side in ((_WIDTH, width), (_HEIGHT, height)):
        if tag in inner:
            inner[tag] = (_LONG, 1, struct.pack(order + "I", side))
    words = f"{_MAKER}{__version__}: {style[:_MOST_IN_NAME]}".encode("utf-8", "replace") + b"\0"
    main[_SOFTWARE] = (_ASCII, len(words), words)
    return _encode_block(order, main, inner, gps)


def for_jpeg(exif: bytes) -> bytes:
    """A block with the prefix `Exif\\0\\0`; its largest entries are dropped until it fits into a JPEG segment."""
    while len(exif) > _MOST_IN_JPEG:
        order, main, inner, gps = _decode_block(exif)
        _, tag, fullest = max((len(d[tag][2]), tag, i) for i, d in enumerate((main, inner, gps)) for tag in d)
        del (main, inner, gps)[fullest][tag]
        exif = _encode_block(order, main, inner, gps)
    return b"Exif\0\0" + exif


def into_tiff(file: BytesIO, exif: bytes) -> None:
    """Add the entries of an EXIF block to a TIFF file with 8 bit samples, in place."""
    order, main, inner, gps = _decode_block(exif)
    start = _read_header(file, 0)
    assert start is not None, "no TIFF file"
    for tag, (kind, count, value) in _read_directory(file, 0, *start).items():
        main[tag] = (kind, count, value if start[0] == order else _swap_bytes(kind, value))
    end = file.seek(0, os.SEEK_END)
    place = end + end % 2
    file.write(bytes(end % 2) + _encode_directories(order, place, main, inner, gps))
    file.seek(0)
    file.write(_encode_header(order, place))  # the byte order of the block: 8 bit samples don't depend on it


def mark_bmp(file: BytesIO) -> None:
    """Mark a BMP file as a painting in its header, since BMP has no EXIF."""
    file.seek(6)
    file.write(_BMP_MARK)


def is_painting(file: BinaryIO) -> bool:
    """Whether a picture file is marked as painted by OneStroke. Reads the header only.

    Raises:
        OSError: the file can't be read.
    """
    file.seek(0)
    head = file.read(16)
    if head[:2] == b"BM":
        return head[6:10] == _BMP_MARK
    base = _exif_offset(file, head)
    start = None if base is None else _read_header(file, base)
    return base is not None and start is not None and _read_software(file, base, *start).startswith(_MAKER.encode())


def is_raw(file: BinaryIO) -> bool:
    """Whether a TIFF file is a camera's raw file, whose first picture is a preview.

    Raises:
        OSError: the file can't be read.
    """
    start = _read_header(file, 0)
    if start is None:
        return False
    main = _read_directory(file, 0, *start)
    kind, _, value = main.get(_SUBFILE_TYPE, (0, 0, b""))
    reduced = kind == _LONG and struct.unpack(start[0] + "I", value[:4])[0] & 1
    return bool(reduced) or _DNG_VERSION in main


def _exif_offset(file: BinaryIO, head: bytes) -> int | None:
    """Offset of the EXIF block in a picture file, or None. Reads the header only."""
    if head[:4] in (b"II*\0", b"MM\0*"):
        return 0
    if head[:3] == b"\xff\xd8\xff":
        return _in_jpeg(file)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _in_chunks(file, 8, ">I4s", b"eXIf", b"IDAT", 12)
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        return _in_chunks(file, 12, "<4sI", b"EXIF", b"", 8)
    return None


def _in_jpeg(file: BinaryIO) -> int | None:
    """Offset of the EXIF block in a JPEG, or None."""
    place = 2
    while True:
        file.seek(place)
        start = file.read(10)
        if len(start) < 10 or start[0] != 0xFF or start[1] in (0xD9, 0xDA):  # the end, or the pixels
            return None
        if start[1] == 0xE1 and start[4:] == b"Exif\0\0":
            return place + 10
        place += 1 if start[1] == 0xFF else 2 + int.from_bytes(start[2:4], "big")


def _in_chunks(file: BinaryIO, place: int, layout: str, wanted: bytes, last: bytes, around: int) -> int | None:
    """Offset of the content of the chunk `wanted` in a PNG or WebP; None if the chunk `last` or the end comes first."""
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return None
        first, second = struct.unpack(layout, head)
        name, size = (first, second) if isinstance(first, bytes) else (second, first)
        if name == wanted:
            return place + 8 + (6 if file.read(6) == b"Exif\0\0" else 0)
        if name == last:
            return None
        place += size + around + (size % 2 if around == 8 else 0)


def _read_header(file: BinaryIO, base: int) -> tuple[str, int] | None:
    """Byte order and offset of the first directory of a block that starts at `base`; None if there is no block."""
    file.seek(base)
    head = file.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    return None if order is None or len(head) < 8 else (order, struct.unpack(order + "I", head[4:])[0])


def _entries(file: BinaryIO, base: int, order: str, offset: int) -> list[tuple[int, int, int, int, bytes]]:
    """The valid entries of a directory: tag, type, count, size of the value in bytes, and the value or its offset."""
    file.seek(base + offset)
    head = file.read(2)
    count = min(_MOST_ENTRIES, struct.unpack(order + "H", head)[0]) if len(head) == 2 else 0
    table = file.read(12 * count)
    found = [struct.unpack_from(order + "HHI4s", table, 12 * i) for i in range(len(table) // 12)]
    return [(tag, kind, n, n * _SIZES[kind], value) for tag, kind, n, value in found if kind in _SIZES and n]


def _read_directory(file: BinaryIO, base: int, order: str, offset: int) -> Directory:
    found: Directory = {}
    room = _MOST_BYTES  # for all values together, since many entries may point to the same bytes
    for tag, kind, count, size, field in _entries(file, base, order, offset):
        value = _read_value(file, base, order, size, field) if size <= room else b""
        if len(value) == size:
            found[tag] = (kind, count, value)
            room -= size
    return found


def _read_value(file: BinaryIO, base: int, order: str, size: int, field: bytes) -> bytes:
    """Read the bytes of a value; fewer if the file ends, none if the value is too large."""
    if size <= 4:
        return field[:size]
    if size > _MOST_BYTES:
        return b""
    file.seek(base + struct.unpack(order + "I", field)[0])
    return file.read(size)


def _read_software(file: BinaryIO, base: int, order: str, offset: int) -> bytes:
    found = ((size, field) for tag, _, _, size, field in _entries(file, base, order, offset) if tag == _SOFTWARE)
    return next((_read_value(file, base, order, size, field) for size, field in found), b"")


def _read_subdirectory(file: BinaryIO, order: str, pointer: Entry | None) -> Directory:
    if pointer is None or pointer[0] not in (_LONG, _IFD) or pointer[1] != 1:
        return {}
    return _read_directory(file, 0, order, struct.unpack(order + "I", pointer[2])[0])


def _decode_block(exif: bytes) -> tuple[str, Directory, Directory, Directory]:
    """Decode a block of `of_painting`: byte order, and the main, EXIF and GPS directories."""
    file = BytesIO(exif)
    start = _read_header(file, 0)
    assert start is not None, "no EXIF block"
    main = _read_directory(file, 0, *start)
    return (start[0], main, *(_read_subdirectory(file, start[0], main.pop(tag, None)) for tag in (_EXIF, _GPS)))  # type: ignore[return-value]


def _encode_block(order: str, main: Directory, inner: Directory, gps: Directory) -> bytes:
    return _encode_header(order, 8) + _encode_directories(order, 8, main, inner, gps)


def _encode_header(order: str, first: int) -> bytes:
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first)


def _encode_directories(order: str, place: int, main: Directory, inner: Directory, gps: Directory) -> bytes:
    """Encode the directories of a block one after the other; the first starts at offset `place`."""
    below = {tag: directory for tag, directory in ((_EXIF, inner), (_GPS, gps)) if directory}
    pointers: Directory = dict.fromkeys(below, (_LONG, 1, bytes(4)))
    at = place + len(_encode_directory(order, place, {**main, **pointers}))
    tail = b""
    for tag, directory in below.items():
        pointers[tag] = (_LONG, 1, struct.pack(order + "I", at + len(tail)))
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


def _swap_bytes(kind: int, value: bytes) -> bytes:
    """Swap the byte order of a value of type `kind`."""
    unit = _SWAPPED.get(kind, 1)
    return b"".join(value[i : i + unit][::-1] for i in range(0, len(value), unit))
