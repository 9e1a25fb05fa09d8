"""A style file's document, from anyone: whatever it says, the file paints, or is refused in one sentence when read."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from onestroke import style_file
from onestroke.cli import checkpoints, infer
from onestroke.errors import UserError
from onestroke.evaluation.report import Entry, table
from onestroke.inference.stylizer import Stylizer
from onestroke.style_document import FORMAT, Metadata
from onestroke.style_file import load, save
from tests.spoiling import WRONG, places, replaced
from tests.test_checkpoints import SMALL, metadata, network, refused, written

# with two styles, a control, and all that a document may hold
FULL = {**SMALL, "styles": 2, "controls": ["strength"]}
PHOTOS = [torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(7)) for size in ((48, 64), (7, 9))]


def full(**changes: Any) -> dict[str, Any]:
    styles = [{"name": name, "title": "Waves", "artist": "A", "year": "1900"} for name in ("waves", "hills")]
    return {
        "version": FORMAT,
        "network": {"name": "ResidualNetwork", "args": FULL},
        "style": {"name": "both", "size": 256, "strength": 0.5, "stroke": 0.0, "styles": styles},
        "training": {"steps": 10, "images": 40, "seconds": 1.5, "dataset": "scenes", "config": {"lr": 0.1}},
        "metrics": {"content": 0.25},
        **changes,
    }


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return network(FULL).half().state_dict()


def tried(path: Path, weights: dict[str, Tensor], told: dict[str, Any]) -> str:
    """Load and paint with a document; what the UserError says, or nothing."""
    written(path, weights, json.dumps(told))
    try:
        metadata = load(path)[1]
        stylizer = Stylizer(path, "cpu", mix=metadata.styles[0] if len(metadata.styles) > 1 else None)
        for photo in PHOTOS:
            painted = stylizer.paint(photo)
            assert painted.shape == photo.shape and torch.isfinite(painted).all()
        assert stylizer.name.isprintable()
        json.loads(style_file.show(path))
    except UserError as error:
        assert "\n" not in str(error) and str(error).isprintable()
        return str(error)
    return ""


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_whatever_stands_in_any_place_of_the_document_it_paints_or_says_why_not(
    value: Any, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    whole = full()
    assert tried(tmp_path / "a.safetensors", weights, whole) == ""
    said = {place: tried(tmp_path / "a.safetensors", weights, replaced(whole, place, value)) for place in places(whole)}
    for part in ("network", "style", "training", "metrics"):  # a group is no number
        assert said[(part,)] or value == {}
    assert all(said[place] for place in said if place[0] == "network" and not isinstance(value, bool | list))


@pytest.mark.parametrize("place", list(places(full())), ids=str)
def test_whatever_is_missing_in_the_document_it_paints_or_says_why_not(
    place: tuple[Any, ...], weights: dict[str, Tensor], tmp_path: Path
) -> None:
    changed = full(style={**full()["style"], "styles": [dict(one) for one in full()["style"]["styles"]]})
    changed["network"] = {**changed["network"], "args": dict(FULL, channels=[4, 6, 8], controls=["strength"])}
    node: Any = changed
    for key in place[:-1]:
        node = node[key]
    del node[place[-1]]
    tried(tmp_path / "a.safetensors", weights, changed)


LONG = "x" * 201
NAMES = ["", " ", LONG, "x" * 2_000_000, "a\x1b[2Jb", "a\nb", "\u202eabc", "\x9b"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *(({"style": {"name": name}}, "style.name, a text of 1 to 200 characters") for name in NAMES),
        *(({"style": {"styles": [{"name": name}, {"name": "b"}]}}, "each with a name of 1 to 200") for name in NAMES),
        ({"style": {"styles": [{"name": "a"}]}}, "the network paints in 2 styles, and the file names 1 different ones"),
        ({"style": {"styles": [{"name": "a"}] * 2}}, "in 2 styles, and the file names 1 different"),
        ({"style": {"styles": [{"name": n} for n in "abc"]}}, "in 2 styles, and the file names 3 different"),
        ({"style": {"styles": []}}, "in 2 styles, and the file names 0"),
        ({"style": {"styles": ["a", "b"]}}, "a list of styles"),
        ({"style": {"styles": [{}, {"name": "b"}]}}, "a list of styles"),
        ({"style": {"styles": {"a": 1}}}, "a list of styles"),
        ({"style": {"title": "x" * 2001}}, "title, a text of at most 2000 characters"),
        ({"style": {"styles": [{"name": "a", "title": "x" * 2001}, {"name": "b"}]}}, "title, a text of at most 2000"),
        ({"style": {"\x1b[2J": "x" * 2001}}, r"\\u001b\[2J, a text of at most 2000"),
        ({"style": {"size": 0}}, "style.size"),
        ({"style": {"size": 10**300}}, "style.size"),
        ({"style": {"strength": 1.01}}, "style.strength"),
        ({"network": {"name": "ResidualNetwork", "args": {**SMALL, "controls": 5}}}, "controls, a list of names"),
        ({"network": {"name": "ResidualNetwork", "args": {**SMALL, "dials": 5}}}, "controls, a list of names"),
        ({"network": {"name": "ResidualNetwork", "args": {**SMALL, "dials": ["x"]}}}, "can't be built: .*x"),
        *(({"network": {"name": "ResidualNetwork", "args": {**SMALL, **args}}}, says) for args, says in (
            ({"styles": 1025}, "styles, a whole number from 1 to 1024"), ({"styles": 0}, "styles, a whole number"),
            ({"blocks": 129}, "blocks of 1 to 128"), ({"blocks": True}, "blocks of 1 to 128"),
            ({"ends": 33}, "odd ends of 1 to 31"), ({"ends": 101}, "odd ends"), ({"ends": 3.0}, "odd ends"),
            ({"channels": [1025, 6, 8]}, "1 to 1024"), ({"channels": [4, 6, 0]}, "1 to 1024"),
            ({"adds_photo": 5}, "adds_photo is true or false"), ({"upsampling": "x\x1b"}, "upsampling is bilinear"),
            ({"low_pass": 65}, "low_pass is a whole number"), ({"low_pass": True}, "low_pass is a whole number"),
            ({"low_pass": 8, "adds_photo": False}, "only with network.adds_photo=true"))),
        *(({"network": {"name": "RealtimeNetwork", "args": args}}, "takes channels=") for args in (
            {"channels": [4, 6, 8]}, {"channels": [4, 1025]}, {"blocks": 129}, {"blocks": 0})),
        ({"training": {"steps": -1}}, "training.steps"),
        ({"training": {"dataset": 5}}, "training.dataset"),
        ({"metrics": {"a": "x"}}, "metrics, a number each"),
        ({"training": {"a": float("inf")}}, "not finite, or far too large"),
        ({"training": {"a": 10**400}}, "not finite, or far too large"),
    ],
)  # fmt: skip
def test_a_document_with_what_no_reader_can_go_by_is_refused_when_it_is_read(
    change: dict[str, Any], says: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    whole = full()
    told = {**whole, **{part: {**whole[part], **value} for part, value in change.items()}}
    message = refused(written(tmp_path / "a.safetensors", weights, json.dumps(told)), says)
    assert message.isprintable() and len(message) < 3000


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (3, 40)])
def test_the_largest_kernel_paints_the_smallest_photo(size: tuple[int, int], tmp_path: Path) -> None:
    path, arguments = tmp_path / "a.safetensors", {**SMALL, "ends": 31}
    save(path, network(arguments), metadata(arguments))
    painted = Stylizer(path, "cpu").paint(torch.full((1, 3, *size), 0.5))
    assert painted.shape == (1, 3, *size) and torch.isfinite(painted).all()


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    small = tmp_path / "small.safetensors"
    save(small, network(SMALL), metadata(SMALL))
    before = small.read_bytes()
    for odd in (
        Metadata({"name": "ResidualNetwork", "args": SMALL}, {"name": "x" * 201}),
        Metadata({"name": "ResidualNetwork", "args": SMALL}, {"name": "a", "title": "x" * 2001}),
        Metadata({"name": "ResidualNetwork", "args": SMALL}, {"name": "a"}, {"config": "x" * 5 * 2**20}),
    ):
        with pytest.raises(UserError, match="was not written, as its document could not be read"):
            save(small, network(SMALL), odd)
        assert small.read_bytes() == before and list(small.parent.iterdir()) == [small]


ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\x9b2J\u202eback"


@pytest.mark.parametrize("place", list(places(full())), ids=str)
def test_no_text_of_a_file_moves_the_terminal(
    place: tuple[Any, ...], weights: dict[str, Tensor], tmp_path: Path, painting: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "a.safetensors"
    for text in (ESCAPES, {ESCAPES: ESCAPES}, [ESCAPES]):
        written(path, weights, json.dumps(replaced(full(), place, text)))
        checkpoints.show([str(path)])
        infer.main([f"ckpt={path}", f"input={painting}", f"output={tmp_path / 'painted.png'}", "overwrite=true",
                    "device=cpu", "style=waves"])  # fmt: skip
        infer.main([f"ckpt={path}", f"input={painting}", "device=cpu"])  # names the styles
        said = "".join(capsys.readouterr())
        assert said
        assert said.replace("\n", "").isprintable()


def test_names_that_are_met_are_cut_to_a_line(weights: dict[str, Tensor], tmp_path: Path) -> None:
    many = {"name": "ResidualNetwork" + "x" * 1_000_000, "args": FULL}
    message = refused(written(tmp_path / "a.safetensors", weights, json.dumps(full(network=many))), "x... .*characters")
    assert len(message) < 1000


def test_a_photo_s_name_moves_no_terminal(
    weights: dict[str, Tensor], painting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "a.safetensors", weights, json.dumps(full()))
    folder = tmp_path / "photos"
    folder.mkdir()
    odd = "a\x1b[2J\u202eb\udcff"  # the last as a name that is no UTF-8 comes
    for name in (f"{odd}.png", f"{odd} film.gif", f"{odd}.mp4"):
        (folder / name).write_bytes(painting.read_bytes())
    with Image.open(painting) as picture:
        picture.save(folder / f"{odd} film.gif", save_all=True, append_images=[picture.rotate(90)])
    (folder / f"broken {odd}.png").write_bytes(painting.read_bytes()[:2000])
    infer.main([f"ckpt={path}", f"input={folder}", f"output={tmp_path}/out/", "device=cpu", "style=waves"])
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3 and "first of several frames" in err and "skipped" in err
    for said in (out, err):
        assert "\\u001b[2J\\u202eb\\udcff" in said
        assert said.replace("\n", "").isprintable()


def test_the_table_of_an_evaluation_escapes_and_cuts_names() -> None:
    entries = [Entry(ESCAPES, "x" * 100_000, {}, []), Entry("[red]a", "[/]", {}, [])]
    file = StringIO()
    Console(file=file, width=5000, force_terminal=False).print(table(entries))
    said = file.getvalue()
    assert "\\u001b[2J" in said and "x... (100000 characters)" in said and "[red]a" in said
    assert said.replace("\n", "").isprintable()
    assert len(said) < 50_000
