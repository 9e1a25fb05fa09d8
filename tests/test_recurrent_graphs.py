"""Recurrent networks as graphs: with a past they paint what torch paints, from style files and from exported files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onestroke import Stylizer, style_file
from onestroke.cli.export import main
from onestroke.errors import UserError
from onestroke.export import exporting, live_export
from onestroke.export.exporting import LIMITS, export
from onestroke.graphs import onnx_graph
from onestroke.graphs.onnx_file import check_exported
from onestroke.graphs.tracing import trace
from onestroke.inference import backends, memory
from onestroke.inference.backend import Past
from onestroke.inference.exported import Onnx
from onestroke.inference.frames import Frames
from onestroke.networks.recurrent import RecurrentNetwork
from onestroke.style_document import Metadata
from onestroke.video.flow import Motion
from onestroke.video.last_painting import LastPainting
from tests.test_recurrent import ARGS, frame, recurrent, saved

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NAMES = ["waves", "stars", "scream"]
ODD = [(97, 131), (34, 45), (17, 16), (5, 3)]
MANY: dict[str, Any] = {"styles": 3, "controls": ["strength", "stroke"]}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"strength": 0.0},
    {"strength": 0.15, "stroke": 0.7},
    {"mix": "waves:0.3,scream:0.7", "strength": 1.0},
]


@pytest.fixture(autouse=True)
def timed_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (exporting, live_export):
        monkeypatch.setattr(module, "SIDE", 32)


def gallery(path: Path, **more: Any) -> Path:
    """A style file of three styles with both controls."""
    args = {**ARGS, **MANY, **more}
    listed = [{"name": name} for name in NAMES]
    document = Metadata({"name": "RecurrentNetwork", "args": args}, {"name": "all", "styles": listed})
    style_file.save(path, recurrent(**MANY, **more), document, torch.float32)
    return path


def past_of(height: int, width: int) -> Past:
    """Noise, of which a part is not known."""
    known = np.random.default_rng(2).random((height, width), np.float32)
    known[: height // 3] = 0
    return frame(1, height, width, 3), known


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float64) - other).max())


def exported(style: Path, *more: str, out: str = "out.onnx") -> Path:
    path = style.with_name(out)
    assert main([f"ckpt={style}", f"out={path}", *more]) == 0
    return path


def facts(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads({e.key: e.value for e in onnx.load(str(path)).metadata_props}[onnx_graph.EXPORT])
    return found


def inputs(path: Path) -> list[str]:
    return [value.name for value in onnx.load(str(path)).graph.input]


def by_torch(network: RecurrentNetwork, photos: np.ndarray, past: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The painting in levels that are not rounded, of uint8 (N, H, W, 3), with or without a past."""
    image, before = (torch.from_numpy(each).permute(0, 3, 1, 2) / 255 for each in (photos, past[0]))
    painted = network(image, past=torch.cat([before, torch.from_numpy(past[1])[:, None]], dim=1)).clamp(0, 1)
    levels: np.ndarray = painted.permute(0, 2, 3, 1).numpy() * 255
    return levels


@pytest.mark.parametrize("low_pass", [0, 8])
def test_a_gallery_paints_with_a_past_as_torch_does_at_any_setting(low_pass: int, tmp_path: Path) -> None:
    style = gallery(tmp_path / "all.safetensors", low_pass=low_pass)
    changing = Stylizer(style, device="cpu", backend="onnx", mix="stars")
    now: dict[str, Any] = {"mix": "stars"}
    for change, size in zip(SETTINGS, ODD, strict=True):
        now |= change
        fresh = Stylizer(style, device="cpu", backend="onnx", **now).frames(*size)
        changing.set(**change)
        torchs = Stylizer(style, device="cpu", backend="torch", **now).frames(*size)
        picture, past = frame(0, *size, 3), past_of(*size)
        for frames in (fresh, changing.frames(*size)):
            assert frames.recurrent
            assert apart(frames(picture, past=past), torchs(picture, past=past)) <= 1, now
            assert apart(frames(picture), torchs(picture)) <= 1, now
        seen = apart(torchs(picture, past=past), torchs(picture))
        assert seen > 20 if now.get("strength") != 0 else seen == 0


def test_an_exported_file_takes_the_past_at_any_size_and_number(tmp_path: Path) -> None:
    network = recurrent()
    style = saved(tmp_path / "s.safetensors", network)
    path = exported(style, "format=onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("image", "tensor(uint8)", ["n", "height", "width", 3]),
        ("past", "tensor(uint8)", ["n", "height", "width", 3]),
        ("known", "tensor(float)", ["n", "height", "width"]),
    ]
    assert facts(path)["past"] == onnx_graph.PAST_INPUTS and facts(path)["difference"]["largest"] < 1
    floats = Stylizer(exported(style, "pixels=float", out="floats.onnx"))
    for count, (height, width) in zip((1, 2, 3, 1), ODD, strict=True):
        photos, moved = frame(0, count, height, width, 3), frame(1, count, height, width, 3)
        known = np.random.default_rng(2).random((count, height, width), np.float32)
        (got,) = session.run(None, {"image": photos, "past": moved, "known": known})
        assert apart(got, by_torch(network, photos, (moved, known))) < 0.51
        assert apart(got, by_torch(network, photos, (moved, 0 * known))) > 20
        image, before = (torch.from_numpy(each).permute(0, 3, 1, 2) / 255 for each in (photos, moved))
        past = torch.cat([before, torch.from_numpy(known)[:, None]], dim=1)
        wanted = network(image, past=past).clamp(0, 1)
        torch.testing.assert_close(floats.backend.paint(image, past), wanted, rtol=0, atol=1e-4)


def test_live_controls_and_the_past_are_inputs_of_one_file(tmp_path: Path) -> None:
    style = gallery(tmp_path / "all.safetensors")
    path = exported(style, "controls=live")
    assert inputs(path) == ["image", "rows", "fade", "past", "known"]
    assert facts(path)["past"] == onnx_graph.PAST_INPUTS and facts(path)["live"]["styles"] == NAMES
    opened, now = Stylizer(path, mix="stars"), {"mix": "stars"}
    frames, picture, past = opened.frames(34, 45), frame(0, 34, 45, 3), past_of(34, 45)
    assert frames.recurrent
    for change in SETTINGS:
        now |= change
        opened.set(**change)
        torchs = Stylizer(style, device="cpu", **now).frames(34, 45)  # type: ignore[arg-type]
        assert apart(frames(picture, past=past), torchs(picture, past=past)) <= 1, now
        assert apart(frames(picture), torchs(picture)) <= 1, now


def test_only_what_can_use_a_past_takes_one(tmp_path: Path) -> None:
    style = gallery(tmp_path / "all.safetensors")
    half = exported(style, "style=stars", "variant=fp16", out="half.onnx")
    assert inputs(half) == ["image", "past", "known"]
    picture, past = frame(0, 34, 45, 3), past_of(34, 45)
    torchs = Stylizer(style, device="cpu", mix="stars").frames(34, 45)
    assert apart(Stylizer(half).frames(34, 45)(picture, past=past), torchs(picture, past=past)) <= 4
    page = tmp_path / "page.onnx"
    page.write_bytes(live_export.export_live(style, "uint8", past=False).content)
    assert inputs(page) == ["image", "rows", "fade"] and "past" not in facts(page)
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(
        export(saved(tmp_path / "s.safetensors", recurrent()), "onnx", "fp32", "uint8", past=False).content
    )
    assert inputs(plain) == ["image"] and not Stylizer(plain).frames(34, 45).recurrent


@pytest.mark.parametrize("variant", ["frozen", "int8"])
def test_variants_that_photos_calibrate_have_no_past(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "LIMITS", {**LIMITS, variant: exporting.Difference(256, 256)})
    path = exported(saved(tmp_path / "s.safetensors", recurrent()), f"variant={variant}")
    assert inputs(path) == ["image"] and "past" not in facts(path)


# --- clips --------------------------------------------------------------------------------------------------


def panned(x: int, y: int, cut: bool = False) -> Motion:
    """A motion by whole pixels."""
    trust = np.random.default_rng(x + 5).random((40, 57), np.float32)
    return Motion(np.full((40, 57, 2), (x, y), np.float32), trust, cut)


def clip(frames: Frames) -> list[np.ndarray]:
    """A pan with a cut."""
    painter = LastPainting(frames)
    motions = [None, *(panned(n % 3, 1, cut=n == 5) for n in range(1, 9))]
    return [painter(frame(n, 40, 57, 3) // 4 + 90, motion).copy() for n, motion in enumerate(motions)]


def test_a_clip_is_painted_the_same_from_a_style_file_and_from_its_exported_file(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    style = gallery(tmp_path / "all.safetensors")
    chosen: dict[str, Any] = {"mix": "waves:0.3,scream:0.7", "strength": 0.8}
    torchs = clip(Stylizer(style, device="cpu", **chosen).frames(40, 57))
    path = exported(style, "style=waves:0.3,scream:0.7", "strength=0.8")
    live = exported(style, "controls=live", out="live.onnx")
    opened = (Stylizer(style, backend="onnx", **chosen), Stylizer(path), Stylizer(live, **chosen))
    for stylizer in opened:
        painted = clip(stylizer.frames(40, 57))
        assert len(painted) == 9
        assert max(apart(one, other) for one, other in zip(painted, torchs, strict=True)) <= 2
    alone = Stylizer(path).frames(40, 57)
    past_changes = [apart(alone(frame(n, 40, 57, 3) // 4 + 90), torchs[n]) for n in range(9)]
    assert [change > 20 for change in past_changes] == [n not in (0, 5) for n in range(9)]


def test_infer_paints_a_clip_with_the_past_of_an_exported_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("cv2", "av"):
        pytest.importorskip(package)
    from onestroke.cli import infer
    from tests.clip_files import make_clip
    from tests.test_clip_resume import SIZE, frames_of

    monkeypatch.chdir(tmp_path)
    network = recurrent()
    for name, parameter in network.named_parameters():
        if name.startswith(network.added):  # as in trained networks, where the roundings of a past don't grow
            parameter.mul_(0.3)
    exported(saved(tmp_path / "s.safetensors", network))
    make_clip(tmp_path / "a.mp4", times=range(4), audio=None, size=SIZE)
    painted: dict[str, np.ndarray] = {}
    for name, *chosen in (("torch", "s.safetensors"), ("onnx", "s.safetensors", "backend=onnx"), ("file", "out.onnx")):
        assert infer.main([f"ckpt={chosen[0]}", *chosen[1:], "input=a.mp4", f"output={name}/", "steady=0"]) == 0
        painted[name] = np.stack([np.asarray(Image.open(path)) for path in sorted(Path(name).glob("*.png"))])
        assert painted[name].shape == (4, *SIZE, 3)
        assert apart(painted[name], painted["torch"]) <= 2
    alone = Stylizer("out.onnx").frames(*SIZE)
    for n, picture in enumerate(frames_of(tmp_path / "a.mp4")):
        assert (apart(alone(picture), painted["file"][n]) > 20) == (n > 0)


def test_one_of_two_graphs_paints_clips_and_the_other_pictures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2")
    style = saved(tmp_path / "s.safetensors", recurrent())
    stylizer = Stylizer(style, device="cpu", backend="auto")
    backend = stylizer.backend
    assert isinstance(backend, Onnx) and backend.clips is not None and not backend.clips.clips
    assert backend.memory(1, 64, 64, past=True) == backend.clips.memory(1, 64, 64) > 1.3 * backend.memory(1, 64, 64)
    runs: list[str] = []

    def counted(name: str, run: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def count(*given: Any) -> np.ndarray:
            runs.append(name)
            return run(*given)

        return count

    for name, graph in (("alone", backend), ("clips", backend.clips)):
        monkeypatch.setattr(graph, "run", counted(name, graph.run))
    clip(stylizer.frames(40, 57))
    assert runs == ["clips"] * 9
    stylizer(frame(0, 40, 57, 3))
    stylizer.frames(40, 57)(frame(0, 40, 57, 3))
    assert runs[9:] == ["alone"] * 2


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", ["uint8", "float"])
@pytest.mark.parametrize("where", ["past", "alone"])
def test_a_graph_that_differs_is_refused(
    where: str, pixels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = saved(tmp_path / "s.safetensors", recurrent())

    class Off(Onnx):
        def paint(self, image: Tensor, past: Tensor | None = None) -> Tensor:
            painted = super().paint(image, past)
            painted[..., -1, -1] += 1.6 / 255 if (past is not None) == (where == "past") else 0
            return painted

    for module in (exporting, backends):
        monkeypatch.setattr(module, "Onnx", Off)
    with pytest.raises(UserError, match="nothing was written"):
        export(style, "onnx", "fp32", pixels)
    with pytest.raises(UserError, match="paints something else with backend=onnx"):
        Stylizer(style, backend="onnx")


def test_a_difference_that_is_not_a_number_is_the_largest() -> None:
    found = exporting.largest([exporting.Difference(0.5, 0.1), exporting.Difference(float("nan"), 0.2)])
    assert np.isnan(found.largest) and found.mean == 0.2
    assert exporting.largest([exporting.Difference(0.5, 0.3), exporting.Difference(0.7, 0.2)]) == (
        exporting.Difference(0.7, 0.3)
    )


def with_another_order(model: Any) -> None:
    past, known = (type(value).FromString(value.SerializeToString()) for value in model.graph.input[1:])
    del model.graph.input[1:]
    model.graph.input.extend([known, past])


def with_a_constant(model: Any) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "known"))


# by what is wrong with its inputs, what is done to a sound model
HOSTILE: dict[str, Callable[[Any], object]] = {
    "order": with_another_order,
    "constant": with_a_constant,
    "no known": lambda model: model.graph.input.pop(),
    "no past": lambda model: model.graph.input.pop(1),
    "name": lambda model: setattr(model.graph.input[2], "name", "trust"),
    "first name": lambda model: setattr(model.graph.input[0], "name", "past"),
    "one more": lambda model: model.graph.input.add(name="more"),
    "pixels": lambda model: setattr(model.graph.input[1].type.tensor_type, "elem_type", onnx.TensorProto.FLOAT),
    "numbers": lambda model: setattr(model.graph.input[2].type.tensor_type, "elem_type", onnx.TensorProto.INT64),
    "size": lambda model: setattr(model.graph.input[2].type.tensor_type.shape.dim[1], "dim_value", 64),
    "channels": lambda model: setattr(model.graph.input[1].type.tensor_type.shape.dim[3], "dim_value", 4),
    "axes": lambda model: model.graph.input[2].type.tensor_type.shape.dim.pop(),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_with_another_past_is_refused(what: str, tmp_path: Path) -> None:
    path = exported(saved(tmp_path / "s.safetensors", recurrent()))
    model = onnx.load(str(path))
    HOSTILE[what](model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"no ONNX file that export\.py wrote"):
        Stylizer(path)


def test_the_memory_that_the_past_takes_is_known_before() -> None:
    plain, whole = (Onnx(check_exported(onnx_graph.build(trace(recurrent(), past=p), ""))) for p in (False, True))
    for height, width in ODD:
        # both inputs, and their float32 planes
        assert whole.memory(2, height, width) - plain.memory(2, height, width) >= 2 * height * width * (3 + 4 + 16)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_frames_need_the_memory_of_a_past_too(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stylizer = Stylizer(saved(tmp_path / "s.safetensors", recurrent()), device="cpu", backend=backend)
    alone, both = (stylizer.backend.memory(1, 300, 400, past=past) for past in (False, True))
    assert both > 1.15 * alone
    monkeypatch.setattr(memory, "free_memory", lambda: int((alone + both) / 2))
    assert stylizer(frame(0, 300, 400, 3)).shape == (300, 400, 3)
    with pytest.raises(UserError, match="400 x 300 needs about"):
        stylizer.frames(300, 400)
    monkeypatch.setattr(memory, "free_memory", lambda: int(both) + 1)
    assert stylizer.frames(300, 400).recurrent
