"""What a folder gives to paint, to train on and to measure with, and that nothing of it is left out in silence."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onestroke.cli import evaluate_options, evaluate_pictures, export
from onestroke.cli.cache import build
from onestroke.data import listing
from onestroke.data.photos import Photos
from onestroke.errors import UserError
from onestroke.imaging import finding, images, kinds
from onestroke.imaging.finding import search
from onestroke.imaging.left_out import LeftOut
from tests.test_infer import Said, files, photo, said, tiny

pytestmark = pytest.mark.usefixtures("alone")

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture(scope="session")
def styles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("styles")
    return {name: tiny(folder / f"{name}.safetensors", name) for name in ("one", "two")}


@pytest.fixture
def infer(styles: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*arguments: str, ckpt: str = "one") -> Said:
        return said(capfd, f"ckpt={styles[ckpt]}", *arguments)

    return run


def encoded(kind: str, **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(file, kind, **options)
    return file.getvalue()


def mixed(root: Path) -> list[str]:
    """A folder of a camera: pictures under all kinds of names, nested, and much else; the pictures' names."""
    jpeg = encoded("JPEG")
    pictures = {
        "1.jpg": jpeg, "2.jfif": jpeg, "3.jpe": jpeg, "4": jpeg, "5.dat": encoded("PNG"), "6.mpo": jpeg,
        "deep/er/7.webp": encoded("WEBP"), "deep/8.TIFF": encoded("TIFF"), "9.bmp": encoded("BMP"),
        "10.ppm": encoded("PPM"), "deep/11.txt": jpeg,
    }  # fmt: skip
    others = {
        "film.mp4": b"\0\0\0\x20ftypisom", "film2.MP4": b"junk", "clip": b"\x1aE\xdf\xa3", "notes.txt": b"BMW is a car",
        "P.txt": b"P3 is the third part", "IMG.NEF": encoded("TIFF"), "layers.psd": b"8BPS", "nothing": b"",
        ".hidden.jpg": jpeg, ".git/a.jpg": jpeg, "Thumbs.db": b"x", "._1.jpg": b"fork",
    }  # fmt: skip
    for name, content in {**pictures, **others}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return list(pictures)


LEFT = (
    "8 left out: 2 .mp4 (a video), 2 .txt (no picture), 1 without a suffix (a video), 1 without a suffix (empty), "
    "1 .nef (a camera's raw file), 1 .psd (a kind of picture that isn't read)"
)


def test_a_folder_gives_its_pictures_by_content_and_says_what_it_left_out(infer: Callable[..., Said]) -> None:
    names = mixed(Path("in"))
    code, out, err = infer("input=in", "output=out")
    assert (code, err) == (0, LEFT + "\n")
    wanted = [str(Path("out", Path(name).with_name(f"{Path(name).stem}.one.png"))) for name in names]
    assert sorted(out) == sorted(wanted) and all(Path(name).is_file() for name in wanted)


def test_avif_and_heic(infer: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    photo("in/a.jpg")
    if kinds.unreadable("AVIF") == "":
        Path("in/b").write_bytes(encoded("AVIF"))
    if kinds.unreadable("HEIF") == "":
        pytest.importorskip("pillow_heif").register_heif_opener()
        Path("in/c.dat").write_bytes(encoded("HEIF"))
    count = len(list(Path("in").iterdir()))
    code, out, err = infer("input=in", "output=out")
    assert (code, len(out), err) == (0, count, "")
    Path("in/d.heic").write_bytes(HEIC)
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    code, _, err = infer("input=in", "output=out2")
    assert code == 0 and "(needs pip install 'onestroke[heic]')" in err and "1 .heic" in err
    code, _, err = infer("input=in/d.heic")
    assert code == 2 and "needs pip install" in err, "the one that is named is tried"


def test_what_has_a_pictures_name_and_is_none_is_told_by_name(infer: Callable[..., Said]) -> None:
    photo("in/a.jpg")
    for name in ("b.jpg", "deep/c.avif", "d.heic"):
        Path("in", name).parent.mkdir(exist_ok=True)
        Path("in", name).write_bytes(b"no picture")
    code, out, err = infer("input=in", "output=out")
    assert code == 2 and out == ["out/a.one.png"]
    assert all(f"in/{name}' cannot be read" in err for name in ("b.jpg", "deep/c.avif", "d.heic"))


def test_patterns_and_several_folders_keep_their_structure(infer: Callable[..., Said]) -> None:
    for name in ("a/x.jpg", "a/sub/x.jpg", "b/sub/x.jpg", "b/sub/y.jpg"):
        photo(name)
    assert infer("input=a", "input=b", "output=out")[1] == [
        "out/sub/x.one.png", "out/x.one.png", "out/sub/x-2.one.png", "out/sub/y.one.png",
    ]  # fmt: skip
    for pattern in ("*/**/*.jpg", "./*/**/*.jpg", "[ab]"):
        out = sorted(infer(f"input={pattern}", "output=all", "overwrite=true")[1])
        assert out == ["all/a/sub/x.one.png", "all/a/x.one.png", "all/b/sub/x.one.png", "all/b/sub/y.one.png"]
    assert infer("input=a/sub/x.jpg", "input=b/sub/y.jpg", "output=flat")[1] == ["flat/x.one.png", "flat/y.one.png"]
    for given in ("a/", "./a", "a/../a", str(Path("a").absolute())):
        assert infer(f"input={given}", "output=ways", "overwrite=true")[1] == ["ways/sub/x.one.png", "ways/x.one.png"]
    assert infer("input=a", "overwrite=true")[1] == ["a/sub/x.one.png", "a/x.one.png"], "beside the photos"


def test_links(infer: Callable[..., Said]) -> None:
    photo("in/a.jpg")
    photo("elsewhere/b.jpg")
    photo("elsewhere/c.jpg")
    Path("in/b.jpg").symlink_to(Path("elsewhere/b.jpg").absolute())
    Path("in/broken").symlink_to("nowhere")
    Path("in/loop").symlink_to("loop")
    Path("in/round").symlink_to(Path("in").absolute())
    Path("in/away").symlink_to(Path("elsewhere").absolute())
    os.mkfifo("in/pipe")
    code, out, err = infer("input=in", "output=out")
    assert (code, out) == (0, ["out/a.one.png", "out/b.one.png"])
    assert "5 left out: 2 without a suffix (a link that leads nowhere), 1 without a suffix (no regular file)" in err
    assert "the folder 'in/away' (a link; name it to have it looked into)" in err and "'in/round'" in err
    assert infer("input=in/away", "output=out2")[1] == ["out2/b.one.png", "out2/c.one.png"]


def test_a_folder_that_cannot_be_listed_is_said(infer: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    photo("in/a.jpg")
    photo("in/locked/b.jpg")
    real = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    code, out, err = infer("input=in", "output=out")
    assert (code, out, err) == (0, ["out/a.one.png"], "1 left out: the folder 'in/locked' (Permission denied)\n")


# --- paintings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tiff", "bmp"])
def test_paintings_are_not_painted_again_in_any_style_under_any_name(infer: Callable[..., Said], form: str) -> None:
    photo("in/a.jpg")
    photo("in/sub/b.png")
    assert len(infer("input=in", f"format={form}")[1]) == 2
    code, out, err = infer("input=in", f"format={form}", ckpt="two")
    *unmarked, last = err.splitlines()
    assert (code, len(out), last) == (0, 2, "2 left out: 2 paintings of OneStroke")
    assert [line[:17] for line in unmarked] == ["BMP holds no XMP,"] * (form == "bmp")
    Path(f"in/a.one.{form}").rename("in/renamed")
    Path(f"in/a.two.{form}").rename("in/holiday.jpg")
    shutil.copy("in/holiday.jpg", "in/sub/c.jpg")
    for ckpt in ("one", "two"):
        code, out, err = infer("input=in", "output=again/", ckpt=ckpt)
        assert (len(out), err) == (2, "5 left out: 5 paintings of OneStroke\n")
    assert infer("input=in/holiday.jpg", "output=third.png")[0] == 0, "the one that is named is painted"
    code, out, err = infer("in/a.jpg", "in/holiday.jpg", "output=fourth/")
    assert (out, err) == (["fourth/a.one.png"], "1 left out: 1 painting of OneStroke\n")


def test_a_folder_of_paintings_alone(infer: Callable[..., Said]) -> None:
    photo("in/a.jpg")
    infer("input=in", "output=out")
    before = files()
    code, out, err = infer("input=out")
    assert (code, out) == (2, []) and "only paintings of this style" in err and files() == before
    assert infer("input=out", "input=in/a.jpg", "output=more")[1] == ["more/a.one.png"]


def test_paintings_inside_the_folder_of_photos(infer: Callable[..., Said]) -> None:
    photo("in/a.jpg")
    for ckpt in ("one", "two"):
        assert len(infer("input=in", "output=in/painted", ckpt=ckpt)[1]) == 1
    assert len(infer("input=in", "output=in/painted", "overwrite=true")[1]) == 1
    assert len(list(Path("in").rglob("*.*"))) == 3


# --- how paintings are written --------------------------------------------------------------------------


def test_format_and_quality(infer: Callable[..., Said]) -> None:
    photo("in/a.png", 60, 80)
    sizes = []
    for form, kind in (("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP"), ("tif", "TIFF"), ("BMP", "BMP")):
        assert infer("input=in", "output=out/", f"format={form}")[1] == [f"out/a.one.{form.lower()}"]
        with Image.open(f"out/a.one.{form.lower()}") as painted:
            assert painted.format == kind and painted.size == (80, 60)
    for quality in (1, 50, 100):
        for target in ("output=q.jpg", "output=q.webp"):
            assert infer("input=in/a.png", target, f"quality={quality}", "overwrite=true")[0] == 0
        sizes.append((Path("q.jpg").stat().st_size, Path("q.webp").stat().st_size))
    assert sizes == sorted(sizes) and sizes[0][1] < sizes[1][1] < sizes[2][1]
    assert infer("input=in/a.png", "format=jpg")[1] == ["in/a.one.jpg"]
    assert infer("input=in/a.png", "output=same.jpeg", "format=jpg")[0] == 0


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["output=x.png", "format=jpg"], "output=x.png and format=jpg name two kinds"),
        (["output=x.png", "quality=90"], "quality=90 is for JPEG and WebP, not for .png"),
        (["quality=90"], "quality=90 is for JPEG and WebP"),
        (["format=tiff", "quality=90", "output=out/"], "quality=90 is for JPEG and WebP"),
        (["format=jpg", "quality=0"], "quality must be a whole number from 1 to 100"),
        (["format=jpg", "quality=101"], "quality must be a whole number from 1 to 100"),
        (["format=gif"], "format=gif is for clips"),
        (["format="], "format has no value"),
    ],
)
def test_what_does_not_go_together(infer: Callable[..., Said], arguments: list[str], words: str) -> None:
    photo("a.png")
    before = files()
    code, out, err = infer("input=a.png", *arguments)
    assert (code, out) == (2, []) and words in err and err.count("\n") == 1 and files() == before


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tif"])
def test_exif_goes_along(infer: Callable[..., Said], form: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0131] = 6, "Acme", "Camera"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825)[1] = "N"
    photo("in/a.jpg")
    Image.new("RGB", (40, 20), "teal").save("in/a.jpg", exif=exif)
    assert infer("input=in", f"format={form}", "max_side=10")[0] == 0
    with Image.open(f"in/a.one.{form}") as painted:
        found = painted.getexif()
        assert painted.size == (5, 10) and found.get(0x0112, 1) == 1
        assert found[0x010F] == "Acme" and found.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
        assert found.get_ifd(0x8825)[1] == "N" and found[0x0131].endswith(": one")


def test_the_first_of_several_frames_is_said(infer: Callable[..., Said]) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "lime", "blue")]
    Path("in").mkdir()
    frames[0].save("in/film.gif", save_all=True, append_images=frames[1:])
    frames[0].save("in/pages.tif", save_all=True, append_images=frames[1:2])
    code, out, err = infer("input=in")
    assert code == 0 and len(out) == 2
    said = "only the first of several frames or pages was painted: in/film.gif (3), in/pages.tif (2)\n"
    assert err == said


# --- links where a painting goes ------------------------------------------------------------------------


def test_a_link_at_an_output_place_is_never_followed(infer: Callable[..., Said]) -> None:
    photo("a.jpg")
    Path("precious").write_text("precious")
    for name, target in (("foreign.png", "precious"), ("dangling.png", "nowhere"), ("a.one.png", "nowhere")):
        Path(name).symlink_to(target)
        output = [] if name == "a.one.png" else [f"output={name}"]
        code, out, err = infer("input=a.jpg", *output)
        assert (code, out) == (2, []) and f"{name} is there already" in err and Path(name).is_symlink()
        assert infer("input=a.jpg", *output, "overwrite=true")[0] == 0
        assert not Path(name).is_symlink() and images.read(name).rgb.shape[-1] == 24
    assert Path("precious").read_text() == "precious" and not Path("nowhere").exists()
    Path("real").mkdir()
    Path("folder").symlink_to("real")
    assert infer("input=a.jpg", "output=folder")[1] == ["folder/a.one.png"]
    assert Path("real/a.one.png").is_file() and Path("folder").is_symlink(), "a folder's link is the user's"


# --- training and measuring -----------------------------------------------------------------------------


def training(root: Path, count: int = 6) -> None:
    for index in range(count):
        photo(str(root / f"{index}.jfif.jpg"), 80, 80, seed=index)
        (root / f"{index}.jfif.jpg").rename(root / f"{index}.jfif")


def test_training_takes_photos_by_content_and_no_paintings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "photos"
    training(root)
    (root / "film.mp4").write_bytes(b"film")
    (root / "notes.txt").write_text("notes")
    for name in ("0.one.png", "sub/renamed.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        images.write(root / name, torch.rand(3, 80, 80), painted_in="one")
    for many in (listing.MANY, 3):
        monkeypatch.setattr(listing, "MANY", many)
        photos = Photos(str(root), validation=1)
        with caplog.at_level(logging.INFO):
            caplog.clear()
            photos.preflight()
        said = f"{root}: 4 left out: 2 paintings of OneStroke, 1 .mp4 (a video), 1 .txt (no picture)"
        if many > 3:
            assert said in caplog.messages and photos.describe() == f"photos: 6 in {root}"
        taken = [photos.sample(n, 0, 32)[1] for n in range(16)]
        names = {line.split(": ")[0] for skipped in taken for line in skipped}
        assert names == (set() if many > 3 else {str(root / "0.one.png"), str(root / "sub/renamed.jpg")})
        held = photos._split()[1]
        assert len(held) == 1 and held[0].endswith(".jfif")


def test_too_few_photos_tell_what_was_left_out(tmp_path: Path) -> None:
    training(tmp_path, 3)
    images.write(tmp_path / "p.png", torch.rand(3, 80, 80), painted_in="one")
    with pytest.raises(UserError, match=r"has 3 photos .*1 left out: 1 painting of OneStroke"):
        Photos(str(tmp_path)).preflight()
    training(tmp_path / "photos")
    images.write(tmp_path / "val.png", torch.rand(3, 80, 80), painted_in="one")
    (tmp_path / "val").mkdir()
    (tmp_path / "val.png").rename(tmp_path / "val" / "v.png")
    with pytest.raises(UserError, match=r"no readable photo.*1 left out: 1 painting of OneStroke"):
        Photos(str(tmp_path / "photos"), val=str(tmp_path / "val")).preflight()


def test_the_builder_of_the_cache_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training(tmp_path / "photos")
    (tmp_path / "photos" / "film.mp4").touch()
    arguments = ["root=~/photos", f"cache={tmp_path / 'cache'}", "crop=32", "workers=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        assert build(arguments) == 0
    assert "1 left out: 1 .mp4 (empty)" in capsys.readouterr().out


def test_evaluation_takes_photos_alone_and_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("p/x.jpg", "p/sub/x.jpg", "p/sub/y.png", "p/sub/y.jpg", "p/z.jpg"):
        photo(name, 64, 64)
    images.write("p/z.one.png", torch.rand(3, 64, 64), painted_in="one")
    Path("p/film.mp4").write_bytes(b"film")
    options = evaluate_options.Options(photos="p", count=9, size=64)
    read = evaluate_pictures.read_photos(options)
    assert list(read) == ["sub/x", "sub/y.jpg", "sub/y.png", "x", "z"]
    assert capsys.readouterr().err == "2 left out: 1 painting of OneStroke, 1 .mp4 (a video)\n"
    for name in ("o/x_a.jpg", "o/sub/x_b.jpg"):
        images.write(Path(photo(name, 64, 64)), torch.rand(3, 64, 64), painted_in="one")
    matched = evaluate_pictures.match("o", ["sub/x", "x"])
    assert matched == {"sub/x": Path("o/sub/x_b.jpg"), "x": Path("o/x_a.jpg")}
    assert len(export.photos("p")) == 5 and "2 left out" in capsys.readouterr().err


# --- the line itself ------------------------------------------------------------------------------------


def test_the_line_is_short_and_holds_no_control_characters() -> None:
    left_out = LeftOut()
    for number in range(40):
        left_out.add(f"a.x{number}", "no picture")
        left_out.folders[f"f{number}\x1b[31m\n"] = "Permission denied"
    left_out.add("a.\x1b[31mred", "no picture")
    line = str(left_out)
    assert line.startswith("81 left out: ") and line.isprintable() and len(line) < 800
    assert "29 of other kinds" in line and "37 more folders" in line
    assert str(LeftOut()) == ""


def test_a_folder_of_thousands_is_listed_with_few_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0") + bytes(100_000)
    Path("in").mkdir()
    for number in range(50):
        Path(f"in/{number}.jpg").write_bytes(content)
    read = 0
    real = open

    class Counted:
        def __init__(self, path: str, mode: str) -> None:
            self.file = real(path, mode)

        def __enter__(self) -> Counted:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def seek(self, place: int) -> int:
            return self.file.seek(place)

        def read(self, count: int) -> bytes:
            nonlocal read
            read += count
            body: bytes = self.file.read(count)
            return body

    monkeypatch.setattr(finding, "open", Counted, raising=False)
    assert len(search(["in"], LeftOut())) == 50
    assert read <= 50 * 200
