"""Styles of several files in one, and one of a file of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from onestroke.cli.checkpoints import extract, merge
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
    metadata.metrics = {"content": 1.0, "total": 3.0, "total_a": 2.0, "total_b": 4.0}
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


@pytest.mark.parametrize("style", ["a", "b"])
def test_an_extracted_style_paints_the_same_to_the_bit(two: Path, tmp_path: Path, style: str) -> None:
    out = tmp_path / "alone.safetensors"
    assert extract([f"path={two}", f"style={style}", f"out={out}"]) == 0
    photo = photos(40)[0]
    each: list[dict[str, Any]] = [{}, {"strength": 0.8, "stroke": 0.3}]
    for settings in each:
        assert torch.equal(Stylizer(two, mix=style, **settings).paint(photo), Stylizer(out, **settings).paint(photo))
    network, metadata = load(out)
    assert metadata.training["extracted"] == style and metadata.metrics == {"total": 2.0 if style == "a" else 4.0}
    assert metadata.styles == [style] and metadata.network["args"]["controls"] == BOTH
    assert out.stat().st_size < two.stat().st_size
    rows, all_rows = (each.state_dict()["colour.weight"] for each in (network, load(two)[0]))
    assert torch.equal(rows, all_rows[:6] if style == "a" else all_rows[6:])


def test_extracted_styles_can_be_merged_again(two: Path, tmp_path: Path) -> None:
    parts = [tmp_path / f"{style}.safetensors" for style in ("a", "b")]
    for part in parts:
        assert extract([f"path={two}", f"style={part.stem}", f"out={part}"]) == 0
    assert merge([*(f"path={part}" for part in parts), f"out={tmp_path / 'again.safetensors'}"]) == 0
    before, after = (load(path)[0].state_dict() for path in (two, tmp_path / "again.safetensors"))
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_a_style_that_is_not_there_is_refused(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.safetensors"
    assert extract([f"path={two}", "style=c", f"out={out}"]) == 2
    assert "has no style c" in capsys.readouterr().err and not out.exists()
    out.write_bytes(b"mine")
    assert extract([f"path={two}", "style=a", f"out={out}"]) == 2
    assert "is there already" in capsys.readouterr().err and out.read_bytes() == b"mine"
