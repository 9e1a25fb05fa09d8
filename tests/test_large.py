"""`infer` with pictures that don't fit in memory: painted in tiles, read and written in bands, resumed after a kill."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from onestroke import style_file
from onestroke.cli import infer, infer_large
from onestroke.cli.infer_options import Options
from onestroke.errors import UserError
from onestroke.imaging import decoding, images, large_reading, large_writing, raw_rows
from onestroke.imaging.raw_rows import RawRows
from onestroke.inference import large
from onestroke.inference.tiles import TilePainter
from onestroke.inference.workplace import Workplace
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.provenance import credentials
from onestroke.style_document import Metadata
from tests.clip_files import style_of_two
from tests.marks import certificate
from tests.peaks import needs_peak, peak_of
from tests.test_tiles import lively

ARGS: dict[str, Any] = {"channels": [6, 8], "blocks": 1}
SIZE = (150, 333)
TIGHT = "memory=1M"  # less than the process takes, so that everything is painted in tiles


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with a style file, and photos as TIFF, PNG and JPEG."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = lively(RealtimeNetwork(**ARGS))
    metadata = Metadata({"name": "RealtimeNetwork", "args": ARGS}, {"name": "udnie", "size": 256})
    style_file.save(tmp_path / "s.safetensors", network, metadata)
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (15, 33, 3), dtype=np.uint8)).resize(SIZE[::-1])
    smooth.save("scan.tif", dpi=(300, 300))
    smooth.save("photo.jpg", quality=90, dpi=(300, 300))
    cover = Image.fromarray(np.tile(np.linspace(30, 255, SIZE[1]).astype(np.uint8), (SIZE[0], 1)))
    smooth.putalpha(cover)
    smooth.save("cut.png")
    cover.save("mask.png")
    return tmp_path


def paint(*arguments: str) -> int:
    return infer.main(["ckpt=s.safetensors", "device=cpu", "overwrite=true", *arguments])


def levels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def both(*arguments: str, suffix: str = ".png") -> tuple[np.ndarray, np.ndarray]:
    """Painted at once, and in tiles."""
    assert paint(*arguments, f"output=once{suffix}") == 0
    assert paint(*arguments, f"output=tiles{suffix}", TIGHT) == 0
    return levels(f"once{suffix}"), levels(f"tiles{suffix}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["input=scan.tif"],
        ["input=photo.jpg", "color=photo"],
        ["input=scan.tif", "color=match"],
        ["input=cut.png"],
        ["input=cut.png", "color=match"],
        ["input=cut.png", "mask=alpha"],
        ["input=scan.tif", "mask=mask.png", "feather=5"],
        ["input=scan.tif", "max_side=200"],
    ],
)
def test_a_picture_in_tiles_is_the_picture_painted_at_once(
    arguments: list[str], inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = []
    real = large.paint
    monkeypatch.setattr(large, "paint", lambda work, *more: painted.append(work) or real(work, *more))  # type: ignore[func-returns-value]
    once, tiles = both(*arguments)
    assert len(painted) == 1  # and not both
    assert once.shape == tiles.shape
    within = 1 if len(arguments) == 1 else 2  # colours and masks start from rounded levels in tiles
    assert np.abs(once - tiles).max() <= within
    assert once.std() > 10
    assert not list(inside.glob(".*.parts"))


def test_the_file_is_a_tiled_tiff_with_the_photos_metadata(inside: Path) -> None:
    assert paint("input=scan.tif", "output=painted.tif", TIGHT) == 0
    with Image.open("painted.tif") as image:
        assert image.size == SIZE[::-1]
        assert image.tag_v2[322] == 512  # the width of a tile
        assert image.info["dpi"] == (300, 300)
        assert image.tag_v2[305].startswith("OneStroke ")
        assert b"compositeWithTrainedAlgorithmicMedia" in image.info["xmp"]


def test_a_photo_of_several_pages_is_told(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [Image.new("RGB", (70, 66), colour) for colour in ("red", "blue")]
    pages[0].save("pages.tif", save_all=True, append_images=pages[1:])
    assert paint("input=pages.tif", "output=p.png", TIGHT) == 0
    assert "only the first of several frames or pages was painted: pages.tif (2)" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["pyvips", "tifffile"])
def test_bands_are_the_picture(package: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_reading, "installed", lambda *names: names == (package,))
    monkeypatch.setattr(raw_rows, "BAND_PIXELS", 64 * SIZE[1])
    bands = list(large_reading.bands(Path("scan.tif")))
    read = torch.cat([band.pixels for band in bands], dim=2)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(read, levels("scan.tif"))


def test_bands_of_a_profile_an_orientation_and_alpha(inside: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open("photo.jpg") as image:
        image.save("turned.jpg", exif=exif, icc_profile=profile, quality=95)
    for name in ("turned.jpg", "cut.png"):
        head = large_reading.header(Path(name))
        bands = list(large_reading.bands(Path(name)))
        wanted = infer.read(Path(name), Path("x"), Options("s", [name])).picture
        assert (head.height, head.width) == wanted.size
        found = torch.cat([band.pixels for band in bands], dim=2)
        assert found.shape == wanted.pixels.shape
        assert int((found.int() - wanted.pixels.int()).abs().max()) <= 2  # decoders of JPEG round differently
        if wanted.cover is not None:
            assert torch.equal(torch.cat([b.cover for b in bands if b.cover is not None], dim=2), wanted.cover)


def test_sixteen_bits_and_tiles_are_read(inside: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    deep = (levels("scan.tif") * 257).astype(np.uint16)
    tifffile.imwrite("deep.tif", deep, tile=(64, 48), photometric="rgb", bigtiff=True)
    for package in ("pyvips", "tifffile"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(large_reading, "installed", lambda *names, own=package: names == (own,))
            found = torch.cat([band.pixels for band in large_reading.bands(Path("deep.tif"))], dim=2)
        assert np.array_equal(found[0].permute(1, 2, 0).numpy(), levels("scan.tif"))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_pyvips_writes_what_pillow_does(suffix: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_writing, "_fits", lambda *size: False)
    monkeypatch.setattr(large_writing, "installed", lambda *names: names == ("pyvips",))
    pixels = RawRows(inside / "raw", *SIZE, 3)
    pixels.write(0, levels("scan.tif").astype(np.uint8))
    exif = struct.pack("<2sHIH", b"II", 42, 8, 1) + struct.pack("<HHI4s", 0x8298, 2, 4, b"me\0\0") + bytes(4)
    large_writing.write_rows(inside / f"out{suffix}", pixels, 0, None, exif, b"<x:xmpmeta/>")
    written = levels(f"out{suffix}")
    assert written.shape == (*SIZE, 3)
    assert np.abs(written - levels("scan.tif")).mean() < (0.01 if suffix in (".png", ".tif") else 3)
    with Image.open(f"out{suffix}") as image:
        assert image.getexif().get(0x8298, "me").startswith("me")
        assert decoding.xmp_of(image) == b"<x:xmpmeta/>"


def test_a_run_that_was_killed_goes_on_at_its_row(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paint("input=scan.tif", "output=whole.tif", TIGHT) == 0
    real = RawRows.write

    def killed(self: RawRows, top: int, rows: np.ndarray) -> None:
        if self.path.name == "painting.raw" and top:
            raise KeyboardInterrupt  # in the second row of tiles, of three
        real(self, top, rows)

    monkeypatch.setattr(RawRows, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        infer.run(Options("s.safetensors", ["scan.tif"], output="later.tif", memory="1M", device="cpu"))
    monkeypatch.setattr(RawRows, "write", real)
    assert not Path("later.tif").exists() and Path(".later.tif.parts").exists()
    begun = []
    painted = TilePainter.paint
    monkeypatch.setattr(TilePainter, "measure", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(TilePainter, "paint", lambda *a: begun.append(a[3]) or painted(*a))  # type: ignore[func-returns-value]
    assert paint("input=scan.tif", "output=later.tif", TIGHT, "resume=true") == 0
    assert begun == [64]
    assert np.array_equal(levels("later.tif"), levels("whole.tif"))


def test_another_run_is_not_gone_on_with(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = Options("s.safetensors", ["scan.tif"])
    Workplace(Path("p.tif"), {**infer_large._fingerprint(Path("scan.tif"), options), "ckpt": "x"}, False).keep()
    assert paint("input=scan.tif", "output=p.tif", TIGHT, "resume=true") == 2
    assert "was begun with another ckpt; give what was given then" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["memory=lots"], "memory is an amount such as 1G or 500M, not 'lots'"),
        (
            ["memory=1M", "mask=small.png"],
            "mask=small.png has 100 x 45 pixels: for a picture in tiles, it has",
        ),
        (["memory=1M", "style_map=small.png"], "style_map needs two styles"),
        (["memory=1M", "output=p.bmp"], "a BMP is written at once"),
        (["memory=1M", "compile=true"], "compile=true is for whole pictures"),
    ],
)
def test_what_tiles_cannot_do_is_said(
    arguments: list[str], sentence: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (100, 45)).save("small.png")
    assert paint("input=scan.tif", *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_a_bomb_is_refused_and_a_large_picture_is_not(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_reading, "MAX_PIXELS", 100)
    assert large_reading.header(Path("scan.tif")).width == SIZE[1]
    Image.new("1", (20000, 20000)).save("bomb.png", compress_level=9)
    with pytest.raises(UserError, match="is too large: 20000 x 20000"):
        large_reading.header(Path("bomb.png"))


@pytest.mark.parametrize("photo", ["scan.tif", "cut.png"])
def test_a_pyramid_of_tiles_is_the_painting(photo: str, inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(f"input={photo}", "output=once.png") == 0
    assert paint(f"input={photo}", "output=out/", "format=dzi") == 0
    stem = photo.partition(".")[0] + ".udnie"
    assert f"out/{stem}.dzi" in capsys.readouterr().out
    description = ElementTree.parse(f"out/{stem}.dzi").getroot()
    kind, side = description.get("Format"), int(description.get("TileSize", 0))
    assert {key: int(value) for key, value in description[0].items()} == {"Width": SIZE[1], "Height": SIZE[0]}
    finest = Path(f"out/{stem}_files/9")  # 2 ** 9 is the first power of two that is no less than its width
    tiles = [levels(finest / f"{column}_0.{kind}") for column in range(-(-SIZE[1] // side))]
    assert np.abs(np.concatenate(tiles, axis=1) - levels("once.png")).mean() < 3
    assert sorted(int(level.name) for level in finest.parent.iterdir()) == list(range(10))
    assert levels(finest.parent / f"0/0_0.{kind}").shape[:2] == (1, 1)
    half = levels(finest.parent / f"8/0_0.{kind}")
    assert half.shape[:2] == (75, 167) and abs(half.mean() - levels("once.png").mean()) < 2
    assert f'"files": "{stem}_files"' in Path(f"out/{stem}.html").read_text()
    assert "compositeWithTrainedAlgorithmicMedia" in Path(f"out/{stem}.xmp").read_text()
    assert paint("input=out/", "output=again/") == 2  # its tiles are paintings, and are not painted again


@pytest.mark.parametrize("name", ["p.tif", "p.png", "p.jpg", "p.webp"])
def test_a_painting_in_tiles_is_signed(name: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate(inside)
    monkeypatch.setattr(infer_large, "needs_tiles", lambda *_: True)
    assert paint("input=scan.tif", f"output={name}", "mark=c2pa", "sign=cert.pem", "key=key.pem") == 0
    found = credentials.verify(inside / name, images.WRITABLE[Path(name).suffix])
    assert (found.valid, found.signer) == (True, "paintings")
    assert paint("input=scan.tif", f"output=plain_{name}") == 0
    assert np.array_equal(levels(name), levels(f"plain_{name}"))
    assert not list(inside.glob("*.signed")) and not list(inside.glob(".*.parts"))


def test_a_painting_that_would_not_fit_in_memory_to_be_signed_is_refused_at_once(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate(inside)
    assert paint("input=scan.tif", "output=p.png", TIGHT, "mark=c2pa", "sign=cert.pem", "key=key.pem") == 2
    assert "mark=c2pa holds a file in memory to sign it" in capsys.readouterr().err
    assert not (inside / "p.png").exists()


def test_strength_0_is_the_photo_in_tiles_too(inside: Path) -> None:
    style_of_two(inside)
    arguments = ["ckpt=a.safetensors", "style=wave", "strength=0", "input=scan.tif", "output=same.png", TIGHT]
    assert infer.main([*arguments, "device=cpu"]) == 0
    assert np.array_equal(levels("same.png"), levels("scan.tif"))


def test_a_style_map_is_painted_in_tiles(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    style_of_two(inside)
    styles = ["ckpt=a.safetensors", "style=wave,udnie", "style_map=mask.png", "device=cpu"]
    assert infer.main([*styles, "input=scan.tif", "output=once.png"]) == 0
    assert infer.main([*styles, "input=scan.tif", "output=tiles.png", TIGHT]) == 0
    assert np.abs(levels("tiles.png") - levels("once.png")).max() <= 1
    assert infer.main([styles[0], "style=wave", "input=scan.tif", "output=plain.png"]) == 0
    assert np.abs(levels("plain.png") - levels("once.png")).max() > 20
    assert infer.main([*styles, "input=scan.tif", "output=site/", "format=dzi"]) == 0
    capsys.readouterr()
    Image.new("L", (100, 45)).save("small.png")
    assert infer.main([*styles[:2], "style_map=small.png", "input=scan.tif", "output=q.png", TIGHT]) == 2
    assert "style_map=small.png has 100 x 45 pixels" in capsys.readouterr().err


def peak(width: int, height: int, *more: str) -> int:
    """Bytes that painting a made-up TIFF takes at most, in a process of its own."""
    tifffile = pytest.importorskip("tifffile")
    rng = np.random.default_rng(0)
    rows = (
        np.tile(rng.integers(0, 256, (512, 1000, 3), dtype=np.uint8), (1, width // 1000, 1))
        for _ in range(height // 512)
    )
    name = f"{width}.tif"
    tifffile.imwrite(name, rows, shape=(height, width, 3), dtype=np.uint8, rowsperstrip=512, photometric="rgb")
    arguments = ["ckpt=s.safetensors", f"input={name}", f"output=painted_{name}", "memory=1G", "device=cpu", *more]
    taken = peak_of(*arguments)
    with tifffile.TiffFile(f"painted_{name}") as file:
        assert file.pages[0].shape[:2] == (height, width)
    return taken


@pytest.mark.slow
@needs_peak
def test_a_hundred_megapixels_take_less_than_a_gibibyte(inside: Path) -> None:
    quarter, whole = peak(5000, 5120), peak(10000, 10240)
    assert whole < 2**30
    assert whole < 1.2 * quarter


@pytest.mark.slow
@needs_peak
def test_four_hundred_megapixels_take_no_more_than_a_hundred(inside: Path) -> None:
    assert peak(20000, 20480) < 1.2 * peak(10000, 10240)
