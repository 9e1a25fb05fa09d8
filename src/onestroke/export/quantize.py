"""A graph with convolutions of 8 bits."""

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
from onestroke.graphs.onnx_operators import Model
from onestroke.packages import require


class _Reader:
    """Hands out photos one by one, as the calibration wants them."""

    def __init__(self, photos: Sequence[np.ndarray]) -> None:
        self.left = iter(photos)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """What the model takes, None at the end."""
        photo = next(self.left, None)
        return None if photo is None else {INPUT: photo}


def quantise(model: Model, photos: Sequence[np.ndarray]) -> Model:
    """Round weights and activations to 8 bits, in ranges that are measured on photos.

    The convolutions that see the photo or make the painting stay in fp32: they would show every step. The norms stay
    too, since with them an activation's range is nearly the same for every photo.

    Args:
        model: as graph.build makes it.
        photos: each what the model takes as input.
    """
    quantization = require("onnxruntime.quantization", "onnx")
    onnx = require("onnx", "onnx")

    dims = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    outermost = [node.name for node in model.graph.node if node.op_type == "Conv" and 3 in dims[node.input[1]][:2]]
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # of onnx to onnxruntime, of which no one here can mend anything
        warnings.simplefilter("ignore", DeprecationWarning)
        # by a file, as onnxruntime 1.18 can't go on with a model in memory
        plain, path = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        onnx.save_model(model, str(plain))
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it asks for optimisations that this graph has no use for
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
                # a few values are far out, and all others pay for them in coarser steps
                calibrate_method=quantization.CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": 99.9},
            )
        finally:
            logging.getLogger().setLevel(level)
        return onnx.load_model(str(path))
