"""Styles against Gram matrices found by numpy in float64."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict, fields
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save as serialize
from safetensors.torch import save_file
from torch import Tensor

from onestroke import documents
from onestroke.cli.styles import Options, make
from onestroke.documents import KEY
from onestroke.errors import UserError
from onestroke.imaging import images
from onestroke.kernels.gram import gram_matrix
from onestroke.perception.blob_response import own_blob_response
from onestroke.perception.style import Facts, Style
from onestroke.perception.style_card import CARD_LAYERS, CARD_SIZES, card_names, from_card, make_card, read_card
from onestroke.perception.style_from_pictures import from_pictures
from onestroke.perception.vgg import VGG
from tests.processes import Started, as_module
from tests.spoiling import WRONG, places, replaced

FACTS = Facts("Wellen, für Übungen", 'A. "Nonymous"', "2024", "CC0", "made up")
SHIPPED = {
    "cafe_terrace",
    "night_cafe",
    "composition_vii",
    "great_wave",
    "starry_night",
    "the_scream",
    "udnie",
    "wheat_field",
}


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def independent_gram(f: Tensor) -> npt.NDArray[np.float64]:
    x = f.double().numpy()
    return np.stack([np.einsum("chw,dhw->cd", one, one, optimize=True) / one.size for one in x])


def apart(found: Tensor, expected: npt.NDArray[np.float64]) -> float:
    assert found.shape == expected.shape
    return float(np.linalg.norm(found.double().numpy() - expected) / np.linalg.norm(expected))


# --- Gram matrices --------------------------------------------------------------------------------------


def test_gram_matrix_is_numpys() -> None:
    f = features(3, 5, 7, 11)
    assert apart(gram_matrix(f), independent_gram(f)) < 1e-6


def test_gram_matrix_is_symmetric_and_has_no_negative_direction() -> None:
    gram = gram_matrix(features(2, 16, 3, 3))  # of fewer pixels than channels
    assert torch.equal(gram, gram.mT)
    assert float(torch.linalg.eigvalsh(gram.double()).min()) > -1e-7


def test_gram_matrix_does_not_depend_on_the_memory_layout() -> None:
    f = features(2, 24, 9, 13)
    last = f.contiguous(memory_format=torch.channels_last)
    assert last.stride() != f.stride()
    assert apart(gram_matrix(last), gram_matrix(f).double().numpy()) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_gram_matrix_of_half_precision_does_not_overflow(dtype: torch.dtype, autocast: bool) -> None:
    f = (features(1, 8, 32, 32) * 3e3).to(dtype)  # fp16 ends at 65504, and their squares are at 9e6
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        gram = gram_matrix(f)
    assert gram.dtype == torch.float32
    assert apart(gram, independent_gram(f)) < 1e-5


def test_a_style_s_statistics_are_buffers_in_fp32_that_no_checkpoint_holds() -> None:
    style = Style("s", {"relu1_1": torch.eye(3).double()}, {"relu1_1": torch.ones(3).half()}, Facts(), 256)
    assert {name: b.dtype for name, b in style.named_buffers()} == {
        "gram_relu1_1": torch.float32,
        "mean_relu1_1": torch.float32,
    }
    assert style.to("meta").gram("relu1_1").device.type == "meta"
    assert style.state_dict() == {}


# --- pictures -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return VGG(CARD_LAYERS)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (64, 90, 3), dtype=np.uint8)).save(path)
    return path


def independent(path: Path, size: int, vgg: VGG) -> dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Gram matrix and mean of each layer of one picture."""
    picture = images.read(path).rgb
    height, width = picture.shape[-2:]
    scale = size / min(height, width)
    resized = images.resize(picture, round(height * scale), round(width * scale))
    assert min(resized.shape[-2:]) == size
    with torch.no_grad():
        found = vgg(resized)
    return {layer: (independent_gram(f)[0], f.double().numpy().mean((0, 2, 3))) for layer, f in found.items()}


def test_a_style_from_a_picture_is_its_statistics_at_that_size(painting: Path, vgg: VGG) -> None:
    style = from_pictures("waves", [str(painting)], 96, ["image", "relu1_1", "relu3_3"], vgg)
    expected = independent(painting, 96, vgg)
    for layer in ("relu1_1", "relu3_3"):
        assert apart(style.gram(layer), expected[layer][0]) < 1e-5
        assert apart(style.mean(layer), expected[layer][1]) < 1e-5
    assert (style.name, style.size, style.facts) == ("waves", 96, Facts(source="painting.png"))
    assert len(list(style.buffers())) == 4


def test_two_pictures_count_alike_in_any_order(painting: Path, other: Path, vgg: VGG) -> None:
    paths = [str(painting), str(other)]
    both = from_pictures("both", paths, 64, CARD_LAYERS, vgg)
    turned = from_pictures("both", paths[::-1], 64, CARD_LAYERS, vgg)
    one, two = independent(painting, 64, vgg), independent(other, 64, vgg)
    for layer in CARD_LAYERS:
        assert apart(both.gram(layer), (one[layer][0] + two[layer][0]) / 2) < 1e-5
        assert apart(both.mean(layer), (one[layer][1] + two[layer][1]) / 2) < 1e-5
        assert apart(turned.gram(layer), both.gram(layer).double().numpy()) < 1e-6
        assert apart(both.gram(layer), one[layer][0]) > 0.01
    assert both.facts.source == "painting.png, other.png"


@pytest.mark.parametrize(("size", "fits"), [((63, 200), False), ((64, 200), True)])
def test_a_picture_too_small_to_show_strokes_is_named(
    size: tuple[int, int], fits: bool, tmp_path: Path, vgg: VGG
) -> None:
    path = tmp_path / "small.png"
    Image.new("RGB", size, "red").save(path)
    if fits:
        assert from_pictures("s", [str(path)], 64, ["relu1_1"], vgg).gram("relu1_1").shape == (64, 64)
        return
    with pytest.raises(UserError, match=r"small\.png is only 63 x 200; its shorter side must be at least 64"):
        from_pictures("s", [str(path)], 64, ["relu1_1"], vgg)


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, vgg: VGG) -> None:
    with pytest.raises(UserError, match=r"lost\.png"):
        from_pictures("s", [str(tmp_path / "lost.png")], 64, ["relu1_1"], vgg)


# --- cards ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def card(painting: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card made by the command line."""
    out = tmp_path_factory.mktemp("card") / "waves.safetensors"
    facts = [f"{key}={value}" for key, value in asdict(FACTS).items()]
    command = ("styles", "make", f"image={painting}", f"out={out}", *facts)
    done = Started(as_module, "onestroke", *command, cwd=out.parent).done()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {out}\n", "")
    assert list(out.parent.iterdir()) == [out]
    return out


@pytest.mark.parametrize(
    "size", [pytest.param(size, marks=() if size == min(CARD_SIZES) else pytest.mark.slow) for size in CARD_SIZES]
)
def test_a_card_gives_back_what_was_measured(size: int, card: Path, painting: Path, vgg: VGG) -> None:
    style = read_card(card, size, CARD_LAYERS)
    expected = independent(painting, size, vgg)
    for layer in CARD_LAYERS:
        assert apart(style.gram(layer), expected[layer][0]) < 2e-3
        assert apart(style.mean(layer), expected[layer][1]) < 1e-5
        assert torch.equal(style.gram(layer), style.gram(layer).T)
    assert (style.name, style.size) == ("waves", size)


def test_a_card_keeps_its_facts(card: Path) -> None:
    assert read_card(card, 256, ["relu1_1"]).facts == FACTS


def test_a_card_has_the_painting_s_blob_response(card: Path, painting: Path, tmp_path: Path) -> None:
    for size in CARD_SIZES:
        with Image.open(painting) as picture:
            scale = size / min(picture.size)
            sides = tuple(round(scale * side) for side in picture.size)
            small = picture.convert("RGB").resize(sides, Image.Resampling.BICUBIC)
        expected = own_blob_response(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255)
        assert read_card(card, size, []).blob_response == pytest.approx(expected, rel=0.05)
        assert expected > 0.01
    with safe_open(str(card), framework="pt") as file:
        document = json.loads(file.metadata()["onestroke"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    del document["spot"]
    save_file(tensors, tmp_path / "older.safetensors", {"onestroke": json.dumps(document)})
    assert read_card(tmp_path / "older.safetensors", 256, []).blob_response == 0


def test_a_card_is_read_only_as_far_as_asked(card: Path) -> None:
    assert len(list(read_card(card, 384, ["relu2_2"]).buffers())) == 2


def test_a_card_is_small_and_holds_no_picture(card: Path) -> None:
    assert card.stat().st_size < 1.5e6
    with safe_open(str(card), framework="np") as file:
        names = set(file.keys())
        assert names == {f"{s}.{la}.{part}" for s in CARD_SIZES for la in CARD_LAYERS for part in ("gram", "mean")}
        assert all(file.get_tensor(name).ndim == 1 for name in names)
        document = json.loads(file.metadata()["onestroke"])
    assert set(document) == {"version", "name", "vgg", "facts", "scale", "spot", "appearance", "checksum"}


@pytest.mark.parametrize("kind", ["foreign", "truncated", "newer", "missing"])
def test_what_is_no_card_is_one_sentence(kind: str, card: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    if kind == "foreign":
        save_file({"weight": torch.ones(2)}, path)
    elif kind == "truncated":
        path.write_bytes(card.read_bytes()[:-1])
    elif kind == "newer":
        save_file({"weight": torch.ones(2)}, path, metadata={"onestroke": '{"version": 2}'})
    with pytest.raises(UserError, match="version 2" if kind == "newer" else "is not a style card") as raised:
        read_card(path, 256, ["relu1_1"])
    assert "bad.safetensors" in str(raised.value)
    assert "\n" not in str(raised.value)


# a card of one layer at two sizes, small enough to be written some hundred times
LAYER = "relu1_1"


def card_of(told: Any, path: Path, change: float | None = None) -> Path:
    """A card as a foreign program may write it, with any document; `change` replaces a number in its Gram matrix."""
    path.write_bytes(serialize(statistics(change), metadata={KEY: json.dumps(told)}))
    return path


def statistics(change: float | None = None) -> dict[str, Tensor]:
    found = {}
    for size in (256, 384):
        found[f"{size}.{LAYER}.gram"] = torch.linspace(0, 1, 64 * 65 // 2).half()
        found[f"{size}.{LAYER}.mean"] = torch.linspace(0, 3, 64)
    if change is not None:
        found[f"256.{LAYER}.gram"][5] = change
    return found


def told_of_a_card(**changes: Any) -> dict[str, Any]:
    facts = {"title": "Waves", "artist": "A", "year": "1900", "licence": "CC0", "source": "made up"}
    scale = {f"{size}.{LAYER}": 2.0 for size in (256, 384)}
    return {
        "version": 1, "name": "waves", "vgg": "vgg16", "facts": facts, "scale": scale,
        "spot": {"256": 0.1, "384": 0.2}, "checksum": documents.checksum(statistics()), **changes,
    }  # fmt: skip


@pytest.mark.parametrize("value", [*WRONG, "\x1b[2J", 1e300, "x" * 5000], ids=lambda value: repr(value)[:10])
def test_whatever_stands_in_any_place_of_a_card_s_document_it_is_a_style_or_refused(value: Any, tmp_path: Path) -> None:
    path, whole = tmp_path / "card.safetensors", told_of_a_card()
    said: dict[tuple[Any, ...], str] = {}
    for place in [*places(whole), ("facts", "more"), ("spot", "512")]:
        card_of(replaced(whole, place, value), path)
        said[place] = ""
        try:
            style = read_card(path, 256, [LAYER])
            gram, mean = style.gram(LAYER), style.mean(LAYER)
            assert gram.shape == (64, 64) and mean.shape == (64,)
            assert torch.isfinite(gram).all() and torch.isfinite(mean).all() and torch.equal(gram, gram.T)
            assert isinstance(style.blob_response, float) and 0 <= style.blob_response < math.inf
            assert style.name.isprintable() and all(isinstance(fact, str) for fact in asdict(style.facts).values())
        except UserError as error:
            said[place] = str(error)
            assert "\n" not in said[place] and said[place].isprintable() and len(said[place]) < 3000
    assert said[("version",)] and said[("checksum",)]
    assert said[("scale", f"256.{LAYER}")] or value == 5  # which is as good a scale
    assert said[("spot", "256")] or value in (5, 1e300)


@pytest.mark.parametrize("place", list(places(told_of_a_card())), ids=str)
def test_whatever_is_missing_in_a_card_it_is_a_style_or_refused(place: tuple[Any, ...], tmp_path: Path) -> None:
    whole: Any = told_of_a_card()
    node = whole
    for key in place[:-1]:
        node = node[key]
    del node[place[-1]]
    path = card_of(whole, tmp_path / "card.safetensors")
    if place in (("version",), ("name",), ("scale",), ("scale", f"256.{LAYER}")):
        with pytest.raises(UserError, match="is not a style card"):
            read_card(path, 256, [LAYER])
    else:
        assert read_card(path, 256, [LAYER]).gram(LAYER).shape == (64, 64)


def test_damage_to_a_card_s_statistics_is_noticed(tmp_path: Path) -> None:
    path = card_of(told_of_a_card(), tmp_path / "card.safetensors")
    whole = path.read_bytes()
    first = 8 + struct.unpack("<Q", whole[:8])[0]
    read_card(path, 256, [LAYER])
    for place in (first, first + 999, len(whole) - 1):  # the other size's too
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="don't have the checksum that was stored"):
            read_card(path, 256, [LAYER])
    for change in (math.nan, math.inf):  # written as if it were whole
        card_of(told_of_a_card(checksum=documents.checksum(statistics(change))), path, change)
        with pytest.raises(UserError, match="statistics are not finite"):
            read_card(path, 256, [LAYER])


def test_a_card_without_a_checksum_is_as_good(tmp_path: Path) -> None:
    whole = told_of_a_card()
    expected = read_card(card_of(whole, tmp_path / "new.safetensors"), 256, [LAYER])
    del whole["checksum"]
    found = read_card(card_of(whole, tmp_path / "old.safetensors"), 256, [LAYER])
    assert torch.equal(found.gram(LAYER), expected.gram(LAYER))


def test_statistics_of_another_shape_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "card.safetensors"
    whole = told_of_a_card()
    del whole["checksum"]
    for name, odd in (("gram", torch.zeros(64, 64)), ("gram", torch.zeros(64)), ("mean", torch.zeros(64, 1)),
                      ("mean", torch.zeros(0)), ("gram", torch.zeros(64 * 64))):  # fmt: skip
        tensors = {**statistics(), f"256.{LAYER}.{name}": odd}
        save_file(tensors, path, metadata={KEY: json.dumps(whole)})
        with pytest.raises(UserError, match=f"its statistics of {LAYER} have "):
            read_card(path, 256, [LAYER])
    tensors = statistics()
    del tensors[f"256.{LAYER}.mean"]
    save_file(tensors, path, metadata={KEY: json.dumps(whole)})
    with pytest.raises(UserError, match=f"it has no statistics of {LAYER} at 256 px"):
        read_card(path, 256, [LAYER])


def test_a_card_that_could_not_be_read_again_is_not_made(painting: Path, tmp_path: Path) -> None:
    out = tmp_path / "card.safetensors"
    for name, facts in (("x" * 201, Facts()), ("a\x1b", Facts()), ("", Facts()), ("a", Facts(title="x" * 2001))):
        with pytest.raises(UserError, match="a card's name has at most 200 characters"):
            make_card(name, [str(painting)], out, facts)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "usage: onestroke styles make image=FILE"),
        (["image=a.jpg"], "out is needed: out=painting.safetensors"),
        (["out=b"], "image is needed: image=painting.jpg"),
        (["image=a", "out=b", "titel=c"], "there is no option 'titel': did you mean 'title'"),
    ],
)
def test_make_without_what_it_needs_says_what_that_is(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(arguments) == 2
    said = capsys.readouterr()
    assert told in (said.err if arguments else said.out)


def test_the_facts_of_a_painting_are_options() -> None:
    assert {field.name for field in fields(Options)} == {"image", "out", "name", *(f.name for f in fields(Facts))}


def test_make_tells_a_mistake_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "card.safetensors"
    assert make([f"image={tmp_path / 'lost.jpg'}", f"out={out}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("onestroke: ")
    assert error.count("\n") == 1
    assert "lost.jpg" in error
    assert not out.exists()


# --- the cards that ship --------------------------------------------------------------------------------


def test_the_shipped_styles_are_all_there() -> None:
    assert card_names() == sorted(SHIPPED)
    configs = Path(__file__).parents[1] / "configs" / "style"
    assert {path.stem for path in configs.glob("*.yaml")} == SHIPPED


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_card_is_whole_at_every_size(name: str) -> None:
    for size in CARD_SIZES:
        style = from_card(name, size, ["image", *CARD_LAYERS])
        assert (style.name, style.size) == (name, size)
        for layer, channels in zip(CARD_LAYERS, (64, 64, 128, 128, 256, 256, 512), strict=True):
            gram, mean = style.gram(layer), style.mean(layer)
            assert gram.shape == (channels, channels)
            assert mean.shape == (channels,)
            assert torch.isfinite(gram).all()
            assert bool((gram >= 0).all() & (mean >= 0).all())  # behind ReLUs
            square = gram.diagonal()
            silent = square == 0  # a channel may see nothing of itself in a painting
            assert int(silent.sum()) <= 2
            assert bool((mean[silent] < 1e-3).all())
            # E[x^2] >= E[x]^2, but for what fp16 rounds: 1 in 2048, and 6e-8 of the largest
            assert bool((channels * (square * 1.0005 + 6e-8 * gram.max()) >= mean.square()).all())
        facts = style.facts
        assert all((facts.title, facts.artist, facts.year, facts.licence))


def test_no_two_shipped_cards_are_alike() -> None:
    found = {name: from_card(name, 256, ["relu3_3"]) for name in card_names()}
    for one, two in combinations(found.values(), 2):
        assert apart(one.gram("relu3_3"), two.gram("relu3_3").double().numpy()) > 0.1
        assert one.facts.title != two.facts.title
    for name in found:
        small, large = (from_card(name, size, ["relu3_3"]) for size in (256, 512))
        assert apart(small.gram("relu3_3"), large.gram("relu3_3").double().numpy()) > 0.02


@pytest.mark.parametrize(
    ("name", "size", "layers", "arch", "message"),
    [
        (
            "stary_night",
            256,
            ["relu1_1"],
            "vgg16",
            "no style card 'stary_night': did you mean 'starry_night'",
        ),
        ("../vgg16", 256, ["relu1_1"], "vgg16", r"no style card '\.\./vgg16'"),
        ("udnie", 300, ["relu1_1"], "vgg16", r"style\.size=300: .* at 256, 384, 512; .*style\.image="),
        ("udnie", 256, ["relu1_1", "relu4_1"], "vgg16", r"no statistics of relu4_1 .*style\.image="),
        ("udnie", 256, ["relu1_1"], "vgg19", r"measured with vgg16; with vgg19, .*style\.image="),
    ],
)
def test_what_a_card_does_not_hold_is_told_with_a_way_out(
    name: str, size: int, layers: list[str], arch: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        from_card(name, size, layers, arch)
    assert "\n" not in str(raised.value)
