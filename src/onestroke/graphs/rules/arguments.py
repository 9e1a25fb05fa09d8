"""The inputs and attributes of a node in an ONNX graph, as a rule reads and checks them.

A rule checks everything that its operation gets and refuses the rest: a stride of 0 would divide by zero inside a
runtime, and a padding of a million pixels would fill the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]
AXES = 6
"""Maximum number of axes of a value."""
WIDE = 4096
"""Maximum kernel size, stride and padding in pixels."""


class Unsound(Exception):
    """A node that export.py would not write; the message says what is wrong with it."""


@dataclass(frozen=True)
class Value:
    """A tensor in the graph, by shape and type.

    kind: "float32", "float16", "uint8", "int8", "int32" or "int64". known: the array itself, if it is a
    constant or follows from the picture's size, else None. fixed: whether it is a constant.
    """

    shape: Shape
    kind: str
    known: np.ndarray | None = None
    fixed: bool = False

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return math.prod(self.shape) * np.dtype(self.kind).itemsize


@dataclass(frozen=True)
class Node:
    """An operation with the names of its inputs ("" for one that is left out) and of its output."""

    operation: str
    inputs: Sequence[str]
    output: str
    attributes: Mapping[str, Any]


class Arguments:
    """The inputs and attributes of a node; each method raises Unsound for what export.py would not have written."""

    def __init__(self, node: Node, given: Sequence[Value | None]) -> None:
        self.node, self.given = node, given
        self._unread = set(node.attributes)

    def require(self, valid: bool, problem: str) -> None:
        """Raise Unsound with `problem` unless `valid`."""
        if not valid:
            raise Unsound(f"{self.node.operation} has {problem}")

    def inputs(self, least: int, most: int | None = None) -> list[Value | None]:
        """All inputs, from `least` to `most` of them; None for one that is left out."""
        most = least if most is None else most
        self.require(least <= len(self.given) <= most, f"{len(self.given)} inputs")
        for value in self.given[:least]:
            self.require(value is not None or self.node.operation == "Resize", "too few inputs")
        return [*self.given, *[None] * (most - len(self.given))]

    def floats(self, value: Value | None, axes: int | None = 4) -> Value:
        """Check that a value is floating point with `axes` axes (None: any number), and return it."""
        self.require(value is not None and value.kind in ("float32", "float16"), "no floats")
        assert value is not None
        self.require(axes is None or len(value.shape) == axes, f"{len(value.shape)} axes")
        return value

    def integers_of(self, value: Value | None, axes: int = 1) -> list[int]:
        """The integers of a value that is known, with `axes` axes."""
        self.require(
            value is not None and value.known is not None and value.kind == "int64", "sizes that are not known"
        )
        assert value is not None and value.known is not None
        self.require(value.known.ndim == axes, "a list of lists")
        return [int(n) for n in value.known.reshape(-1)]

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """An attribute that is an integer in [low, high]."""
        self._unread.discard(name)
        number = self.node.attributes.get(name, default)
        self.require(isinstance(number, int) and low <= number <= high, f"{name} {number!r:.40}")
        assert isinstance(number, int)
        return number

    def number(self, name: str, default: float) -> float:
        """An attribute that is a finite number."""
        self._unread.discard(name)
        number = self.node.attributes.get(name, default)
        self.require(isinstance(number, float | int) and math.isfinite(number), f"{name} {number!r:.40}")
        return float(number)

    def integers(self, name: str, count: int, low: int, high: int, default: Sequence[int] | None = None) -> list[int]:
        """An attribute that is a list of `count` integers in [low, high]."""
        self._unread.discard(name)
        numbers = self.node.attributes.get(name, default)
        sound = isinstance(numbers, Sequence) and len(numbers) == count and all(isinstance(n, int) for n in numbers)
        self.require(sound and all(low <= n <= high for n in numbers), f"{name} {numbers!r:.60}")
        return [int(n) for n in numbers]

    def choice(self, name: str, *known: str) -> str:
        """An attribute that is one of the strings `known`; the first is the default."""
        self._unread.discard(name)
        word = self.node.attributes.get(name, known[0])
        self.require(word in known, f"{name} {word!r:.40}")
        return str(word)

    def done(self) -> None:
        """Check that every attribute has been read."""
        self.require(not self._unread, f"an attribute {min(self._unread, default='')!r:.40}")


Rule = Callable[[Arguments], Value]
"""Checks the arguments of a node and returns its output."""
