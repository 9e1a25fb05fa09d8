"""What a style is painted with: PyTorch, ONNX Runtime or OpenVINO."""

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
from onestroke.graphs.onnx_file import Painting, as_read, first_line, not_ours, read
from onestroke.graphs.rules.arguments import Unsound
from onestroke.graphs.tracing import trace
from onestroke.inference.controls import AS_IT_IS, Look, open_style
from onestroke.inference.memory import held_by
from onestroke.packages import installed, require
from onestroke.style_document import Metadata

NAMES = ("torch", "onnx", "openvino", "auto")


class Backend(ABC):
    """A network, ready to paint.

    device: where it paints.
    """

    device = torch.device("cpu")

    @abstractmethod
    def memory(self, count: int, height: int, width: int) -> float:
        """About how many bytes it takes, there where it paints, to paint so many pictures of one size at once.

        Calibrated on what pictures of 0.3 to 3 megapixels took beyond what the process held before: 0.9 to 1.5 of it.

        Raises:
            UserError: it can't paint that size.
        """

    @abstractmethod
    def paint(self, image: Tensor) -> Tensor:
        """Float (N, 3, H, W) in [0, 1], on any device -> the same shape, fp32, in [0, 1], on the CPU.

        Raises:
            MemoryError, RuntimeError: what happened inside; not for users.
        """


class Torch(Backend):
    """PyTorch, on any device.

    Args:
        network: in fp32; moved to the device.
        device: where it paints.
        compiled: whether torch.compile makes code for it when it first paints: a minute or more, and faster then.
    """

    def __init__(self, network: nn.Module, device: torch.device, compiled: bool = False) -> None:
        self.device = device
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._run: Any = torch.compile(self.network) if compiled else self.network
        self._held: dict[int, Callable[[int, int, int], float]] = {}

    def memory(self, count: int, height: int, width: int, styles: int = 0) -> float:
        """See Backend; `styles`, for `paint_over`: of how many there is a share in each place."""
        if styles not in self._held:
            mix = [torch.full((1, styles, 1, 1), 1 / styles, device=self.device)] if styles else []

            def paint(image: Tensor) -> Tensor:
                shares = [share.expand(-1, -1, *image.shape[-2:]).contiguous() for share in mix]
                ready = image.to(self.device, torch.float32, memory_format=torch.channels_last)
                painted: Tensor = self.network(ready, *shares).clamp(0, 1)
                return painted

            self._held[styles] = held_by(paint)
        return 1.1 * self._held[styles](count, height, width) + 12 * count * height * width

    def paint_over(self, image: Tensor, mix: Tensor) -> Tensor:
        """As `paint`, with a network of several styles and the share of each in each place, (N, styles, H, W)."""
        with torch.inference_mode():
            ready = image.to(self.device, torch.float32, memory_format=torch.channels_last)
            result: Tensor = self.network(ready, mix.to(self.device)).clamp(0, 1).cpu()
        return result

    def paint(self, image: Tensor) -> Tensor:
        """See Backend."""
        with torch.inference_mode():
            ready = image.to(self.device, torch.float32, memory_format=torch.channels_last)
            try:
                painted = self._run(ready)
            except Exception as error:
                # the compiler's own errors have no class in common from version to version, but all come from there
                if self._run is self.network or not type(error).__module__.startswith("torch._"):
                    raise
                warnings.warn(f"compiling failed, so painting goes on without: {first_line(error)}", stacklevel=2)
                self._run = self.network
                painted = self._run(ready)
            result: Tensor = painted.clamp(0, 1).cpu()
        return result


class _Exported(Backend):
    """An ONNX graph as onnx_graph.py writes it, after onnx_file.py has looked at it."""

    def __init__(self, painting: Painting) -> None:
        self.plan, self.whole = painting.plan, painting.whole

    def memory(self, count: int, height: int, width: int) -> float:
        """See Backend; runtimes hold half as much again, for layouts of their own."""
        try:
            held = self.plan.cost(count, height, width).bytes
        except Unsound as error:
            raise UserError(f"this ONNX file can't paint {width} x {height}: {error}") from error
        return 1.5 * held + 36 * count * height * width

    @abstractmethod
    def run(self, array: np.ndarray) -> np.ndarray:
        """The graph itself: pixels of the graph's kind to the same."""

    def paint(self, image: Tensor) -> Tensor:
        """See Backend."""
        image = image.to("cpu", torch.float32)
        if not self.whole:
            return torch.from_numpy(self._alike(image.contiguous().numpy()))
        levels = (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
        return torch.from_numpy(self._alike(levels.contiguous().numpy())).permute(0, 3, 1, 2).float() / 255

    def _alike(self, array: np.ndarray) -> np.ndarray:
        painted = self.run(array)
        if (painted.shape, painted.dtype) != (array.shape, array.dtype):
            raise UserError(f"this ONNX file paints {painted.shape} where the photo is {array.shape}: export it again")
        return painted


class Onnx(_Exported):
    """ONNX Runtime on the CPU, with as many threads as torch has.

    Args:
        painting: as `onnx_file.checked` found it.
    """

    def __init__(self, painting: Painting) -> None:
        super().__init__(painting)
        runtime = require("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what it raises is told by whoever asked, and not on stderr too
        # or its threads would go on spinning behind a picture, and take the cores from whatever comes next
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = runtime.InferenceSession(painting.content, options, providers=["CPUExecutionProvider"])
        self.options = runtime.RunOptions()
        self.options.log_severity_level = 4
        # or it would keep what the largest picture took, where the next one looks for free memory
        self.options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, array: np.ndarray) -> np.ndarray:
        """See _Exported."""
        try:
            (painted,) = self.session.run([onnx_graph.OUTPUT], {onnx_graph.INPUT: array}, self.options)
        except Exception as error:  # its errors are bare Exceptions
            if "alloc" in str(error):
                raise MemoryError(str(error)) from error
            raise UserError(f"ONNX Runtime can't paint this: {first_line(error)}") from error
        return np.asarray(painted)


class OpenVino(_Exported):
    """OpenVINO on the CPU; arguments as for Onnx."""

    def __init__(self, painting: Painting) -> None:
        super().__init__(painting)
        openvino = require("openvino", "openvino")
        core = openvino.Core()
        # in fp32 also where the processor has bf16, which shows in a painting
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self.compiled = core.compile_model(core.read_model(painting.content), "CPU", settings)

    def run(self, array: np.ndarray) -> np.ndarray:
        """See _Exported."""
        try:
            return np.array(self.compiled({onnx_graph.INPUT: array})[onnx_graph.OUTPUT])
        except RuntimeError as error:
            if "alloc" in str(error) or any(words in str(error) for words in NO_MEMORY):
                raise MemoryError(str(error)) from error
            raise UserError(f"OpenVINO can't paint this: {first_line(error)}") from error


def load(
    path: Path, device: str, backend: str | None, compiled: bool = False, look: Look = AS_IT_IS
) -> tuple[Backend, Metadata]:
    """Open a style file, or the ONNX file that export.py made of one.

    Args:
        path: a .safetensors or .onnx file.
        device: auto, cpu, cuda (or cuda:1, ...) or mps; onnx and openvino paint on the CPU.
        backend: one of NAMES; None is torch for a style file and onnx for an ONNX file. auto is onnx where painting is
            on the CPU, the packages onnx and onnxruntime are installed and the network can be exported, else torch.
        compiled: as for Torch, which auto then is.
        look: what is chosen of what the file offers.

    Returns:
        The backend, and what the file says of itself.

    Raises:
        UserError: for a file, a device, a backend or a combination of them that can't be used.
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
        if look != AS_IT_IS:
            raise UserError(
                f"{path} is an ONNX file, whose style and controls were chosen when it was exported: leave out style, "
                "strength and stroke"
            )
        return _open(path, OpenVino if backend == "openvino" else Onnx)
    chosen = choose_device(device)
    network, metadata = open_style(path, look)
    if backend in ("onnx", "openvino"):
        return _export(network, backend), metadata
    if backend == "auto" and chosen.type == "cpu" and not compiled and installed("onnx", "onnxruntime"):
        with suppress(UserError):
            return _export(network, "onnx"), metadata
    return Torch(network, chosen, compiled), metadata


def _export(network: nn.Module, backend: str) -> Backend:
    """Make an ONNX graph of a network, in memory, and see that it paints the same.

    Raises:
        UserError: where it can't be made, or doesn't.
    """
    kind = OpenVino if backend == "openvino" else Onnx
    exported = kind(as_read(onnx_graph.build(trace(network), "", "float")))
    image = torch.rand(1, 3, 67, 94, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        difference = (exported.paint(image) - network(image).clamp(0, 1)).abs().max()
    if not float(difference) < 1 / 255:
        raise UserError(f"this style's network paints something else with backend={backend}: take backend=torch")
    return exported


def _open(path: Path, kind: type[Onnx] | type[OpenVino]) -> tuple[Backend, Metadata]:
    """Read a file that export.py wrote."""
    painting, metadata = read(path)
    try:
        return kind(painting), metadata
    except UserError:
        raise
    except Exception as error:  # ONNX Runtime's and OpenVINO's have nothing in common
        raise not_ours(path, error) from error


def first_channels(network: nn.Module) -> int:
    """The channels of the convolution that takes the picture, as many as come to a pixel of it.

    It works at full size, or at less with so many more channels, and no later one has more.
    """
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3), None)
    return 3 if first is None else max(3, -(-first.out_channels // math.prod(first.stride)))
