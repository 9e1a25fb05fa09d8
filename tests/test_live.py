"""Style, strength and stroke that change between two pictures: as inputs of an ONNX graph, and of the Stylizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from onestroke import style_file
from onestroke.cli.export import main
from onestroke.errors import UserError
from onestroke.export import exporting, live_export
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.tables import tables_of
from onestroke.style_document import Metadata

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NAMES = ["waves", "stars", "scream"]
ODD = [(97, 131), (203, 77), (33, 18)]
NETWORKS: dict[str, dict[str, Any]] = {
    "ResidualNetwork": {"channels": [4, 6, 8], "blocks": 1, "ends": 3, "low_pass": 16},
    "RealtimeNetwork": {"channels": [4, 6], "blocks": 1},
    "UNetwork": {"channels": [4, 4, 6, 8]},
}
Bytes = npt.NDArray[np.uint8]


def written(path: Path, kind: str = "ResidualNetwork", styles: int = 3, controls: tuple[str, ...] = ()) -> Path:
    """A style file in which every row of every table differs."""
    torch.manual_seed(0)
    args = {**NETWORKS[kind], "styles": styles, "controls": list(controls)}
    network: Any = style_file.network_classes()[kind](**args)
    for layer in tables_of(network):
        for table in layer.parameters(recurse=False):
            nn.init.normal_(table, float(table.detach().mean()), 0.1)
    nn.init.normal_(network.paint.convolution.weight, 0, 0.05)
    listed = [{"name": name, "title": name.title()} for name in NAMES[:styles]]
    style_file.save(path, network.eval(), Metadata({"name": kind, "args": args}, {"name": "all", "styles": listed}))
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed is kept small."""
    monkeypatch.setattr(live_export, "SIDE", 32)
    monkeypatch.setattr(exporting, "SIDE", 32)


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("style") / "all.safetensors", controls=("strength", "stroke"))


@pytest.fixture(scope="module")
def live(style: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "all.onnx"
    assert main([f"ckpt={style}", "controls=live", f"out={path}"]) == 0
    return path


def photo(height: int, width: int) -> Bytes:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def rows_by_hand(facts: dict[str, Any], mix: dict[str, float], **controls: float) -> dict[str, Any]:
    """The inputs of the graph as a program would compute them that knows its metadata alone."""
    weights = np.array([mix.get(name, 0.0) for name in facts["styles"]])
    for control, anchors in facts["anchors"].items():
        value = controls.get(control, facts["defaults"][control])
        share = [np.interp(value, anchors, np.eye(len(anchors))[i]) for i in range(len(anchors))]
        weights = np.multiply.outer(weights, share)
    fade = min(1.0, controls.get("strength", 0.5) / facts["fades_until"]) if facts["fades_until"] else 1.0
    return {"rows": weights.reshape(1, -1).astype(np.float32), "fade": np.array([fade], np.float32)}


def apart(one: Bytes, other: Bytes) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize(
    ("kind", "controls"),
    [*((kind, ("strength", "stroke")) for kind in NETWORKS), ("ResidualNetwork", ("stroke",)), ("UNetwork", ())],
)
def test_a_graph_with_live_controls_paints_as_the_stylizer_at_any_setting(
    kind: str, controls: tuple[str, ...], tmp_path: Path
) -> None:
    style = written(tmp_path / "all.safetensors", kind, controls=controls)
    assert main([f"ckpt={style}", "controls=live", "out=" + str(tmp_path / "live.onnx")]) == 0
    model = onnx.load(str(tmp_path / "live.onnx"))
    facts = json.loads({entry.key: entry.value for entry in model.metadata_props}["onestroke_export"])["live"]
    assert facts["styles"] == NAMES and list(facts["anchors"]) == list(controls)
    session = onnxruntime.InferenceSession(str(tmp_path / "live.onnx"), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for number in range(12 if len(controls) > 1 else 4):
        shares = rng.dirichlet([1, 1, 1]) if number % 2 else np.eye(3)[number // 2 % 3]
        mix = dict(zip(NAMES, shares.round(3).tolist(), strict=True))
        values: dict[str, Any] = {name: float(rng.choice([0.0, 0.1, rng.random(), 1.0])) for name in controls}
        picture = photo(*ODD[number % len(ODD)])
        total = sum(mix.values())
        given = rows_by_hand(facts, {name: share / total for name, share in mix.items()}, **values)
        (got,) = session.run(None, {"image": picture[None], **given})
        chosen = ",".join(f"{name}:{share}" for name, share in mix.items())
        assert apart(got[0], Stylizer(style, mix=chosen, **values)(picture)) <= 1


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_change_of_controls_paints_as_a_new_stylizer_does(style: Path, backend: str) -> None:
    changing, picture = Stylizer(style, backend=backend, mix="stars"), photo(40, 52)
    changes: list[dict[str, Any]] = [
        {"strength": 0.1},
        {"mix": "waves:0.3,scream:0.7"},
        {"stroke": 1.0, "strength": 1.0},
    ]
    now: dict[str, Any] = {"mix": "stars"}
    for change in changes:
        before = changing(picture)
        changing.set(**change)
        now |= change
        fresh = Stylizer(style, **now)
        assert apart(changing(picture), fresh(picture)) <= (0 if backend == "torch" else 1)
        assert apart(changing(picture), before) > 3
        assert changing.name == fresh.name and changing.metadata.style["strength"] == fresh.metadata.style["strength"]


@pytest.mark.parametrize(("kind", "styles"), [("RealtimeNetwork", 1), ("RealtimeNetwork", 3), ("ResidualNetwork", 1)])
def test_with_torch_weights_are_written_over_and_are_those_of_a_new_stylizer_to_the_bit(
    kind: str, styles: int, tmp_path: Path
) -> None:
    style = written(tmp_path / "some.safetensors", kind, styles, ("strength", "stroke"))
    now: dict[str, Any] = {"mix": "waves" if styles > 1 else "all"}
    changing, image = Stylizer(style, device="cpu", **now), torch.rand(1, 3, 24, 28)
    network = changing.backend.network  # type: ignore[attr-defined]
    settings: list[dict[str, Any]] = [{"strength": 0.1}, {"strength": 0.9, "stroke": 0.3}, {"strength": 0.05}]
    if styles > 1:
        settings += [{"mix": "stars:0.2,scream:0.8"}, {"strength": 0.6}]
    for setting in settings:
        changing.set(**setting)
        now |= setting
        with pytest.raises(UserError):
            changing.set(mix="none", strength=1.0)
        assert torch.equal(changing.paint(image), Stylizer(style, device="cpu", **now).paint(image)), now
    assert changing.backend.network is network  # type: ignore[attr-defined]


def test_a_file_with_live_controls_is_opened_as_a_style_file_is(style: Path, live: Path) -> None:
    picture = photo(40, 52)
    opened = Stylizer(live, mix="stars", strength=0.8)
    assert apart(opened(picture), Stylizer(style, mix="stars", strength=0.8)(picture)) <= 1
    opened.set(mix="waves", stroke=0.5)
    assert apart(opened(picture), Stylizer(style, mix="waves", strength=0.8, stroke=0.5)(picture)) <= 1
    with pytest.raises(UserError, match="holds 3 styles, so choose: style=waves"):
        Stylizer(live)


def test_a_style_map_follows_the_controls_that_are_set(style: Path) -> None:
    changing, picture = Stylizer(style, mix="stars,waves"), torch.rand(1, 3, 24, 24)
    grey = torch.linspace(0, 1, 24).expand(1, 1, 24, 24)
    changing.paint(picture, style_map=grey)
    changing.set(strength=1.0)
    expected = Stylizer(style, mix="stars,waves", strength=1.0).paint(picture, style_map=grey)
    assert torch.equal(changing.paint(picture, style_map=grey), expected)


def test_a_wrong_setting_is_told_and_changes_nothing(style: Path) -> None:
    stylizer, picture = Stylizer(style, mix="stars"), photo(24, 24)
    before = stylizer(picture)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"strength": 1.5}, "from 0 to 1"),
        ({"mix": "stras"}, "did you mean 'stars'"),
    ]
    for change, words in wrong:
        with pytest.raises(UserError, match=words):
            stylizer.set(**change)
        assert np.array_equal(stylizer(picture), before)


def test_a_file_with_built_in_controls_says_how_to_have_them_live(style: Path, tmp_path: Path) -> None:
    assert main([f"ckpt={style}", "style=stars", f"out={tmp_path / 'baked.onnx'}"]) == 0
    baked = Stylizer(tmp_path / "baked.onnx")
    with pytest.raises(UserError, match="export it with controls=live"):
        baked.set(strength=0.7)
    with pytest.raises(UserError, match="export it with controls=live"):
        Stylizer(tmp_path / "baked.onnx", strength=0.7)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["style=stars"], "leave style= out"),
        (["variant=fp16"], "leave variant= out"),
        (["format=torch"], "leave format=torch out"),
    ],
)
def test_options_that_do_not_go_with_live_controls(
    style: Path, more: list[str], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main([f"ckpt={style}", "controls=live", *more])
    out, err = capfd.readouterr()
    assert (code, out) == (2, "") and err.count("\n") == 1, err
    assert words in err
    assert not list(style.parent.glob("*.onnx"))


def test_one_style_without_controls_has_nothing_to_be_live(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    style = written(tmp_path / "one.safetensors", styles=1)
    assert main([f"ckpt={style}", "controls=live"]) == 2
    assert "nothing to be live" in capfd.readouterr().err


@pytest.mark.parametrize("change", ["rows", "name", "kind", "batch", "constant"])
def test_a_graph_with_other_inputs_is_refused(live: Path, change: str, tmp_path: Path) -> None:
    model = onnx.load(str(live))
    rows = model.graph.input[1]
    if change == "rows":
        rows.type.tensor_type.shape.dim[1].dim_value += 1
    elif change == "name":
        rows.name = "lines"
    elif change == "kind":
        rows.type.tensor_type.elem_type = onnx.TensorProto.INT64
    elif change == "batch":
        rows.type.tensor_type.shape.dim[0].dim_param = "n"
    else:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "fade"))
    live = tmp_path / "other.onnx"
    live.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"no ONNX file that export\.py wrote"):
        Stylizer(live, mix="stars")
