"""Marks of a clip: entries of the container's metadata, and the box that an MP4 holds its XMP packet in."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from onestroke.imaging.xmp import MOST_BYTES
from onestroke.provenance import packet
from onestroke.provenance.origin import COMPOSITE, Origin

_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")  # XMP specification, part 3
_MOST_BOXES = 10_000


def container_metadata(origin: Origin, own: Mapping[str, str] | None = None) -> dict[str, str]:
    """The metadata of a painted clip's container, as key and value.

    `comment` says in words that the clip is painted, and how; a comment of the photographed clip stands before it. The
    other keys are those of `own`, and `digital_source_type`, which containers with free keys keep (Matroska, WebM, MP4
    with `movflags=use_metadata_tags`).

    Args:
        origin: what is said of the clip.
        own: metadata of the clip that was painted.
    """
    kept = {key: value for key, value in (own or {}).items() if key.lower() != "comment"}
    said = f"{origin.sentence()}; {packet.AGENT}; digital source type {COMPOSITE}"
    before = comment_of(own or {})
    return {**kept, "comment": f"{before}\n{said}" if before else said, "digital_source_type": COMPOSITE}


def comment_of(metadata: Mapping[str, str]) -> str:
    """The comment in the metadata of a container; Matroska spells its keys in capitals."""
    return next((value for key, value in metadata.items() if key.lower() == "comment"), "")


def xmp_box(content: bytes) -> bytes:
    """The box with an XMP packet: appended to a finished MP4 or MOV file, it is part of it."""
    return struct.pack(">I4s", 24 + len(content), b"uuid") + _UUID + content


def xmp_of(path: Path) -> bytes | None:
    """The XMP packet of an MP4 or MOV file, or None.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        return _find(file)


def _find(file: BinaryIO) -> bytes | None:
    place, found = 0, None
    whole = file.seek(0, 2)
    for _ in range(_MOST_BOXES):
        if place >= whole:
            break
        file.seek(place)
        head = file.read(32)
        if len(head) < 8:
            break
        size, kind, start = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), 16
        if kind == b"uuid" and head[start : start + 16] == _UUID and 0 < size - start - 16 <= MOST_BYTES:
            file.seek(place + start + 16)
            found = file.read(size - start - 16)  # the last one counts
        if size < start:  # 0: to the end of the file
            break
        place += size
    return found
