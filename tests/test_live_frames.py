"""Frame after frame of one size: the levels of the Stylizer, without its checks between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onestroke.cli.export import main
from onestroke.errors import UserError
from onestroke.export import exporting, live_export
from onestroke.inference import stylizer as stylizers
from onestroke.inference.stylizer import Stylizer
from tests.test_live import photo, written

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("frames") / "all.safetensors", controls=("strength", "stroke"))


def opened(kind: str, style: Path, monkeypatch: pytest.MonkeyPatch) -> Stylizer:
    """The style with torch, with ONNX Runtime, or as an ONNX file with bytes in and out."""
    if kind != "file":
        return Stylizer(style, device="cpu", backend=kind, mix="stars")
    for module in (live_export, exporting):
        monkeypatch.setattr(module, "SIDE", 32)
    path = style.with_suffix(".onnx")
    assert main([f"ckpt={style}", "controls=live", f"out={path}"]) == 0
    return Stylizer(path, mix="stars")


@pytest.mark.parametrize("kind", ["torch", "onnx", "file"])
def test_frames_are_what_the_stylizer_paints_while_controls_change(
    kind: str, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylizer = opened(kind, style, monkeypatch)
    frames, before = stylizer.frames(45, 62), None
    changes: list[dict[str, Any]] = [{}, {"strength": 0.1}, {"mix": "waves:0.3,scream:0.7"}, {"stroke": 1.0}]
    for change in changes:
        stylizer.set(**change)
        picture = photo(45, 62)
        painted = frames(picture)
        assert np.array_equal(painted, stylizer(picture))
        assert before is None or not np.array_equal(painted, before), change
        before = painted
    flipped = photo(45, 62)[:, ::-1]
    flipped.flags.writeable = False
    assert np.array_equal(frames(flipped), stylizer(flipped))


def test_colours_of_the_photo_are_those_of_the_stylizer_up_to_rounding(style: Path) -> None:
    stylizer, picture = Stylizer(style, mix="stars", strength=1.0), photo(40, 52)
    painted = stylizer.frames(40, 52)(picture, color="photo").astype(int)
    assert np.abs(painted - stylizer(picture, color="photo")).max() <= 1
    assert np.abs(painted - stylizer(picture)).max() > 20


def test_the_memory_is_checked_once(style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stylizer, checked = Stylizer(style, mix="stars"), []
    monkeypatch.setattr(stylizers, "check_free", lambda *given: checked.append(given[2:]))
    frames = stylizer.frames(24, 40)
    for _ in range(3):
        frames(photo(24, 40))
    assert checked == [(24, 40)]


def test_what_is_no_such_frame_is_told(style: Path) -> None:
    frames = Stylizer(style, mix="stars").frames(24, 40)
    for wrong in (photo(24, 41), photo(24, 40)[..., :1], photo(24, 40).astype(np.float32)):
        with pytest.raises(UserError, match=r"these frames are uint8 \(24, 40, 3\), not"):
            frames(wrong)
    with pytest.raises(UserError, match="did you mean 'photo'"):
        frames(photo(24, 40), color="foto")
    with pytest.raises(UserError, match="nothing to paint in a frame of 0 x 24"):
        Stylizer(style, mix="stars").frames(24, 0)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_a_network_that_paints_no_picture_is_told(
    backend: str, value: float, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylizer = Stylizer(style, device="cpu", backend=backend, mix="stars")
    frames = stylizer.frames(24, 24)
    assert frames(photo(24, 24)).any()
    if backend == "torch":
        monkeypatch.setattr(stylizer.backend, "_run", lambda image: torch.full_like(image, value))
    else:
        monkeypatch.setattr(stylizer.backend, "run", lambda inputs, keep: np.full_like(inputs["image"], value))
    with pytest.raises(UserError, match="paints no picture"):
        frames(photo(24, 24))
    if value == 0:
        assert not frames(np.full((24, 24, 3), 60, np.uint8)).any(), "a dark frame may be painted black"
