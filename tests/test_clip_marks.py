"""The marks of painted clips, animations and frames, read by exiftool and by C2PA's own reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onestroke.cli import infer
from onestroke.imaging.animation_xmp import insert_xmp
from onestroke.provenance import credentials, reading
from onestroke.provenance.clips import xmp_of
from onestroke.provenance.origin import COMPOSITE
from tests.clip_files import av, frame_times, make_clip, scene, style_of_two
from tests.marks import PHOTO_XMP, certificate, exiftool

SIGNED = ("mark=c2pa", "sign=cert.pem", "key=key.pem")


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with the style file a.safetensors."""
    monkeypatch.chdir(tmp_path)
    style_of_two(tmp_path)
    return tmp_path


def paint(*arguments: str) -> int:
    return infer.main(["ckpt=a.safetensors", "style=udnie", "steady=0", *arguments])


def animation(path: Path, count: int = 4) -> Path:
    frames = [Image.fromarray(scene(i, 48, 64)) for i in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, loop=0)
    return path


def test_the_mark_says_that_a_clip_is_painted(inside: Path) -> None:
    path = make_clip(inside / "a.mp4", times=range(3), audio=None)
    assert paint("input=a.mp4", "output=marked.mp4") == 0
    assert paint("input=a.mp4", "output=bare.mp4", "mark=none") == 0
    assert b"compositeWithTrainedAlgorithmicMedia" in (xmp_of(inside / "marked.mp4") or b"")
    assert xmp_of(inside / "bare.mp4") is None
    for name, count in (("marked.mp4", 1), ("bare.mp4", 0)):
        with av.open(str(inside / name)) as container:
            assert str(container.metadata).count("OneStroke") >= count
            assert ("OneStroke" in str(container.metadata)) == bool(count)
    assert frame_times(inside / "marked.mp4") == frame_times(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.gif"])
def test_a_clip_that_is_painted_again_is_noticed(name: str, inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suffix = Path(name).suffix
    animation(inside / name) if suffix == ".gif" else make_clip(inside / name, times=range(2), audio=None)
    assert paint(f"input={name}", f"output=once{suffix}") == 0
    assert "painted again" not in capsys.readouterr().err
    assert paint(f"input=once{suffix}", f"output=twice{suffix}") == 0
    assert "painted again" in capsys.readouterr().err
    if suffix != ".mkv":
        assert len(reading.read(inside / f"twice{suffix}").history) == 2


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_painted_animations_say_so_and_are_the_same_otherwise(suffix: str, inside: Path) -> None:
    animation(inside / f"a{suffix}")
    assert paint(f"input=a{suffix}", f"output=p{suffix}") == 0
    assert paint(f"input=a{suffix}", f"output=bare{suffix}", "mark=none") == 0
    found = exiftool(inside / f"p{suffix}")
    assert found["XMP-iptcExt:DigitalSourceType"] == COMPOSITE
    assert reading.read(inside / f"p{suffix}").facts["StyleFile"] == "a.safetensors"
    with Image.open(inside / f"p{suffix}") as marked, Image.open(inside / f"bare{suffix}") as bare:
        assert marked.n_frames == bare.n_frames == 4
        for i in range(4):
            marked.seek(i)
            bare.seek(i)
            assert marked.load() is not None and bare.load() is not None
            assert marked.info["duration"] == bare.info["duration"]
            assert np.array_equal(np.asarray(marked.convert("RGBA")), np.asarray(bare.convert("RGBA")))
    assert exiftool(inside / f"bare{suffix}").get("XMP-iptcExt:DigitalSourceType") is None


@pytest.mark.parametrize(("mode", "lossless"), [("RGB", False), ("RGB", True), ("RGBA", True)])
def test_a_webp_of_one_picture_gets_the_header_that_it_lacks(mode: str, lossless: bool, tmp_path: Path) -> None:
    picture = Image.fromarray(scene(0, 33, 47)).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(tmp_path / "a.webp", lossless=lossless)
    with Image.open(tmp_path / "a.webp") as before:
        pixels = np.asarray(before.convert(mode))
    insert_xmp(tmp_path / "a.webp", "WEBP", PHOTO_XMP)
    with Image.open(tmp_path / "a.webp") as after:
        assert after.info["xmp"] == PHOTO_XMP and np.array_equal(np.asarray(after.convert(mode)), pixels)
    assert exiftool(tmp_path / "a.webp")["XMP-my:Own"] == "kept"


def test_frames_in_a_folder_say_what_they_are(inside: Path) -> None:
    make_clip(inside / "a.mp4", times=range(2), audio=None)
    assert paint("input=a.mp4", "output=frames/") == 0
    assert paint("input=a.mp4", "output=bare/", "mark=none") == 0
    assert exiftool(inside / "frames" / "000002.png")["XMP-iptcExt:DigitalSourceType"] == COMPOSITE
    assert "XMP-iptcExt:DigitalSourceType" not in exiftool(inside / "bare" / "000002.png")


@pytest.mark.parametrize(
    ("given", "painted"),
    [("a.mp4", "p.mp4"), ("a.mkv", "p.mov"), ("a.gif", "p.gif"), ("a.webp", "p.webp"), ("a.png", "p.png")],
)
def test_a_signed_clip_verifies_until_it_is_changed(given: str, painted: str, inside: Path) -> None:
    certificate(inside)
    source, target = inside / given, inside / painted
    if source.suffix in (".mp4", ".mkv"):
        make_clip(source, times=range(4))
    else:
        animation(source)
    assert paint(f"input={given}", f"output={painted}", *SIGNED) == 0
    kind = reading.kind(target)
    found = credentials.verify(target, kind)
    assert (found.valid, found.trusted, found.signer) == (True, False, "paintings")
    assert found.manifest is not None and [one["title"] for one in found.manifest["ingredients"]] == [given]
    assert reading.read(target).source_type == COMPOSITE
    if kind == "MP4":
        assert frame_times(target) == frame_times(source)
    else:
        with Image.open(target) as image:
            assert image.n_frames == 4
    assert sorted(path.name for path in inside.iterdir() if "signed" in path.name or ".xmp" in path.name) == []
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    assert not credentials.verify(target, kind).valid


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["input=a.mp4", "output=p.mkv"], "mark=c2pa: .mkv files hold no Content Credentials"),
        (["input=a.mp4", "output=p.webm"], "mark=c2pa: .webm files hold no Content Credentials"),
        (["input=a.mp4", "output=frames/"], "the frames of a clip in a folder get no Content Credentials"),
        (["input=frames", "fps=10", "output=p.mp4"], "a folder of frames is no file"),
    ],
)
def test_what_can_not_be_signed_is_refused_before_it_is_painted(
    arguments: list[str], sentence: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate(inside)
    make_clip(inside / "a.mp4", times=range(2), audio=None)
    if "input=frames" in arguments:
        (inside / "frames").mkdir()
        Image.fromarray(scene(0, 48, 64)).save(inside / "frames" / "1.png")
    assert paint(*arguments, *SIGNED) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not list(inside.glob("p.*"))
