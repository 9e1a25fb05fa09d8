"""Choose what runs a style's network: PyTorch, which is here, or a runtime for graphs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onestroke.devices import choose_device
from onestroke.errors import UserError, near
from onestroke.graphs.live import layout
from onestroke.graphs.onnx_file import first_line, read, unreadable
from onestroke.inference.backend import Backend, NotFinite, Past
from onestroke.inference.controls import DEFAULT_CONTROLS, StyleControls, open_style, table_weights
from onestroke.inference.exported import Onnx, OpenVino
from onestroke.inference.memory import peak_memory
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.packages import installed
from onestroke.style_document import Metadata

NAMES = ("torch", "onnx", "openvino", "auto")


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
        self._held: dict[tuple[int, bool], Callable[[int, int, int], float]] = {}
        self._levels = torch.tensor(255.0, device=device)
        self.recurrent = isinstance(network, RecurrentNetwork)

    def memory(self, count: int, height: int, width: int, styles: int = 0, *, past: bool = False) -> float:
        """See Backend; for `paint_mapped`, `styles` is the number of styles."""
        if (styles, past) not in self._held:
            mix = [torch.full((1, styles, 1, 1), 1 / styles, device=self.device)] if styles else []

            def paint(image: Tensor) -> Tensor:
                shares = [share.expand(-1, -1, *image.shape[-2:]).contiguous() for share in mix]
                ready = image.to(self.device, torch.float32, memory_format=torch.channels_last)
                given = {"past": ready[:, [0, 1, 2, 0]]} if past else {}
                painted: Tensor = self.network(ready, *shares, **given).clamp(0, 1)
                return painted

            self._held[styles, past] = peak_memory(paint)
        given = 28 if past else 12  # bytes of the floats in a pixel
        return 1.1 * self._held[styles, past](count, height, width) + given * count * height * width

    def paint_mapped(self, image: Tensor, shares: Tensor) -> Tensor:
        """As `paint`, for a network of several styles, with the share of each style per pixel, (N, styles, H, W)."""
        with torch.inference_mode():
            ready = image.to(self.device, torch.float32, memory_format=torch.channels_last)
            result: Tensor = self.network(ready, shares.to(self.device)).clamp(0, 1).cpu()
        return result

    def paint(self, image: Tensor, past: Tensor | None = None) -> Tensor:
        """See Backend."""
        with torch.inference_mode():
            given = {"past": past.to(self.device, torch.float32)} if past is not None and self.recurrent else {}
            image = image.to(self.device, torch.float32, memory_format=torch.channels_last)
            return self._painted(image, **given).cpu()

    def paint_frame(self, frame: np.ndarray, past: Past | None = None) -> np.ndarray:
        """See Backend."""
        with torch.inference_mode():
            image = self._image(frame)
            given = {}
            if past is not None and self.recurrent:
                known = torch.from_numpy(past[1]).to(self.device)[None, None]
                given["past"] = torch.cat([self._image(past[0]), known], dim=1)
            painted = self._painted(image, **given)
            if not torch.isfinite(painted.sum()):
                raise NotFinite
            levels = (painted * 255 + 0.5).to(torch.uint8)
            return levels[0].permute(1, 2, 0).contiguous().cpu().numpy()

    def _image(self, frame: np.ndarray) -> Tensor:
        """uint8 (H, W, 3) -> float (1, 3, H, W) in [0, 1], on the device."""
        # a tensor, since CUDA multiplies by the reciprocal of a number, which rounds differently
        return torch.from_numpy(frame).to(self.device)[None].permute(0, 3, 1, 2) / self._levels

    def _painted(self, ready: Tensor, **more: Tensor) -> Tensor:
        """Run the network on its device; returns values in [0, 1]."""
        try:
            painted: Tensor = self._run(ready, **more)
        except Exception as error:
            # the compiler's exceptions have no common class in all versions, but all are defined in torch._*
            if self._run is self.network or not type(error).__module__.startswith("torch._"):
                raise
            warnings.warn(f"compiling failed, so painting goes on without: {first_line(error)}", stacklevel=2)
            self._run = self.network
            painted = self._run(ready, **more)
        return painted.clamp(0, 1)


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
    exported = kind.of(network)
    image, past = torch.rand(1, 7, 67, 94, generator=torch.Generator().manual_seed(0)).split([3, 4], dim=1)
    with torch.inference_mode():
        difference = (exported.paint(image) - network(image).clamp(0, 1)).abs().max()
        if exported.recurrent:
            moved = exported.paint(image, past) - network(image, past=past).clamp(0, 1)
            difference = torch.maximum(difference, moved.abs().max())
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
