"""Infer the shapes in an ONNX graph, and the memory and work of painting, without a runtime.

The graph may come from an untrusted file. A graph with any operation that `rules` doesn't know is refused. So the cost
of painting a picture of any size is known in advance, and the painting is known to have the photo's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from onestroke.graphs.rules.arguments import AXES, Arguments, Node, Unsound, Value
from onestroke.graphs.rules.table import RULES

_OF_CONSTANTS = ("DequantizeLinear", "Mul", "Shape")  # may have constant inputs only; the export evaluates all others


@dataclass(frozen=True)
class Cost:
    """Cost of painting. bytes: peak memory. work: multiply-adds."""

    bytes: int
    work: int


class Plan:
    """A graph in which every operation has a rule.

    Args:
        nodes: in the order of execution.
        constants: name -> value.
        image, painting: the names of input and output.
        uint8_pixels: whether pixels are uint8 (N, H, W, 3), else float32 (N, 3, H, W).
        more: inputs besides the picture, of one shape each.
        past: the names of the last painting, like the picture, and of how well it is known, (N, H, W); or none.
    """

    def __init__(
        self, nodes: Sequence[Node], constants: Mapping[str, Value], image: str, painting: str, uint8_pixels: bool,
        more: Mapping[str, Value] = MappingProxyType({}), past: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.past = past
        self.nodes, self.constants, self.more = nodes, constants, more
        self.image, self.painting, self.uint8_pixels = image, painting, uint8_pixels
        self.last = {name: place for place, node in enumerate(nodes) for name in node.inputs}
        self.last[painting] = len(nodes)

    def cost(self, count: int, height: int, width: int) -> Cost:
        """The cost of painting `count` pictures of one size at once.

        Raises:
            Unsound: the graph can't paint that size.
        """
        picture = Value(
            (count, height, width, 3) if self.uint8_pixels else (count, 3, height, width),
            "uint8" if self.uint8_pixels else "float32",
        )
        known = Value((count, height, width), "float32")
        inputs = {self.image: picture, **dict(zip(self.past, (picture, known), strict=False))}
        values = {**self.constants, **self.more, **inputs}
        kept = set(values)
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
                if name and self.last[name] == place and name not in kept:
                    held -= values[name].bytes
        painting = values.get(self.painting)
        if painting is None or (painting.shape, painting.kind) != (picture.shape, picture.kind):
            raise Unsound("its painting has another size than the photo")
        return Cost(most + sum(value.bytes for value in inputs.values()), work)


def _result(node: Node, given: Sequence[Value | None]) -> Value:
    """The output of a node, by its rule."""
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
    """Multiply-adds of a node; for other operations than convolutions and products, the size of the output."""
    weight = given[1] if len(given) > 1 else None
    if node.operation == "MatMul" and given[0] is not None:
        return math.prod(result.shape) * given[0].shape[-1]
    if node.operation not in ("Conv", "ConvTranspose") or weight is None or given[0] is None:
        return math.prod(result.shape)
    pixels = given[0] if node.operation == "ConvTranspose" else result
    return math.prod(pixels.shape) * math.prod(weight.shape[1:])
