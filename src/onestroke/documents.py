"""Safetensors files from anyone: the JSON document among their metadata, and a checksum over their tensors.

Nothing of a file is believed before it is checked: how long the header is (all tensors' names and shapes, and the
document) is read first, so that a header of millions of entries costs nothing; then the document's depth, its numbers
and its letters.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from onestroke.errors import printable

KEY = "onestroke"
MAX_HEADER = 4 * 2**20  # bytes; that of a network of seven styles has 15,000
NAME, TEXT = 200, 2000  # characters at most, of a name and of a fact
_DEEPEST = 64
_LARGEST = 1e300


class NotWhole(Exception):
    """A file that safetensors can't read, or that is no safetensors file at all; the message says why."""


class NoDocument(ValueError):
    """A whole file, whose document is missing or not what it should be; the message says what of it."""


def read(path: Path) -> dict[str, Any]:
    """The document of a file, sound as JSON goes: an object, not nested too deeply, all its numbers finite.

    Raises:
        NotWhole, NoDocument: see there.
    """
    try:
        check_header(path)
        with safe_open(str(path), framework="pt") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise NotWhole(printable(error)) from error
    if KEY not in metadata:
        raise NoDocument("there is none")
    return parse(metadata[KEY])


def check_header(path: Path) -> None:
    """See that the list of a safetensors file's tensors and its document are no longer than any may be.

    Raises:
        NotWhole: they are.
        OSError: the file can't be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if MAX_HEADER < length <= size - 8:
        raise NotWhole(f"its header has {length / 2**20:.0f} MiB, and {MAX_HEADER // 2**20} are the most")


def parse(text: str) -> dict[str, Any]:
    """As `read`, of the document's text.

    Raises:
        NoDocument: see there.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoDocument("it is no JSON") from error
    if not isinstance(document, dict):
        raise NoDocument("it is no JSON object")
    check(document)
    return document


def check(document: object, most: float = float("inf")) -> None:
    """Look through JSON values of any kind.

    Raises:
        NoDocument: where they are more than `most` or nested too deeply, or a number is not finite or far beyond what
            any should be.
    """
    level = [document]
    for _ in range(_DEEPEST):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list | tuple):
                below += value
            elif isinstance(value, int | float) and not is_number(value) and not isinstance(value, bool):
                raise NoDocument("a number in it is not finite, or far too large")
        level = below
        most -= len(level)
        if most < 0:
            raise NoDocument("it has too many entries")
        if not level:
            return
    raise NoDocument(f"it is nested more than {_DEEPEST} levels deep")


def is_number(value: object, least: float = -_LARGEST, most: float = _LARGEST) -> bool:
    """Whether it is a finite number within bounds, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def is_whole(value: object, least: int, most: int) -> bool:
    """Whether it is a whole number within bounds, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_name(value: object) -> bool:
    """Whether it can name something: a short text that is not empty and has no control characters."""
    return isinstance(value, str) and 0 < len(value) <= NAME and printable(value, NAME) == value and bool(value.strip())


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """What any change to the tensors, their names, kinds or shapes changes: `sha256:` and 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"
