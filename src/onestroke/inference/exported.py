"""Run a style's ONNX graph with ONNX Runtime or OpenVINO, on the CPU."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from onestroke.devices import NO_MEMORY
from onestroke.errors import UserError
from onestroke.graphs import onnx_graph
from onestroke.graphs.live import FADE, trace_live
from onestroke.graphs.onnx_file import PaintingGraph, check_exported, first_line
from onestroke.graphs.rules.arguments import Unsound
from onestroke.graphs.tracing import trace
from onestroke.inference.backend import Backend, NotFinite, Past
from onestroke.networks.base import TransformNetwork
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.packages import require
from onestroke.style_document import Metadata


class Exported(Backend):
    """A runtime for an ONNX graph of graphs/onnx_graph.py that graphs/onnx_file.py has checked.

    document: of a file with live controls, with all its styles. clips: of a recurrent network, a graph with a past,
    where this one has none.
    """

    def __init__(self, painting: PaintingGraph) -> None:
        self.plan, self.uint8_pixels, self.rows = painting.plan, painting.uint8_pixels, painting.rows
        self.recurrent = painting.past
        self.clips: Exported | None = None
        self.document: Metadata | None = None
        self.controls: dict[str, np.ndarray] = {}

    @classmethod
    def of(cls, network: nn.Module, live: bool = False) -> Exported:
        """A runtime for a network in memory, with float pixels.

        A recurrent network becomes two graphs, since pictures without a past are painted faster by one without it.

        Args:
            network: on the CPU, in fp32.
            live: whether style and controls are inputs, see `trace_live`.

        Raises:
            UserError: it can't be exported.
        """

        def graph(past: bool) -> PaintingGraph:
            if not live:
                return check_exported(onnx_graph.build(trace(network, past=past), "", "float"))
            assert isinstance(network, TransformNetwork)
            traced = trace_live(network, past)
            return check_exported(onnx_graph.build(traced.core, "", "float", tables=traced.tables))

        made = cls(graph(past=False))
        if isinstance(network, RecurrentNetwork):
            made.clips, made.recurrent = cls(graph(past=True)), True
        return made

    def set(self, rows: Tensor, fade: Tensor) -> None:
        """Style and controls of a graph that takes them: weights of the table rows (1, rows), and opacity (1,)."""
        self.controls = {onnx_graph.ROWS: rows.float().numpy(), FADE: fade.float().numpy()}
        if self.clips is not None:
            self.clips.controls = self.controls

    def memory(self, count: int, height: int, width: int, *, past: bool = False) -> float:
        """See Backend; runtimes take half as much again as the plan says, for their own tensor layouts."""
        if past and self.clips is not None:
            return self.clips.memory(count, height, width)
        try:
            held = self.plan.cost(count, height, width).bytes
        except Unsound as error:
            raise UserError(f"this ONNX file can't paint {width} x {height}: {error}") from error
        return 1.5 * held + 36 * count * height * width

    @abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray], keep: bool = False) -> np.ndarray:
        """Run the graph.

        Args:
            inputs: by name; INPUT is uint8 (N, H, W, 3) or float32 (N, 3, H, W) in [0, 1], as the painting is.
            keep: whether the runtime keeps its memory, for more pictures of this size.
        """

    def paint(self, image: Tensor, past: Tensor | None = None) -> Tensor:
        """See Backend."""
        if past is not None and self.clips is not None:
            return self.clips.paint(image, past)
        array = self._pixels(image)
        given = None if past is None else (self._pixels(past[:, :3]), past[:, 3].float().contiguous().numpy())
        painted = torch.from_numpy(self._run_checked(array, given))
        return painted.permute(0, 3, 1, 2).float() / 255 if self.uint8_pixels else painted

    def _pixels(self, image: Tensor) -> np.ndarray:
        """Float (N, 3, H, W), on any device, as the graph takes pictures."""
        image = image.to("cpu", torch.float32)
        if self.uint8_pixels:
            image = (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
        return image.contiguous().numpy()

    def paint_frame(self, frame: np.ndarray, past: Past | None = None) -> np.ndarray:
        """See Backend."""
        if past is not None and self.clips is not None:
            return self.clips.paint_frame(frame, past)
        given = None if past is None else (self._planes(past[0]), past[1][None])
        array: np.ndarray = self._run_checked(self._planes(frame), given, keep=True)[0]
        if self.uint8_pixels:
            return array
        painted = torch.from_numpy(array)
        if not torch.isfinite(painted.sum()):
            raise NotFinite
        # to channels last first, since torch permutes floats faster than bytes
        return painted.permute(1, 2, 0).contiguous().mul_(255).add_(0.5).to(torch.uint8).numpy()

    def _planes(self, frame: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) as the graph takes pictures."""
        if self.uint8_pixels:
            return frame[None]
        image = torch.empty(1, 3, *frame.shape[:2])
        torch.div(torch.from_numpy(frame)[None].permute(0, 3, 1, 2), 255, out=image)
        return image.numpy()

    def _run_checked(self, array: np.ndarray, past: Past | None = None, keep: bool = False) -> np.ndarray:
        """`run`, checking that shape and dtype stay the same; past: pixels like `array`, and (N, H, W)."""
        inputs = {onnx_graph.INPUT: array, **self.controls}
        if self.recurrent and self.clips is None:
            sides = array.shape[1:3] if self.uint8_pixels else array.shape[2:]
            moved, known = (array, np.zeros((len(array), *sides), np.float32)) if past is None else past
            inputs |= {onnx_graph.PAST: moved, onnx_graph.KNOWN: known}
        painted = self.run(inputs, keep)
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

    def run(self, inputs: Mapping[str, np.ndarray], keep: bool = False) -> np.ndarray:
        """See Exported."""
        try:
            (painted,) = self.session.run([onnx_graph.OUTPUT], inputs, self.keeping if keep else self.options)
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

    def run(self, inputs: Mapping[str, np.ndarray], keep: bool = False) -> np.ndarray:
        """See Exported."""
        try:
            return np.array(self.compiled(dict(inputs))[onnx_graph.OUTPUT])
        except RuntimeError as error:
            if "alloc" in str(error) or any(words in str(error) for words in NO_MEMORY):
                raise MemoryError(str(error)) from error
            raise UserError(f"OpenVINO can't paint this: {first_line(error)}") from error
