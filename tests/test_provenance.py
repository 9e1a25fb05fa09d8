"""Marks in XMP: what a painting says of itself, read by exiftool, by Pillow and by `onestroke provenance show`."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onestroke import Stylizer, style_file
from onestroke.cli import infer, optimize, provenance
from onestroke.errors import UserError
from onestroke.imaging import images, xmp
from onestroke.networks.residual import ResidualNetwork
from onestroke.provenance import clips, packet, reading
from onestroke.provenance.marking import xmp_packet
from onestroke.provenance.origin import COMPOSITE, Origin, StyleFacts, origin_of
from onestroke.style_document import Metadata
from tests.marks import CAPTURE, PHOTO_XMP, exiftool, photo

WITH_XMP = ("png", "jpg", "webp", "tif")
ORIGIN = Origin("one.safetensors", "ab" * 32, (StyleFacts("one", 1.0, "One", "Zoë", "CC0"),), {"strength": "0.5"})


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with a photo, and a style file of two styles with controls."""
    monkeypatch.chdir(tmp_path)
    arguments: dict[str, Any] = {"channels": [4, 4, 4], "blocks": 1, "ends": 3, "styles": 2}
    torch.manual_seed(0)
    network = ResidualNetwork(**arguments, controls=["strength", "stroke"])
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    facts = [
        {"name": "night", "title": "The Night", "artist": "Zoë <& Co>", "licence": "CC0"},
        {"name": "wave", "title": "The Wave", "artist": "K. H.", "licence": "public domain"},
    ]
    metadata = Metadata(
        {"name": "ResidualNetwork", "args": {**arguments, "controls": ["strength", "stroke"]}},
        {"name": "two", "size": 256, "strength": 0.5, "styles": facts},
    )
    style_file.save(tmp_path / "two.safetensors", network, metadata)
    photo(tmp_path / "photo.jpg")
    return tmp_path


def paint(*arguments: str, style: str = "night:0.75,wave:0.25") -> None:
    assert infer.main(["ckpt=two.safetensors", f"style={style}", "overwrite=true", *arguments]) == 0


@pytest.mark.parametrize("suffix", WITH_XMP)
def test_exiftool_reads_where_a_painting_comes_from(inside: Path, suffix: str) -> None:
    paint("input=photo.jpg", f"output=p.{suffix}", "strength=0.7", "stroke=0.2", "color=photo")
    found = exiftool(inside / f"p.{suffix}")
    assert found["XMP-iptcExt:DigitalSourceType"] == COMPOSITE
    assert found["XMP-onestroke:StyleFile"] == "two.safetensors"
    assert found["XMP-onestroke:StyleFileSHA256"] == hashlib.sha256(Path("two.safetensors").read_bytes()).hexdigest()
    styles = {one["Name"]: one for one in found["XMP-onestroke:Styles"]}
    assert {name: float(one["Share"]) for name, one in styles.items()} == {"night": 0.75, "wave": 0.25}
    night = styles["night"]
    assert (night["Title"], night["Artist"], night["Licence"]) == ("The Night", "Zoë <& Co>", "CC0")
    settings = [float(found[f"XMP-onestroke:{name}"]) for name in ("Strength", "Stroke")]
    assert settings == pytest.approx([0.7, 0.2])
    assert (found["XMP-onestroke:Color"], found["XMP-onestroke:Mask"]) == ("photo", "none")
    assert found["IFD0:Make"] == "Acme" and found["IFD0:Software"].startswith("OneStroke ")
    assert (found["XMP-dc:Rights"], found["XMP-my:Own"], found["XMP-xmp:Rating"]) == ("Zoë & Co", "kept", 4)
    assert found["XMP-onestroke:PhotoDigitalSourceType"] == CAPTURE
    assert found["XMP-xmpMM:DerivedFrom"] == {"DocumentID": "xmp.did:1", "InstanceID": "xmp.iid:2"}
    assert "XMP-tiff:Orientation" not in found and "XMP-xmpMM:InstanceID" not in found
    (event,) = found["XMP-xmpMM:History"]
    assert event["Action"] == "edited" and "The Night by Zoë <& Co> (75%)" in event["Parameters"]


@pytest.mark.parametrize("suffix", [*WITH_XMP, "bmp"])
def test_a_mark_changes_no_pixel_and_no_other_metadata(inside: Path, suffix: str) -> None:
    for mark in ("none", "xmp"):
        paint("input=photo.jpg", f"output={mark}.{suffix}", f"mark={mark}")
    pictures = [Image.open(f"{mark}.{suffix}") for mark in ("none", "xmp")]
    assert np.array_equal(np.asarray(pictures[0]), np.asarray(pictures[1]))
    own = [[one.getexif().get(tag) for tag in (0x010F, 0x0131)] for one in pictures]  # the camera, and the mark
    assert own[0] == own[1] and (suffix == "bmp" or own[0][0] == "Acme")
    assert [bool(one.info.get("xmp")) for one in pictures] == [False, suffix != "bmp"]
    assert reading.read(inside / f"none.{suffix}") == reading.Marks(software=True)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif", "heic"])
def test_a_photo_of_any_kind_keeps_its_xmp(inside: Path, suffix: str) -> None:
    if suffix == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    photo(inside / f"other.{suffix}")
    paint(f"input=other.{suffix}", "output=p.png")
    packet_of = Image.open("p.png").info["xmp"]
    assert xmp.parse(packet_of).text("{http://example.org/my/}Own") == "kept"
    assert reading.read(inside / "p.png").facts["PhotoDigitalSourceType"] == CAPTURE


def test_a_format_without_xmp_is_named(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paint("input=photo.jpg", "output=p.bmp")
    assert "BMP holds no XMP, so only its header marks these as paintings: p.bmp" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["strength=0", "mask=black.png", "strength=0 color=match"])
def test_where_nothing_is_painted_the_source_stays_the_photo_s(inside: Path, how: str) -> None:
    Image.new("L", (56, 40)).save("black.png")
    paint("input=photo.jpg", "output=p.png", *how.split())
    marks = reading.read(inside / "p.png")
    assert marks.source_type == CAPTURE and not marks.facts
    (event,) = marks.history
    assert event.startswith("saved by OneStroke") and "with nothing painted" in event
    photo(inside / "plain.png", xmp=None)
    paint("input=plain.png", "output=q.png", *how.split())
    assert reading.read(inside / "q.png").source_type == "", "which the photo says nothing about"


def test_a_mask_that_leaves_some_white_paints(inside: Path) -> None:
    Image.fromarray(np.eye(40, 56, dtype=np.uint8) * 255).save("mask.png")
    paint("input=photo.jpg", "output=p.png", "mask=mask.png", "feather=2")
    marks = reading.read(inside / "p.png")
    assert (marks.source_type, marks.facts["Mask"], marks.facts["Feather"]) == (COMPOSITE, "a grey picture", "2")


def test_a_painting_that_is_painted_again_is_noticed(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paint("input=photo.jpg", "output=once.png")
    assert "painted again" not in capsys.readouterr().err
    paint("input=once.png", "output=twice.jpg", style="wave")
    assert "painted again, as these are paintings of OneStroke already: once.png" in capsys.readouterr().err
    marks = reading.read(inside / "twice.jpg")
    assert [event.count("The Night") for event in marks.history] == [1, 0], "oldest first"
    assert marks.facts["PhotoDigitalSourceType"] == CAPTURE and len(marks.styles) == 1
    paint("input=twice.jpg", "output=kept.webp", "strength=0")
    marks = reading.read(inside / "kept.webp")
    assert (marks.source_type, len(marks.history)) == (COMPOSITE, 3), "still a painting, at strength 0"


def test_the_same_painting_gives_the_same_file(inside: Path) -> None:
    for name in ("a.png", "b.png"):
        paint("input=photo.jpg", f"output={name}")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_show_prints_it_line_by_line(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paint("input=photo.jpg", "output=p.png")
    capsys.readouterr()
    assert provenance.show(["p.png"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["p.png:", f"  digital source type: {COMPOSITE}"]
    assert "  style: name night, share 0.75, title The Night, artist Zoë <& Co>, licence CC0" in out
    Image.new("RGB", (8, 8)).save("plain.png")
    assert provenance.show(["plain.png", "p.png"]) == 1
    assert "  no marks" in capsys.readouterr().out
    for name, words in (("gone.png", "can't be read"), ("two.safetensors", "neither a picture nor an MP4")):
        assert provenance.show([name]) == 2
        assert words in capsys.readouterr().err


def test_a_text_of_a_file_is_no_line_of_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = Origin("a\nhistory 9: forged\x1b[31m", "0", (StyleFacts("x"),), {})
    Image.new("RGB", (8, 8)).save(tmp_path / "p.jpg", xmp=packet.of_painting(None, origin, True, 60_000))
    assert provenance.show([str(tmp_path / "p.jpg")]) == 0
    out = capsys.readouterr().out
    assert "\n  history 9" not in out and "\x1b" not in out


def test_from_python_the_packet_is_given_to_pillow(inside: Path) -> None:
    stylizer, opened = Stylizer("two.safetensors", mix="wave"), Image.open("photo.jpg")
    stylizer(opened, color="photo").save("p.webp", xmp=xmp_packet(stylizer, opened, color="photo"))
    marks = reading.read(inside / "p.webp")
    assert (marks.source_type, marks.facts["Color"]) == (COMPOSITE, "photo")
    assert marks.styles == ["name wave, share 1, title The Wave, artist K. H., licence public domain"]


def test_direct_optimisation_is_marked_too(inside: Path) -> None:
    common = ["style=starry_night", "input=photo.jpg", "size=16", "scales=1", "iterations=1"]
    assert optimize.main([*common, "output=p.png"]) == 0
    marks = reading.read(inside / "p.png")
    assert (marks.source_type, marks.facts["Method"]) == (COMPOSITE, "direct optimisation")
    assert "artist Vincent van Gogh" in marks.styles[0] and "StyleFile" not in marks.facts
    assert optimize.main([*common, "output=q.png", "mark=none"]) == 0
    assert not reading.read(inside / "q.png").source_type


def test_a_clip_has_it_in_its_metadata_and_in_a_box(inside: Path) -> None:
    stylizer = Stylizer("two.safetensors", mix="night")
    origin = origin_of(stylizer.path, stylizer.metadata, {"color": "style"})
    found = clips.container_metadata(origin, {"title": "Mine", "comment": "of mine"})
    assert found["title"] == "Mine" and found["comment"].startswith("of mine\npainted in the style of The Night")
    assert COMPOSITE in found["comment"] and found["digital_source_type"] == COMPOSITE
    brand, rest = b"\0\0\0\x18ftypisom\0\0\2\0isommp41", b"\0\0\0\x08free\0\0\0\x08mdat"
    clip = inside / "clip.mp4"
    clip.write_bytes(brand + rest + clips.xmp_box(packet.of_painting(PHOTO_XMP, origin, True, 2**20)))
    assert reading.read(clip).facts["StyleFile"] == "two.safetensors"
    read = exiftool(clip)
    assert (read["XMP-iptcExt:DigitalSourceType"], read["XMP-my:Own"]) == (COMPOSITE, "kept")


# --- packets that are not what they should be ---------------------------------------------------------------


def nested(depth: int) -> bytes:
    return PHOTO_XMP.replace(b"Zo\xc3\xab", b"<a>" * depth + b"</a>" * depth)


HOSTILE = {
    "entities": b'<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;&b;">]>' + PHOTO_XMP.replace(b"&amp;", b"&c;"),
    "external": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + PHOTO_XMP.replace(b"&amp;", b"&b;"),
    "deep": nested(5000),
    "many": PHOTO_XMP.replace(b"Zo\xc3\xab", b"<a/>" * 50_000),
    "large": PHOTO_XMP + b" " * 10 + b"<!--" + b"x" * 2**20 + b"-->",
    "cut": PHOTO_XMP[: len(PHOTO_XMP) // 2],
    "other": b"<a>no RDF</a>",
    "unknown encoding": b'<?xml version="1.0" encoding="x-mine"?>' + PHOTO_XMP,
    "bytes": bytes(range(256)) * 9,
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_packets_are_refused_and_spoil_no_painting(name: str) -> None:
    with pytest.raises(xmp.NoPacket):
        xmp.parse(HOSTILE[name])
    made = packet.of_painting(HOSTILE[name], ORIGIN, True, 60_000)
    assert made == packet.of_painting(None, ORIGIN, True, 60_000)


def test_many_namespaces_keep_their_prefixes_apart() -> None:
    own = b"".join(b'<b%d:a xmlns:b%d="u:%d">x</b%d:a>' % (i, i, i, i) for i in range(15_000))
    made = xmp.parse(xmp.serialize(xmp.parse(PHOTO_XMP.replace(b"<dc:rights>", own + b"<dc:rights>"))))
    assert len(made.properties) > 15_000 and len(set(made.prefixes.values())) == len(made.prefixes)


def test_spoiled_packets_never_raise_anything_else() -> None:
    random = np.random.default_rng(0)
    for _ in range(400):
        spoiled = bytearray(PHOTO_XMP)
        for place in random.integers(0, len(spoiled), 3):
            spoiled[place] = random.integers(0, 256)
        made = packet.of_painting(bytes(spoiled), ORIGIN, True, 60_000)
        assert xmp.parse(made).text(packet.SOURCE_TYPE) == COMPOSITE


def test_a_packet_is_the_same_once_it_is_read_and_written() -> None:
    once = xmp.serialize(xmp.parse(PHOTO_XMP))
    assert xmp.serialize(xmp.parse(once)) == once
    parsed = xmp.parse(once)
    assert parsed.text("{http://example.org/my/}Own") == "kept" and parsed.prefixes["http://example.org/my/"] == "my"


def test_a_packet_that_is_too_large_for_a_jpeg_loses_the_photo_s_largest_properties(tmp_path: Path) -> None:
    own = b'<my:Long xmlns:my="http://example.org/my/">' + b"x" * 70_000 + b"</my:Long>"
    large = PHOTO_XMP.replace(b"<dc:rights>", own + b"<dc:rights>")
    made = packet.of_painting(large, ORIGIN, True, images.xmp_room(".jpg"))
    parsed = xmp.parse(made)
    assert parsed.get("{http://example.org/my/}Long") is None and parsed.text("{http://example.org/my/}Own") == "kept"
    images.write(tmp_path / "p.jpg", torch.rand(3, 8, 8), painted_in="one", xmp=made)
    assert reading.read(tmp_path / "p.jpg").facts["StyleFile"] == "one.safetensors"
    with pytest.raises(UserError, match="mark=none"):
        packet.of_painting(None, ORIGIN, True, 100)


def test_a_long_history_forgets_its_oldest_events() -> None:
    made = None
    for i in range(12):
        origin = Origin(f"{i}.safetensors", "0", ORIGIN.styles, {})
        made = packet.of_painting(made, origin, True, 3000)
    events = packet.painted_before(packet.read(made))
    assert 1 < len(events) < 12 and "11.safetensors" in events[-1] and len(made or b"") <= 3000


def test_a_broken_packet_in_a_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoded = BytesIO()
    Image.new("RGB", (8, 8)).save(encoded, "JPEG", xmp=HOSTILE["entities"])
    (tmp_path / "p.jpg").write_bytes(encoded.getvalue())
    assert provenance.show([str(tmp_path / "p.jpg")]) == 2
    assert "it has a document type" in capsys.readouterr().err
