"""A JPEG that lacks its end marker alone is whole; one that lacks more is not."""

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
# What follows the last byte that is there. Of a picture that is whole no decoder looks at it; of one that is cut short,
# it becomes pixels, and other ones each time. Restart markers end the search for an interval that is missing.
_TAILS = (
    _END,
    *(b"".join(fill * 32 + marker for marker in _RESTARTS * 2) + _END for fill in (b"\xa5\x3c", b"\x17\xd6")),
)


def ended(data: bytes, draft: tuple[str, tuple[int, int]] | None) -> JpegImagePlugin.JpegImageFile | None:
    """The decoded picture of a JPEG without an end marker, or None where more than that is missing.

    Args:
        data: the file's bytes.
        draft: mode and size of a reduced scale, or None.

    Raises:
        Exception: anything, as Pillow does on what is damaged.
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
    """Whether the scans that have begun are all that a picture needs: each coefficient of each part to its last bit."""
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
    """Markers and what belongs to them, entropy-coded data skipped."""
    place = 0
    while found := _MARKER.search(data, place):
        marker, place = data[found.start() + 1], found.end()
        if marker in _ALONE:
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        yield marker, data[place + 2 : place + length]
        place += max(length, 2)
