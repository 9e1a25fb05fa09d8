"""Decode JPEGs that lack only their end marker; those that are cut short earlier are refused."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from io import BytesIO

from PIL import JpegImagePlugin

_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _ALONE = 0xDA, frozenset((0x01, 0xD8, 0xD9))
_RESTARTS = [bytes((0xFF, 0xD0 + i)) for i in range(8)]
# Bytes that are appended to the file. For a complete picture the decoder ignores them; in one that is cut short they
# are decoded to pixels, and different tails give different pixels. Restart markers end the
# search for a missing interval.
_TAILS = (
    _END,
    *(b"".join(fill * 32 + marker for marker in _RESTARTS * 2) + _END for fill in (b"\xa5\x3c", b"\x17\xd6")),
)


def ended(data: bytes, draft: tuple[str, tuple[int, int]] | None) -> JpegImagePlugin.JpegImageFile | None:
    """Decode a JPEG that may lack its end marker; None if more than that is missing.

    Args:
        data: the file's bytes.
        draft: mode and (width, height) of a reduced scale for Pillow's `draft`, or None.

    Raises:
        Exception: of any class, from Pillow, for damaged data.
    """
    body = data.rstrip(b"\xff")
    if not _scans_are_whole(body):
        return None
    seen: set[bytes] = set()
    for tail in reversed(_TAILS):
        image = JpegImagePlugin.JpegImageFile(BytesIO(body + tail), "")
        if draft is not None:
            image.draft(*draft)
        image.load()
        seen.add(_digest(image))
        if len(seen) > 1:
            return None
    return image


def _digest(image: JpegImagePlugin.JpegImageFile) -> bytes:
    found = hashlib.sha256()
    for top in range(0, image.height, 64):
        found.update(image.crop((0, top, image.width, min(top + 64, image.height))).tobytes())
    return found.digest()


def _scans_are_whole(data: bytes) -> bool:
    """Whether the scans in the file include every coefficient of every component, to its last bit."""
    parts: set[int] = set()
    bits: dict[tuple[int, int], int] = {}
    for marker, body in _segments(data):
        if marker in _FRAMES and len(body) >= 6:
            parts = set(body[6::3])
        elif marker == _SCAN and body:
            count = body[0]
            if len(body) < 4 + 2 * count:
                return False
            first, last, precision = body[1 + 2 * count : 4 + 2 * count]
            for part in body[1 : 1 + 2 * count : 2]:
                for coefficient in range(first, min(last, 63) + 1):
                    bits[part, coefficient] = precision & 15
    return bool(parts) and all(bits.get((part, c), 1) == 0 for part in parts for c in range(64))


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each marker and the bytes of its segment; entropy-coded data is skipped."""
    place = 0
    while found := _MARKER.search(data, place):
        marker, place = data[found.start() + 1], found.end()
        if marker in _ALONE:
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        yield marker, data[place + 2 : place + length]
        place += max(length, 2)
