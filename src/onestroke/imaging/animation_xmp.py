"""XMP packets of animations: put into a GIF, WebP or PNG that is written already, and found in a GIF."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from onestroke.imaging.xmp import MOST_BYTES

_PNG_HEAD = 33  # signature and IHDR
_GIF_BLOCK = b"\x21\xff\x0bXMP DataXMP"
_GIF_TRAILER = bytes((1, *range(255, -1, -1), 0))  # XMP specification, part 3: leads any reader of blocks to their end


def insert_xmp(path: Path, kind: str, packet: bytes) -> None:
    """Write an XMP packet into a file that has none.

    Args:
        path: the file; it is changed in place.
        kind: GIF, WEBP or PNG.
        packet: in UTF-8.

    Raises:
        OSError: the file can't be read or written.
    """
    if kind == "WEBP":
        with path.open("rb+") as file:
            simple = _append_webp(file, packet)
        if simple is not None:
            _insert(path, 12, simple)
    elif kind == "PNG":
        _insert(path, _PNG_HEAD, _png_chunk(packet))
    else:
        _insert(path, _gif_head(path), _GIF_BLOCK + packet + _GIF_TRAILER)


def _insert(path: Path, place: int, content: bytes) -> None:
    other = path.with_name(f"{path.name}.xmp")
    try:
        with path.open("rb") as source, other.open("wb") as target:
            target.write(source.read(place))
            target.write(content)
            shutil.copyfileobj(source, target)
        shutil.copymode(path, other)
        os.replace(other, path)
    finally:
        other.unlink(missing_ok=True)


def _png_chunk(packet: bytes) -> bytes:
    body = b"iTXtXML:com.adobe.xmp" + bytes(5) + packet  # not compressed, no language, no translated keyword
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _gif_head(path: Path) -> int:
    """Bytes before the first block: the screen's description and its colours."""
    with path.open("rb") as file:
        return 13 + _colours(file.read(13)[10])


def _colours(flags: int) -> int:
    """Bytes of the table of colours that the flags of a GIF's screen or picture announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def gif_xmp(path: Path) -> bytes | None:
    """The XMP packet of a GIF, or None; Pillow does not read it.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        head = file.read(13)
        if len(head) < 13:
            return None
        file.seek(_colours(head[10]), 1)
        while (kind := file.read(1)) in (b"\x21", b"\x2c"):
            if kind == b"\x21":
                begin = kind + file.read(len(_GIF_BLOCK) - 1)
                if begin == _GIF_BLOCK:
                    content = file.read(MOST_BYTES + len(_GIF_TRAILER))
                    end = content.find(_GIF_TRAILER[:-1])
                    return content[:end] if end > 0 else None
                file.seek(2 - len(begin), 1)
            else:
                picture = file.read(9)
                if len(picture) < 9:
                    return None
                file.seek(_colours(picture[8]) + 1, 1)
            while (size := file.read(1)) not in (b"", b"\0"):
                file.seek(size[0], 1)
    return None


def _append_webp(file: BinaryIO, packet: bytes) -> bytes | None:
    """Append the chunk and say in the header that it is there; returns the header that a file of one picture lacks."""
    head = file.read(30)
    simple = None
    if head[12:16] == b"VP8X":
        file.seek(20)
        file.write(bytes((head[20] | _WEBP_XMP,)))
    else:
        simple = _webp_header(head)
    size = file.seek(0, 2)
    file.write(b"XMP " + struct.pack("<I", len(packet)) + packet + bytes(len(packet) % 2))
    size += 8 + len(packet) + len(packet) % 2 + len(simple or b"")
    file.seek(4)
    file.write(struct.pack("<I", size - 8))
    return simple


_WEBP_XMP, _WEBP_ALPHA = 0x04, 0x10


def _webp_header(head: bytes) -> bytes:
    """The chunk VP8X of a WebP of one picture that begins with `head`."""
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height, alpha = bits & 0x3FFF, (bits >> 14) & 0x3FFF, bits >> 28 & 1
    else:
        width, height = (value & 0x3FFF for value in struct.unpack("<HH", head[26:30]))
        width, height, alpha = width - 1, height - 1, 0
    flags = _WEBP_XMP | (_WEBP_ALPHA if alpha else 0)
    return b"VP8X" + struct.pack("<II", 10, flags) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
