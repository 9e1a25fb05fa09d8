"""The cases of bench.py's mode frames: frame after frame, as a camera gives them, beside the graph alone."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_measure import Case, Contestant
from bench_modes import Size, photos_of, words
from bench_step import composed
from torch import nn

from onestroke import style_file
from onestroke.cli.export import main as export
from onestroke.errors import UserError
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.base import TransformNetwork
from onestroke.packages import installed, require
from onestroke.style_document import Metadata
from onestroke.training.parts import instantiate_part

NAMES = ["one", "two"]


def frames_cases(sizes: Sequence[Size], networks: Sequence[str]) -> Iterator[Case]:
    """ONNX Runtime with the exported graph with live controls, then OneStroke's ways, whose controls change each frame.

    Raises:
        UserError: ONNX Runtime is missing.
    """
    if not installed("onnx", "onnxruntime"):
        raise UserError("the mode frames compares with ONNX Runtime: pip install 'onestroke[onnx]'")
    for name in networks:
        with tempfile.TemporaryDirectory() as folder:
            path = style_of(name, Path(folder))
            graph = path.with_suffix(".onnx")
            with redirect_stdout(StringIO()):
                if export([f"ckpt={path}", "controls=live", f"out={graph}"]) != 0:
                    continue  # it has said why
            for size in sizes:
                yield Case({"network": name, "size": words(size)}, list(_contestants(path, graph, size)))


def style_of(name: str, folder: Path) -> Path:
    """A style file of two styles with both controls and random weights."""
    arguments = dict(composed([f"network={name}"])["network"])
    kind: type[nn.Module] = type(instantiate_part("network", arguments, nn.Module))
    more: dict[str, Any] = {"styles": len(NAMES), "controls": ["strength", "stroke"]}
    given = {key: value for key, value in arguments.items() if key != "_target_"} | more
    torch.manual_seed(0)
    network = kind(**given)
    assert isinstance(network, TransformNetwork)
    document = Metadata({"name": kind.__name__, "args": given}, {"name": "all", "styles": [{"name": n} for n in NAMES]})
    path = folder / f"{name}.safetensors"
    style_file.save(path, network.eval(), document)
    return path


def _contestants(path: Path, graph: Path, size: Size) -> Iterator[Contestant]:
    frame = photos_of(size, 1)[0].numpy()
    session = session_of(graph)
    given = inputs_of(session, frame)
    yield Contestant("baseline", lambda: session.run(None, given) and None, 1, math.prod(size))
    for backend in ("onnx", "torch"):
        for way in ("frames", "stylizer"):
            stylizer = Stylizer(path, device="cpu", backend=backend, mix=NAMES[0])
            paint = stylizer.frames(*size) if way == "frames" else stylizer
            yield Contestant(f"{way}-{backend}", _changing(stylizer, paint, frame), 1, math.prod(size))


def _changing(stylizer: Stylizer, paint: Callable[[np.ndarray], np.ndarray], frame: np.ndarray) -> Callable[[], None]:
    """A frame at another strength than the last one."""
    count = 0

    def work() -> None:
        nonlocal count
        count += 1
        stylizer.set(strength=0.5 + 0.25 * (count % 2))
        paint(frame)

    return work


def session_of(graph: Path, threads: int | None = None) -> Any:
    """ONNX Runtime with a graph, on as many threads, or on torch's number of them."""
    runtime = require("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    return runtime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def inputs_of(session: Any, frame: np.ndarray) -> dict[str, np.ndarray]:
    """What a graph with live controls takes: a frame, uint8 (H, W, 3), and all rows of the tables in equal shares."""
    rows = next(one.shape[1] for one in session.get_inputs() if one.name == "rows")
    return {"image": frame[None], "rows": np.full((1, rows), 1 / rows, np.float32), "fade": np.ones(1, np.float32)}
