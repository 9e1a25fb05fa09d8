"""TIFF means what its tags say, by files made byte for byte; and what can't be read rightly is told."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from onestroke.errors import UserError
from onestroke.imaging import images

WIDTH, HEIGHT = 5, 3
DEFLATE = 8


def tiff(
    data: bytes, *, bits: int, photometric: int = 1, kind: int = 1, order: str = "<", samples: int = 1, **more: int
) -> bytes:
    """A TIFF of one strip; `more` holds planar, compression and extra."""
    compression = more.get("compression", 1)
    body = zlib.compress(data) if compression == DEFLATE else data
    parts = samples if more.get("planar", 1) == 2 else 1  # planes follow each other, each in a strip
    tags: list[tuple[int, int, int, list[int]]] = [
        (256, 3, 1, [WIDTH]),
        (257, 3, 1, [HEIGHT]),
        (258, 3, samples, [bits] * samples),
        (259, 3, 1, [compression]),
        (262, 3, 1, [photometric]),
        (273, 4, parts, [8 + len(body) // parts * part for part in range(parts)]),
        (277, 3, 1, [samples]),
        (278, 3, 1, [HEIGHT]),
        (279, 4, parts, [len(body) // parts] * parts),
        (284, 3, 1, [more.get("planar", 1)]),
        *([(338, 3, 1, [more["extra"]])] if "extra" in more else []),
        (339, 3, samples, [kind] * samples),
    ]
    body += b"\0" * (len(body) % 2)
    start = 8 + len(body)
    far = start + 2 + 12 * len(tags) + 4
    table, rest = struct.pack(order + "H", len(tags)), b""
    for tag, form, count, values in tags:
        packed = struct.pack(order + ("H" if form == 3 else "I") * count, *values)
        if len(packed) > 4:
            place = struct.pack(order + "I", far + len(rest))
            rest += packed
        else:
            place = packed.ljust(4, b"\0")
        table += struct.pack(order + "HHI", tag, form, count) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + body + table + b"\0\0\0\0" + rest


def read(tmp_path: Path, data: bytes) -> npt.NDArray[np.float32]:
    path = tmp_path / "picture.tif"
    path.write_bytes(data)
    return images.read(path).rgb[0].permute(1, 2, 0).numpy()


def packed(values: npt.NDArray[np.int64], bits: int) -> bytes:
    rows = ["".join(f"{v:0{bits}b}" for v in row) for row in values]
    return b"".join(int(row.ljust(-len(row) % 8 + len(row), "0"), 2).to_bytes(-(-len(row) // 8), "big") for row in rows)


def levels(top: int) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = np.linspace(0, top, WIDTH * HEIGHT).round().astype(np.int64)
    return values.reshape(HEIGHT, WIDTH)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize(("bits", "order"), [(b, o) for b in (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32) for o in "<>"])
def test_unsigned_grey_of_every_depth_is_right_or_told(tmp_path: Path, bits: int, order: str, photometric: int) -> None:
    top = 2**bits - 1
    values = levels(top)
    data = values.astype(f"{order}u{bits // 8}").tobytes() if bits in (8, 16, 32) else packed(values, bits)
    expected = (values if photometric else top - values) / top
    known = {0: (1, 2, 4, 8, 16), 1: (1, 2, 4, 8, 12, 16, 32)}[photometric]
    if bits in known and (order == "<" or bits <= 8 or (bits, photometric) == (16, 1)):
        got = read(tmp_path, tiff(data, bits=bits, photometric=photometric, order=order))
        assert np.abs(got - expected[..., None]).max() < 1e-6
    else:
        with pytest.raises(UserError, match=rf"a TIFF with 1 unsigned samples a pixel of {bits} bits"):
            read(tmp_path, tiff(data, bits=bits, photometric=photometric, order=order))


@pytest.mark.parametrize("compression", [1, DEFLATE])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("form", "top"), [("i1", 127), ("i2", 32767), ("f4", 1.0), ("u2", 65535), ("u4", 2**32 - 1)])
def test_signs_and_fractions_in_either_byte_order(
    tmp_path: Path, form: str, top: float, order: str, compression: int
) -> None:
    values = np.linspace(0, 1, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) * top
    stored = values.astype(order + form) if form == "f4" else values.round().astype(order + form)
    kind = {"u": 1, "i": 2, "f": 3}[form[0]]
    options: dict[str, Any] = {"bits": stored.itemsize * 8, "kind": kind, "order": order, "compression": compression}
    try:
        got = read(tmp_path, tiff(stored.tobytes(), **options))
    except UserError as error:
        assert (form, order) == ("u4", ">") and "unsigned samples a pixel of 32 bits" in str(error)
        return
    assert np.abs(got[..., 0] - stored.astype(np.float64) / top).max() < 1e-6


@pytest.mark.parametrize(("form", "bad"), [("i1", -5), ("i2", -5), ("f4", 1.5), ("f4", -0.1), ("f4", float("nan"))])
def test_numbers_outside_of_their_range_are_told(tmp_path: Path, form: str, bad: float) -> None:
    stored = np.zeros((HEIGHT, WIDTH), "<" + form)
    stored[1, 2] = bad
    kind = {"i": 2, "f": 3}[form[0]]
    with pytest.raises(UserError, match=r"holds grey values from .* where 0 to .* is the range"):
        read(tmp_path, tiff(stored.tobytes(), bits=stored.itemsize * 8, kind=kind))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [1, 2])
def test_colour_in_planes_is_right_or_told(tmp_path: Path, planar: int, bits: int) -> None:
    top = 2**bits - 1
    values = np.stack([levels(top), levels(top)[::-1], levels(top)[:, ::-1]], -1)
    stored = (values if planar == 1 else np.moveaxis(values, -1, 0)).astype(f"<u{bits // 8}")
    data = tiff(stored.tobytes(), bits=bits, photometric=2, samples=3, planar=planar)
    if (planar, bits) == (2, 16):
        with pytest.raises(UserError, match="3 unsigned samples a pixel of 16 bits, each in a plane of its own"):
            read(tmp_path, data)
    else:
        assert np.abs(read(tmp_path, data) - values / top).max() < 1 / 255


def test_premultiplied_colours_are_as_those_that_are_not(tmp_path: Path) -> None:
    colours = np.full((HEIGHT, WIDTH, 3), (200, 100, 40), np.uint8)
    alpha = np.array([0, 51, 102, 204, 255], np.uint8).reshape(1, WIDTH, 1).repeat(HEIGHT, 0)
    straight = np.dstack((colours, alpha))
    associated = np.dstack(((colours.astype(int) * alpha / 255).round().astype(np.uint8), alpha))
    got = [
        read(tmp_path, tiff(stored.tobytes(), bits=8, photometric=2, samples=4, extra=extra))
        for stored, extra in ((straight, 2), (associated, 1))
    ]
    assert np.abs(got[0] - got[1]).max() < 3 / 255
    assert np.abs(got[0] * 255 - (200, 100, 40)).max() < 1.01


def test_what_libtiff_prints_is_told_once_with_the_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(tiff(levels(255).astype(np.uint8).tobytes(), bits=8, compression=DEFLATE))
    data[12:16] = b"\xff\xff\xff\xff"  # within the compressed strip
    (tmp_path / "broken.tif").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"broken\.tif' is damaged or cut short") as caught:
            images.read(tmp_path / "broken.tif")
    assert capfd.readouterr().err == "" and "\n" not in str(caught.value)
