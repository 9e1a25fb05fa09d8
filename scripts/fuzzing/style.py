"""Style files: read, shown, painted with, started from."""

from __future__ import annotations

import contextlib
import io
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from fuzzing import tensors, values
from fuzzing.cases import Change, Kind
from onestroke import style_file
from onestroke.cli import checkpoints
from onestroke.errors import UserError
from onestroke.graphs.tracing import trace
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata
from onestroke.style_merge import merge_files
from onestroke.training import warm_start

ROOT = Path(__file__).resolve().parents[2]
SIDES = ((7, 9), (48, 64))
LARGE = (320, 448)

# name -> class, arguments and the names of the styles
_MADE: Mapping[str, tuple[type[nn.Module], dict[str, Any], tuple[str, ...]]] = {
    "default": (ResidualNetwork, {"channels": [8, 8, 16], "blocks": 2, "ends": 5}, ("one",)),
    "classic": (ResidualNetwork, {"channels": [8, 8, 8], "blocks": 1, "adds_photo": False}, ("classic",)),
    "nearest": (ResidualNetwork, {"channels": [4, 4, 8], "blocks": 1, "ends": 3, "upsampling": "nearest"}, ("near",)),
    "realtime": (RealtimeNetwork, {"channels": [4, 8], "blocks": 1}, ("fast",)),
    "many": (ResidualNetwork, {"channels": [4, 4, 8], "blocks": 1, "ends": 3, "styles": 3}, ("a", "b", "c")),
    "controls": (
        ResidualNetwork,
        {"channels": [4, 4, 8], "blocks": 1, "ends": 3, "styles": 2, "controls": ["strength", "stroke"]},
        ("left", "right"),
    ),
    "strength": (RealtimeNetwork, {"channels": [4, 8], "blocks": 1, "controls": ["strength"]}, ("fast",)),
}


def network(made: type[nn.Module], arguments: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """A network whose weights are random, those of its last convolution too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = made(**arguments)
        for parameter in built.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, 0, 0.03)
    return built.eval().requires_grad_(False)


def metadata(made: type[nn.Module], arguments: Mapping[str, Any], names: Sequence[str], name: str) -> Metadata:
    """The document that goes with it, as a training writes one."""
    style = {
        "name": name,
        "size": 256,
        "strength": 0.5,
        "styles": [{"name": n, "title": "", "year": ""} for n in names],
    }
    training = {"run": "2026-01-01_00-00-00", "config": {"steps": 2, "style": {"name": name}}, "seed": 0, "steps": 2}
    return Metadata({"name": made.__name__, "args": dict(arguments)}, style, training, {"total": 1.5, "step": 2.0})


def make(folder: Path) -> None:
    """A small style file of each kind, and some of those that ship."""
    for name, (made, arguments, names) in _MADE.items():
        document = metadata(made, arguments, names, name)
        path = folder / f"{name}.safetensors"
        style_file.save(path, network(made, arguments), document)
        path.write_bytes(tensors.ordered(path.read_bytes()))
    for name in ("gallery", "starry_night", "udnie_realtime"):
        shutil.copyfile(ROOT / "checkpoints" / f"{name}.safetensors", folder / f"{name}.safetensors")


def _field(content: bytes, rng: Random) -> bytes:
    """One of the fields that something is made of."""

    def change(document: Any) -> str:
        part = rng.choice(("network", "network", "style", "style", "args", "args", "args", "version", "top"))
        holder = document["network"]["args"] if part == "args" else document if part in ("version", "top") else None
        holder = document[part] if holder is None else holder
        key = "version" if part == "version" else rng.choice(sorted(holder))
        holder[key] = values.near(holder[key], rng) if rng.random() < 0.4 else values.hostile(rng)
        return values.text(document)

    return tensors.with_document(content, change)


def _argument(content: bytes, rng: Random) -> bytes:
    """An argument that the network may not have."""

    def change(document: Any) -> str:
        known = (
            "channels",
            "blocks",
            "ends",
            "styles",
            "adds_photo",
            "upsampling",
            "controls",
            "paint",
            "self",
            "extra",
        )
        document["network"]["args"][rng.choice(known)] = values.hostile(rng)
        return values.text(document)

    return tensors.with_document(content, change)


def _entry(content: bytes, rng: Random) -> bytes:
    """What is listed of the styles."""

    def change(document: Any) -> str:
        listed = document["style"]["styles"]
        place = rng.randrange(len(listed))
        choice = rng.randrange(6)
        if choice == 0:
            listed[place] = values.hostile(rng)
        elif choice == 1:
            listed[place]["name"] = values.hostile(rng)
        elif choice == 2:
            listed.append(listed[place])
        elif choice == 3:
            listed.pop(place)
        elif choice == 4:
            listed[place]["name"] = rng.choice(("a:0.5", "a,b", "a b", "..", "a/b", "\x1b[1ma", "", " a", "-1", "é"))
        else:
            document["style"]["styles"] = values.hostile(rng)
        return values.text(document)

    return tensors.with_document(content, change)


def _called(content: bytes, rng: Random) -> bytes:
    """Names of networks that are not the file's to name."""
    known = (
        "Module", "Sequential", "TransformNetwork", "InstanceNorm", "Conv", "Rows", "residualnetwork", "Linear", "ONNX",
        "ResidualNetwork", "RealtimeNetwork", "torch.nn.Linear", "__import__", "Styled", "Chain",
    )  # fmt: skip

    def change(document: Any) -> str:
        document["network"]["name"] = rng.choice(known)
        return values.text(document)

    return tensors.with_document(content, change)


def _rebuilt(content: bytes, rng: Random) -> bytes:
    """A whole network of random arguments with the weights for it."""
    residual = rng.random() < 0.6
    arguments: dict[str, Any] = {"channels": rng.choices((1, 1, 2, 3, 4, 8, 16, 64, 1024), k=3 if residual else 2)}
    arguments |= {"blocks": rng.choice((1, 1, 2, 40)), "styles": rng.choice((1, 1, 1, 2, 5, 100))}
    if residual:
        arguments |= {"ends": rng.choice((1, 3, 5, 9, 31, 101)), "upsampling": rng.choice(("bilinear", "nearest"))}
    arguments["adds_photo"] = rng.random() < 0.8
    if arguments["adds_photo"]:
        arguments["controls"] = rng.choice(
            ([], [], ["strength"], ["stroke"], ["strength", "stroke"], ["stroke", "strength"])
        )
    made: type[nn.Module] = ResidualNetwork if residual else RealtimeNetwork
    with torch.device("meta"):
        shapes = made(**arguments).state_dict()
    if sum(t.numel() for t in shapes.values()) > 1_500_000:
        return content
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    spread = rng.choice((0.0, 0.01, 0.1, 1.0))
    weights = {name: (torch.randn(t.shape, generator=generator) * spread).half() for name, t in shapes.items()}
    names = [f"s{i}" for i in range(arguments["styles"])][: rng.choice((None, None, None, 1))]
    document = metadata(made, arguments, names, "rebuilt")
    told = json.dumps({"version": 1, **vars(document)})
    return tensors.written(weights, {tensors.KEY: told})


CHANGES: Mapping[str, tuple[int, Change]] = {
    **tensors.CHANGES,
    "style.field": (14, _field),
    "style.argument": (8, _argument),
    "style.entry": (8, _entry),
    "style.called": (2, _called),
    "style.rebuilt": (8, _rebuilt),
}


def use(path: Path, rng: Random) -> None:
    """What the product does with a style file; the first mistake that was told is raised at the end."""
    ways: list[Callable[[], None]] = [lambda: _painted(path, rng)]
    if rng.random() < 0.4:
        ways.append(lambda: _shown(path))
    if rng.random() < 0.2:
        ways.insert(rng.randrange(2), lambda: _started_from(path, rng))
    told: list[UserError] = []
    for way in ways:
        try:
            way()
        except UserError as error:
            told.append(error)
    if told:
        raise told[0]


def _shown(path: Path) -> None:
    """`checkpoints show`, which must print nothing that a terminal obeys."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = checkpoints.show([str(path)])
    found = printed.getvalue()
    foul = [c for c in found if not c.isprintable() and c not in "\n\t"]
    if foul or len(found) > 2**20:
        raise AssertionError(f"show printed {len(found)} characters, of them {sorted(set(foul))!r}")
    found.encode()
    if code:
        raise UserError(found)


def _painted(path: Path, rng: Random) -> None:
    document = style_file.read_document(path)
    names = document.styles
    chosen = rng.choice(([], names[:1], names[-1:], names[:3], [f"{name}:0.3" for name in names[::2]]))
    mix = ",".join(chosen or names[:1]) if chosen or len(names) > 1 else None
    given = document.network["args"].get("controls")
    controls = given if isinstance(given, list | tuple) else ()
    strength = rng.choice((None, 0.0, 0.3, 1.0)) if "strength" in controls else None
    stroke = rng.choice((None, 0.0, 0.5, 1.0)) if "stroke" in controls else None
    traced = weights(path) < 50_000  # which runs the network many times
    backend = "onnx" if rng.random() < 0.02 and traced else None
    stylizer = Stylizer(path, "cpu", backend, mix=mix, strength=strength, stroke=stroke)
    if not stylizer.name.isprintable() or "/" in stylizer.name:
        raise AssertionError(f"the style is called {stylizer.name!r}")
    # at most as many multiplications as take about a second, since painting may take as long as it takes
    light = weights(path) * LARGE[0] * LARGE[1] < 2e10
    for height, width in (*SIDES, LARGE) if rng.random() < 0.01 and light else SIDES:
        photo = _photo(height, width)
        painted = stylizer(photo)
        if painted.shape != photo.shape or painted.dtype != photo.dtype:
            raise AssertionError(f"{photo.shape} was painted as {painted.shape}")
    if mix is not None and "," in mix and rng.random() < 0.3:
        stylizer(
            Image.fromarray(_photo(*SIDES[1])),
            style_map=torch.rand(1, 1, *SIDES[1]),
            color=rng.choice(("photo", "match")),
        )
    if rng.random() < 0.05 and backend is None and traced:
        trace(stylizer.backend.network)  # type: ignore[attr-defined]


def weights(path: Path) -> int:
    """How many numbers a file holds."""
    with safe_open(str(path), framework="pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())


def _started_from(path: Path, rng: Random) -> None:
    """As a training with init=, with a judge that finds all paintings alike."""
    document = style_file.read_document(path)
    if len(document.styles) > 10:
        return  # each of them is painted with
    chosen = warm_start.choose(str(path), document.network)
    assert chosen is not None
    loaded, _ = style_file.load(path)
    warm_start.controls_come_along(loaded, path)
    judge: Any = _Judge([SimpleNamespace(name=name) for name in ("starry_night", "new")[: rng.choice((1, 2))]])
    arguments = {**document.network["args"], "styles": len(judge.styles)}
    try:
        mine = style_file.network_classes()[document.network["name"]](**arguments)
    except (TypeError, UserError):
        return
    warm_start.warm_start(mine, path, judge, [torch.rand(1, 3, 16, 16)])
    if rng.random() < 0.2:
        with contextlib.suppress(UserError):  # the two have the same styles
            merge_files([path, path], Path("joined.safetensors"))


class _Judge:
    def __init__(self, styles: list[SimpleNamespace]) -> None:
        self.styles = styles

    def __call__(self, painting: Tensor, *_: Tensor) -> dict[str, Tensor]:
        return {"mean": painting.mean()}


def _photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 5 % 256, y * 3 % 256, (x + y) * 7 % 256], -1).astype(np.uint8)


def warm(folder: Path) -> None:
    """Import all that comes with the first network."""
    for base in ("controls", "realtime"):
        path = folder / "bases" / f"{base}.safetensors"
        style_file.load(path)
        painter_of_one = Stylizer(path, "cpu", mix=style_file.read_document(path).styles[0])
        painter_of_one(_photo(*SIDES[0]))


KIND = Kind("style", make, lambda _: CHANGES, use, warm, leaves=("joined.safetensors",))
