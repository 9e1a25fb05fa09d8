"""Each option of a command line reaches what it is there for: what is called is watched."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onestroke import style_file
from onestroke.cli import (
    evaluate,
    evaluate_options,
    export,
    infer,
    infer_clips,
    infer_large,
    infer_marks,
    infer_options,
    live,
    live_options,
    marks,
)
from onestroke.cli.options import parse
from onestroke.errors import UserError
from onestroke.export import exporting
from onestroke.inference.controls import StyleControls
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata
from onestroke.video.keyframes import Numbers
from onestroke.video.pipeline import Job, Outcome
from onestroke.video.reading import Film
from tests.clip_files import make_clip

ARGS: dict[str, Any] = {"channels": [4, 4, 4], "blocks": 1, "ends": 3}
Calls = dict[str, Any]


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with a style file, two photos and a grey picture."""
    monkeypatch.chdir(tmp_path)
    for name, controls in (("plain", []), ("controls", ["strength"])):
        torch.manual_seed(0)
        metadata = Metadata(
            {"name": "ResidualNetwork", "args": {**ARGS, "controls": controls}},
            {"name": "udnie", "size": 384, "styles": [{"name": "udnie"}]},
        )
        style_file.save(tmp_path / f"{name}.safetensors", ResidualNetwork(**ARGS, controls=controls), metadata)
    (tmp_path / "photos").mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (90, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    Image.fromarray(np.tile(np.arange(96, dtype=np.uint8), (90, 1))).save(tmp_path / "grey.png")
    return tmp_path


def watched(calls: Calls) -> type[Stylizer]:
    """A Stylizer that writes down what it was made and asked to paint with, and paints all the same."""

    class Watched(Stylizer):
        def __init__(self, *args: Any, **more: Any) -> None:
            calls.update(inspect.signature(Stylizer).bind(*args, **more).arguments)
            super().__init__(calls["style"])

        def check_memory(self, count: int, height: int, width: int, mapped: bool = False) -> None:
            super().check_memory(count, height, width)

        def paint(self, image: Tensor, *args: Any, **finish: Any) -> Tensor:
            calls.update(finish, image=image)
            return super().paint(image)

    return Watched


def width(name: str) -> Callable[[Calls], Any]:
    return lambda calls: tuple(calls[name].shape)


INFER: dict[str, tuple[str, Callable[[Calls], Any], Any]] = {
    "style": ("style=a:1,b:2", lambda c: c["mix"], "a:1,b:2"),
    "strength": ("strength=0.3", lambda c: c["strength"], 0.3),
    "stroke": ("stroke=0.7", lambda c: c["stroke"], 0.7),
    "style_map": ("style_map=grey.png", width("style_map"), (1, 1, 90, 96)),
    "color": ("color=match", lambda c: c["color"], "match"),
    "mask": ("mask=grey.png", width("mask"), (1, 1, 90, 96)),
    "feather": ("feather=3", lambda c: c["feather"], 3),
    "stroke_scale": ("stroke_scale=2", width("image"), (1, 3, 45, 48)),
    "max_side": ("max_side=48", width("image"), (1, 3, 45, 48)),
    "device": ("device=cuda:3", lambda c: c["device"], "cuda:3"),
    "backend": ("backend=openvino", lambda c: c["backend"], "openvino"),
    "compile": ("compile=true", lambda c: c["compiled"], True),
    "batch": ("batch=2", width("image"), (2, 3, 90, 96)),
}


def test_no_option_of_infer_is_left_out() -> None:
    elsewhere = {"ckpt", "input", "output", "overwrite", "format", "quality"}  # which say where files are
    elsewhere |= {"mark", "sign", "key", "memory"}  # of the next tests
    assert (set(INFER) | set(CLIP)) - elsewhere == {field.name for field in fields(infer_options.Options)} - elsewhere


@pytest.mark.parametrize("option", INFER)
def test_each_option_of_infer(option: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argument, look, expected = INFER[option]
    calls: Calls = {}
    monkeypatch.setattr(infer, "Stylizer", watched(calls))
    common = ["ckpt=plain.safetensors", "input=photos", "overwrite=true"]
    assert infer.main(common) == 0
    found = calls.get("style_map" if option == "style_map" else "mask") if "grey" in argument else look(calls)
    assert found != expected
    assert infer.main([*common, argument]) == 0
    assert look(calls) == expected


MARKS: dict[str, tuple[list[str], str, tuple[bool, Any]]] = {
    "xmp": ([], "p.png", (True, None)),
    "none": (["mark=none"], "p.png", (False, None)),
    "c2pa": (["mark=c2pa", "sign=s.pem", "key=k.pem"], "p.webp", (True, (Path("s.pem"), Path("k.pem")))),
}


@pytest.mark.parametrize("mark", MARKS)
def test_mark_sign_and_key_of_infer(mark: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, output, expected = MARKS[mark]
    given: list[Any] = []
    monkeypatch.setattr(marks, "Certificate", lambda *paths: paths)
    monkeypatch.setattr(infer_marks, "Marker", lambda origin, certificate, more: given.append((origin, certificate)))
    with pytest.raises(AttributeError):  # the marker is nothing that could mark
        infer.main(["ckpt=plain.safetensors", "input=photos/0.png", f"output={output}", *arguments])
    ((origin, certificate),) = given
    assert (origin is not None, certificate) == expected


@pytest.mark.parametrize("arguments", [["memory=1M"], ["memory=1M", "resume=true"]])
def test_memory_and_resume_for_photos(arguments: list[str], inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def painted(path: Path, _place: Path, _stylizer: Stylizer, options: infer_options.Options, _marker: object) -> int:
        given.append((path, options.resume, options.most_memory))
        return 1

    monkeypatch.setattr(infer_large, "paint", painted)
    assert infer.main(["ckpt=plain.safetensors", "input=photos/0.png", "output=p.png", *arguments]) == 0
    assert given == [(Path("photos/0.png"), "resume=true" in arguments, 2.0**20)]
    assert infer.main(["ckpt=plain.safetensors", "input=photos/0.png", "output=p.png", "memory=100G"]) == 0
    assert len(given) == 1 and Path("p.png").exists()


CLIP: dict[str, tuple[list[str], Callable[[Job], Any], Any]] = {
    "steady": (["steady=0.3"], lambda job: job.painter.look.steady, 0.3),
    "codec": (["codec=hevc"], lambda job: job.settings.codec, "hevc"),
    "preset": (["preset=slow"], lambda job: job.settings.preset, "slow"),
    "start": (["start=0.04"], lambda job: cast(Film, job.source).start, 0.04),
    "end": (["end=0.1"], lambda job: cast(Film, job.source).end, 0.1),
    "fps": (["fps=12", "input=photos"], lambda job: job.source.clip.rate, 12),
    "resume": (["resume=true"], lambda job: job.parts.frames, 1),
    "strength": (["strength=0:0.1,1:0.3"], lambda job: job.painter.look.strength, Numbers(((0, 0.1), (1, 0.3)))),
    "quality": (["quality=30"], lambda job: job.settings.quality, 30),
    "max_side": (["max_side=48"], lambda job: job.source.clip.width, 48),
    "output": (["output=out.mkv"], lambda job: job.target, Path("out.mkv")),
    "format": (["format=mov"], lambda job: job.target.suffix, ".mov"),
}


@pytest.mark.parametrize("option", CLIP)
def test_each_option_for_clips(option: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, look, expected = CLIP[option]
    path = make_clip(inside / "a.mp4", times=range(3), size=(48, 64), audio=None)
    seen: list[Any] = []

    def painted(job: Job) -> Outcome:
        seen.append(look(job))
        job.parts.add(job.parts.path(".mp4"), 0, 1, 1, {})  # a whole part of one frame, to go on with
        job.parts.path(".mp4").touch()
        (job.parts.folder / job.parts.parts[-1].file).touch()
        return Outcome()

    monkeypatch.setattr(infer_clips, "paint_clip", painted)
    command = ["ckpt=controls.safetensors", "overwrite=true"]
    inputs = [] if "input=photos" in arguments else [f"input={path.name}"]
    assert infer.main([*command, f"input={path.name}"]) == 0
    assert infer.main([*command, *inputs, *arguments]) == 0
    assert seen[0] != expected and seen[1] == expected


EXPORT: dict[str, tuple[list[str], str, Any]] = {
    "ckpt": (["ckpt=controls.safetensors"], "path", Path("controls.safetensors")),
    "format": (["format=torch"], "kind", "torch"),
    "variant": (["variant=fp16"], "variant", "fp16"),
    "pixels": (["pixels=float"], "pixels", "float"),
    "photos": (["photos=photos", "variant=frozen"], "photos", 2),
    "style": (["style=a:1,b:2"], "controls", StyleControls("a:1,b:2")),
    "strength": (["strength=0.3"], "controls", StyleControls(strength=0.3)),
    "stroke": (["stroke=0.7"], "controls", StyleControls(stroke=0.7)),
}


def test_no_option_of_export_is_left_out() -> None:
    assert set(EXPORT) == {field.name for field in fields(export.Options)} - {"out", "overwrite", "controls"}


def test_live_controls_are_another_export(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Path, str]] = []

    def watch(path: Path, pixels: str) -> None:
        seen.append((path, pixels))
        raise UserError("seen")

    monkeypatch.setattr(export, "export_live", watch)
    assert export.main(["ckpt=controls.safetensors", "controls=live", "pixels=float"]) == 2
    assert seen == [(Path("controls.safetensors"), "float")]


def test_a_page_is_another_export(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    def watch(path: Path, runtime: Path) -> None:
        seen.append(path)
        raise UserError("seen")

    monkeypatch.setattr(export, "export_web", watch)
    for more in ([], ["controls=live"], ["out=site"]):
        assert export.main(["ckpt=controls.safetensors", "format=web", *more]) == 2
    assert seen == [Path("controls.safetensors")] * 3


@pytest.mark.parametrize("option", EXPORT)
def test_each_option_of_export(option: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, name, expected = EXPORT[option]
    signature = inspect.signature(exporting.export)
    calls: Calls = {}

    def watch(*args: Any, **more: Any) -> None:
        calls.update(signature.bind(*args, **more).arguments)
        raise UserError("seen")

    monkeypatch.setattr(export, "export", watch)
    for given, same in ((["ckpt=plain.safetensors"], False), (arguments, True)):
        ckpt = [] if option == "ckpt" else ["ckpt=plain.safetensors"]
        assert export.main([*given, *(ckpt if same else [])]) == 2
        found = calls[name] if name != "photos" or calls[name] is None else len(calls[name])
        assert (found == expected) is same


class Measuring:
    """Stands for all numbers of a painting."""

    objective = None

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    def all(self, output: Tensor, photo: Tensor, lpips: bool) -> dict[str, float]:
        self.calls.update(output=output, lpips=lpips, pictures=self.calls.get("pictures", 0) + 1)
        return {"total": 0.7}


EVALUATE: dict[str, tuple[str, Callable[[Calls], Any], Any]] = {
    "style": ("style=great_wave", lambda c: c["reference"][0], "great_wave"),
    "count": ("count=1", lambda c: c["pictures"], 1),
    "size": ("size=64", lambda c: min(c["output"].shape[2:]), 64),
    "strength": ("strength=0.8", lambda c: (c["strength"], c["reference"][3]), (0.8, 0.8)),
    "iterations": ("iterations=7", lambda c: c["iterations"], 7),
    "stability": ("stability=true", lambda c: c["stable"], 2),
    "lpips": ("lpips=true", lambda c: c["lpips"], True),
    "cache": ("cache=kept", lambda c: c["folder"], Path("kept")),
    "device": ("device=cuda:3", lambda c: c["device"], "cuda:3"),
    "explain": ("explain=true", lambda c: c["explained"], ["controls"]),
}


def test_no_option_of_evaluate_is_left_out() -> None:
    elsewhere = {"ckpt", "outputs", "against", "photos", "out", "keep"}  # which say where files are
    elsewhere |= {"motion", "video", "steady", "frames"}  # tests/test_video_measure.py
    assert set(EVALUATE) == {field.name for field in fields(evaluate_options.Options)} - elsewhere


@pytest.mark.parametrize("option", EVALUATE)
def test_each_option_of_evaluate(option: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argument, look, expected = EVALUATE[option]
    calls: Calls = {"stable": 0, "explained": []}

    def stable(paint: Any, photos: list[Tensor]) -> dict[str, float]:
        calls["stable"] = len(photos)
        return {}

    monkeypatch.setattr(evaluate, "Stylizer", watched(calls))
    monkeypatch.setattr(evaluate, "from_reference", lambda *args: (calls.update(reference=args), Measuring(calls))[1])
    monkeypatch.setattr(evaluate, "cached", lambda *args, **more: calls.update(more))
    monkeypatch.setattr(evaluate, "stability", stable)
    monkeypatch.setattr(evaluate, "_explained", lambda job, photos: calls["explained"].append(job.name))
    monkeypatch.setattr(evaluate, "flat_noise_of", lambda paint: 0.0)
    monkeypatch.setattr(evaluate, "edge_bias", lambda paint: {"top": 0.0})
    given = ["ckpt=controls.safetensors", "photos=photos"]
    plain = [*given, *(["stability=false"] if not argument.startswith("stability") else [])]
    evaluate.evaluate(parse(evaluate_options.Options, [*given, "stability=false"]), lambda *_: None)
    assert look(calls) != expected
    assert calls["reference"][:2] == ("udnie", 384), "as the style file says"
    calls["pictures"] = 0
    evaluate.evaluate(parse(evaluate_options.Options, [*plain, argument]), lambda *_: None)
    assert look(calls) == expected


class Room:
    """Stands for all that live.py opens: writes down what each part was made with, and ends at the first painting."""

    def __init__(self, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("Camera", "Clip", "Osc", "Performance", "Server", "VirtualCamera", "Window", "Stage"):
            monkeypatch.setattr(live, name, self.part(calls, name, getattr(live, name)))
        monkeypatch.setattr(live, "Capture", lambda source, say: self)

    read = 0

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def part(self, calls: Calls, name: str, kind: Any) -> Callable[..., Any]:
        signature = inspect.signature(kind)

        def make(*args: Any, **more: Any) -> Any:
            calls[name] = dict(signature.bind(*args, **more).arguments)
            made = mock.MagicMock()
            made.address, made.idle_routes.return_value = "http://here/", []
            return made

        return make


LIVE: dict[str, tuple[str, Callable[[Calls], Any], Any]] = {
    "ckpt": ("ckpt=plain.safetensors", lambda c: c["Performance"]["path"], Path("plain.safetensors")),
    "camera": ("camera=3", lambda c: c["Camera"]["which"], "3"),
    "input": ("input=clip.mp4", lambda c: c.get("Clip"), {"path": Path("clip.mp4")}),
    "show": ("show=window", lambda c: [name for name in ("Server", "Window") if name in c], ["Window"]),
    "map": ("map=dance", lambda c: getattr(c["Performance"]["mapping"], "name", None), "dance"),
    "size": ("size=256", lambda c: c["Stage"]["size"], 256),
    "mirror": ("mirror=true", lambda c: c["Stage"]["mirror"], True),
    "style": ("style=a:1,b:2", lambda c: c["Performance"]["chosen"], StyleControls("a:1,b:2")),
    "strength": ("strength=0.3", lambda c: c["Performance"]["chosen"], StyleControls(strength=0.3)),
    "stroke": ("stroke=0.7", lambda c: c["Performance"]["chosen"], StyleControls(stroke=0.7)),
    "host": ("host=10.0.0.7", lambda c: c["Server"]["host"], "10.0.0.7"),
    "port": ("port=8765", lambda c: c["Server"]["port"], 8765),
    "osc": ("osc=9000", lambda c: c.get("Osc", {}).get("port"), 9000),
    "device": ("device=cuda:3", lambda c: c["Performance"]["device"], "cuda:3"),
    "backend": ("backend=openvino", lambda c: c["Performance"]["backend"], "openvino"),
}


def test_no_option_of_live_is_left_out() -> None:
    assert set(LIVE) == {field.name for field in fields(live_options.Options)}


@pytest.mark.parametrize("option", LIVE)
def test_each_option_of_live(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    argument, look, expected = LIVE[option]
    for given, same in (([], False), ([argument], True)):
        calls: Calls = {}
        Room(calls, monkeypatch)
        ckpt = [] if given and option == "ckpt" else ["ckpt=controls.safetensors"]
        assert live.main([*ckpt, *given]) == 0
        assert (look(calls) == expected) is same
        monkeypatch.undo()


def test_compiling_reaches_torch(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def compile_(network: Any) -> Any:
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compile_)
    Stylizer("plain.safetensors", device="cpu")
    assert not compiled
    Stylizer("plain.safetensors", device="cpu", backend="auto", compiled=True)
    assert [type(network) for network in compiled] == [ResidualNetwork]
