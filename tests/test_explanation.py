"""evaluate.py explain=true: single-layer pictures, gradient maps, steps of the controls, and a style's channels."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onestroke.cli.evaluate import main
from onestroke.cli.evaluate_options import Options
from onestroke.cli.options import parse
from onestroke.errors import UserError
from onestroke.evaluation.explanation import explaining
from onestroke.evaluation.explanation.channels import SMALLEST_PATCH, receptive_field, top_channels
from onestroke.evaluation.explanation.control_steps import control_steps
from onestroke.evaluation.explanation.gradient_maps import cosine, gradient_maps
from onestroke.evaluation.explanation.heat import heat_map, top_of
from onestroke.evaluation.explanation.layer_pictures import layer_pictures
from onestroke.evaluation.metrics import content_errors, style_errors
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.networks.residual import ResidualNetwork
from onestroke.perception.style import Style
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG
from onestroke.scenes.compositions import render
from onestroke.style_document import Metadata
from onestroke.style_file import save

LAYERS = ("relu1_2", "relu2_2", "relu3_3")


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return VGG((*LAYERS, "relu4_3"))


@pytest.fixture(scope="module")
def style() -> Style:
    return from_card("udnie", 256, (*LAYERS, "relu4_3"))


def scene(index: int, side: int = 64) -> Tensor:
    return torch.from_numpy(render(3, index, side)).permute(2, 0, 1)[None].float() / 255


def test_gradient_maps_are_the_objective_s_gradient_in_parts(vgg: VGG, style: Style) -> None:
    photo, output = scene(0), scene(0).flip(3) * 0.8 + 0.1
    objective = Objective({"content": Content(), "gram": Gram(LAYERS)}, vgg, style).eval()
    maps = {one.name: one for one in gradient_maps(objective, output, photo)}
    assert list(maps) == ["content", "gram", *(f"gram/{layer}" for layer in LAYERS)]
    asked = output.clone().requires_grad_()
    (expected,) = torch.autograd.grad(torch.stack(list(objective(asked, photo).values())).sum(), asked)
    largest = float(expected.abs().max())
    total, parts = maps["content"].gradient + maps["gram"].gradient, [maps[f"gram/{name}"] for name in LAYERS]
    assert torch.allclose(total, expected[0], rtol=0, atol=1e-4 * largest)
    summed = torch.stack([part.gradient for part in parts]).sum(dim=0)
    assert torch.allclose(summed, maps["gram"].gradient, rtol=0, atol=1e-4 * largest)
    assert sum(part.loss for part in parts) == pytest.approx(maps["gram"].loss, rel=1e-5)


def test_the_loss_changes_as_a_gradient_map_says(vgg: VGG, style: Style) -> None:
    photo, output = scene(0), scene(0).flip(3) * 0.8 + 0.1
    objective = Objective({"content": Content(), "gram": Gram(LAYERS)}, vgg, style).eval()
    for one in gradient_maps(objective, output, photo)[:2]:
        # every pixel moves along its own gradient, by a length of half a level
        step = 0.5 / 255 * one.gradient / one.magnitude.clamp_min(1e-12)
        with torch.no_grad():
            up, down = (float(objective(output + sign * step, photo)[one.name]) for sign in (1, -1))
        assert up - down == pytest.approx(one.per_level, rel=0.03)
        assert one.mean_magnitude * 64 * 64 / 255 == pytest.approx(one.per_level, rel=1e-4)


def test_cosines_tell_whether_terms_agree(vgg: VGG, style: Style) -> None:
    objective = Objective({"content": Content(), "gram": Gram(LAYERS)}, vgg, style).eval()
    content, gram = gradient_maps(objective, scene(0), scene(0))[:2]
    assert cosine(gram, gram) == pytest.approx(1, rel=1e-4)
    assert content.mean_magnitude == 0 and cosine(content, gram) == 0  # the photo itself has no content error


def test_a_picture_for_one_layer_has_far_less_error_there(vgg: VGG, style: Style) -> None:
    photo = scene(1, 96)
    found = layer_pictures(photo, style, vgg, LAYERS[:2], side=48, iterations=12)
    assert [(one.layer, one.start) for one in found] == [
        (layer, start) for layer in LAYERS[:2] for start in ("noise", "photo")
    ]
    for one in found:
        assert one.picture.shape == (1, 3, 48, 48) and 0 <= float(one.picture.min()) <= float(one.picture.max()) <= 1
        assert one.errors == style_errors(one.picture, style, vgg, LAYERS[:2])
        assert one.errors[one.layer] < 0.25 * one.before
    by = {(one.layer, one.start): one.errors for one in found}
    for start in ("noise", "photo"):
        for layer, other in (LAYERS[:2], LAYERS[1::-1]):
            assert by[layer, start][layer] < 0.5 * by[other, start][layer]


def test_pictures_for_a_layer_keep_the_photo_s_aspect_and_so_many_pixels(vgg: VGG, style: Style) -> None:
    (noise, photo) = layer_pictures(scene(1, 96)[..., :48], style, vgg, ["relu1_2"], side=32, iterations=0)
    assert noise.picture.shape == photo.picture.shape == (1, 3, 46, 23)
    assert photo.before == pytest.approx(photo.errors["relu1_2"])
    strip = torch.rand(1, 3, 8, 800, generator=torch.Generator().manual_seed(0))
    found = layer_pictures(strip, style, vgg, ["relu4_3"], side=32, iterations=0)
    assert {one.picture.shape for one in found} == {(1, 3, 16, 1600)}


def test_steps_of_a_control_are_measured_as_they_are_painted(vgg: VGG, style: Style) -> None:
    photo, painted = scene(0), scene(0).flip(2)
    paint = partial(torch.lerp, photo, painted)
    steps = control_steps(photo, lambda at: paint(torch.tensor(at)), [style], vgg, positions=(0.0, 0.25, 1.0))
    assert steps[0].levels is None and steps[0].errors.content == 0
    apart = 255 * float((photo - painted).abs().mean())
    assert steps[1].levels == pytest.approx(0.25 * apart, rel=1e-4)
    assert steps[2].levels == pytest.approx(0.75 * apart, rel=1e-4)
    assert steps[2].errors.content == pytest.approx(content_errors(painted, photo, vgg)["relu3_3"], rel=1e-4)


def test_top_channels_are_those_of_numpy(vgg: VGG, style: Style) -> None:
    photos = [scene(0), scene(2, 80)]
    found = top_channels(style, scene(1), photos[0], photos, vgg, LAYERS[1:], count=3)
    for layer, own in ((LAYERS[1], found[:3]), (LAYERS[2], found[3:])):
        f = [vgg(one, [layer])[layer][0].numpy().astype(np.float64) for one in (*photos, scene(1))]
        energy = [(one**2).mean(axis=(1, 2)) for one in f]
        usual = (energy[0] / energy[0].sum() + energy[1] / energy[1].sum()) / 2
        diagonal = style.gram(layer).numpy().diagonal().astype(np.float64)
        share = diagonal / diagonal.sum()
        assert [one.index for one in own] == np.argsort(usual - share)[:3].tolist()
        for one in own:
            numbers = (share[one.index], usual[one.index], energy[2][one.index] / energy[2].sum())
            assert (one.share, one.share_of_photos, one.share_of_painting) == pytest.approx(numbers, rel=1e-3)
            assert one.ratio == pytest.approx(share[one.index] / usual[one.index], rel=1e-3)


def test_a_patch_holds_all_that_makes_the_largest_response(vgg: VGG, style: Style) -> None:
    photo = scene(0).requires_grad_()
    assert [receptive_field(name) for name in (*LAYERS, "relu4_3")] == [(5, 1), (14, 2), (40, 4), (92, 8)]
    for one in top_channels(style, photo, photo, [photo], vgg, LAYERS, count=2):
        (seen,) = torch.autograd.grad(vgg(photo, [one.layer])[one.layer][0, one.index].max(), photo)
        rows, columns = (seen[0].abs().sum(dim=(0, 2)) > 0).nonzero(), (seen[0].abs().sum(dim=(0, 1)) > 0).nonzero()
        side = max(receptive_field(one.layer)[0], SMALLEST_PATCH)
        assert one.photo.picture.shape == (1, 3, side, side)
        for places, start in ((rows, one.photo.top), (columns, one.photo.left)):
            assert start <= int(places.min()) and int(places.max()) < start + side
        top, left = one.photo.top, one.photo.left
        assert torch.equal(one.photo.picture, photo[..., top : top + side, left : left + side])


def test_heat_shows_the_photo_where_there_is_none_and_yellow_where_it_is_largest() -> None:
    photo, values = torch.full((1, 3, 20, 20), 0.5), torch.zeros(20, 20)
    values[:10] = torch.linspace(0, 5, 20)
    heat = heat_map(values, photo, top_of(values))
    assert torch.allclose(heat[0, :, 15, :], torch.tensor(0.35))
    assert torch.allclose(heat[0, :, 0, -1], torch.tensor([1.0, 0.97, 0.5]))
    assert top_of(values) == 5 and top_of(torch.zeros(20, 20), sigma=1.0) == 0
    assert torch.isfinite(heat_map(torch.zeros(20, 20), photo, 0.0)).all()


def test_the_report_explains_the_first_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "layer_pictures", partial(layer_pictures, side=32, iterations=1))
    (tmp_path / "photos").mkdir()
    for i in range(2):
        Image.fromarray(render(3, i, 64)).save(tmp_path / "photos" / f"p{i}.png")
    args = {"channels": [4, 4, 8], "blocks": 1, "ends": 3, "controls": ["stroke"]}
    network = ResidualNetwork([4, 4, 8], blocks=1, ends=3, controls=["stroke"])
    save(tmp_path / "own.safetensors", network, Metadata({"name": "ResidualNetwork", "args": args}, {"name": "udnie"}))
    chosen = [f"ckpt={tmp_path / 'own.safetensors'}", f"photos={tmp_path / 'photos'}", f"out={tmp_path / 'out'}"]
    assert main([*chosen, "size=64", "count=2", "iterations=0", "stability=false", "explain=true"]) == 0
    (entry,) = json.loads((tmp_path / "out" / "report.json").read_text())["entries"]
    found = entry["explanation"]
    assert (found["photo"], found["photos_compared"], list(found["controls"])) == ("p0", 2, ["stroke"])
    assert found["gradients"]["gram"]["loss"] == pytest.approx(entry["photos"]["p0"]["gram"], rel=1e-4)
    assert [step["position"] for step in found["controls"]["stroke"]] == [0, 0.25, 0.5, 0.75, 1]
    assert list(found["controls"]["stroke"][0]["style"]) == ["256", "384", "512"]
    assert len(found["layers"]) == 8 and len(found["channels"]) == 16
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "What the network sees, for the photo p0" in page
    # 8 pictures for layers; photo, painting and 6 maps; 5 paintings and 4 differences; 16 channels
    assert page[page.index("What the network sees") :].count("<img ") == 8 + 8 + 9 + 16


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["outputs=x", "style=udnie", "photos=y", "explain=true"], "explain needs ckpt="),
        (["against=x", "ckpt=y", "photos=z", "explain=true"], "leave out explain"),
        (["ckpt=x", "explain=perhaps"], "explain must be true or false"),
    ],
)
def test_options_that_explain_nothing_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse(Options, arguments)
