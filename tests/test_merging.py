"""Styles of several files in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from onestroke.cli.checkpoints import merge
from onestroke.inference.stylizer import Stylizer
from onestroke.style_file import load, save
from onestroke.training.run import train
from tests.test_controls import BOTH, controlled, saved
from tests.test_many_styles import photos
from tests.test_training import CONFIG


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of two styles, in fp16 as all that are trained."""
    path = saved(tmp_path_factory.mktemp("joining") / "two.safetensors", controlled(styles=2), ["a", "b"])
    network, metadata = load(path)
    save(path, network, metadata)
    return path


def adapted(two: Path, folder: Path, **changed: Any) -> Path:
    folder.mkdir()
    network = {**CONFIG["network"], **load(two)[1].network["args"]}
    network.pop("styles")
    own = {
        "init": str(two),
        "adapt": "norms",
        "lr": 0.2,
        "ema": 0.3,
        "steps": 4,
        "out": str(folder / "new.safetensors"),
    }
    return train({**CONFIG, "network": network, **own, **changed}, folder)


def test_a_style_is_added_and_the_others_paint_the_same_to_the_bit(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = adapted(two, tmp_path / "run")
    out = tmp_path / "all.safetensors"
    assert merge([f"path={two}", f"path={new}", f"out={out}"]) == 0
    name = load(new)[1].style["name"]
    assert capsys.readouterr().out.rstrip().endswith(f": a, b, {name}")
    photo = photos(40)[0]
    each: list[dict[str, Any]] = [{}, {"strength": 0.8, "stroke": 0.3}]
    for settings in each:
        for style in ("a", "b"):
            before, after = (Stylizer(path, mix=style, **settings).paint(photo) for path in (two, out))
            assert torch.equal(before, after)
        before, after = (Stylizer(path, mix=mix, **settings).paint(photo) for path, mix in ((new, None), (out, name)))
        assert torch.equal(before, after)
        assert float((Stylizer(out, mix=name, **settings).paint(photo) - Stylizer(out, mix="a").paint(photo)).std()) > 0
    metadata = load(out)[1]
    assert metadata.styles == ["a", "b", name]
    assert metadata.network["args"]["controls"] == BOTH
    assert metadata.training["joined"][1]["steps"] == 4
    # and what was trained is not what it started from
    trained, start = (load(path)[0].state_dict()["colour.weight"] for path in (new, two))
    assert not torch.equal(trained, start[:6])


def test_what_does_not_fit_is_refused_and_nothing_is_written(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    moved = adapted(two, tmp_path / "all", adapt="all")
    plain = saved(tmp_path / "plain.safetensors", controlled(controls=[]), ["c"])
    for given, words in (
        ([two, moved], "has other convolutions than"),
        ([two, plain], "holds another network than"),
        ([two, two], "two of the files have a style a"),
        ([two], "path is needed twice"),
        ([two, tmp_path / "none.safetensors"], "no style file"),
    ):
        assert merge([*(f"path={path}" for path in given), f"out={out}"]) == 2
        assert words in capsys.readouterr().err
        assert not out.exists()
    out.write_bytes(b"mine")
    assert merge([f"path={two}", f"path={two}", f"out={out}"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
