"""BigTIFF, in which paintings of over 4 GB are written: whole, read by others, and recognised as paintings."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onestroke.cli import infer
from onestroke.imaging import finding, large_reading, large_writing, metadata
from onestroke.imaging.directories import read_big_text
from onestroke.imaging.large_reading import bands, header
from onestroke.imaging.left_out import PAINTING
from onestroke.imaging.raw_rows import RawRows
from onestroke.provenance import reading
from tests.test_large import TIGHT, inside, levels, paint

__all__ = ["inside"]
tifffile = pytest.importorskip("tifffile", reason="needs pip install 'onestroke[large]'")
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"


def is_big(path: str | Path) -> bool:
    return Path(path).read_bytes()[:4] == b"II+\0"


def read_in_bands(path: Path, package: str, channels: int) -> np.ndarray:
    """The picture as the bands of one package, uint8 (H, W, C)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_reading, "installed", lambda *names: names == (package,))
        found = [torch.cat((one.pixels, *([] if one.cover is None else [one.cover])), dim=1) for one in bands(path)]
    pixels = torch.cat(found, dim=2)[0].permute(1, 2, 0).numpy()
    assert pixels.shape[2] == channels
    return pixels


@pytest.mark.parametrize("channels", [3, 4])
def test_it_holds_the_pixels_and_what_is_known_of_the_photo(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_writing, "_CLASSIC", 512 * 512 * channels)
    values = np.random.default_rng(0).integers(128, 256, (530, 700, channels), dtype=np.uint8)  # none is transparent
    pixels = RawRows(tmp_path / "raw", 530, 700, channels)
    pixels.write(0, values)
    exif = Image.Exif()
    exif[0x010F], exif[0x011A], exif[0x011B], exif[0x0128] = "Maker", 300.0, 300.0, 2
    exif[0x8769] = {0x829A: 0.02}
    block = metadata.of_painting(exif.tobytes(), 530, 700, "udnie")
    large_writing.write_rows(path := tmp_path / "a.tif", pixels, 1e9, exif=block, xmp=XMP)
    assert is_big(path) and np.array_equal(tifffile.imread(path), values)
    for package in ("pyvips", "tifffile"):
        assert np.array_equal(read_in_bands(path, package, channels), values)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), values) and image.info["dpi"] == (300, 300)
        assert (image.tag_v2[0x010F], image.tag_v2[0x0131].split(" ")[0]) == ("Maker", "OneStroke")
    head = header(path)
    assert (head.height, head.width, head.xmp) == (530, 700, XMP) and b"Maker" in (head.exif or b"")


def test_it_is_written_where_the_tiles_would_not_fit_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_writing, "_CLASSIC", 512 * 512 * 3 * 2)
    for height, width, big in ((512, 1024, False), (1024, 512, False), (513, 1024, True), (1, 1025, True)):
        pixels = RawRows(tmp_path / "raw", height, width, 3)
        pixels.write(0, np.zeros((height, width, 3), np.uint8))
        large_writing.write_rows(tmp_path / "a.tif", pixels, 1e9)
        assert is_big(tmp_path / "a.tif") == big, (height, width)


def test_a_painting_in_tiles_is_the_same_and_is_recognised(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert paint("input=scan.tif", "output=classic.tif", TIGHT) == 0
    monkeypatch.setattr(large_writing, "_CLASSIC", 1000)
    for mark in ("xmp", "none"):
        assert paint("input=scan.tif", f"output=big_{mark}.tif", TIGHT, f"mark={mark}") == 0
        assert is_big(f"big_{mark}.tif") and np.array_equal(levels(f"big_{mark}.tif"), levels("classic.tif"))
        assert finding.rejection_reason(f"big_{mark}.tif") == PAINTING
    assert reading.read(inside / "big_xmp.tif") == reading.read(inside / "classic.tif")
    assert reading.read(inside / "big_xmp.tif").source_type.endswith("compositeWithTrainedAlgorithmicMedia")
    (inside / "in").mkdir()
    os.rename("big_none.tif", "in/big.tif")
    capsys.readouterr()
    assert infer.main(["ckpt=s.safetensors", "input=in", "output=out"]) == 2
    assert "only paintings of this style" in capsys.readouterr().err


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("words", "kind", "expected"), [(b"12345\0\0\0", 2, b"12345\0\0\0"), (b"x" * 30, 2, b"x" * 30), (b"12", 7, b"")]
)
def test_the_text_of_a_directory_is_found(words: bytes, kind: int, expected: bytes, order: str, tmp_path: Path) -> None:
    head = (b"II+\0" if order == "<" else b"MM\0+") + struct.pack(order + "HHQ", 8, 0, 16)
    field = words.ljust(8, b"\0") if len(words) <= 8 else struct.pack(order + "Q", 16 + 8 + 20 * 2 + 8)
    entries = struct.pack(order + "HHQQ", 256, 4, 1, 5) + struct.pack(order + "HHQ", 305, kind, len(words)) + field
    whole = head + struct.pack(order + "Q", 2) + entries + bytes(8) + words
    (tmp_path / "a.tif").write_bytes(whole)
    with (tmp_path / "a.tif").open("rb") as file:
        assert read_big_text(file, 305) == expected
        assert read_big_text(file, 306) == b""


@pytest.mark.parametrize("cut", [0, 3, 10, 16, 20, 30, 43])
def test_a_broken_one_is_no_painting(cut: int, tmp_path: Path) -> None:
    whole = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2**63) + struct.pack("<HHQQ", 305, 2, 90, 2**64 - 1)
    far = b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1)
    for content in (whole[:cut], whole, far):
        (tmp_path / "a.tif").write_bytes(content)
        assert not finding.is_painting(tmp_path / "a.tif")


@pytest.mark.slow
def test_a_file_of_more_than_4_gib_is_whole(tmp_path: Path) -> None:
    """Made of nothing but its last rows; it takes 4.4 GB of disk while the test runs."""
    height, width = 24_000, 60_000
    pixels = RawRows(tmp_path / "raw", height, width, 3)
    marked = np.random.default_rng(0).integers(1, 256, (40, width, 3), dtype=np.uint8)
    pixels.write(height - len(marked), marked)
    block = metadata.of_painting(None, height, width, "udnie")
    path = tmp_path / "large.tif"
    try:
        large_writing.write_rows(path, pixels, 1e9, exif=block, xmp=XMP)
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            assert file.is_bigtiff and page.shape == (height, width, 3) and page.dataoffsets[-1] > 2**32
        head = header(path)
        assert (head.height, head.width, head.xmp) == (height, width, XMP) and finding.is_painting(path)
        for package in ("pyvips", "tifffile"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(large_reading, "installed", lambda *names, own=package: names == (own,))
                last = np.zeros((0, width, 3), np.uint8)
                for band in bands(path):
                    rows = band.pixels[0, :, -len(marked) :].permute(1, 2, 0).numpy()
                    last = np.concatenate((last, rows))[-len(marked) :]
            assert np.array_equal(last, marked)
    finally:
        path.unlink(missing_ok=True)
        pixels.path.unlink()
