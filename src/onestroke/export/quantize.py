"""Quantize the convolutions of an ONNX model to 8 bits."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from onestroke.graphs.onnx_graph import INPUT
from onestroke.graphs.onnx_nodes import Model
from onestroke.packages import require


class _Reader:
    """Calibration data reader of onnxruntime: one photo at a time."""

    def __init__(self, photos: Sequence[np.ndarray]) -> None:
        self.left = iter(photos)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The model's inputs for the next photo; None at the end."""
        photo = next(self.left, None)
        return None if photo is None else {INPUT: photo}


def quantise(model: Model, photos: Sequence[np.ndarray]) -> Model:
    """Quantize weights and activations of convolutions to 8 bits, with ranges calibrated on photos.

    The first and the last convolution stay in fp32, since their rounding would be visible. The norms stay in fp32 too;
    they make the ranges of activations nearly the same for all photos.

    Args:
        model: from `onnx_graph.build`.
        photos: inputs of the model, each a batch of one.

    Returns:
        The quantized model.
    """
    quantization = require("onnxruntime.quantization", "onnx")
    onnx = require("onnx", "onnx")

    dims = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    outermost = [node.name for node in model.graph.node if node.op_type == "Conv" and 3 in dims[node.input[1]][:2]]
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # warnings of onnx about its use by onnxruntime
        warnings.simplefilter("ignore", DeprecationWarning)
        # with a file, as onnxruntime 1.18 can't quantize a model in memory
        plain, path = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        onnx.save_model(model, str(plain))
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it suggests optimisations that don't apply to this graph
        try:
            quantization.quantize_static(
                plain,
                path,
                _Reader(photos),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=outermost,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                # a few outliers would make the steps coarser, and norms change if more is clipped, see docs/ablation.md
                calibrate_method=quantization.CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": 99.99},
            )
        finally:
            logging.getLogger().setLevel(level)
        return onnx.load_model(str(path))
