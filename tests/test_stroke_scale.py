"""`stroke_scale`: painted at a working size, and enlarged to the photo's size with the photo's own detail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from onestroke import style_file
from onestroke.cli import infer, infer_large
from onestroke.cli.infer_options import Options
from onestroke.data.datamodule import to_image
from onestroke.data.scenes import Scenes
from onestroke.imaging.images import resize
from onestroke.inference import enlarging, working_size
from onestroke.inference.enlarging import Enlargement
from onestroke.inference.stylizer import Stylizer
from onestroke.inference.tiles import TilePainter
from onestroke.inference.workplace import Workplace
from onestroke.losses.content import Content
from onestroke.losses.gram import Gram
from onestroke.losses.objective import Objective
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.perception.style_card import from_card
from onestroke.perception.vgg import VGG
from onestroke.style_document import Metadata
from tests.commands import ROOT
from tests.peaks import needs_peak
from tests.test_large import peak
from tests.test_tiles import lively

SHIPPED = ROOT / "checkpoints"
ARGS: dict[str, Any] = {"channels": [6, 8], "blocks": 1}
SIZE = (211, 333)
TIGHT = "memory=1M"  # less than the process takes, so that everything is painted in tiles


class Rows:
    """A picture (1, 3, H, W) as a source of rows."""

    def __init__(self, image: Tensor) -> None:
        self.pixels = image[0].permute(1, 2, 0).contiguous().numpy()
        self.height, self.width = self.pixels.shape[:2]

    def rows(self, top: int, bottom: int) -> np.ndarray:
        return self.pixels[top:bottom]


def enlarged(painting: Tensor, small: Tensor, photo: Tensor, high: int | None = None) -> Tensor:
    """Enlarged in bands of `high` rows."""
    whole = Enlargement(Rows(painting), Rows(small), Rows(photo))
    height = photo.shape[2]
    high = height if high is None else high
    bands = [whole.rows(top, min(top + high, height)) for top in range(0, height, high)]
    return torch.cat(bands).permute(2, 0, 1)[None]


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with a style file, photos and a mask."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    metadata = Metadata({"name": "RealtimeNetwork", "args": ARGS}, {"name": "udnie", "size": 256})
    style_file.save(tmp_path / "s.safetensors", lively(RealtimeNetwork(**ARGS)), metadata)
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (15, 33, 3), dtype=np.uint8)).resize(SIZE[::-1])
    photo.save("scan.png")
    photo.crop((0, 0, 61, 50)).save("little.png")
    photo.putalpha(Image.fromarray(np.tile(np.linspace(30, 255, SIZE[1]).astype(np.uint8), (SIZE[0], 1))))
    photo.save("cut.png")
    mask = np.zeros(SIZE, np.uint8)
    mask[:, 200:] = 255
    Image.fromarray(mask).save("mask.png")
    return tmp_path


def paint(*arguments: str) -> int:
    return infer.main(["ckpt=s.safetensors", "device=cpu", "overwrite=true", *arguments])


def levels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def painted(*arguments: str) -> np.ndarray:
    assert paint(*arguments, "output=p.png") == 0
    return levels("p.png")


@pytest.mark.parametrize(
    ("scale", "size", "working"),
    [
        ("1", (3000, 4000), (3000, 4000)),
        ("1.0", (301, 77), (301, 77)),
        ("8", (3000, 4000), (375, 500)),
        ("2.5", (101, 99), (40, 40)),
        ("8", (3, 4000), (1, 500)),
        ("auto", (768, 500), (768, 500)),
        ("auto", (4000, 6000), (512, 768)),
        ("AUTO", (20000, 10000), (2500, 1250)),
    ],
)
def test_the_working_size(scale: str, size: tuple[int, int], working: tuple[int, int]) -> None:
    assert working_size.working_size(scale, *size) == working


@pytest.mark.parametrize("value", ["0", "0.99", "8.1", "-2", "nan", "inf", "1e0", "two", "२", "2,5"])
def test_bad_values_are_told_in_a_sentence(value: str, inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paint("input=scan.png", f"stroke_scale={value}") == 2
    assert capsys.readouterr().err == f"onestroke: stroke_scale must be auto or a number from 1 to 8, not '{value}'\n"


def test_by_default_and_for_small_pictures_nothing_changes(inside: Path) -> None:
    plain = painted("input=scan.png")
    for scale in ("1", "1.0", "auto"):
        assert np.array_equal(painted("input=scan.png", f"stroke_scale={scale}"), plain)
    assert not np.array_equal(painted("input=scan.png", "stroke_scale=3"), plain)


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return VGG([*Content().layers, *Gram().layers])


@pytest.mark.slow
@pytest.mark.parametrize("style", ["great_wave", "starry_night"])
def test_a_print_seen_at_preview_size_is_the_preview(style: str, vgg: VGG) -> None:
    photo = to_image(torch.from_numpy(Scenes(validation=1).held_out(768)[0])[None])
    preview = resize(photo, 256, 256)
    stylizer = Stylizer(SHIPPED / f"{style}_realtime.safetensors", "cpu")
    judge = Objective({"content": Content(), "gram": Gram()}, vgg, from_card(style, 256, Gram().layers)).eval()

    def gram(painting: Tensor) -> float:
        with torch.no_grad():
            return float(judge(resize(painting, 256, 256), preview)["gram"])

    wanted = stylizer.paint(preview)
    found = working_size.paint(stylizer, photo, (256, 256))
    assert found.shape == photo.shape
    assert gram(found) == pytest.approx(gram(wanted), rel=0.1)
    assert gram(F.interpolate(wanted, (768, 768), mode="bicubic").clamp(0, 1)) > 1.1 * gram(wanted)


def profile(image: Tensor) -> tuple[float, float]:
    """The column of an upright edge, averaged over rows, and the columns from a tenth to nine tenths of its height."""
    rows = image[0].mean(0)[20:-20].mean(0)
    low, high = float(rows[:20].mean()), float(rows[-20:].mean())
    share = ((rows - low) / (high - low)).numpy()
    columns = np.arange(len(share))
    inside = np.abs(columns - len(share) // 2) < 40
    at = [float(np.interp(level, share[inside], columns[inside])) for level in (0.1, 0.5, 0.9)]
    return at[1], at[2] - at[0]


@pytest.mark.parametrize("scale", [2.5, 4, 8])
@pytest.mark.parametrize("edge", [160, 163, 165])
def test_an_edge_of_the_photo_stays_where_it_is_and_sharp(edge: int, scale: float) -> None:
    photo = torch.full((1, 3, 240, 320), 0.2)
    photo[..., edge:] = 0.8
    small = resize(photo, round(240 / scale), round(320 / scale))
    # as a painting that follows the photo: another contrast in each channel, in one of them a negative one
    slopes = torch.tensor([0.9, -0.6, 0.4]).view(1, 3, 1, 1)
    painting = 0.5 + slopes * (small - 0.5)
    found = enlarged(painting, small, photo)
    (place, width), (_, blurred) = (
        profile(each) for each in (found, F.interpolate(painting, (240, 320), mode="bicubic"))
    )
    assert abs(place - (edge - 0.5)) < 0.5
    assert width < 0.5 * blurred
    low, high = painting.amin((2, 3)), painting.amax((2, 3))
    assert (found.amin((2, 3)) > low - 0.02).all() and (found.amax((2, 3)) < high + 0.02).all()  # no halo


def test_an_edge_of_a_stroke_is_crisper_than_by_interpolation() -> None:
    flat = torch.full((1, 3, 240, 320), 0.5)
    small = torch.full((1, 3, 60, 80), 0.5)
    stroke = torch.full((1, 3, 60, 80), 0.3)
    stroke[..., 40:] = 0.7
    found, blurred = enlarged(stroke, small, flat), F.interpolate(stroke, (240, 320), mode="bicubic")
    assert abs(profile(found)[0] - profile(blurred)[0]) < 0.5
    assert profile(found)[1] < 0.6 * profile(blurred)[1]


def test_grain_of_the_photo_does_not_come_through() -> None:
    torch.manual_seed(0)
    plain = F.interpolate(torch.rand(1, 3, 6, 8), (240, 320), mode="bicubic").clamp(0.1, 0.9)
    strokes = torch.rand(1, 3, 60, 80)
    grainy = plain + 0.02 * torch.randn(1, 1, 240, 320)
    small = resize(plain, 60, 80)
    apart = enlarged(strokes, small, grainy) - enlarged(strokes, small, plain)
    assert 0 < float(apart.std()) < 0.1 * 0.02


@pytest.mark.parametrize(
    "size", [*(pytest.param(size, marks=pytest.mark.slow) for size in ((207, 123), (91, 300))), (110, 62), (55, 31)]
)
def test_bands_are_the_whole_to_the_bit(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    small = torch.rand(1, 3, 55, 31)
    painting, photo = torch.rand(1, 3, 55, 31), torch.rand(1, 3, *size)
    monkeypatch.setattr(enlarging, "_LEAST_CHUNK", 1000)
    whole = enlarged(painting, small, photo)
    assert (resize(whole, 55, 31) - painting).abs().mean() < 0.1
    for chunk, high in ((1000, 1), (1, 7), (7, 64)):
        monkeypatch.setattr(enlarging, "_CHUNK", 1)
        monkeypatch.setattr(enlarging, "_LEAST_CHUNK", chunk)
        assert torch.equal(enlarged(painting, small, photo, high), whole)


def test_nothing_hidden_under_alpha_matters(inside: Path) -> None:
    pixels = levels("cut.png").astype(np.uint8)
    pixels[50:150, 100:200, 3] = 0
    for name, hidden in (("one", 0), ("other", 255)):
        pixels[50:150, 100:200, :3] = hidden
        Image.fromarray(pixels, "RGBA").save(f"{name}.png")
    one, other = (painted(f"input={name}.png", "stroke_scale=3") for name in ("one", "other"))
    assert np.array_equal(one[..., 3], pixels[..., 3])
    seen = pixels[..., 3] > 0
    assert np.array_equal(one[seen], other[seen])


@pytest.mark.parametrize("tight", [[], [TIGHT]])
def test_what_a_mask_keeps_is_the_photo_to_the_bit(tight: list[str], inside: Path) -> None:
    found, photo = painted("input=scan.png", "stroke_scale=3", "mask=mask.png", *tight), levels("scan.png")
    assert np.array_equal(found[:, :200], photo[:, :200])
    assert np.abs(found[:, 200:] - photo[:, 200:]).mean() > 5


@pytest.mark.parametrize("tight", [[], [TIGHT]])
def test_at_strength_0_it_is_the_photo(tight: list[str], inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the working picture at once, as the gallery's network can't paint so small a one in tiles
    monkeypatch.setattr(infer_large, "_fits", lambda *_: True)
    style = f"ckpt={SHIPPED / 'gallery.safetensors'}", "style=great_wave"
    common = [*style, "device=cpu", "overwrite=true", "input=scan.png", "output=p.png", "stroke_scale=2.7", *tight]
    assert infer.main([*common, "strength=0"]) == 0
    assert np.array_equal(levels("p.png"), levels("scan.png"))
    assert infer.main(common) == 0
    assert np.abs(levels("p.png") - levels("scan.png")).mean() > 5


def test_the_photos_colours_are_those_of_full_size(inside: Path) -> None:
    style, photo = painted("input=scan.png", "stroke_scale=4"), levels("scan.png")
    found = painted("input=scan.png", "stroke_scale=4", "color=photo")
    luma = np.array([0.299, 0.587, 0.114])
    inside_range = (found > 0).all(-1) & (found < 255).all(-1)
    chroma = (found - (found @ luma)[..., None]) - (photo - (photo @ luma)[..., None])
    assert np.abs(chroma[inside_range]).max() <= 1
    assert np.abs((found - style) @ luma)[inside_range].max() <= 1.5


def test_a_style_map_is_of_the_working_size(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, ...]] = []

    def mapped(self: Stylizer, image: Tensor, style_map: Tensor | None = None, **_: object) -> Tensor:
        given.append(() if style_map is None else tuple(style_map.shape))
        return image

    monkeypatch.setattr(Stylizer, "paint", mapped)
    monkeypatch.setattr(Stylizer, "check_memory", lambda *_, **__: None)
    assert paint("input=scan.png", "stroke_scale=3", "style_map=mask.png", "output=p.png") == 0
    assert given == [(1, 1, 70, 111)]


IN_TILES = [
    ["input=scan.png"],
    ["input=cut.png"],
    ["input=cut.png", "mask=alpha"],
    ["input=scan.png", "color=match"],
    ["input=scan.png", "max_side=200"],
]


@pytest.mark.parametrize(
    ("arguments", "scale"),
    [
        *((arguments, "3") for arguments in IN_TILES),
        (IN_TILES[0], "1.7"),
        *(pytest.param(arguments, "1.7", marks=pytest.mark.slow) for arguments in IN_TILES[1:]),
    ],
)
def test_in_tiles_it_is_as_at_once(arguments: list[str], scale: str, inside: Path) -> None:
    once = painted(*arguments, f"stroke_scale={scale}")
    tiles = painted(*arguments, f"stroke_scale={scale}", TIGHT)
    assert once.shape == tiles.shape
    apart = np.abs(once - tiles)
    assert apart.max() <= 6 and apart.mean() < 0.5  # the painting is rounded to levels before it is enlarged
    assert once.std() > 10
    assert not list(inside.glob(".*.parts"))


def test_the_size_of_the_tiles_does_not_show(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = painted("input=scan.png", "stroke_scale=2", TIGHT)
    sides: list[int] = []
    real = TilePainter.paint
    monkeypatch.setattr(TilePainter, "paint", lambda self, *more: sides.append(self.side) or real(self, *more))  # type: ignore[func-returns-value]
    monkeypatch.setattr("onestroke.inference.large.tile_side", lambda *_: 128)
    monkeypatch.setattr(enlarging, "_BAND", 1000)
    assert np.array_equal(painted("input=scan.png", "stroke_scale=2", TIGHT), small)
    assert sides == [128]


def test_a_working_picture_that_fits_is_painted_at_once_by_any_backend(inside: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert paint("input=scan.png", "stroke_scale=3", "output=out/", "format=dzi", "backend=onnx") == 0
    assert Path("out/scan.udnie.dzi").exists()
    once = painted("input=scan.png", "stroke_scale=3")
    assert np.abs(painted("input=scan.png", "stroke_scale=3", "backend=onnx") - once).max() <= 6
    assert "stroke_scale 3" in Path("out/scan.udnie.xmp").read_text()


def test_a_run_that_was_killed_goes_on_where_it_was(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enlarging, "_BAND", 50 * SIZE[1])
    whole = painted("input=scan.png", "stroke_scale=3", TIGHT)
    real = Enlargement.rows

    def killed(self: Enlargement, top: int, bottom: int) -> Tensor:
        if top == 100:
            raise KeyboardInterrupt
        return real(self, top, bottom)

    monkeypatch.setattr(Enlargement, "rows", killed)
    with pytest.raises(KeyboardInterrupt):
        infer.run(Options("s.safetensors", ["scan.png"], output="q.png", memory="1M", device="cpu", stroke_scale="3"))
    begun: list[int] = []
    monkeypatch.setattr(Enlargement, "rows", lambda self, *part: begun.append(part[0]) or real(self, *part))  # type: ignore[func-returns-value]
    monkeypatch.setattr(TilePainter, "measure", lambda *_: pytest.fail("measured again"))
    assert paint("input=scan.png", "output=q.png", TIGHT, "resume=true", "stroke_scale=3") == 0
    assert begun == [100, 150, 200]
    assert np.array_equal(levels("q.png"), whole)


def test_a_stop_while_it_is_enlarged_is_told(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(enlarging, "_BAND", 50 * SIZE[1])

    def stopped(share: float) -> None:
        if share > 0.7:
            raise infer_large.Stopped

    monkeypatch.setattr(infer_large, "_checked", lambda *_: stopped)
    assert paint("input=scan.png", "output=q.png", TIGHT, "stroke_scale=3") == 130
    assert "stopped after 100 of 211 rows; add resume=true to go on" in capsys.readouterr().err


def test_another_scale_is_not_gone_on_with(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path(".q.png.parts").mkdir()
    options = Options("s.safetensors", ["scan.png"], stroke_scale="3")
    Workplace(Path("q.png"), infer_large._fingerprint(Path("scan.png"), options), False).keep()
    assert paint("input=scan.png", "output=q.png", TIGHT, "resume=true", "stroke_scale=4") == 2
    assert "was begun with another stroke_scale" in capsys.readouterr().err


def test_clips_refuse_it_in_a_sentence(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Image.open("scan.png") as first, Image.open("scan.png") as second:
        first.save("clip.gif", save_all=True, append_images=[second.rotate(90)])
    assert paint("input=clip.gif", "stroke_scale=auto") == 2
    assert capsys.readouterr().err == "onestroke: stroke_scale=auto is for photos; leave it out for clips\n"


def test_the_mark_says_it(inside: Path) -> None:
    paint("input=scan.png", "stroke_scale=2.5", "output=p.png")
    assert b"stroke_scale 2.5" in Path("p.png").read_bytes()
    paint("input=scan.png", "output=p.png")
    assert b"stroke_scale" not in Path("p.png").read_bytes()


def test_a_picture_of_a_pixel_or_a_line(inside: Path) -> None:
    for size in ((1, 1), (1, 40), (40, 1)):
        Image.new("RGB", size, "teal").save("dot.png")
        assert painted("input=dot.png", "stroke_scale=8").shape == (size[1], size[0], 3)
        assert painted("input=dot.png", "stroke_scale=8", TIGHT).shape == (size[1], size[0], 3)


def test_too_little_memory_to_enlarge_is_told(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(working_size, "free_memory", lambda: working_size.MEMORY * SIZE[0] * SIZE[1] // 4)
    assert paint("input=scan.png", "stroke_scale=3", "output=p.png") == 2
    assert f"{SIZE[1]} x {SIZE[0]} needs about" in (told := capsys.readouterr().err)
    assert f"max_side={SIZE[1] // 2}\n" in told


@pytest.mark.slow
@needs_peak
def test_memory_does_not_grow_with_the_picture(inside: Path) -> None:
    quarter, whole = (peak(width, height, "stroke_scale=8") for width, height in ((5000, 5120), (10000, 10240)))
    assert whole < 2**30
    assert whole < 1.2 * quarter
