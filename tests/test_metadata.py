from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onestroke.imaging import images, metadata

MAKE, ORIENTATION, SOFTWARE, ARTIST, EXIF, GPS = 0x010F, 0x0112, 0x0131, 0x013B, 0x8769, 0x8825
MAKER_NOTE, TAKEN, WIDTH, HEIGHT, SPACE = 0x927C, 0x9003, 0xA002, 0xA003, 0xA001


def block(order: str = "<", extra: bytes = b"") -> bytes:
    """A camera's EXIF, made by hand: with a thumbnail, maker's notes and a name beyond ASCII."""
    inner = [
        (TAKEN, 2, b"2024:05:06 07:08:09\0"), (MAKER_NOTE, 7, b"NOTES" * 9), (SPACE, 3, struct.pack(order + "H", 2)),
        (WIDTH, 3, struct.pack(order + "H", 4000)), (HEIGHT, 4, struct.pack(order + "I", 3000)),
    ]  # fmt: skip
    gps = [(1, 2, b"N\0"), (2, 5, struct.pack(order + "6I", 48, 1, 51, 1, 30, 1))]
    main = [
        (MAKE, 2, b"Acme\0"), (ORIENTATION, 3, struct.pack(order + "H", 6)), (SOFTWARE, 2, b"Camera 1.0\0"),
        (ARTIST, 2, "Zoë Müller\0".encode()), (EXIF, 4, b""), (GPS, 4, b""),
    ]  # fmt: skip
    if extra:
        main.append((0x9C9C, 1, extra))
    thumb = [(0x0201, 4, struct.pack(order + "I", 0)), (0x0202, 4, struct.pack(order + "I", 9))]
    blob = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}

    def directory(at: int, entries: list[tuple[int, int, bytes]], following: int = 0) -> bytes:
        table, data, behind = struct.pack(order + "H", len(entries)), b"", at + 2 + 12 * len(entries) + 4
        for tag, kind, value in entries:
            here = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", behind + len(data))
            data += value if len(value) > 4 else b""
            table += struct.pack(order + "HHI", tag, kind, len(value) // sizes[kind]) + here
        return table + struct.pack(order + "I", following) + data

    def pointed(inner_at: int, gps_at: int) -> list[tuple[int, int, bytes]]:
        places = {EXIF: inner_at, GPS: gps_at}
        return [(t, k, struct.pack(order + "I", places[t]) if t in places else v) for t, k, v in main]

    inner_at = 8 + len(directory(8, pointed(0, 0)))
    gps_at = inner_at + len(directory(inner_at, inner))
    thumb_at = gps_at + len(directory(gps_at, gps))
    blob += directory(8, pointed(inner_at, gps_at), thumb_at) + directory(inner_at, inner) + directory(gps_at, gps)
    return blob + directory(thumb_at, thumb) + b"THUMBNAIL"


def told(blob: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + blob)
    return exif


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_exif_is_kept_but_for_what_is_no_longer_true(tmp_path: Path, order: str, suffix: str) -> None:
    path = tmp_path / f"painted.{suffix}"
    rgb = torch.rand(3, 30, 40)
    images.write(path, rgb, painted_in="starry_night", exif=b"Exif\0\0" + block(order))
    with Image.open(path) as image:
        exif = image.getexif()
        assert exif[MAKE] == "Acme" and ORIENTATION not in exif
        assert exif[SOFTWARE].startswith("OneStroke ") and exif[SOFTWARE].endswith(": starry_night")
        inner, gps = exif.get_ifd(EXIF), exif.get_ifd(GPS)
        assert inner[TAKEN] == "2024:05:06 07:08:09" and MAKER_NOTE not in inner
        assert (inner[WIDTH], inner[HEIGHT], inner[SPACE]) == (40, 30, 1)
        assert gps[1] == "N" and [float(part) for part in gps[2]] == [48, 51, 30]
        pixels = np.asarray(image.convert("RGB"))
    if suffix in ("png", "tif"):
        assert np.array_equal(pixels, np.asarray(images.to_pil(rgb))), "and the pixels are the painting's"
    content = path.read_bytes()
    assert "Zoë Müller".encode() in content, "to the byte, whatever Pillow makes of it"
    assert b"THUMBNAIL" not in content and b"NOTES" not in content and b"Camera 1.0" not in content


def test_without_exif_there_is_the_mark_alone(tmp_path: Path) -> None:
    images.write(tmp_path / "a.jpg", torch.rand(3, 8, 8), painted_in="Nuit étoilée")
    with Image.open(tmp_path / "a.jpg") as image:
        assert list(image.getexif()) == [SOFTWARE]
    images.write(tmp_path / "b.png", torch.rand(3, 8, 8))
    with Image.open(tmp_path / "b.png") as image:
        assert not image.getexif(), "what is no painting has no mark"


def test_directories_that_lead_round_in_circles_are_cut() -> None:
    entries = struct.pack("<HHI4s", MAKE, 2, 4, b"Abc\0")
    entries += struct.pack("<HHII", EXIF, 4, 1, 8) + struct.pack("<HHII", GPS, 13, 1, 8)
    made = metadata.of_painting(b"II*\0\x08\0\0\0\x03\0" + entries + bytes(4), 3, 4, "x")
    exif = told(made)
    assert exif[MAKE] == "Abc" and set(exif.get_ifd(EXIF)) == set(exif.get_ifd(GPS)) == {MAKE}


@pytest.mark.parametrize("order", ["<", ">"])
def test_broken_exif_spoils_nothing(order: str) -> None:
    whole = block(order)
    random = np.random.default_rng(0)
    broken = [whole[:n] for n in range(0, len(whole), 7)]
    for _ in range(300):
        spoiled = bytearray(whole)
        for place in random.integers(0, len(whole), 4):
            spoiled[place] = random.integers(0, 256)
        broken.append(bytes(spoiled))
    for blob in [*broken, b"", b"Exif\0\0", b"II*\0\xff\xff\xff\xff", bytes(200), b"MM\0*\0\0\0\x08\xff\xff"]:
        made = metadata.of_painting(blob, 30, 40, "x")
        assert told(made)[SOFTWARE].startswith("OneStroke ")
        assert len(metadata.for_jpeg(made)) <= 65533


def test_a_block_too_large_for_a_jpeg_loses_its_largest_entries(tmp_path: Path) -> None:
    exif = block(extra=bytes(range(256)) * 400)
    for suffix in ("jpg", "png"):
        images.write(tmp_path / f"a.{suffix}", torch.rand(3, 8, 8), painted_in="x", exif=exif)
        with Image.open(tmp_path / f"a.{suffix}") as image:
            found = image.getexif()
            assert found[MAKE] == "Acme" and (0x9C9C in found) == (suffix == "png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_painting_is_known_whatever_its_name(tmp_path: Path, suffix: str, alpha: bool) -> None:
    rgb, cover = torch.rand(3, 9, 7), torch.rand(1, 9, 7) if alpha else None
    for painted_in, exif in ((None, None), ("x", None), ("x", block(extra=bytes(50_000)))):
        images.write(tmp_path / f"a.{suffix}", rgb, cover, painted_in=painted_in, exif=exif)
        content = (tmp_path / f"a.{suffix}").read_bytes()
        assert metadata.is_painting(BytesIO(content)) == (painted_in is not None)
        assert images.read(tmp_path / f"a.{suffix}").rgb.shape == (1, 3, 9, 7)
        for cut in range(0, min(len(content), 600), 5):
            metadata.is_painting(BytesIO(content[:cut]))


def test_a_photo_of_a_camera_is_no_painting(tmp_path: Path) -> None:
    for suffix in ("jpg", "png", "webp"):
        Image.new("RGB", (9, 9)).save(tmp_path / f"a.{suffix}", exif=b"Exif\0\0" + block(">"))
        with (tmp_path / f"a.{suffix}").open("rb") as file:
            assert not metadata.is_painting(file)


def test_raw_files_are_known() -> None:
    reduced = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x00FE, 4, 1, 1) + bytes(4)
    dng = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHI4s", 0xC612, 1, 4, b"\1\4\0\0") + bytes(4)
    plain = BytesIO()
    Image.new("RGB", (9, 9)).save(plain, "TIFF")
    assert metadata.is_raw(BytesIO(reduced)) and metadata.is_raw(BytesIO(dng)) and not metadata.is_raw(plain)
