"""Several styles at once, colours of the photo, and parts of it that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onestroke import Stylizer
from onestroke.cli.infer import main
from onestroke.errors import UserError
from onestroke.inference.compositing import feathered, masked, recoloured
from onestroke.inference.controls import StyleControls, open_style, shares, shares_of_map
from onestroke.networks.layers import InstanceNorm
from onestroke.networks.residual import ResidualNetwork
from onestroke.style_document import Metadata
from onestroke.style_file import load, save

NAMES = ["starry_night", "great_wave", "udnie"]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("udnie", {"udnie": 1}),
        ("udnie,starry_night", {"udnie": 0.5, "starry_night": 0.5}),
        ("starry_night:0.6,great_wave:0.4", {"starry_night": 0.6, "great_wave": 0.4}),
        ("starry_night:3, great_wave:1", {"starry_night": 0.75, "great_wave": 0.25}),
        ("great_wave:0,udnie:2", {"great_wave": 0, "udnie": 1}),
    ],
)
def test_weights_are_normalised(chosen: str, expected: dict[str, float]) -> None:
    assert shares(chosen, NAMES) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ("udni", "did you mean 'udnie'"),
        ("udnie:-1,great_wave", "weight of udnie must be a number of at least 0, not '-1'"),
        ("udnie:much", "must be a number"),
        ("udnie:nan", "must be a number"),
        ("udnie:inf", "must be a number"),
        ("udnie:0,great_wave:0", "all weights are 0"),
        ("udnie,udnie", "names udnie twice"),
        ("", "has no ''"),
    ],
)
def test_what_is_no_mix_is_told(chosen: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        shares(chosen, NAMES)


def test_a_file_s_styles_are_those_that_its_network_can_tell_apart() -> None:
    two = {"name": "x", "styles": [{"name": "a"}, {"name": "b"}]}
    assert Metadata({"args": {"styles": 2}}, two).styles == ["a", "b"]
    assert Metadata({"args": {}}, two).styles == ["x"]  # a mix
    assert Metadata({"args": {"styles": 2}}, {"name": "x", "styles": "nonsense"}).styles == ["x"]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style file of three styles that differ."""
    torch.manual_seed(0)
    args: dict[str, Any] = {"channels": [4, 4, 8], "blocks": 1, "ends": 3, "styles": 3}
    network = ResidualNetwork(**args)
    for module in network.modules():
        if isinstance(module, InstanceNorm):
            torch.nn.init.normal_(module.weight, 1, 0.5)
    torch.nn.init.normal_(network.paint.convolution.weight, 0, 0.1)
    path = tmp_path_factory.mktemp("mixing") / "three.safetensors"
    document = {"name": "three", "styles": [{"name": name, "artist": name.upper()} for name in NAMES]}
    save(path, network, Metadata({"name": "ResidualNetwork", "args": args}, document), torch.float32)
    return path


def test_a_mix_of_norms_is_what_is_painted(three: Path) -> None:
    photo = noise(1, 3, 16, 20)
    whole, _ = load(three)
    one, metadata = open_style(three, StyleControls("starry_night:1,udnie:3"))
    assert torch.allclose(one(photo), whole(photo, torch.tensor([[0.25, 0, 0.75]])), rtol=0, atol=1e-6)
    assert metadata.style["name"] == "starry_night+udnie"
    assert [style["artist"] for style in metadata.style["styles"]] == ["STARRY_NIGHT", "UDNIE"]
    # what was narrowed can be a style file of its own
    alone = three.with_name("alone.safetensors")
    save(alone, one, metadata, torch.float32)
    again, _ = open_style(alone)
    assert torch.equal(again(photo), one(photo))
    with pytest.raises(UserError, match="holds 3 styles, so choose: style=starry_night"):
        Stylizer(three)


def test_a_picture_is_painted_in_another_style_in_each_part(three: Path) -> None:
    photo = noise(2, 3, 40, 64)
    stylizer = Stylizer(three, mix="great_wave,udnie")
    assert stylizer.name == "great_wave+udnie"
    for value, name in ((0.0, "great_wave"), (1.0, "udnie")):
        guide = torch.full((1, 1, 40, 64), value)
        assert torch.allclose(
            stylizer.paint(photo, style_map=guide), Stylizer(three, mix=name).paint(photo), rtol=0, atol=1e-5
        )
    even = torch.full((1, 1, 40, 64), 0.5)
    assert torch.allclose(stylizer.paint(photo, style_map=even), stylizer.paint(photo), rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="style_map needs two styles or more"):
        Stylizer(three, mix="udnie").paint(photo, style_map=even)
    with pytest.raises(UserError, match=r"style_map must be \(N, 1, 40, 64\)"):
        stylizer.paint(photo, style_map=even[..., 1:])


@pytest.mark.parametrize("color", ["style", "photo", "match"])
def test_map_colours_and_mask_go_together_for_all_kinds_of_pictures(three: Path, color: str) -> None:
    stylizer = Stylizer(three, mix="great_wave,udnie")
    array = (noise(21, 34, 3).numpy() * 255).astype(np.uint8)
    photo = torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255
    mask = torch.zeros(1, 1, 21, 34)
    mask[..., 17:] = 1
    finish: dict[str, Any] = {"color": color, "mask": mask, "style_map": mask}
    found = stylizer(array, **finish)
    painted = stylizer.paint(photo, **finish)
    assert np.array_equal(found[:, :17], array[:, :17])
    assert not np.array_equal(found[:, 17:], array[:, 17:])
    assert np.array_equal(found, (painted[0].permute(1, 2, 0) * 255 + 0.5).to(torch.uint8).numpy())
    assert np.array_equal(np.asarray(stylizer(Image.fromarray(array), **finish)), found)
    whole = recoloured(stylizer.paint(photo, style_map=mask), photo, color)
    assert torch.allclose(painted[..., 17:], whole[..., 17:], rtol=0, atol=2e-7)


def test_the_command_mixes_maps_recolours_and_masks(three: Path, tmp_path: Path) -> None:
    rgba = np.concatenate([(noise(24, 32, 3).numpy() * 255), np.full((24, 32, 1), 255)], 2).astype(np.uint8)
    rgba[:, :16, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "photo.png")
    ramp = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (24, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    common = [
        f"ckpt={three}",
        f"input={tmp_path / 'photo.png'}",
        "style=great_wave,udnie",
        f"output={tmp_path / 'o.png'}",
    ]
    assert main([*common, f"style_map={tmp_path / 'ramp.png'}", "color=photo", "mask=alpha"]) == 0
    painted = np.asarray(Image.open(tmp_path / "o.png"))
    assert painted.shape == (24, 32, 3)
    assert np.array_equal(painted[:, :16], rgba[:, :16, :3])
    assert np.abs(painted[:, 16:].astype(int) - rgba[:, 16:, :3]).mean() > 2
    assert main([*common, f"mask={tmp_path / 'ramp.png'}", "feather=3", "overwrite=true"]) == 0
    assert np.asarray(Image.open(tmp_path / "o.png")).shape == (24, 32, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "holds 3 styles, so choose"),
        (["style=udni"], "did you mean 'udnie'"),
        (["style=udnie", "mask=gone.png"], "gone.png"),
        (["style=udnie", "style_map=gone.png"], "gone.png"),
        (["style=udnie", "color=red"], "color can't be 'red'"),
        (["style=udnie", "feather=much"], "feather must be a whole number"),
    ],
)
def test_the_command_tells_mistakes(
    three: Path, tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "photo.png")
    assert main([f"ckpt={three}", f"input={tmp_path / 'photo.png'}", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_map_goes_from_the_first_style_to_the_last() -> None:
    guide = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).view(1, 1, 1, 5)
    found = shares_of_map("udnie,starry_night,great_wave", NAMES, guide)
    assert found.shape == (1, 3, 1, 5)
    assert found[0, 2, 0].tolist() == [1, 0.5, 0, 0, 0]  # udnie
    assert found[0, 0, 0].tolist() == [0, 0.5, 1, 0.5, 0]
    assert found[0, 1, 0].tolist() == [0, 0, 0, 0.5, 1]
    with pytest.raises(UserError, match="style_map needs two styles"):
        shares_of_map("udnie", NAMES, guide)


def luminance(image: Tensor) -> Tensor:
    return 0.299 * image[:, 0] + 0.587 * image[:, 1] + 0.114 * image[:, 2]


def test_the_photo_s_colours_and_the_painting_s_light() -> None:
    # near enough to grey that nothing is cut off at 0 or 1
    painting, photo = 0.4 + 0.2 * noise(2, 3, 8, 9), 0.4 + 0.2 * noise(2, 3, 8, 9, seed=1)
    found = recoloured(painting, photo, "photo")
    assert torch.allclose(
        luminance(found), luminance(painting), rtol=0, atol=2e-7
    )  # the last bit of numbers up to 1 is 6e-8
    for a, b in ((0, 1), (1, 2)):  # differences of channels are the photo's
        assert torch.allclose(found[:, a] - found[:, b], photo[:, a] - photo[:, b], rtol=0, atol=2e-7)
    assert torch.equal(recoloured(painting, photo, "style"), painting)
    with pytest.raises(UserError, match="color=photos: did you mean 'photo'"):
        recoloured(painting, photo, "photos")


def test_a_matched_painting_has_the_photo_s_palette() -> None:
    mixing = torch.tensor([[1.0, 0.2, 0.0], [0.5, 0.4, 0.1], [0.0, 0.3, 0.6]])
    painting = 0.4 + 0.1 * noise(2, 3, 40, 30)
    photo = 0.3 + 0.2 * torch.einsum("ij,njhw->nihw", mixing, noise(2, 3, 40, 30, seed=1))
    found = recoloured(painting, photo, "match")
    for a, b in zip(found, photo, strict=True):
        colours, wanted = a.flatten(1).numpy(), b.flatten(1).numpy()
        assert colours.mean(1) == pytest.approx(wanted.mean(1), abs=1e-6)
        assert np.cov(colours) == pytest.approx(np.cov(wanted), abs=1e-5)
    # what was brighter stays brighter
    assert np.corrcoef(luminance(found).flatten(), luminance(painting).flatten())[0, 1] > 0.5
    flat = torch.full((1, 3, 8, 8), 0.5)
    assert torch.isfinite(recoloured(flat, photo[:1, :, :8, :8], "match")).all()


def test_black_keeps_the_photo_white_paints_and_grey_mixes() -> None:
    painting, photo = noise(1, 3, 6, 12), noise(1, 3, 6, 12, seed=1)
    mask = torch.zeros(1, 1, 6, 12)
    mask[..., 4:8], mask[..., 8:] = 0.5, 1
    found = masked(painting, photo, mask)
    assert torch.equal(found[..., :4], photo[..., :4])
    assert torch.allclose(found[..., 8:], painting[..., 8:], rtol=0, atol=2e-7)
    assert torch.allclose(found[..., 4:8], (painting + photo)[..., 4:8] / 2, rtol=0, atol=2e-7)


def test_a_mask_paints_its_share_and_its_feather_softens_that() -> None:
    painting, photo, mask = torch.ones(1, 3, 20, 40), torch.zeros(1, 3, 20, 40), torch.zeros(1, 1, 20, 40)
    mask[..., 20:] = 1
    assert torch.equal(masked(painting, photo, mask), mask.expand(1, 3, -1, -1))
    soft = masked(painting, photo, mask, feather=3.0)[0, 0, 10]
    gaussian = 0.5 + 0.5 * torch.erf((torch.arange(40) - 19.5) / 3.0 / 2**0.5)
    assert torch.allclose(soft, gaussian, atol=0.01)


def test_a_feather_is_a_gaussian_of_its_width() -> None:
    spot = torch.zeros(1, 1, 61, 61)
    spot[..., 30, 30] = 1
    soft = feathered(spot, 4.0)[0, 0]
    assert float(soft.sum()) == pytest.approx(1, abs=1e-6)
    places = torch.arange(61) - 30.0
    variance = float((soft.sum(0) * places**2).sum())
    assert variance**0.5 == pytest.approx(4, rel=0.02)
    even = torch.full((1, 1, 5, 7), 0.3)
    assert torch.allclose(feathered(even, 9.0), even, rtol=0, atol=2e-7)
    assert torch.equal(feathered(spot, 0), spot)
