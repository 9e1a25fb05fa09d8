"""Untrusted safetensors files: the JSON document in their metadata, and a checksum over their tensors.

Everything in a file is checked before it is used. The length of the header (names and shapes of all tensors, and the
document) comes first, so that a header of millions of entries is never parsed; then the document's nesting depth,
its numbers and its strings.
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
MAX_HEADER = 4 * 2**20  # bytes; a network of seven styles has a header of 15,000
NAME, TEXT = 200, 2000  # maximum characters of a name and of any other text
_MAX_DEPTH = 64
_MAX_NUMBER = 1e300


class NotWhole(Exception):
    """The file is damaged or not a safetensors file; the message says why."""


class NoDocument(ValueError):
    """The file is intact, but its document is missing or invalid; the message says what is wrong."""


def read(path: Path) -> dict[str, Any]:
    """Read the document of a safetensors file: a JSON object of limited depth, with finite numbers.

    Raises:
        NotWhole: the file can't be read as safetensors.
        NoDocument: the document is missing or invalid.
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
    """Check that the header of a safetensors file is at most MAX_HEADER bytes long.

    Raises:
        NotWhole: it is longer.
        OSError: the file can't be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if MAX_HEADER < length <= size - 8:
        raise NotWhole(f"its header has {length / 2**20:.0f} MiB, and {MAX_HEADER // 2**20} are the most")


def parse(text: str) -> dict[str, Any]:
    """Parse and check the text of a document.

    Raises:
        NoDocument: it is not JSON, not an object, nested too deeply, or has a number that is not finite.
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
    """Check a JSON value: its size, its depth, and that its numbers are finite.

    Raises:
        NoDocument: it has more than `most` values or more than 64 levels, or a number is not finite or above 1e300.
    """
    level = [document]
    for _ in range(_MAX_DEPTH):
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
    raise NoDocument(f"it is nested more than {_MAX_DEPTH} levels deep")


def is_number(value: object, least: float = -_MAX_NUMBER, most: float = _MAX_NUMBER) -> bool:
    """Whether a value is a finite number in [least, most], and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def is_whole(value: object, least: int, most: int) -> bool:
    """Whether a value is an integer in [least, most], and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_name(value: object) -> bool:
    """Whether a value is a valid name: a string of 1 to NAME characters, not blank, without control characters."""
    return isinstance(value, str) and 0 < len(value) <= NAME and printable(value, NAME) == value and bool(value.strip())


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and values of tensors: `sha256:` and 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"
