"""The rule for each operation that export.py writes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onestroke.graphs.rules import arrangement, elementwise, layers, levels
from onestroke.graphs.rules.arguments import Rule

RULES: Mapping[str, Rule] = {
    "Add": elementwise.binary(np.add),
    "AveragePool": layers.average_pool,
    "Cast": elementwise.cast,
    "Clip": elementwise.clip,
    "Concat": arrangement.concat,
    "Conv": layers.conv,
    "ConvTranspose": layers.conv_transpose,
    "DepthToSpace": arrangement.depth_to_space,
    "DequantizeLinear": levels.dequantise,
    "Div": elementwise.binary(elementwise.divided),
    "Elu": elementwise.same("alpha"),
    "Erf": elementwise.same(),
    "Gather": arrangement.gather,
    "Identity": elementwise.identity,
    "InstanceNormalization": layers.norm,
    "LeakyRelu": elementwise.same("alpha"),
    "MatMul": layers.matmul,
    "Max": elementwise.binary(np.maximum),
    "Mul": elementwise.binary(np.multiply),
    "Neg": elementwise.same(),
    "Pad": arrangement.pad,
    "QuantizeLinear": levels.quantise,
    "ReduceMean": layers.mean,
    "Relu": elementwise.same(),
    "Reshape": arrangement.reshape,
    "Resize": layers.resize,
    "Shape": arrangement.shape,
    "Sigmoid": elementwise.same(),
    "Slice": arrangement.slice_,
    "Softmax": layers.softmax,
    "SpaceToDepth": arrangement.space_to_depth,
    "Sub": elementwise.binary(np.subtract),
    "Tanh": elementwise.same(),
    "Transpose": arrangement.transpose,
}
"""Operation -> rule. `onnx_nodes.Nodes` writes only these operations, so every exported file can be read again."""
