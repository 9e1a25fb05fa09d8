"""What a node of an ONNX graph is given: values, and attributes that a rule asks for one by one.

A rule says what its operation may be given, attributes too, and refuses all else: a step of 0 divides by zero inside of
a runtime, and a rim of a million pixels fills the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]
AXES = 6
"""A value has at most so many."""
WIDE = 4096
"""Pixels, of what a kernel, a step or a rim has at most."""


class Unsound(Exception):
    """A node that export.py would not write; the message says what is wrong with it."""


@dataclass(frozen=True)
class Value:
    """What flows from node to node.

    kind: "float32", "float16", "uint8", "int8", "int32" or "int64". known: the numbers themselves, where they are
    constants or follow from the picture's size. fixed: whether they are constants.
    """

    shape: Shape
    kind: str
    known: np.ndarray | None = None
    fixed: bool = False

    @property
    def bytes(self) -> int:
        """In memory."""
        return math.prod(self.shape) * np.dtype(self.kind).itemsize


@dataclass(frozen=True)
class Node:
    """An operation: the names that it takes ("" for none) and the one that it gives."""

    operation: str
    inputs: Sequence[str]
    output: str
    attributes: Mapping[str, Any]


class Arguments:
    """What a node is given; each method raises Unsound for what export.py would not have written."""

    def __init__(self, node: Node, given: Sequence[Value | None]) -> None:
        self.node, self.given = node, given
        self._unread = set(node.attributes)

    def need(self, right: bool, what: str) -> None:
        """Go on only where this is right."""
        if not right:
            raise Unsound(f"{self.node.operation} has {what}")

    def inputs(self, least: int, most: int | None = None) -> list[Value | None]:
        """All that is given, None for what is left out: at least so many, and at most."""
        most = least if most is None else most
        self.need(least <= len(self.given) <= most, f"{len(self.given)} inputs")
        for value in self.given[:least]:
            self.need(value is not None or self.node.operation == "Resize", "too few inputs")
        return [*self.given, *[None] * (most - len(self.given))]

    def picture(self, value: Value | None, axes: int | None = 4) -> Value:
        """A value of floats, of so many axes."""
        self.need(value is not None and value.kind in ("float32", "float16"), "no floats")
        assert value is not None
        self.need(axes is None or len(value.shape) == axes, f"{len(value.shape)} axes")
        return value

    def known(self, value: Value | None, axes: int = 1) -> list[int]:
        """Whole numbers that are known."""
        self.need(value is not None and value.known is not None and value.kind == "int64", "sizes that are not known")
        assert value is not None and value.known is not None
        self.need(value.known.ndim == axes, "a list of lists")
        return [int(n) for n in value.known.reshape(-1)]

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """An attribute that is a whole number."""
        self._unread.discard(name)
        number = self.node.attributes.get(name, default)
        self.need(isinstance(number, int) and low <= number <= high, f"{name} {number!r:.40}")
        assert isinstance(number, int)
        return number

    def number(self, name: str, default: float) -> float:
        """An attribute that is a finite number."""
        self._unread.discard(name)
        number = self.node.attributes.get(name, default)
        self.need(isinstance(number, float | int) and math.isfinite(number), f"{name} {number!r:.40}")
        return float(number)

    def list(self, name: str, count: int, low: int, high: int, default: Sequence[int] | None = None) -> list[int]:
        """An attribute that is so many whole numbers."""
        self._unread.discard(name)
        numbers = self.node.attributes.get(name, default)
        sound = isinstance(numbers, Sequence) and len(numbers) == count and all(isinstance(n, int) for n in numbers)
        self.need(sound and all(low <= n <= high for n in numbers), f"{name} {numbers!r:.60}")
        return [int(n) for n in numbers]

    def word(self, name: str, *known: str) -> str:
        """An attribute that is one of these words, the first where it is missing."""
        self._unread.discard(name)
        word = self.node.attributes.get(name, known[0])
        self.need(word in known, f"{name} {word!r:.40}")
        return str(word)

    def done(self) -> None:
        """Nothing else may be there."""
        self.need(not self._unread, f"an attribute {min(self._unread, default='')!r:.40}")


Rule = Callable[[Arguments], Value]
