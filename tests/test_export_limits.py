"""What an export may differ by from what torch paints: refused just over each limit, and written just under it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from onestroke import style_file
from onestroke.cli.export import Options
from onestroke.cli.options import help_text
from onestroke.errors import UserError
from onestroke.export import exporting
from onestroke.export.exporting import export
from onestroke.inference import backends
from onestroke.inference.exported import Onnx
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ARGS: dict[str, Any] = {"channels": [4, 4, 4], "blocks": 1, "ends": 3}
# in levels of 255: the largest of all pixels, and their mean
LIMITS = {"fp32": (1.0, 0.1), "fp16": (4.0, 0.5), "frozen": (256.0, 32.0), "int8": (256.0, 8.0)}
PHOTOS = list(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))


def network() -> ResidualNetwork:
    """Paints near the middle of what there is, so that nothing that is planted is cut off."""
    torch.manual_seed(3)
    return ResidualNetwork(**ARGS).eval().requires_grad_(False)


@pytest.fixture
def style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(exporting, "SIDE", 32)  # of what is timed
    path = tmp_path / "style.safetensors"
    document = Metadata({"name": "ResidualNetwork", "args": ARGS}, {"name": "style"})
    style_file.save(path, network(), document, torch.float32)
    return path


@pytest.fixture
def planted(style: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float, bool], None]:
    """Has each graph paint as torch does, but for so many levels, everywhere or in one pixel."""

    def plant(levels: float, everywhere: bool) -> None:
        painter: nn.Module = style_file.load(style)[0]

        class Off(Onnx):
            def paint(self, image: Tensor, past: Tensor | None = None) -> Tensor:
                with torch.no_grad():
                    painted: Tensor = painter(image).clamp(0, 1)
                part = painted if everywhere else painted[:1, :1, :1, :1]
                part += levels / 255
                return painted

        monkeypatch.setattr(exporting, "Onnx", Off)
        monkeypatch.setattr(backends, "Onnx", Off)

    return plant


@pytest.mark.parametrize("variant", [pytest.param(v, marks=pytest.mark.slow if v == "frozen" else ()) for v in LIMITS])
def test_what_differs_by_more_is_refused_and_by_less_is_written(
    variant: str, style: Path, planted: Callable[[float, bool], None]
) -> None:
    for limit, everywhere in zip(LIMITS[variant], (False, True), strict=True):
        planted(1.01 * limit, everywhere)
        with pytest.raises(UserError, match="nothing was written"):
            export(style, "onnx", variant, "float", PHOTOS)
        planted(0.99 * limit, everywhere)
        found = export(style, "onnx", variant, "float", PHOTOS).difference
        reached = found.mean if everywhere else found.largest
        assert reached == pytest.approx(0.99 * limit, rel=1e-3)


def test_the_limits_are_those_that_users_are_told() -> None:
    told = dict(re.findall(r"^ +(fp32|fp16|frozen|int8) +(.*?)[:;\n]", help_text(Options, "export"), re.MULTILINE))
    assert told == {
        "fp32": "1 of 255 levels at most, 0.1 on average",
        "fp16": "4 at most, 0.5 on average",
        "frozen": "32 on average",
        "int8": "8 on average",
    }


def test_a_graph_paints_instead_of_torch_only_within_a_level(
    style: Path, planted: Callable[[float, bool], None]
) -> None:
    planted(1.01, False)
    with pytest.raises(UserError, match="take backend=torch"):
        Stylizer(style, device="cpu", backend="onnx")
    assert isinstance(Stylizer(style, device="cpu", backend="auto").backend, backends.Torch)
    planted(0.99, False)
    assert isinstance(Stylizer(style, device="cpu", backend="onnx").backend, Onnx)
    assert isinstance(Stylizer(style, device="cpu", backend="auto").backend, Onnx)
