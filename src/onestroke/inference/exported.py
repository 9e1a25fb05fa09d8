"""Run a style's ONNX graph with ONNX Runtime or OpenVINO, on the CPU."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from onestroke.devices import NO_MEMORY
from onestroke.errors import UserError
from onestroke.graphs import onnx_graph
from onestroke.graphs.live import FADE
from onestroke.graphs.onnx_file import PaintingGraph, first_line
from onestroke.graphs.rules.arguments import Unsound
from onestroke.inference.backend import Backend, NotFinite, Past
from onestroke.packages import require
from onestroke.style_document import Metadata


class Exported(Backend):
    """A runtime for an ONNX graph of graphs/onnx_graph.py that graphs/onnx_file.py has checked.

    document: of a file with live controls, with all its styles.
    """

    def __init__(self, painting: PaintingGraph) -> None:
        self.plan, self.uint8_pixels, self.rows = painting.plan, painting.uint8_pixels, painting.rows
        self.document: Metadata | None = None
        self.controls: dict[str, np.ndarray] = {}

    def set(self, rows: Tensor, fade: Tensor) -> None:
        """Style and controls of a graph that takes them: weights of the table rows (1, rows), and opacity (1,)."""
        self.controls = {onnx_graph.ROWS: rows.float().numpy(), FADE: fade.float().numpy()}

    def memory(self, count: int, height: int, width: int) -> float:
        """See Backend; runtimes take half as much again as the plan says, for their own tensor layouts."""
        try:
            held = self.plan.cost(count, height, width).bytes
        except Unsound as error:
            raise UserError(f"this ONNX file can't paint {width} x {height}: {error}") from error
        return 1.5 * held + 36 * count * height * width

    @abstractmethod
    def run(self, array: np.ndarray, keep: bool = False) -> np.ndarray:
        """Run the graph: uint8 (N, H, W, 3) or float32 (N, 3, H, W) in [0, 1] -> the same.

        keep: whether the runtime keeps its memory, for more pictures of this size.
        """

    def paint(self, image: Tensor) -> Tensor:
        """See Backend."""
        image = image.to("cpu", torch.float32)
        if not self.uint8_pixels:
            return torch.from_numpy(self._run_checked(image.contiguous().numpy()))
        levels = (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
        return torch.from_numpy(self._run_checked(levels.contiguous().numpy())).permute(0, 3, 1, 2).float() / 255

    def paint_frame(self, frame: np.ndarray, past: Past | None = None) -> np.ndarray:
        """See Backend."""
        if self.uint8_pixels:
            levels: np.ndarray = self._run_checked(frame[None], keep=True)[0]
            return levels
        image = torch.empty(1, 3, *frame.shape[:2])
        torch.div(torch.from_numpy(frame)[None].permute(0, 3, 1, 2), 255, out=image)
        painted = torch.from_numpy(self._run_checked(image.numpy(), keep=True))
        if not torch.isfinite(painted.sum()):
            raise NotFinite
        # to channels last first, since torch permutes floats faster than bytes
        return painted[0].permute(1, 2, 0).contiguous().mul_(255).add_(0.5).to(torch.uint8).numpy()

    def _run_checked(self, array: np.ndarray, keep: bool = False) -> np.ndarray:
        """`run`, checking that shape and dtype stay the same."""
        painted = self.run(array, keep)
        if (painted.shape, painted.dtype) != (array.shape, array.dtype):
            raise UserError(f"this ONNX file paints {painted.shape} where the photo is {array.shape}: export it again")
        return painted


class Onnx(Exported):
    """ONNX Runtime on the CPU, with as many threads as torch.

    Args:
        painting: a graph from `onnx_file.read` or `onnx_file.check_exported`.
    """

    def __init__(self, painting: PaintingGraph) -> None:
        super().__init__(painting)
        runtime = require("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # errors are raised; they need not be printed on stderr too
        # otherwise its threads spin after each run and take CPU time from other code
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = runtime.InferenceSession(painting.content, options, providers=["CPUExecutionProvider"])
        self.options, self.keeping = runtime.RunOptions(), runtime.RunOptions()
        self.options.log_severity_level = self.keeping.log_severity_level = 4
        # otherwise it keeps the memory of the largest picture, and less is free for the next one
        self.options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, array: np.ndarray, keep: bool = False) -> np.ndarray:
        """See Exported."""
        try:
            given = {onnx_graph.INPUT: array, **self.controls}
            (painted,) = self.session.run([onnx_graph.OUTPUT], given, self.keeping if keep else self.options)
        except Exception as error:  # ONNX Runtime raises plain Exceptions
            if "alloc" in str(error):
                raise MemoryError(str(error)) from error
            raise UserError(f"ONNX Runtime can't paint this: {first_line(error)}") from error
        return np.asarray(painted)


class OpenVino(Exported):
    """OpenVINO on the CPU; arguments as for Onnx."""

    def __init__(self, painting: PaintingGraph) -> None:
        super().__init__(painting)
        openvino = require("openvino", "openvino")
        core = openvino.Core()
        # fp32 also on CPUs with bf16, whose rounding is visible in a painting
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self.compiled = core.compile_model(core.read_model(painting.content), "CPU", settings)

    def run(self, array: np.ndarray, keep: bool = False) -> np.ndarray:
        """See Exported."""
        try:
            return np.array(self.compiled({onnx_graph.INPUT: array, **self.controls})[onnx_graph.OUTPUT])
        except RuntimeError as error:
            if "alloc" in str(error) or any(words in str(error) for words in NO_MEMORY):
                raise MemoryError(str(error)) from error
            raise UserError(f"OpenVINO can't paint this: {first_line(error)}") from error
