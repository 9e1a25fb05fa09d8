"""What paintings record of their settings: values that were used, and no path of a mask, map, certificate or key."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from onestroke.cli import infer
from onestroke.imaging import images
from onestroke.provenance import reading
from onestroke.provenance.origin import recorded
from onestroke.video import steady
from tests.clip_files import make_clip, scene, style_of_two
from tests.marks import certificate, photo

STUDIO = "hidden studio"  # the folder of all files that no painting may name
HIDDEN = (STUDIO.encode(), b"secret", b"cert.pem", b"key.pem")


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with photo.jpg and a style file of two styles; a mask and a map lie in a hidden folder."""
    monkeypatch.chdir(tmp_path)
    style_of_two(tmp_path)
    photo(tmp_path / "photo.jpg", xmp=None, height=48, width=64)
    (tmp_path / STUDIO).mkdir()
    for name in ("mask", "map"):
        Image.linear_gradient("L").resize((64, 48)).save(tmp_path / STUDIO / f"secret_{name}.png")
    return tmp_path


def paint(folder: Path, *arguments: str) -> int:
    """Paint with all options that name a file, by their absolute paths."""
    hidden = folder / STUDIO
    given = [f"mask={hidden / 'secret_mask.png'}", f"style_map={hidden / 'secret_map.png'}"]
    return infer.main(["ckpt=a.safetensors", "style=udnie,wave", *given, *arguments])


def signed(folder: Path) -> list[str]:
    certificate(folder / STUDIO)
    return ["mark=c2pa", f"sign={folder / STUDIO / 'cert.pem'}", f"key={folder / STUDIO / 'key.pem'}"]


def written(target: Path) -> bytes:
    """All bytes of a file, or of the files of a folder; what is compressed in them too, and their names."""
    files = [target] if target.is_file() else [path for path in sorted(target.rglob("*")) if path.is_file()]
    assert files
    told = b""
    for path in files:
        told += path.name.encode() + path.read_bytes()
        if path.suffix.lower() in images.WRITABLE:
            with Image.open(path) as image:
                told += repr(image.info).encode()
    return told


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("p.png", ""), ("p.jpg", ""), ("p.webp", ""), ("p.tif", ""), ("pyramid/", ""),
        ("p.png", "memory=1M"), ("p.tif", "memory=1M"), ("p.png", "signed"), ("p.jpg", "signed"),
    ],
)  # fmt: skip
def test_a_painted_picture_names_no_path(name: str, how: str, inside: Path) -> None:
    more = signed(inside) if how == "signed" else [how] if how else []
    kind = ["format=dzi"] if name == "pyramid/" else []
    assert paint(inside, "input=photo.jpg", f"output={name}", *kind, *more) == 0
    told = written(inside / name)
    assert b"a grey picture" in told and b"style_map yes" in told
    assert not [one for one in HIDDEN if one in told]


@pytest.mark.parametrize(
    ("name", "sign"), [("p.mp4", True), ("p.mov", False), ("p.mkv", False), ("p.gif", True), ("frames/", False)]
)
def test_a_painted_clip_names_no_path(name: str, sign: bool, inside: Path) -> None:
    if name == "p.gif":
        frames, given = [Image.fromarray(scene(i, 48, 64)) for i in range(2)], "a.gif"
        frames[0].save(inside / given, save_all=True, append_images=frames[1:], duration=100, loop=0)
    else:
        given = make_clip(inside / "a.mp4", times=range(2), audio=None).name
    more = signed(inside) if sign else []
    assert paint(inside, f"input={given}", f"output={name}", "feather=2", *more) == 0
    told = written(inside / name)
    assert b"a grey picture" in told and b"style_map yes" in told
    assert b"feather 2" in told and f"steady {steady.DEFAULT:g}".encode() in told
    assert not [one for one in HIDDEN if one in told]


def test_a_style_of_a_later_keyframe_that_is_no_style_is_told_before_painting(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that only names of the file's styles are recorded, and no hour is painted for nothing."""
    make_clip(inside / "a.mp4", times=range(1), audio=None)
    wrong = f"style=0:udnie,60:{inside / STUDIO / 'secret.safetensors'}"
    assert infer.main(["ckpt=a.safetensors", "input=a.mp4", "output=p.mp4", wrong]) == 2
    assert "this style file has no '" in capsys.readouterr().err
    assert not list(inside.glob("p.*"))


def test_each_clip_of_a_run_records_how_the_run_began(inside: Path) -> None:
    make_clip(inside / "a.mp4", times=range(3), audio=None)
    make_clip(inside / "b.mp4", times=range(3), audio=None)
    common = ["ckpt=a.safetensors", "output=out/", "format=mp4", "style=0:udnie,0.05:wave"]
    assert infer.main([*common, "input=a.mp4", "input=b.mp4"]) == 0
    one, other = (reading.read(inside / "out" / f"{name}.udnie.mp4") for name in "ab")
    assert one.facts["Style"] == "0:udnie,0.05:wave"
    assert (one.styles, one.facts) == (other.styles, other.facts)


@pytest.mark.parametrize(
    ("given", "size", "factor", "more"),
    [
        ("auto", (12, 3072), "4", []),
        ("auto", (12, 3072), "4", ["memory=1M"]),
        ("auto", (2, 7680), "8", []),
        ("auto", (48, 64), None, []),
        ("2.5", (48, 64), "2.5", []),
    ],
)
def test_the_factor_of_the_strokes_that_was_used_is_recorded(
    given: str, size: tuple[int, int], factor: str | None, more: list[str], inside: Path
) -> None:
    Image.linear_gradient("L").resize(size[::-1]).convert("RGB").save("wide.png")
    arguments = ["ckpt=a.safetensors", "style=udnie", "input=wide.png", "output=p.png", f"stroke_scale={given}", *more]
    assert infer.main(arguments) == 0
    assert reading.read(inside / "p.png").facts.get("StrokeScale") == factor


def test_settings_are_recorded_in_one_way() -> None:
    assert recorded() == {"style_map": False, "color": "style", "mask": "none", "feather": None}
    assert recorded("photo", "alpha", "/a/b.png", 3, steady=0.0) == {
        "style_map": True, "color": "photo", "mask": "alpha", "feather": 3, "steady": 0.0
    }  # fmt: skip
    assert recorded(mask="/a/b.png")["mask"] == "a grey picture"
