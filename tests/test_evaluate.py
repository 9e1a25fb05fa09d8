"""evaluate.py: the same numbers for a style file and for pictures of any other tool, and a report that stands alone."""

from __future__ import annotations

import base64
import json
import re
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onestroke.cli.evaluate import finished, main
from onestroke.cli.evaluate_options import Options
from onestroke.cli.evaluate_pictures import read_photos
from onestroke.cli.options import parse
from onestroke.data.datamodule import to_image
from onestroke.errors import UserError
from onestroke.evaluation.artifacts.blobs import blobs
from onestroke.evaluation.measure import Measure, fired, means, style_at
from onestroke.kernels.gram import gram_matrix
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.style_card import CARD_LAYERS, from_card
from onestroke.perception.vgg import VGG
from onestroke.scenes.compositions import render
from onestroke.style_document import Metadata
from onestroke.style_file import load, save

SIZE = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos; `same/` holds them again, `other/` turned upside down; and a style file."""
    place = tmp_path_factory.mktemp("evaluate")
    for name in ("photos", "same", "other"):
        (place / name).mkdir()
    for i in range(2):
        picture = render(3, i, SIZE)
        Image.fromarray(picture).save(place / "photos" / f"p{i}.png")
        Image.fromarray(picture).save(place / "same" / f"p{i}_painted.png")
        Image.fromarray(picture[::-1].copy()).save(place / "other" / f"p{i}.jpg", quality=95)
    torch.manual_seed(0)
    network = ResidualNetwork([4, 4, 8], blocks=1, ends=3)
    args = {"channels": [4, 4, 8], "blocks": 1, "ends": 3}
    save(
        place / "wave.safetensors", network, Metadata({"name": "ResidualNetwork", "args": args}, {"name": "great_wave"})
    )
    return place


def report(out: Path) -> dict[str, Any]:
    document = json.loads((out / "report.json").read_text())
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def evaluated(folder: Path) -> dict[str, Any]:
    """The report of the style file and of both folders."""
    chosen = [f"size={SIZE}", "count=2", "iterations=3", f"cache={folder / 'cache'}", f"out={folder / 'out'}"]
    pictures = [f"outputs={folder / 'same'}", f"outputs={folder / 'other'}", "style=great_wave"]
    assert main([f"ckpt={folder / 'wave.safetensors'}", *pictures, f"photos={folder / 'photos'}", *chosen]) == 0
    return report(folder / "out")


def test_a_photo_given_as_its_own_painting_keeps_all_and_paints_nothing(evaluated: dict[str, Any]) -> None:
    _, same, _ = evaluated["entries"]
    assert same["name"] == "same"
    assert same["metrics"]["content"] == same["metrics"]["content/relu2_2"] == 0
    assert same["metrics"]["ssim"] == pytest.approx(1)
    assert same["metrics"]["self_similarity"] == 0
    assert same["metrics"]["iterations"] == 0
    assert list(same["photos"]) == ["p0", "p1"]


def test_the_errors_are_the_objective_s(evaluated: dict[str, Any], folder: Path) -> None:
    judge = Objective(
        {"content": Content(), "gram": Gram()}, VGG(CARD_LAYERS), from_card("great_wave", 256, CARD_LAYERS)
    ).eval()
    for i in range(2):
        photo, output = (
            to_image(torch.from_numpy(np.array(Image.open(path)))[None])
            for path in (folder / "photos" / f"p{i}.png", folder / "other" / f"p{i}.jpg")
        )
        terms = {name: float(loss) for name, loss in judge(output, photo).items()}
        found = evaluated["entries"][2]["photos"][f"p{i}"]
        assert found["content"] == pytest.approx(terms["content"], rel=1e-4)
        assert found["gram"] == pytest.approx(terms["gram"], rel=1e-4)
        assert found["total"] == pytest.approx(sum(terms.values()), rel=1e-4)
        # a layer that no training looks at, in float64
        features = judge.vgg(output, ["relu3_1"])["relu3_1"].double()
        style = judge.style.gram("relu3_1").double()
        gram = gram_matrix(features)[0].double()
        expected = 2 * (gram - style).square().sum() / (gram.square().sum() + style.square().sum())
        assert found["style_unseen/relu3_1"] == pytest.approx(float(expected), rel=1e-3)


def test_blobs_are_measured_by_those_of_the_painting() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    star = 0.2 + 0.7 * torch.exp(-((y - 30) ** 2 + (x - 34) ** 2) / 60).expand(1, 3, 64, 64)
    vgg, empty = VGG(CARD_LAYERS), torch.full((1, 3, 64, 64), 0.5)
    found = {name: Measure(style_at(name, [], vgg), vgg).all(star, empty) for name in ("starry_night", "great_wave")}
    strongest = float(blobs(star, empty))
    own = from_card("starry_night", 256, CARD_LAYERS).blob_response
    assert own > 1.2 and strongest > 0
    assert found["starry_night"]["artefact/blobs"] == pytest.approx(strongest / own)
    assert found["great_wave"]["artefact/blobs"] == pytest.approx(strongest)


def test_means_are_over_photos_and_leave_out_what_is_no_number(evaluated: dict[str, Any]) -> None:
    for entry in evaluated["entries"]:
        for name in ("total", "ssim", "gram_at_384"):
            values = [photo[name] for photo in entry["photos"].values()]
            assert entry["metrics"][name] == pytest.approx(sum(values) / 2)
    assert means([{"a": 1.0, "b": float("nan")}, {"a": 3.0, "c": 5.0}]) == {"a": 2.0, "c": 5.0}


def test_a_style_file_is_judged_by_its_own_style_and_moved_too(evaluated: dict[str, Any]) -> None:
    own = evaluated["entries"][0]
    assert (own["name"], own["style"]) == ("wave", "great_wave")
    # a network that has learnt nothing gives its photo back, noise, motion and edges too
    assert own["metrics"]["content"] < 0.05
    assert own["metrics"]["artefact/edge_bias"] < 0.05
    assert own["metrics"]["stability/noise_gain"] == pytest.approx(1, abs=0.05)
    assert "stability/noise_gain" not in evaluated["entries"][1]["metrics"]


class Page(HTMLParser):
    """What a page shows and what it asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.sources += [v for k, v in attrs if k == "src" and v]
        self.links += [v for k, v in attrs if k == "href" and v]
        self.anchors |= {v for k, v in given.items() if k == "id" and v}
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_shows_every_picture(evaluated: dict[str, Any], folder: Path) -> None:
    text = (folder / "out" / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert all(source.startswith("data:image/") for source in page.sources)
    assert {link.removeprefix("#") for link in page.links} <= page.anchors
    assert len(page.links) == 3
    assert not re.search(r"https?://|<script|@import|url\(", text)
    # photo, output and reference of two photos, whole and enlarged, in each of three entries
    assert len(page.sources) == 3 * 2 * 3 * 2
    for source in page.sources:
        picture = Image.open(BytesIO(base64.b64decode(source.split(",", 1)[1])))
        picture.load()
        assert picture.size == (SIZE, SIZE)
    photo = Image.open(folder / "photos" / "p0.png")
    enlarged = [s for s in page.sources if s.startswith("data:image/png")]
    assert Image.open(BytesIO(base64.b64decode(enlarged[0].split(",", 1)[1]))).tobytes() == photo.tobytes()


def test_numbers_are_kept_in_the_style_file_and_its_weights_stay(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "wave.safetensors"
    path.write_bytes((folder / "wave.safetensors").read_bytes())
    before, _ = load(path)
    arguments = [f"ckpt={path}", f"photos={folder / 'photos'}", f"size={SIZE}", "count=1", "iterations=0"]
    assert main([*arguments, "stability=false", "keep=true", f"out={tmp_path / 'out'}"]) == 0
    after, metadata = load(path)
    measured = report(tmp_path / "out")["entries"][0]["metrics"]
    assert metadata.metrics == {f"evaluated/{name}": value for name, value in measured.items()}
    assert "iterations" not in measured
    for a, b in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photo=x"], "did you mean 'photos'"),
        (["ckpt="], "ckpt has no value"),
        (["photos=x"], "ckpt or outputs is needed"),
        (["outputs=x", "photos=y"], "outputs needs style="),
        (["outputs=x", "style=udnie"], "outputs needs photos="),
        (["ckpt=a", "count=0"], "count must be a whole number of at least 1"),
        (["ckpt=a", "size=big"], "size must be a whole number"),
        (["ckpt=a", "size=9"], "size must be a whole number from 64 to 4096"),
        (["ckpt=a", "strength=0"], "strength must be a number above 0"),
        (["ckpt=a", "keep=perhaps"], "keep must be true or false"),
        (["ckpt=a", "size=256", "size=256"], "size is given twice"),
    ],
)
def test_mistakes_on_the_command_line_are_told(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse(Options, arguments)


def test_lpips_without_what_it_needs_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UserError, match=r"torchvision is needed for this: pip install 'onestroke\[lpips\]'"):
        parse(Options, ["ckpt=a", "lpips=true"])


def test_what_cannot_be_measured_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = f"photos={folder / 'photos'}"
    (tmp_path / "file").touch()
    (tmp_path / "half").mkdir()
    Image.open(folder / "photos" / "p0.png").save(tmp_path / "half" / "p0.png")
    own = tmp_path / "own.safetensors"
    network, metadata = load(folder / "wave.safetensors")
    metadata.style["name"] = "mine"
    save(own, network, metadata)
    for arguments, words in (
        ([f"ckpt={tmp_path / 'gone.safetensors'}"], "there is no style file"),
        ([f"ckpt={folder / 'wave.safetensors'}", "photos=gone"], "there is no file or folder 'gone'"),
        ([f"outputs={tmp_path / 'half'}", "style=udnie", photos], "has no picture of the photo p1"),
        ([f"outputs={folder / 'same'}", "style=udni", photos], "did you mean 'udnie'"),
        ([f"ckpt={own}", photos], "no style that ships: add style=picture"),
        ([f"ckpt={folder / 'wave.safetensors'}", photos, f"out={tmp_path / 'file'}"], "is a file: name a folder"),
    ):
        assert main([*arguments, f"size={SIZE}", "iterations=0"]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert words in said[-1]
        assert said[-1].startswith("onestroke: ")


@pytest.mark.slow
def test_artefacts_of_finished_pictures_are_looked_for_at_their_own_size(tmp_path: Path) -> None:
    for name in ("photos", "gridded", "banded", "sound"):
        (tmp_path / name).mkdir()
    for i in range(4):
        photo = np.asarray(Image.fromarray(render(3, i, SIZE)).resize((160, 160), Image.Resampling.BICUBIC))
        grid = np.where(np.add.outer(np.arange(160), np.arange(160)) % 2, 6, -6)[..., None]
        strip = np.where(np.arange(160) < 16, 40, 0)[:, None, None]
        for name, picture in (
            ("photos", photo),
            ("sound", photo),
            ("gridded", photo + grid),
            ("banded", photo + strip),
        ):
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(tmp_path / name / f"p{i}.png")
    options = parse(Options, ["outputs=x", "style=udnie", f"photos={tmp_path / 'photos'}", "size=64"])
    photos, measure = read_photos(options), Measure(style_at("udnie", [], VGG(CARD_LAYERS)), VGG(CARD_LAYERS))
    found = {}
    for name in ("gridded", "banded", "sound"):
        job = finished(str(tmp_path / name), options, photos, measure)
        assert {picture.shape for picture in job.outputs.values()} == {(1, 3, 64, 64)}
        found[name] = means([*job.faults.values(), job.own])
    assert found["gridded"]["artefact/checkerboard"] > 20 and "checkerboard" in fired(found["gridded"])
    assert "shared_edge_bias" in fired(found["banded"]) and "checkerboard" not in fired(found["banded"])
    assert found["sound"]["artefact/shared_edge_bias"] == found["sound"]["artefact/checkerboard"] == 0
    # photos that stand for paintings have the photos' colours and contrast
    assert set(fired(found["sound"])) <= {"colour_leak", "contrast_loss"}
