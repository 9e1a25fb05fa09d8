"""evaluate.py against=: ratios at equal content error, and the report of a comparison."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onestroke.cli.evaluate import main
from onestroke.cli.evaluate_options import Options
from onestroke.cli.options import parse
from onestroke.errors import UserError
from onestroke.evaluation.comparison import Errors, Pair, Ratio, lines, mean_curves, ratios, style_at, summarise
from onestroke.evaluation.metrics import content_errors, style_errors
from onestroke.evaluation.paired_errors import PairedErrors
from onestroke.imaging import images
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.style_card import CARD_LAYERS, CARD_SIZES, from_card
from onestroke.perception.vgg import VGG
from onestroke.scenes.compositions import render
from onestroke.style_document import Metadata
from onestroke.style_file import save

CURVE = [(0.0, 1.0), (0.5, 0.6), (1.0, 0.3), (1.2, 0.2)]


@pytest.mark.parametrize(
    ("curve", "content", "expected"),
    [
        (CURVE, 0.0, (1.0, False)),
        (CURVE, 0.25, (0.8, False)),
        (CURVE, 0.5, (0.6, False)),
        (CURVE, 1.1, (0.25, False)),
        (CURVE, 1.5, (0.2, True)),
        # strength 1 that is worse in both errors: 1.1 is crossed twice, at 0.2667 and at 0.3
        ([(0.0, 1.0), (1.2, 0.2), (1.0, 0.4)], 1.1, (0.8 * 0.1 / 1.2 + 0.2, False)),
        ([(0.0, 1.0), (1.2, 0.2), (1.0, 0.4)], 1.5, (0.2, True)),
        # without the control
        ([(1.0, 0.3)], 1.0, (0.3, False)),
        ([(1.0, 0.3)], 0.96, (0.3, False)),
        ([(1.0, 0.3)], 1.2, (0.3, True)),
        ([(1.0, 0.3)], 0.94, None),
    ],
)
def test_the_style_error_is_interpolated(
    curve: list[tuple[float, float]], content: float, expected: tuple[float, bool] | None
) -> None:
    found = style_at(curve, content)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == pytest.approx(expected[0])
        assert found[1] is expected[1]


def pair(photo: str, peer: tuple[float, float], curves: dict[str, list[tuple[float, float]]]) -> Pair:
    """At one style size, 256."""
    made = {key: [Errors(c, {256: s}) for c, s in curve] for key, curve in curves.items()}
    return Pair(photo, "256 px", Errors(peer[0], {256: peer[1]}), made)


def test_a_ratio_above_1_says_that_the_style_file_is_better_and_the_best_stroke_is_chosen() -> None:
    found = ratios(pair("a", (0.6, 0.36), {"0": CURVE, "1": [(0.0, 1.0), (0.5, 0.2)]}), 256)
    assert found["0"].value == pytest.approx(0.36 / 0.54) and found["1"].value == pytest.approx(0.36 / 0.2)
    assert [(found[k].stroke, found[k].nearest, found[k].beyond) for k in "01"] == [("0", 1, False), ("1", 1, True)]
    assert found["best"] == found["1"]
    assert ratios(pair("a", (0.6, 0.36), {"fixed": [(1.0, 0.1)]}), 256) == {}


def test_the_mean_is_geometric_and_the_interval_that_of_resampled_photos() -> None:
    values = [0.5, 0.8, 1.0, 1.3, 2.0, 0.9]
    found = summarise([Ratio(value, "0", 0, value == 2) for value in values])
    assert found.mean == pytest.approx(statistics.geometric_mean(values))
    assert (found.count, found.beyond) == (6, 1)
    draw = random.Random(7)
    means = [statistics.geometric_mean(draw.choices(values, k=6)) for _ in range(20000)]
    low, *_, high = statistics.quantiles(means, n=40)
    assert found.low == pytest.approx(low, rel=0.02)
    assert found.high == pytest.approx(high, rel=0.02)
    assert summarise([Ratio(1.7, "0", 0, False)] * 4).low == pytest.approx(1.7)
    assert math.isnan(summarise([]).mean) and summarise([]).count == 0


def test_lines_are_means_over_the_photos_of_a_size() -> None:
    pairs = [pair("a", (0.5, 0.3), {"0": CURVE}), pair("b", (1.0, 0.6), {"0": CURVE})]
    (line,) = lines(pairs)
    assert line.content == pytest.approx(0.75) and line.style == pytest.approx(0.45)
    assert line.ratios["0"].mean == pytest.approx(math.sqrt(0.3 / 0.6 * 0.6 / 0.3))
    assert line.headline
    both = [Pair("a", "own size", Errors(0.5, {256: 0.4, 512: 0.3}), {"0": [Errors(0.5, {256: 0.1, 512: 0.6})]})]
    assert [(one.style_size, one.headline) for one in lines(both)] == [(256, False), (512, True)]
    assert [one.ratios["best"].mean for one in lines(both)] == pytest.approx([4, 0.5])
    assert [(point.content, point.style[256]) for point in mean_curves(pairs)["0"]] == CURVE


SIZE = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos; `peer/` has two of them upside down and one more; style files with and without controls."""
    place = tmp_path_factory.mktemp("against")
    for name in ("photos", "peer"):
        (place / name).mkdir()
    for i in range(3):
        picture = render(3, i, SIZE)
        Image.fromarray(picture).save(place / "photos" / f"p{i}.png")
        if i:
            Image.fromarray(np.ascontiguousarray(picture[::-1])).save(place / "peer" / f"p{i}_theirs.png")
    Image.fromarray(render(3, 9, SIZE)).save(place / "peer" / "unknown.png")
    torch.manual_seed(0)
    for name, controls in (("wave", ["strength", "stroke"]), ("plain", [])):
        args: dict[str, Any] = {"channels": [4, 4, 8], "blocks": 1, "ends": 3, "controls": controls}
        network = ResidualNetwork(**args)
        for parameter in network.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape)
        save(place / f"{name}.safetensors", network, Metadata({"name": "ResidualNetwork", "args": args}, STYLE))
    return place


STYLE = {"name": "great_wave"}


@pytest.fixture(scope="module")
def compared(folder: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onestroke.cli.evaluate_against.cpu_has_bf16", lambda: False)
        files = [f"ckpt={folder / name}.safetensors" for name in ("wave", "plain")]
        place = [f"against={folder / 'peer'}", f"photos={folder / 'photos'}", f"out={folder / 'out'}", "size=64"]
        assert main([*files, *place]) == 0
    document = json.loads((folder / "out" / "report.json").read_text())
    assert isinstance(document, dict)
    return document


def test_photos_without_a_picture_are_left_out(compared: dict[str, Any]) -> None:
    wave, plain = compared["comparisons"]
    assert (wave["name"], wave["style"], plain["name"]) == ("wave", "great_wave", "plain")
    assert list(wave["photos"]) == ["p1", "p2"]
    assert list(wave["photos"]["p1"]) == ["64 px", "own size"]


def test_the_errors_are_those_of_the_metrics(compared: dict[str, Any], folder: Path) -> None:
    vgg = VGG(CARD_LAYERS)
    photo, peer = (images.read(folder / name) for name in ("photos/p1.png", "peer/p1_theirs.png"))
    for side, size in (("64 px", 64), ("own size", SIZE)):
        found = compared["comparisons"][0]["photos"]["p1"][side]
        small = photo.resized(size, size).rgb
        painted = Stylizer(folder / "wave.safetensors", strength=0.75, stroke=0.5).paint(small)
        for errors, picture in ((found["peer"], peer.resized(size, size).rgb), (found["curves"]["0.5"][3], painted)):
            assert errors["content"] == pytest.approx(content_errors(picture, small, vgg)["relu3_3"], rel=1e-4)
            for style_size in CARD_SIZES:
                expected = style_errors(picture, from_card("great_wave", style_size, CARD_LAYERS), vgg).values()
                assert errors["style"][str(style_size)] == pytest.approx(sum(expected) / len(expected), rel=1e-3)


def lowest(curve: list[dict[str, Any]], content: float, style_size: str) -> float:
    """The lowest style error of a curve at a content error, from a dense sampling; infinite for none."""
    own = np.array([point["content"] for point in curve])
    style = np.array([point["style"][style_size] for point in curve])
    if len(curve) == 1:
        return float(style[0]) if own[0] <= 1.05 * content else math.inf
    places = np.linspace(0, len(curve) - 1, 100001)
    along = np.interp(places, np.arange(len(curve)), own)
    sampled = np.interp(places, np.arange(len(curve)), style)
    crossed = np.flatnonzero(np.diff(along >= content))
    return float(sampled[crossed].min()) if len(crossed) else float(style[own.argmax()])


def test_the_ratios_of_the_report_are_those_of_its_errors(compared: dict[str, Any]) -> None:
    for comparison, strokes in zip(compared["comparisons"], (["0", "0.5", "1"], ["fixed"]), strict=True):
        sizes = comparison["sizes"]["own size"]["style_sizes"]
        for style_size, line in sizes.items():
            values = []
            for photo in comparison["photos"].values():
                peer, curves = photo["own size"]["peer"], photo["own size"]["curves"]
                assert list(curves) == strokes
                values.append(
                    peer["style"][style_size]
                    / min(lowest(curve, peer["content"], style_size) for curve in curves.values())
                )
            values = [value for value in values if value > 0]
            assert line["ratios"]["best"]["count"] == len(values)
            if values:
                assert line["ratios"]["best"]["mean"] == pytest.approx(statistics.geometric_mean(values), rel=1e-3)
        assert sum(line["headline"] for line in sizes.values()) == 1


def test_the_strengths_begin_with_the_photo(compared: dict[str, Any]) -> None:
    for curve in compared["comparisons"][0]["sizes"]["own size"]["curves"].values():
        content = [point["content"] for point in curve]
        assert len(content) == 5 and content[0] == 0 and min(content[1:]) > 0


def test_the_page_and_the_sheets_show_all_pictures(compared: dict[str, Any], folder: Path) -> None:
    text = (folder / "out" / "report.html").read_text(encoding="utf-8")
    # photo, ours and theirs of two photos for two style files
    assert text.count("<img src='data:image/jpeg;base64,") == 12
    assert "http" not in text.replace("<!doctype html>", "")
    for name in ("wave", "plain"):
        with Image.open(folder / "out" / f"sheet_{name}.jpg") as sheet:
            assert sheet.size == (3 * (SIZE + 8), 2 * (SIZE + 8))
            upside_down = np.asarray(Image.open(folder / "peer" / "p2_theirs.png"), dtype=float)
            shown = np.asarray(sheet, dtype=float)[SIZE + 8 : 2 * SIZE + 8, 2 * (SIZE + 8) : 3 * SIZE + 16]
            assert np.abs(shown - upside_down).mean() < 6


def test_painting_the_photo_needs_no_second_pass() -> None:
    vgg, photo = VGG(CARD_LAYERS), torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    errors = PairedErrors(photo, [from_card("udnie", size, CARD_LAYERS) for size in CARD_SIZES], vgg)
    assert errors(photo + 1e-7) is errors.of_photo
    assert errors(photo + 0.01) is not errors.of_photo


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["against=x", "photos=y"], "against needs ckpt="),
        (["against=x", "ckpt=y"], "against needs photos="),
        (["against=x", "ckpt=y", "photos=z", "outputs=a", "style=udnie"], "leave out outputs"),
        (["against=x", "ckpt=y", "photos=z", "strength=0.7"], "leave out strength"),
        (["against=x", "ckpt=y", "photos=z", "iterations=20"], "leave out iterations"),
        (["against=x", "ckpt=y", "photos=z", "keep=true"], "leave out keep"),
    ],
)
def test_options_of_a_comparison(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse(Options, arguments)


def test_what_cannot_be_compared_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("none", "wide", "twice"):
        (tmp_path / name).mkdir()
    picture = Image.open(folder / "peer" / "p1_theirs.png")
    picture.save(tmp_path / "none" / "other.png")
    picture.resize((SIZE, SIZE // 2)).save(tmp_path / "wide" / "p1.png")
    for suffix in ("a", "b"):
        picture.save(tmp_path / "twice" / f"p1_{suffix}.png")
    for against, words in (
        ("none", "has no picture of any photo"),
        ("wide", "a comparison needs the same aspect"),
        ("twice", "has 2 pictures of the photo p1"),
        ("gone", "there is no file or folder"),
    ):
        place = [f"against={tmp_path / against}", f"photos={folder / 'photos'}", f"out={tmp_path / 'out'}"]
        assert main([f"ckpt={folder / 'wave.safetensors'}", *place]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert words in said[-1] and said[-1].startswith("onestroke: ")
