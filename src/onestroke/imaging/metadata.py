"""Copy a photo's EXIF to its painting, and mark and recognise paintings.

The entries of the EXIF that are kept are copied byte for byte into a new block.
"""

from __future__ import annotations

import os
import struct
from io import BytesIO
from typing import BinaryIO

from onestroke.imaging.directories import (
    ASCII,
    BYTE,
    EXIF,
    GPS,
    IFD,
    LONG,
    SHORT,
    Directory,
    decode_block,
    encode_block,
    encode_directories,
    encode_header,
    entries,
    read_big_text,
    read_directory,
    read_header,
    read_subdirectory,
    read_value,
    swap_bytes,
)
from onestroke.version import __version__

_SOFTWARE, _XMP = 0x0131, 0x02BC
_MAKER = "OneStroke "
_BMP_MARK = b"1STR"  # in the four header bytes of a BMP that are reserved for the writing program
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
_SUBFILE_TYPE, _DNG_VERSION = 0x00FE, 0xC612


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
    if (start := read_header(file, 0)) is not None:
        order, offset = start
        main = read_directory(file, 0, order, offset)
        inner, gps = (read_subdirectory(file, order, main.pop(tag, None)) for tag in (EXIF, GPS))
    # 0xC600 and above are tags of DNG
    main = {tag: entry for tag, entry in main.items() if tag not in _NOT_KEPT and tag < 0xC600}
    for tag in (_MAKER_NOTE, _INTEROPERABILITY, _GAMMA):
        inner.pop(tag, None)
    # other pointers to directories would be wrong in the new block
    main, inner, gps = (
        {tag: entry for tag, entry in part.items() if tag not in (EXIF, GPS) and entry[0] != IFD}
        for part in (main, inner, gps)
    )
    if _COLOUR_SPACE in inner:
        inner[_COLOUR_SPACE] = (SHORT, 1, struct.pack(order + "H", 1))  # sRGB
    for tag, side in ((_WIDTH, width), (_HEIGHT, height)):
        if tag in inner:
            inner[tag] = (LONG, 1, struct.pack(order + "I", side))
    words = f"{_MAKER}{__version__}: {style[:_MOST_IN_NAME]}".encode("utf-8", "replace") + b"\0"
    main[_SOFTWARE] = (ASCII, len(words), words)
    return encode_block(order, main, inner, gps)


def for_jpeg(exif: bytes) -> bytes:
    """A block with the prefix `Exif\\0\\0`; its largest entries are dropped until it fits into a JPEG segment."""
    while len(exif) > _MOST_IN_JPEG:
        order, main, inner, gps = decode_block(exif)
        _, tag, fullest = max((len(d[tag][2]), tag, i) for i, d in enumerate((main, inner, gps)) for tag in d)
        del (main, inner, gps)[fullest][tag]
        exif = encode_block(order, main, inner, gps)
    return b"Exif\0\0" + exif


def into_tiff(file: BinaryIO, exif: bytes, xmp: bytes | None = None) -> None:
    """Add the entries of an EXIF block, and an XMP packet, to a TIFF file with 8 bit samples, in place."""
    order, main, inner, gps = decode_block(exif)
    if xmp is not None:
        main[_XMP] = (BYTE, len(xmp), xmp)
    start = read_header(file, 0)
    assert start is not None, "no TIFF file"
    for tag, (kind, count, value) in read_directory(file, 0, *start).items():
        main[tag] = (kind, count, value if start[0] == order else swap_bytes(kind, value))
    end = file.seek(0, os.SEEK_END)
    place = end + end % 2
    file.write(bytes(end % 2) + encode_directories(order, place, main, inner, gps))
    file.seek(0)
    file.write(encode_header(order, place))  # the byte order of the block: 8 bit samples don't depend on it


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
    if head[:4] in (b"II+\0", b"MM\0+"):
        return read_big_text(file, _SOFTWARE).startswith(_MAKER.encode())
    base = _exif_offset(file, head)
    start = None if base is None else read_header(file, base)
    return base is not None and start is not None and _read_software(file, base, *start).startswith(_MAKER.encode())


def is_raw(file: BinaryIO) -> bool:
    """Whether a TIFF file is a camera's raw file, whose first picture is a preview.

    Raises:
        OSError: the file can't be read.
    """
    start = read_header(file, 0)
    if start is None:
        return False
    main = read_directory(file, 0, *start)
    kind, _, value = main.get(_SUBFILE_TYPE, (0, 0, b""))
    reduced = kind == LONG and struct.unpack(start[0] + "I", value[:4])[0] & 1
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


def _read_software(file: BinaryIO, base: int, order: str, offset: int) -> bytes:
    found = ((size, field) for tag, _, _, size, field in entries(file, base, order, offset) if tag == _SOFTWARE)
    return next((read_value(file, base, order, size, field) for size, field in found), b"")
