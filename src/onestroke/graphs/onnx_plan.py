"""What an ONNX graph does to a picture's size, node by node, before a runtime is let near it.

A file may come from anyone. A graph with anything that `rules` doesn't know is refused, so it is known beforehand what
a painting of any size takes, and that it has the photo's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onestroke.graphs.rules.arguments import AXES, Arguments, Node, Unsound, Value
from onestroke.graphs.rules.table import RULES

_OF_CONSTANTS = ("DequantizeLinear", "Mul", "Shape")  # the others are worked out before they are written


@dataclass(frozen=True)
class Cost:
    """Of painting: bytes held at most at a time, and multiply-adds."""

    bytes: int
    work: int


class Plan:
    """A graph whose every node is known.

    Args:
        nodes: in the order in which they are run.
        constants: by name.
        image, painting: the names of what goes in and out.
        whole: whether pixels are uint8 (N, H, W, 3), else float32 (N, 3, H, W).
    """

    def __init__(
        self, nodes: Sequence[Node], constants: Mapping[str, Value], image: str, painting: str, whole: bool
    ) -> None:
        self.nodes, self.constants = nodes, constants
        self.image, self.painting, self.whole = image, painting, whole
        self.last = {name: place for place, node in enumerate(nodes) for name in node.inputs}
        self.last[painting] = len(nodes)

    def cost(self, count: int, height: int, width: int) -> Cost:
        """Of painting so many pictures of one size at once.

        Raises:
            Unsound: the graph can't paint that.
        """
        picture = Value(
            (count, height, width, 3) if self.whole else (count, 3, height, width),
            "uint8" if self.whole else "float32",
        )
        values = {**self.constants, self.image: picture}
        held = most = work = 0
        for place, node in enumerate(self.nodes):
            given = [values.get(name) if name else None for name in node.inputs]
            if any(name and value is None for name, value in zip(node.inputs, given, strict=True)):
                raise Unsound(f"{node.operation} takes what no node gave")
            if node.output in values or not node.output:
                raise Unsound(f"{node.operation} gives what is there already")
            result = _result(node, given)
            work += _work(node, given, result)
            values[node.output] = result
            held += result.bytes
            most = max(most, held)
            if self.last.get(node.output, place) == place:
                held -= result.bytes
            for name in set(node.inputs):
                if name and self.last[name] == place and name not in self.constants and name != self.image:
                    held -= values[name].bytes
        painting = values.get(self.painting)
        if painting is None or (painting.shape, painting.kind) != (picture.shape, picture.kind):
            raise Unsound("its painting has another size than the photo")
        return Cost(most + picture.bytes, work)


def _result(node: Node, given: Sequence[Value | None]) -> Value:
    rule = RULES.get(node.operation)
    if rule is None:
        raise Unsound(f"export.py doesn't write {node.operation}")
    if node.operation not in _OF_CONSTANTS and all(v is None or v.fixed for v in given):
        raise Unsound(f"{node.operation} has nothing to do with the picture")
    try:
        result = rule(Arguments(node, given))
    except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise Unsound(f"{node.operation} is not as export.py writes it") from error
    if len(result.shape) > AXES or any(side < 1 for side in result.shape):
        raise Unsound(f"{node.operation} gives {' x '.join(map(str, result.shape))}")
    return result


def _work(node: Node, given: Sequence[Value | None], result: Value) -> int:
    """Multiply-adds, and one for each number of what is only copied."""
    weight = given[1] if len(given) > 1 else None
    if node.operation == "MatMul" and given[0] is not None:
        return math.prod(result.shape) * given[0].shape[1]
    if node.operation not in ("Conv", "ConvTranspose") or weight is None or given[0] is None:
        return math.prod(result.shape)
    pixels = given[0] if node.operation == "ConvTranspose" else result
    return math.prod(pixels.shape) * math.prod(weight.shape[1:])
