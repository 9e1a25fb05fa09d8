"""Run a style's network with PyTorch, ONNX Runtime or OpenVINO."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onestroke.devices import NO_MEMORY, choose_device
from onestroke.errors import UserError, near
from onestroke.graphs import onnx_graph
from onestroke.graphs.live import FADE, layout
from onestroke.graphs.onnx_file import PaintingGraph, check_exported, first_line, read, unreadable
from onestroke.graphs.rules.arguments import Unsound
from onestroke.graphs.tracing import trace
from onestroke.inference.controls import DEFAULT_CONTROLS, StyleControls, open_style, table_weights
from onestroke.inference.memory import peak_memory
from onestroke.networks.base import TransformNetwork
from onestroke.packages import installed, require
from onestroke.style_document import Metadata

NAMES = ("torch", "onnx", "openvino", "auto")


class Backend(ABC):
    """A network that is ready to paint.

    device: the device that it runs on.
    """

    device = torch.device("cpu")

    @abstractmethod
    def memory(self, count: int, height: int, width: int) -> float:
        """Estimate the peak memory in bytes, on the device, of painting `count` pictures of one size at once.

        The estimate is 0.9 to 1.5 times the memory measured for pictures of 0.3 to 3 megapixels.

        Raises:
            UserError: the network can't paint that size.
        """

    @abstractmethod
    def paint(self, image: Tensor) -> Tensor:
        """Paint: float (N, 3, H, W) in [0, 1], on any device -> the same shape, fp32, in [0, 1], on the CPU.

        Raises:
            MemoryError, RuntimeError: from the runtime; callers turn those about memory into UserErrors.
        """


class Torch(Backend):
    """PyTorch, on any device.

    Args:
        network: in fp32; moved to the device.
        device: the device to run on.
        compiled: whether to use torch.compile: the first picture takes a minute or more, later ones are faster.
    """

    def __init__(self, network: nn.Module, device: torch.device, compiled: bool = False) -> None:
        self.device = device
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._run: Any = torch.compile(self.network) if compiled else self.network
        self._held: dict[int, Callable[[int, int, int], float]] = {}

    def memory(self, count: int, height: int, width: int, styles: int = 0) -> float:
        """See Backend; for `paint_mapped`, `styles` is the number of styles."""
        if styles not in self._held:
            mix = [torch.full((1, styles, 1, 1), 1 / styles, device=self.device)] if styles else []

            def paint(image: Tensor) -> Tensor:
                shares = [share.expand(-1, -1, *image.shape[-2:]).contiguous() for share in mix]
                ready = image.to(self.device, torch.float32, memory_format=torch.channels_last)
                painted: Tensor = self.network(ready, *shares).clamp(0, 1)
                return painted

            self._held[styles] = peak_memory(paint)
        return 1.1 * self._held[styles](count, height, width) + 12 * count * height * width

    def update(self, network: nn.Module) -> None:
        """Paint with the weights of another network of the same kind from now on."""
        self.network.load_state_dict(network.state_dict())
        if isinstance(network, TransformNetwork) and isinstance(self.network, TransformNetwork):
            self.network.opacity = network.opacity

    def paint_mapped(self, image: Tensor, shares: Tensor) -> Tensor:
        """As `paint`, for a network of several styles, with the share of each style per pixel, (N, styles, H, W)."""
        with torch.inference_mode():
            ready = image.to(self.device, torch.float32, memory_format=torch.channels_last)
            result: Tensor = self.network(ready, shares.to(self.device)).clamp(0, 1).cpu()
        return result

    def paint(self, image: Tensor) -> Tensor:
        """See Backend."""
        with torch.inference_mode():
            ready = image.to(self.device, torch.float32, memory_format=torch.channels_last)
            try:
                painted = self._run(ready)
            except Exception as error:
                # the compiler's exceptions have no common class in all versions, but all are defined in torch._*
                if self._run is self.network or not type(error).__module__.startswith("torch._"):
                    raise
                warnings.warn(f"compiling failed, so painting goes on without: {first_line(error)}", stacklevel=2)
                self._run = self.network
                painted = self._run(ready)
            result: Tensor = painted.clamp(0, 1).cpu()
        return result


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
    def run(self, array: np.ndarray) -> np.ndarray:
        """Run the graph: uint8 (N, H, W, 3) or float32 (N, 3, H, W) in [0, 1] -> the same."""

    def paint(self, image: Tensor) -> Tensor:
        """See Backend."""
        image = image.to("cpu", torch.float32)
        if not self.uint8_pixels:
            return torch.from_numpy(self._run_checked(image.contiguous().numpy()))
        levels = (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
        return torch.from_numpy(self._run_checked(levels.contiguous().numpy())).permute(0, 3, 1, 2).float() / 255

    def _run_checked(self, array: np.ndarray) -> np.ndarray:
        """`run`, checking that shape and dtype stay the same."""
        painted = self.run(array)
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
        self.options = runtime.RunOptions()
        self.options.log_severity_level = 4
        # otherwise it keeps the memory of the largest picture, and less is free for the next one
        self.options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, array: np.ndarray) -> np.ndarray:
        """See Exported."""
        try:
            (painted,) = self.session.run([onnx_graph.OUTPUT], {onnx_graph.INPUT: array, **self.controls}, self.options)
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

    def run(self, array: np.ndarray) -> np.ndarray:
        """See Exported."""
        try:
            return np.array(self.compiled({onnx_graph.INPUT: array, **self.controls})[onnx_graph.OUTPUT])
        except RuntimeError as error:
            if "alloc" in str(error) or any(words in str(error) for words in NO_MEMORY):
                raise MemoryError(str(error)) from error
            raise UserError(f"OpenVINO can't paint this: {first_line(error)}") from error


def load(
    path: Path, device: str, backend: str | None, compiled: bool = False, controls: StyleControls = DEFAULT_CONTROLS
) -> tuple[Backend, Metadata]:
    """Open a style file, or an ONNX file that export.py wrote.

    Args:
        path: a .safetensors or .onnx file.
        device: auto, cpu, cuda (or cuda:1, ...) or mps; onnx and openvino run on the CPU only.
        backend: one of NAMES; None is torch for a style file and onnx for an ONNX file. auto is onnx if the device is
            the CPU, the packages onnx and onnxruntime are installed and the network can be exported, else torch.
        compiled: whether to use torch.compile; needs torch or auto, which is torch then.
        controls: the style, strength and stroke to paint with; not for ONNX files that have them built in.

    Returns:
        The backend, and the document of the file, narrowed to the chosen styles.

    Raises:
        UserError: the file, the device, the backend or a combination of them can't be used.
    """
    if backend not in (None, *NAMES):
        raise UserError(f"there is no backend '{backend}': {near(backend, NAMES)}")
    if backend in ("onnx", "openvino") and device not in ("auto", "cpu"):
        raise UserError(f"backend={backend} paints on the CPU: leave out device={device}, or take backend=torch")
    if backend in ("onnx", "openvino") and compiled:
        raise UserError(f"compile is for backend=torch, not for {backend}")
    if path.suffix.lower() == ".onnx":
        if backend == "torch" or compiled or device not in ("auto", "cpu"):
            raise UserError(f"{path} is an ONNX file, which backend=onnx or backend=openvino paint, on the CPU")
        return _open(path, OpenVino if backend == "openvino" else Onnx, controls)
    chosen = choose_device(device)
    network, metadata = open_style(path, controls)
    if backend in ("onnx", "openvino"):
        return _export(network, backend), metadata
    if backend == "auto" and chosen.type == "cpu" and not compiled and installed("onnx", "onnxruntime"):
        with suppress(UserError):
            return _export(network, "onnx"), metadata
    return Torch(network, chosen, compiled), metadata


def _export(network: nn.Module, backend: str) -> Backend:
    """Export a network to ONNX in memory, and check that it paints the same within a level of 255.

    Raises:
        UserError: it can't be exported, or paints something else.
    """
    kind = OpenVino if backend == "openvino" else Onnx
    exported = kind(check_exported(onnx_graph.build(trace(network), "", "float")))
    image = torch.rand(1, 3, 67, 94, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        difference = (exported.paint(image) - network(image).clamp(0, 1)).abs().max()
    if not float(difference) < 1 / 255:
        raise UserError(f"this style's network paints something else with backend={backend}: take backend=torch")
    return exported


def _open(path: Path, kind: type[Onnx] | type[OpenVino], controls: StyleControls) -> tuple[Backend, Metadata]:
    """Open an ONNX file that export.py wrote."""
    painting, metadata = read(path)
    if not painting.rows and controls != DEFAULT_CONTROLS:
        raise UserError(
            f"{path} is an ONNX file, whose style and controls were chosen when it was exported: leave out style, "
            "strength and stroke, or export it with controls=live"
        )
    try:
        opened = kind(painting)
    except UserError:
        raise
    except Exception as error:  # the exceptions of ONNX Runtime and OpenVINO have no common class
        raise unreadable(path, error) from error
    if not painting.rows:
        return opened, metadata
    opened.document = metadata
    rows, fade, chosen = table_weights(path, layout(metadata.network["args"]), metadata, controls)
    opened.set(rows, fade)
    return opened, chosen


def first_channels(network: nn.Module) -> int:
    """The number of channels per pixel of the picture in the first convolution's output, at least 3.

    With a stride, the channels are divided by the reduction in pixels. No later layer has more channels per pixel.
    """
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3), None)
    return 3 if first is None else max(3, -(-first.out_channels // math.prod(first.stride)))
