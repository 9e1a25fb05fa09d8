"""Exported networks of 8 bits: the ranges of what is rounded, and how near they paint to the network itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onestroke.data.scenes import Scenes
from onestroke.export.quantize import quantise
from onestroke.graphs import onnx_graph
from onestroke.graphs.tracing import trace
from onestroke.networks.residual import ResidualNetwork

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def painter() -> ResidualNetwork:
    torch.manual_seed(0)
    network = ResidualNetwork([8, 8, 8], blocks=1, ends=3)
    with torch.no_grad():
        network.paint.convolution.weight.mul_(100)  # a new network paints the photo, whatever its layers do
    return network.eval().requires_grad_(False)


def exported(network: nn.Module, photos: list[NDArray[np.uint8]]) -> Any:
    """The ONNX model of 8 bits, calibrated on photos of one size, (H, W, 3)."""
    return quantise(onnx_graph.build(trace(network), "", "uint8"), [photo[None] for photo in photos])


def scales(model: Any, end: str) -> list[float]:
    """The steps of the inputs (`end="input"`) or the outputs of each rounded convolution, in order."""
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    used = {name: node for node in model.graph.node for name in node.input}
    found = []
    for node in model.graph.node:
        if node.op_type != "Conv" or made[node.input[0]].op_type != "DequantizeLinear":
            continue
        rounding = made[node.input[0]] if end == "input" else used[node.output[0]]
        found.append(float(values[rounding.input[1]]))
    return found


def taken(network: nn.Module, photos: list[NDArray[np.uint8]]) -> list[Tensor]:
    """What each convolution of the middle takes, over all photos."""
    found: dict[nn.Module, list[Tensor]] = {}
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and 3 not in layer.weight.shape[:2]:
            found[layer] = []
            layer.register_forward_pre_hook(lambda layer, inputs: found[layer].append(inputs[0].flatten()))
    for photo in photos:
        network(torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255)
    return [torch.cat(each) for each in found.values()]


def spread(values: Tensor, percentage: float) -> float:
    """The width of a range that ends where so many percent of the magnitudes do, or at the smallest, largest value."""
    end = np.quantile(np.abs(values.numpy()), percentage / 100)
    return float(min(end, values.max()) - max(-end, values.min()))


def test_one_activation_in_ten_thousand_is_beyond_its_range() -> None:
    photos = Scenes(validation=4).held_out(96)
    network = painter()
    steps = scales(exported(network, photos), "input")
    inputs = taken(network, photos)
    assert len(steps) == len(inputs) == 6
    assert 255 * np.array(steps) == pytest.approx([spread(values, 99.99) for values in inputs], rel=0.02)
    for other in (99.9, 99.999):
        assert all(abs(255 * s / spread(values, other) - 1) > 0.02 for s, values in zip(steps, inputs, strict=True))
