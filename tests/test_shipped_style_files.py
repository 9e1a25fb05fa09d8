"""The style files that ship, on pictures that no training saw."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet
from torch import Tensor

from onestroke import Stylizer
from onestroke.data.datamodule import to_image
from onestroke.data.scenes import Scenes
from onestroke.evaluation.artifacts.edge_bias import edge_bias
from onestroke.evaluation.artifacts.summary import LIMITS
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG
from onestroke.style_file import read_document

FOLDER = Path(__file__).parents[1] / "checkpoints"
GALLERY = FOLDER / "gallery.safetensors"
LIVE = FOLDER / "gallery_realtime.safetensors"
VIDEO = FOLDER / "gallery_video.safetensors"
STYLES = [
    "cafe_terrace", "composition_vii", "great_wave", "night_cafe", "starry_night", "the_scream", "udnie", "wheat_field"
]  # fmt: skip
REALTIME = ["great_wave", "starry_night", "udnie"]
# the others of the gallery's eight are tried with the slow tests: each takes seconds, and they are of one network
QUICK = ["great_wave"]
EACH = [pytest.param(file, name, id=f"{file.stem} {name}") for file in (GALLERY, LIVE) for name in STYLES]
FILES = {name: FOLDER / f"{name}.safetensors" for name in [*STYLES, *(f"{style}_realtime" for style in REALTIME)]}


SIDE = 256
"""Pixels of the scenes on which the controls are tried: what the networks were trained at; 128 hold few strokes."""


def scenes(side: int) -> list[Tensor]:
    return [to_image(torch.from_numpy(photo)[None]) for photo in Scenes(validation=2).held_out(side)]


@pytest.fixture(scope="module")
def photos() -> list[Tensor]:
    return scenes(128)


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return VGG([*Content().layers, *Gram().layers])


def errors(stylizer: Stylizer, judge: Objective, photos: list[Tensor]) -> tuple[float, float]:
    """Content and style error, the means over the photos."""
    with torch.no_grad():
        found = [judge(stylizer.paint(photo), photo) for photo in photos]
    return sum(float(f["content"]) for f in found) / len(found), sum(float(f["gram"]) for f in found) / len(found)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "style"), EACH)
def test_strength_turns_the_photo_into_the_painting_step_by_step(file: Path, style: str, vgg: VGG) -> None:
    photos = scenes(SIDE)
    judge = Objective({"content": Content(), "gram": Gram()}, vgg, from_card(style, 256, Gram().layers)).eval()
    content, gram = 0.0, math.inf
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        stylizer = Stylizer(file, mix=style, strength=strength)
        further, nearer = errors(stylizer, judge, photos)
        if strength == 0:
            assert max(float((stylizer.paint(p) - p).abs().max()) for p in photos) < 1e-7  # a bit or two
        else:
            assert further > content
        assert nearer < gram
        content, gram = further, nearer


@pytest.mark.slow
@pytest.mark.parametrize(("file", "style"), EACH)
def test_half_a_turn_of_the_stroke_control_is_nearer_to_the_painting_seen_twice_as_large(
    file: Path, style: str, vgg: VGG
) -> None:
    photos = scenes(SIDE)
    large = from_card(style, 512, Gram().layers)
    judge = Objective({"content": Content(), "gram": Gram()}, vgg, large).eval()
    fine, coarser = (errors(Stylizer(file, mix=style, stroke=stroke), judge, photos)[1] for stroke in (0.0, 0.5))
    assert coarser < fine


@pytest.mark.parametrize(
    "style", [pytest.param(style, marks=() if style in QUICK else pytest.mark.slow) for style in REALTIME]
)
def test_realtime_is_as_near_to_the_painting_as_1_3_times_the_default_network(
    style: str, photos: list[Tensor], vgg: VGG
) -> None:
    judge = Objective({"content": Content(), "gram": Gram()}, vgg, from_card(style, 256, Gram().layers)).eval()
    default, realtime = (
        errors(Stylizer(FOLDER / f"{style}{suffix}.safetensors"), judge, photos)[1] for suffix in ("", "_realtime")
    )
    assert realtime < 1.3 * default


@pytest.mark.parametrize(
    "style", [pytest.param(style, marks=() if style in QUICK else pytest.mark.slow) for style in STYLES]
)
def test_the_realtime_gallery_is_as_near_to_the_painting_as_1_3_times_the_gallery(
    style: str, photos: list[Tensor], vgg: VGG
) -> None:
    judge = Objective({"content": Content(), "gram": Gram()}, vgg, from_card(style, 256, Gram().layers)).eval()
    default, realtime = (errors(Stylizer(each, mix=style), judge, photos)[1] for each in (GALLERY, LIVE))
    assert realtime < 1.3 * default


def cases() -> list[ParameterSet]:
    """Each style of each file; one of each network is quick, and the others take half a minute together."""
    found = []
    for file, style in [(file, style) for file in (GALLERY, LIVE) for style in STYLES] + [
        (file, None) for file in FILES.values()
    ]:
        first = style == "great_wave" or file.stem == "great_wave_realtime"
        name = f"{file.stem} {style}" if style else file.stem
        found.append(pytest.param(file, style, marks=() if first else pytest.mark.slow, id=name))
    return found


@pytest.mark.parametrize(("file", "style"), cases())
def test_nothing_is_laid_along_the_edges_whatever_the_picture(file: Path, style: str | None) -> None:
    bias = edge_bias(Stylizer(file, mix=style).paint)
    assert max(bias.values()) < LIMITS["edge_bias"]


def test_all_that_ships_is_small_and_says_how_it_was_made() -> None:
    files = [GALLERY, LIVE, VIDEO, *FILES.values()]
    assert GALLERY.stat().st_size < 2e6 and LIVE.stat().st_size < 0.5e6
    assert sum(file.stat().st_size for file in files) < 9e6
    for file in files:
        metadata = read_document(file)
        assert metadata.training["config"]["data"]["_target_"] == "onestroke.data.photos.Photos"
        assert metadata.metrics["measured/content" if file.stem.endswith("_realtime") and file != LIVE else "total"] > 0
        assert not any(str(value).startswith("/") for value in metadata.training["config"].values())
