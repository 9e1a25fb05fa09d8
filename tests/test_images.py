"""The place of pixels, against numbers found by other means."""

from __future__ import annotations

import errno
import os
import stat
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageFile

from onestroke.errors import UserError
from onestroke.files import atomic
from onestroke.imaging import decoding, images
from onestroke.imaging.decoding import shrinking

Bytes = npt.NDArray[np.uint8]


def noise(height: int, width: int, channels: int = 3) -> Bytes:
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height: int, width: int) -> Bytes:
    """An asymmetric picture that every lossy coder keeps within a few levels."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    levels: Bytes = np.rint(np.stack((255 * x, 255 * y, 60 + 120 * x * y), -1)).astype(np.uint8)
    return levels


def as_bytes(image: torch.Tensor) -> Bytes:
    levels: Bytes = np.rint(image[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return levels


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# --- colour profiles, made by hand ----------------------------------------------------------------------

# Columns: the XYZ of red, green and blue, adapted to D50, as the profiles of the ICC and of Apple have them.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def xyz(values: npt.NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + fixed(*values)


def profile(kind: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"wtpt": xyz(np.array([0.9642, 1.0, 0.8249])), **tags}
    table, data = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        body += b"\0" * (-len(body) % 4)
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(body))
        data += body
    head = struct.pack(">I", 128 + len(table) + len(data)) + b"lcms\x02\x40\0\0" + kind + space + pcs
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + table + data


SRGB_CURVE = b"para\0\0\0\0\0\x03\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
LINEAR_CURVE = b"curv\0\0\0\0\0\0\0\0"


def rgb_profile(columns: npt.NDArray[np.float64]) -> bytes:
    tags = {c + b"XYZ": xyz(columns[:, i]) for i, c in enumerate((b"r", b"g", b"b"))}
    return profile(b"mntr", b"RGB ", b"XYZ ", {**tags, b"rTRC": SRGB_CURVE, b"gTRC": SRGB_CURVE, b"bTRC": SRGB_CURVE})


def cmyk_profile() -> bytes:
    """No ink is white, cyan ink alone is sRGB's red (strange, and so telling), all else is black."""
    lab = np.zeros((2, 2, 2, 2, 3), np.uint8) + np.array([0, 128, 128], np.uint8)
    lab[0, 0, 0, 0] = 255, 128, 128
    lab[1, 0, 0, 0] = round(54.29 * 2.55), 128 + 81, 128 + 70
    ramp = bytes(range(256))
    body = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": body + ramp * 4 + lab.tobytes() + ramp * 3})


def linear(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def curved(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(v <= 0.0031308, v * 12.92, 1.055 * np.maximum(v, 0) ** (1 / 2.4) - 0.055)


def test_swapped_primaries_turn_red_into_blue(tmp_path: Path) -> None:
    pixels = noise(9, 7)
    path = tmp_path / "swapped.png"
    Image.fromarray(pixels).save(path, icc_profile=rgb_profile(SRGB[:, ::-1]))
    got = as_bytes(images.read(path).rgb).astype(int)
    assert np.abs(got - pixels[..., ::-1]).max() <= 2


@pytest.mark.parametrize("with_alpha", [False, True])
def test_display_p3_is_converted_to_srgb(tmp_path: Path, with_alpha: bool) -> None:
    srgb = np.array([[[0.9, 0.2, 0.2], [0.1, 0.8, 0.3], [0.2, 0.3, 0.9], [0.5, 0.5, 0.5], [1, 1, 1]]])
    p3 = curved(linear(srgb) @ SRGB.T @ np.linalg.inv(DISPLAY_P3).T)
    pixels = np.rint(p3 * 255).astype(np.uint8)
    assert np.abs(pixels / 255 - srgb).max() > 0.03  # or the test would pass with the profile unheeded
    cover = np.array([[16, 50, 100, 200, 255]], np.uint8)
    stored = np.dstack((pixels, cover)) if with_alpha else pixels
    path = tmp_path / "p3.png"
    Image.fromarray(stored).save(path, icc_profile=rgb_profile(DISPLAY_P3))
    picture = images.read(path)
    assert np.abs(picture.rgb[0].permute(1, 2, 0).numpy() - srgb).max() < 2.5 / 255
    if with_alpha:
        assert picture.alpha is not None and np.array_equal(as_bytes(picture.alpha)[..., 0], cover)


def test_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    pixels = noise(9, 7)
    path = tmp_path / "srgb.png"
    Image.fromarray(pixels).save(path, icc_profile=rgb_profile(SRGB))
    assert np.array_equal(as_bytes(images.read(path).rgb), pixels)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_grey_profile_is_applied(tmp_path: Path, depth: int) -> None:
    top = 2**depth - 1
    values = np.linspace(0.02, 1, 40)[None] * top
    stored = np.rint(values).astype(np.uint8 if depth == 8 else np.uint16)
    path = tmp_path / "grey.png"
    icc = profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": LINEAR_CURVE})
    Image.fromarray(stored).save(path, icc_profile=icc)
    got = images.read(path).rgb[0].numpy()
    assert np.abs(got - curved(stored / top)).max() < 1.6 / 255


def test_rgb_profile_on_a_grey_picture(tmp_path: Path) -> None:
    pixels = noise(5, 6, 1)[..., 0]
    path = tmp_path / "grey.jpg"
    Image.fromarray(pixels).save(path, quality=100, icc_profile=rgb_profile(SRGB[:, ::-1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = as_bytes(images.read(path).rgb).astype(int)
    assert np.abs(got - pixels[..., None]).max() <= 4


def test_a_cmyk_profile_is_applied(tmp_path: Path) -> None:
    inks = np.zeros((8, 16, 4), np.uint8)
    inks[:, 8:, 0] = 255
    path = tmp_path / "inks.jpg"
    Image.frombytes("CMYK", (16, 8), inks.tobytes()).save(path, quality=100, icc_profile=cmyk_profile())
    got = as_bytes(images.read(path).rgb).astype(int)
    assert np.abs(got[:, :8] - 255).max() <= 3
    assert np.abs(got[:, 8:] - [255, 0, 0]).max() <= 12


@pytest.mark.parametrize("icc", [b"nonsense", rgb_profile(SRGB)[:200], cmyk_profile()])
def test_broken_or_foreign_profile_is_ignored_with_a_warning(tmp_path: Path, icc: bytes) -> None:
    pixels = noise(4, 5)
    path = tmp_path / "broken.png"
    Image.fromarray(pixels).save(path, icc_profile=icc)
    with pytest.warns(UserWarning, match=r"colour profile of '.*broken\.png' is ignored"):
        picture = images.read(path)
    assert np.array_equal(as_bytes(picture.rgb), pixels)


# --- modes and orientation ------------------------------------------------------------------------------

TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation_is_applied_when_read(tmp_path: Path, orientation: int, suffix: str) -> None:
    pixels = smooth(40, 64)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {"quality": 100, "subsampling": 0}
    Image.fromarray(pixels).save(path, exif=exif, **options)
    expected = TURNS[orientation](pixels)
    picture = images.read(path)
    assert (picture.height, picture.width) == expected.shape[:2]
    assert np.abs(as_bytes(picture.rgb).astype(int) - expected).max() <= 3
    small = images.read_training(path, 20)
    assert small.shape == (expected.shape[0] // 2, expected.shape[1] // 2, 3)
    halves = expected.reshape(small.shape[0], 2, small.shape[1], 2, 3).mean((1, 3))
    assert np.abs(small - halves).max() < 8


def test_broken_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    pixels = noise(4, 5)
    path = tmp_path / "exif.png"
    Image.fromarray(pixels).save(path, exif=b"Exif\0\0II\x2a\0\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(as_bytes(images.read(path).rgb), pixels)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_its_precision(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(3).integers(0, 65536, (9, 11), dtype=np.uint16)
    values[0, :2] = 0, 65535
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(values).save(path)
    rgb = images.read(path).rgb
    assert rgb.dtype == torch.float32 and rgb.shape == (1, 3, 9, 11)
    assert np.array_equal(rgb[0].numpy(), np.stack([values.astype(np.float32) / np.float32(65535)] * 3))
    assert np.array_equal(images.read_training(path, 9)[..., 1], np.rint(values / 257).astype(np.uint8))


def test_16_bit_grey_of_the_other_byte_order(tmp_path: Path) -> None:
    values = np.array([[1, 256, 40000]], np.uint16)
    image = Image.frombytes("I;16B", (3, 1), values.astype(">u2").tobytes())
    (tmp_path / "big.tif").write_bytes(encoded(image, "TIFF"))
    for picture in (images.from_pil(image), images.read(tmp_path / "big.tif")):
        assert np.allclose(picture.rgb[0, 2].numpy(), values / 65535, atol=1e-7, rtol=0)


def test_16_bit_grey_with_a_transparent_value(tmp_path: Path) -> None:
    path = tmp_path / "mark.png"
    rows = b"\0" + struct.pack(">3H", 300, 301, 65535)
    path.write_bytes(png(3, 1, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 301))))
    alpha = images.read(path).alpha
    assert alpha is not None and alpha.flatten().tolist() == [1, 0, 1]
    assert images.read_training(path, 1)[0, :, 0].tolist() == [1, 255, 255]


def test_16_bit_colour_with_a_transparent_value_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    rows = b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 32896, 65535)
    path.write_bytes(png(2, 1, 16, 2, rows, chunk(b"tRNS", struct.pack(">3H", 65535, 0, 0))))
    picture = images.read(path)
    assert picture.alpha is not None and picture.alpha.flatten().tolist() == [0, 1]
    assert as_bytes(picture.rgb)[0, 1].tolist() == [0, 128, 255]


def test_float_grey_is_taken_as_it_is_in_0_to_1_alone() -> None:
    values = np.array([[0.0, 0.25, 1.0]], np.float32)
    assert np.array_equal(images.from_pil(Image.fromarray(values)).rgb[0, 0].numpy(), values)
    for bad in (200.0, -0.1, float("nan")):
        with pytest.raises(UserError, match="grey values from"):
            images.from_pil(Image.fromarray(np.array([[0.5, bad]], np.float32)))


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif"])
def test_one_bit_pictures_are_black_and_white(tmp_path: Path, suffix: str) -> None:
    bits = noise(6, 10, 1)[..., 0] > 127
    Image.fromarray(bits).save(tmp_path / f"bits.{suffix}")
    picture = images.read(tmp_path / f"bits.{suffix}")
    assert np.array_equal(picture.rgb[0, 0].numpy(), bits.astype(np.float32)) and picture.alpha is None
    assert torch.equal(picture.rgb[0, 0], picture.rgb[0, 2])


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile(tmp_path: Path, kind: str) -> None:
    # Pillow writes a CMYK JPEG as Adobe does: inverted, with an Adobe marker.
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (0, 0, 0, 128)]
    seen = [(255, 255, 255), (0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 0, 0), (127, 127, 127)]
    image = Image.new("CMYK", (8 * len(inks), 8))
    for i, ink in enumerate(inks):
        image.paste(ink, (8 * i, 0, 8 * i + 8, 8))
    path = tmp_path / "inks"
    path.write_bytes(encoded(image, kind, quality=100) if kind == "JPEG" else encoded(image, kind))
    got = as_bytes(images.read(path).rgb)[4, 4::8].astype(int)
    assert np.abs(got - seen).max() <= 2
    assert np.abs(images.read_training(path, 8)[4, 4::8].astype(int) - seen).max() <= 2


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.frombytes("P", (3, 1), bytes((0, 1, 2)))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 255])
    path = tmp_path / "palette.png"
    image.save(path, transparency=bytes((255, 128, 0)))
    picture = images.read(path)
    assert as_bytes(picture.rgb)[:, :2].tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert picture.alpha is not None and as_bytes(picture.alpha).flatten().tolist() == [255, 128, 0]
    half = [round(c * 128 / 255 + 255 * 127 / 255) for c in (200, 100, 50)]
    flat = images.read_training(path, 1)[0].astype(int)
    assert np.abs(flat - [[10, 20, 30], half, [255, 255, 255]]).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "RGBA", "RGBa", "La"])
def test_alpha_is_kept(mode: str) -> None:
    levels = noise(5, 6, 2)
    levels[..., 1] |= 128  # enough alpha for premultiplied colours to come back
    straight = Image.fromarray(levels)
    image = straight.convert("RGBA").convert("RGBa") if mode == "RGBa" else straight.convert(mode)
    picture = images.from_pil(image)
    assert picture.alpha is not None and picture.alpha.shape == (1, 1, 5, 6)
    assert np.array_equal(as_bytes(picture.alpha)[..., 0], levels[..., 1])
    assert np.abs(as_bytes(picture.rgb).astype(int) - levels[..., :1]).max() <= (1 if mode.endswith("a") else 0)


def test_grey_and_colour_marked_as_transparent(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 8]], np.uint8)).save(tmp_path / "grey.png", transparency=8)
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "c.png", transparency=(1, 2, 3))
    for name, alpha in (("grey.png", [1, 0]), ("c.png", [0, 1])):
        picture = images.read(tmp_path / name)
        assert picture.alpha is not None and picture.alpha.flatten().tolist() == alpha


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    for suffix in ("gif", "webp", "png", "tif"):
        options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
        path = tmp_path / f"film.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        assert set(map(tuple, as_bytes(images.read(path).rgb).reshape(-1, 3).tolist())) == {(255, 0, 0)}, suffix


def test_frames_are_counted_and_exif_is_kept_raw(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a quay"
    for suffix in ("jpg", "png", "webp"):
        Image.new("RGB", (8, 6)).save(tmp_path / f"still.{suffix}", exif=exif)
        picture = images.read(tmp_path / f"still.{suffix}")
        assert picture.frames == 1 and picture.exif is not None and b"a quay" in picture.exif
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert images.read(tmp_path / "film.gif").frames == 3


def test_read_shrinks_to_a_longest_side(tmp_path: Path) -> None:
    Image.fromarray(smooth(60, 97)).save(tmp_path / "photo.png")
    whole = images.read(tmp_path / "photo.png").rgb
    for side in (7, 50, 97, 1000):
        got = images.read(tmp_path / "photo.png", max_side=side).rgb
        assert (got - images.fit(whole, max_side=side)).abs().max() < 1e-5
        assert got.shape == images.fit(whole, max_side=side).shape


def test_of_very_many_columns_only_the_rows_that_are_left_are_made_narrower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the weights across the width take longer than the sums down a strip, of which this has six
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 20_000), dtype=np.uint8)).save(tmp_path / "wide.png")
    calls: list[int] = []
    narrow = shrinking._narrow

    def counted(rows: torch.Tensor, width: int) -> torch.Tensor:
        calls.append(rows.shape[1])
        return narrow(rows, width)

    monkeypatch.setattr(shrinking, "_narrow", counted)
    got = images.read(tmp_path / "wide.png", max_side=1000)
    whole = images.fit(images.read(tmp_path / "wide.png").rgb, max_side=1000)
    assert got.rgb.shape == whole.shape == (1, 3, 4, 1000)
    assert (got.rgb - whole).abs().max() < 1e-5
    assert sum(calls) == 4 and len(calls) <= 2


def test_a_picture_of_one_pixel_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), (1, 2, 3)).save(path)
    assert as_bytes(images.read(path).rgb).tolist() == [[[1, 2, 3]]]


# --- files that can't be read ---------------------------------------------------------------------------


@pytest.mark.parametrize("reader", [images.read, lambda path: images.read_training(path, 16)])
def test_what_cannot_be_read_is_told_in_one_sentence(tmp_path: Path, reader) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not a picture at all, but a long enough text")
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, words in {
        "missing.png": "there is no file '.*missing.png'",
        "empty.png": "'.*empty.png' is empty",
        "text.jpg": r"'.*text.jpg' cannot be read as a picture; convert it to one of .*\.jpg.*\.webp",
        "photo.heic": r"'.*photo.heic' (is damaged or cut short|cannot be read, since HEIF needs)",
        "folder": "'.*folder' is a folder",
        "pipe": "'.*pipe' is not a regular file",
        "text.jpg/inside.png": "cannot be opened",
        "n" * 300 + ".png": "cannot be opened",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            reader(tmp_path / name)
        assert "\n" not in str(caught.value) and ";" in str(caught.value)


def test_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.png"
    Image.new("RGB", (2, 2)).save(path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"locked\.png' may not be read \(permission denied\)"):
        images.read(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("GIF", {}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*EXIF.*:UserWarning")
def test_truncated_is_never_half_a_picture(tmp_path: Path, kind: str, options: dict[str, object], part: float) -> None:
    data = encoded(Image.fromarray(noise(60, 80)), kind, **options)
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * part)])
    for reader in (images.read, lambda p: images.read_training(p, 20)):
        with pytest.raises(UserError, match="cut' is damaged or cut short"):
            reader(path)


def test_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(60000, 60000, 8, 2, b""))  # no pixels in it: decoding would tell of a truncated file
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for reader in (images.read, lambda p: images.read_training(p, 256)):
            with pytest.raises(UserError, match=r"60000 x 60000 is 3,600,000,000 pixels and 200,000,000 are"):
                reader(path)


def test_the_limit_is_ours_and_not_that_of_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a strip, which Pillow cuts out while it decodes, may have as many; the whole picture has more than twice as many
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**18)
    for suffix in (".png", ".jpg", ".bmp"):
        path = tmp_path / f"photo{suffix}"
        Image.new("RGB", (800, 800), "white").save(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert images.read(path).rgb.min() == 1
        with pytest.raises(UserError, match="800 x 800 is 640,000 pixels and 99 are allowed"):
            images.read(path, max_pixels=99)


# --- training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_training_size_and_content(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"large.{suffix}"
    Image.fromarray(smooth(400, 603)).save(path, quality=95)
    got = images.read_training(path, 50)
    assert got.dtype == np.uint8 and got.shape == (50, 75, 3)
    assert np.abs(got.astype(int) - smooth(50, 75)).max() <= 6
    assert images.read_training(path, 400).shape == (400, 603, 3)


def test_training_decodes_a_jpeg_at_a_reduced_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.jpg"
    Image.fromarray(smooth(400, 600)).save(path)
    seen: list[tuple[int, int]] = []
    load = decoding.load

    def spy(path: Path, image: ImageFile.ImageFile, least: tuple[int, int]) -> ImageFile.ImageFile:
        loaded = load(path, image, least)
        seen.append(loaded.size)
        return loaded

    monkeypatch.setattr(decoding, "load", spy)
    images.read_training(path, 90)
    assert seen == [(150, 100)]  # a quarter; an eighth would be smaller than asked for


def test_training_enlarges_up_to_twice(tmp_path: Path) -> None:
    Image.fromarray(smooth(30, 45)).save(tmp_path / "small.png")
    assert images.read_training(tmp_path / "small.png", 60).shape == (60, 90, 3)
    with pytest.raises(UserError, match=r"small\.png' is too small: its shorter side has 30 .* needs 31"):
        images.read_training(tmp_path / "small.png", 61)


def test_training_refuses_ribbons(tmp_path: Path) -> None:
    Image.new("RGB", (160, 20)).save(tmp_path / "ok.png")
    Image.new("RGB", (20, 161)).save(tmp_path / "ribbon.png")
    assert images.read_training(tmp_path / "ok.png", 20).shape == (20, 160, 3)
    with pytest.raises(UserError, match=r"ribbon\.png' is too long and narrow \(20 x 161, over 8 : 1\)"):
        images.read_training(tmp_path / "ribbon.png", 20)


# --- writing --------------------------------------------------------------------------------------------


def test_to_pil_rounds_to_the_nearest_and_clamps() -> None:
    values = torch.tensor([-3.0, 0.0, 0.4999 / 255, 0.5001 / 255, 100.4 / 255, 100.6 / 255, 1.0, 7.0])
    rgb = values.expand(3, 1, 8)
    for shape in (rgb, rgb[None]):
        image = images.to_pil(shape)
        assert image.mode == "RGB" and np.asarray(image)[0, :, 1].tolist() == [0, 0, 0, 1, 100, 101, 255, 255]
    assert images.to_pil(rgb, torch.full((1, 1, 1, 8), 0.5)).getpixel((0, 0)) == (0, 0, 0, 128)
    assert images.to_pil(rgb.to(torch.bfloat16)).size == (8, 1)
    with pytest.raises(ValueError, match="expected"):
        images.to_pil(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("suffix", [*images.WRITABLE, ".PNG"])
def test_every_suffix_comes_back(tmp_path: Path, suffix: str, with_alpha: bool) -> None:
    rgb = torch.from_numpy(smooth(33, 48)).permute(2, 0, 1)[None] / 255
    alpha = torch.linspace(0.2, 1, 48).expand(1, 1, 33, 48).mul(255).round() / 255 if with_alpha else None
    path = tmp_path / f"out{suffix}"
    images.write(path, rgb, alpha)
    picture = images.read(path)
    keeps_alpha = suffix.lower() not in (".jpg", ".jpeg", ".bmp")
    if alpha is not None and keeps_alpha:
        assert picture.alpha is not None and torch.equal(picture.alpha, alpha)
    else:
        assert picture.alpha is None
    expected = rgb * alpha + 1 - alpha if alpha is not None and not keeps_alpha else rgb
    tolerance = {".jpg": 4, ".jpeg": 4, ".webp": 9}.get(suffix, 0.51) / 255
    assert (picture.rgb - expected).abs().max() < tolerance


def test_jpeg_keeps_full_colour_resolution(tmp_path: Path) -> None:
    images.write(tmp_path / "out.jpg", torch.rand(3, 32, 32))
    with Image.open(tmp_path / "out.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number_is_not_written(tmp_path: Path, value: float) -> None:
    rgb = torch.zeros(1, 3, 4, 4)
    rgb[0, 1, 2, 3] = value
    for name in ("out.png", "out.jpg"):
        with pytest.raises(UserError, match=f"cannot write '.*{name}': .* not a number"):
            images.write(tmp_path / name, rgb, torch.ones(1, 1, 4, 4))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    rgb = torch.zeros(1, 3, 2, 2)
    (tmp_path / "folder.png").mkdir()
    for name, words in {
        "out.gif": r"'\.gif' is no suffix for that; use one of .*\.png",
        "out": r"it has no suffix; use one of",
        "none/out.png": "No such file or directory; make its folder first",
        "folder.png": "it is a folder",
        "n" * 300 + ".png": "File name too long; choose a shorter name",
    }.items():
        with pytest.raises(UserError, match=words):
            images.write(tmp_path / name, rgb)
    with pytest.raises(UserError, match=r"WEBP holds at most 16383 pixels a side and the picture is 16384 x 1"):
        images.write(tmp_path / "out.webp", torch.zeros(3, 1, 16384))
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(UserError, match=r"cannot write '.*out\.png': No space left on device; free some"):
            images.write(path, torch.zeros(3, 4, 4))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_removes_its_file_whatever_happens(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "style.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_atomic_lends_a_hidden_file_beside_and_syncs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "style.safetensors"
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    with atomic(path) as temporary:
        assert temporary.parent == tmp_path and temporary.name.startswith(".")
        assert temporary.suffix == ".safetensors" and not path.exists()
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole" and synced == [5] and list(tmp_path.iterdir()) == [path]


def test_written_file_has_common_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        images.write(tmp_path / "out.png", torch.zeros(3, 2, 2))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == 0o640


def test_a_link_is_replaced_and_what_it_leads_to_is_not_touched(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "real.png").write_bytes(b"somebody's")
    (tmp_path / "folder").symlink_to(there)
    for name, target in {"link.png": "real.png", "dangling.png": "nothing.png"}.items():
        link = tmp_path / name
        link.symlink_to(there / target)
        images.write(link, torch.ones(3, 2, 2))
        assert not link.is_symlink() and images.read(link).rgb.min() == 1
    assert [(p.name, p.read_bytes()) for p in there.iterdir()] == [("real.png", b"somebody's")]
    with pytest.raises(UserError, match="it is a folder"), atomic(tmp_path / "folder"):
        pass
    images.write(tmp_path / "folder" / "new.png", torch.ones(3, 2, 2))
    assert (there / "new.png").is_file() and (tmp_path / "folder").is_symlink()


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not a regular file"), atomic(tmp_path / "pipe"):
        pass
    assert (tmp_path / "pipe").is_fifo()


# --- sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (64, 64), (13, 5)])
def test_resize_keeps_a_constant(size: tuple[int, int]) -> None:
    image = torch.tensor([0.25, 0.5, 1.0]).view(1, 3, 1, 1).expand(2, 3, 37, 23)
    resized = images.resize(image, *size)
    assert resized.shape == (2, 3, *size)
    assert torch.allclose(resized, image[..., :1, :1].expand_as(resized), atol=1e-6)


def test_resize_is_antialiased_and_stays_in_range() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 3, 64, 64)
    assert (images.resize(stripes, 16, 16)[..., 2:-2] - 0.5).abs().max() < 0.02
    edge = (torch.arange(8) > 3).float().expand(1, 3, 8, 8)
    resized = images.resize(edge, 29, 29)
    assert resized.min() == 0 and resized.max() == 1
    assert torch.equal(images.resize(edge, 8, 8), edge)


def test_fit_scales_to_the_short_side_and_then_within_max_side() -> None:
    image = torch.rand(1, 1, 30, 60)

    def shape(**sides: int) -> tuple[int, ...]:
        return tuple(images.fit(image, **sides).shape[-2:])

    assert shape() == (30, 60)
    assert shape(short_side=15) == (15, 30) and shape(short_side=45) == (45, 90)
    assert shape(max_side=20) == (10, 20) and shape(max_side=100) == (30, 60)
    assert shape(short_side=50, max_side=80) == (40, 80)
    assert images.fit(torch.rand(1, 3, 2, 500), max_side=10).shape[-2:] == (1, 10)
    with pytest.raises(UserError, match="short_side is 0"):
        images.fit(image, short_side=0)


# --- finding --------------------------------------------------------------------------------------------


def test_find_gives_each_picture_once_by_name_pattern_or_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [
        "photo (1).jpg",
        "a,b.jpg",
        "été.jpg",
        "[a].jpg",
        "img2.PNG",
        "img10.png",
        "deep/x/y.webp",
        "k=v.gif",
    ]
    for name in [*names, "notes.txt", ".hidden.png", "empty/readme.txt", "a.jpg"]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    for name in names:
        assert images.find([name]) == [Path(name)]
    ours = ["[a].jpg", "a,b.jpg", "a.jpg", "y.webp", "img2.PNG", "img10.png", "k=v.gif", "photo (1).jpg", "été.jpg"]
    assert [p.name for p in images.find(["."])] == ours
    assert images.find(["img*"]) == [Path("img2.PNG"), Path("img10.png")]
    assert images.find(["**/*.webp"]) == images.find(["deep/**"]) == [Path("deep/x/y.webp")]
    assert images.find(["[ab].jpg"]) == [Path("a.jpg")]
    assert images.find(["été.jpg", "./été.jpg", "*.jpg"])[:2] == [Path("été.jpg"), Path("[a].jpg")]
    assert len(images.find(["*.jpg", ".", str(tmp_path)])) == len(ours)
    assert images.find(["notes.txt"]) == [Path("notes.txt")]  # named outright: its content will decide
    monkeypatch.setenv("HOME", str(tmp_path))
    assert images.find(["~/a.jpg"]) == [tmp_path / "a.jpg"]
    for given, words in {
        "gone.jpg": "there is no file or folder 'gone.jpg'",
        "": "the name of a picture is empty",
        "n" * 300: "there is no file or folder",
        "gone*": r"no picture matches 'gone\*'",
        "*.txt": "no picture matches",
        "empty": "the folder 'empty' holds no pictures",
    }.items():
        with pytest.raises(UserError, match=words):
            images.find(["a.jpg", given])


def test_find_in_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"the folder '.*' may not be read \(Permission denied\)"):
        images.find([str(tmp_path)])
