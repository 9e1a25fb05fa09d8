"""The nodes and constants of an ONNX graph while it is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from onestroke.graphs.rules.table import RULES
from onestroke.packages import require

Model = Any  # onnx.ModelProto; the package is optional, so its types can't be used


class Name(str):
    """The name of a value that depends on the picture; other values are constants."""


class Nodes:
    """The nodes and constants of an ONNX graph that is being built.

    Args:
        half: whether constants, and so all computation, are fp16 instead of fp32.
    """

    def __init__(self, half: bool = False) -> None:
        self.onnx = require("onnx", "onnx")
        self.float: Any = np.float16 if half else np.float32
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.shape: tuple[int, ...] = ()  # of the first operand of the current operation, at the size of the trace

    @property
    def float_type(self) -> int:
        """ONNX's number of the floating point type."""
        return int(self.onnx.TensorProto.FLOAT16 if self.float is np.float16 else self.onnx.TensorProto.FLOAT)

    def add(self, operation: str, *inputs: object, outputs: Sequence[str] = (), **attributes: Any) -> Name:
        """Append a node and return the name of its first output.

        Args:
            operation: ONNX operation.
            inputs: names, "" for one that is left out, or constants.
            outputs: names of the outputs; default: one new name.
            attributes: of the node.

        Raises:
            KeyError: the operation has no rule, so the file could not be read again.
        """
        if operation not in RULES:
            raise KeyError(f"{operation} has no rule in onestroke/graphs/rules/")
        name = f"{operation}_{len(self.nodes)}"
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        results = list(outputs) or [name]
        self.nodes.append(self.onnx.helper.make_node(operation, names, results, name=name, **attributes))
        return Name(results[0])

    def constant(self, value: Any, kind: Any = None) -> Name:
        """Add a constant: a list as int64, a number or tensor as self.float, unless `kind` gives another dtype."""
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        elif kind is None and isinstance(value, list):
            kind = np.int64
        array = np.ascontiguousarray(np.asarray(value, kind or self.float)).reshape(np.shape(value))
        name = Name(f"constant_{len(self.constants)}")
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name
