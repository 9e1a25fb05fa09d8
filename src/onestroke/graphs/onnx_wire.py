"""Check the protobuf wire format of an untrusted ONNX file before it is parsed.

Two bytes of protobuf can become a hundred bytes of objects, and a model may refer to other files and contain functions,
loops and training steps. So the bytes are scanned first: any field that export.py doesn't write is refused, and so is a
file with more fields than any exported style has.
"""

from __future__ import annotations

from collections.abc import Mapping

Fields = Mapping[int, "Fields | None"]

_TENSOR: Fields = {1: None, 2: None, 4: None, 5: None, 7: None, 8: None, 9: None, 12: None, 14: None}
_ATTRIBUTE: Fields = {1: None, 2: None, 3: None, 4: None, 7: None, 8: None, 13: None, 20: None}
_NODE: Fields = {1: None, 2: None, 3: None, 4: None, 5: _ATTRIBUTE, 6: None, 7: None}
_DIMENSION: Fields = {1: None, 2: None, 3: None}
_TYPE: Fields = {1: {1: None, 2: {1: _DIMENSION}}, 6: None}
_VALUE: Fields = {1: None, 2: _TYPE, 3: None}
_PAIR: Fields = {1: None, 2: None}
_GRAPH: Fields = {1: _NODE, 2: None, 5: _TENSOR, 10: None, 11: _VALUE, 12: _VALUE, 13: _VALUE}
MODEL: Fields = {
    1: None, 2: None, 3: None, 4: None, 5: None, 6: None, 7: _GRAPH, 8: _PAIR, 14: _PAIR,
}  # fmt: skip
"""The allowed fields by their numbers in onnx.proto; None is a number, a string or bytes. Not allowed are subgraphs,
tensors as attributes, sparse tensors, data in other files, functions, training, and fields of newer ONNX versions."""

_MOST = 300_000  # fields; a style has a few thousand
_PACKED = 4 * 2**20  # bytes of all packed numbers, which grow when they are parsed
_MOST_DOCUMENT = 4 * 2**20  # bytes of all strings, which are mostly metadata


class Refused(Exception):
    """The bytes are not a valid ONNX message, or hold a field that is not allowed; the message says what is wrong."""


def check(content: bytes) -> None:
    """Check that a file holds only fields that export.py writes.

    Raises:
        Refused: it holds other fields, is too large, or is not an ONNX file.
    """
    left = [_MOST, _PACKED, _MOST_DOCUMENT]
    _walk(memoryview(content), 0, len(content), MODEL, left)


def _walk(content: memoryview, at: int, end: int, fields: Fields, left: list[int]) -> None:
    """Check the message in content[at:end]; `left` are the remaining budgets of fields, packed and string bytes."""
    while at < end:
        tag, at = _varint(content, at, end)
        number, kind = tag >> 3, tag & 7
        left[0] -= 1
        if left[0] < 0:
            raise Refused(f"it has more than {_MOST} parts")
        if number not in fields:
            raise Refused(f"it holds what export.py doesn't write (field {number})")
        inside = fields[number]
        if kind == 2:
            length, at = _varint(content, at, end)
            if length > end - at:
                raise Refused("it is cut short")
            if inside is not None:
                _walk(content, at, at + length, inside, left)
            _spend(fields, number, length, left)
            at += length
        elif inside is not None or kind not in (0, 1, 5):
            raise Refused(f"field {number} is of another kind")
        elif kind == 0:
            _, at = _varint(content, at, end)
        else:
            at += 8 if kind == 1 else 4
    if at != end:
        raise Refused("it is cut short")


def _spend(fields: Fields, number: int, length: int, left: list[int]) -> None:
    """Subtract the bytes of a field from its budget; raises Refused if that is used up."""
    if (fields is _TENSOR and number in (4, 5, 7)) or (fields is _ATTRIBUTE and number in (7, 8)):
        left[1] -= length
    elif not (fields is _TENSOR and number == 9) and fields[number] is None:
        left[2] -= length
    if min(left) < 0:
        raise Refused("its texts and lists are longer than any that export.py writes")


def _varint(content: memoryview, at: int, end: int) -> tuple[int, int]:
    """Read a varint at `at`; returns its value and the position after it."""
    value = shift = 0
    while at < end and shift < 64:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise Refused("it is cut short")
