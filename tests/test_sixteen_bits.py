"""Grey of 16 bits and of signed samples: scaled over its full range and rounded, at once and in bands alike."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onestroke.errors import UserError
from onestroke.imaging import images, large_reading, raw_rows
from onestroke.imaging.images import Picture
from onestroke.imaging.levels import levels_of
from tests.test_large import both, inside

__all__ = ["inside"]
tifffile = pytest.importorskip("tifffile", reason="needs pip install 'onestroke[large]'")
SIZE = 48, 56
WAYS = ("at once", "pyvips", "tifffile")


def made(kind: str, channels: int = 1, low: int = 0) -> np.ndarray:
    """Values over the full range of a type, both ends and what is around the middle of two levels among them."""
    top = np.iinfo(kind).max
    values = np.random.default_rng(0).integers(low, top, (*SIZE, channels), endpoint=True)
    edges = [0, 1, top - 1, top, *(257 * level + gap for level in (0, 7, 254) for gap in (128, 129))]
    values.reshape(-1, channels)[: len(edges), 0] = np.minimum(edges, top)
    return values.astype(kind)


def rounded(values: np.ndarray, inverted: bool = False) -> np.ndarray:
    """The nearest of 256 levels, computed with integers; uint8 (H, W, C)."""
    top = int(np.iinfo(values.dtype).max)
    exact = values.astype(np.int64)
    if inverted:
        exact = top - exact
    return ((2 * 255 * exact + top) // (2 * top)).astype(np.uint8)


def pictures(path: Path, way: str) -> list[Picture]:
    """The picture at once, or its bands with one package."""
    if way == "at once":
        return [images.read(path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_rows, "BAND_PIXELS", 16 * SIZE[1])
        patch.setattr(large_reading, "installed", lambda *names: names == (way,))
        return list(large_reading.bands(path))


def levels(path: Path, way: str) -> np.ndarray:
    """What is painted, in 256 levels, uint8 (H, W, C); as tiles store it."""
    found = [(one.pixels, one.cover) for one in pictures(path, way)]
    planes = [
        torch.cat([part for part in parts if part is not None], dim=2)
        for parts in zip(*found, strict=True)
        if parts[0] is not None
    ]
    assert len(found) == 3 or way != "pyvips"
    return np.concatenate([levels_of(plane[0]) for plane in planes], axis=2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("more", [{}, {"byteorder": ">"}, {"tile": (16, 32)}, {"compression": "zlib"}])
@pytest.mark.parametrize(
    ("kind", "white"), [("u1", "max"), ("u2", "max"), ("u1", "min"), ("u2", "min"), ("i1", "max"), ("i2", "max")]
)
def test_grey_of_a_tiff_is_rounded(kind: str, white: str, more: dict[str, Any], way: str, tmp_path: Path) -> None:
    values, path = made(kind), tmp_path / "a.tif"
    photometric = "minisblack" if white == "max" else "miniswhite"
    tifffile.imwrite(path, values[..., 0], photometric=photometric, metadata=None, **more)
    if (kind, white) == ("u2", "min") and "byteorder" in more:
        with pytest.raises(UserError, match="1 unsigned samples a pixel of 16 bits, photometric interpretation 0"):
            pictures(path, "at once")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(levels(path, way), rounded(values, white == "min"))
    if kind == "u2":
        exact = values / 65535 if white == "max" else 1 - values / 65535
        found = torch.cat([one.rgb for one in pictures(path, way)], dim=2)[0, :1].permute(1, 2, 0).numpy()
        assert np.abs(found - exact).max() < 1e-6, "and nothing is lost before"


@pytest.mark.parametrize("way", WAYS)
def test_negative_values_are_told(way: str, tmp_path: Path) -> None:
    values = made("i2", low=-32768)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", metadata=None)
    with pytest.raises(UserError, match=r"holds grey values from -.* to .* where 0 to 32767 is the range"):
        pictures(tmp_path / "a.tif", way)


def test_sixteen_bits_are_painted_alike_at_once_and_in_tiles(inside: Path) -> None:
    tifffile.imwrite("grey.tif", made("u2")[..., 0], photometric="miniswhite", metadata=None)
    png(inside / "cut.png", made("u2", 2, low=33_000))
    for name in ("grey.tif", "cut.png"):
        once, tiles = both(f"input={name}")
        assert once.std() > 10 and np.abs(once - tiles).max() <= 1


def png(path: Path, values: np.ndarray, **more: Any) -> None:
    pyvips = pytest.importorskip("pyvips", reason="needs pip install 'onestroke[large]'")
    image = pyvips.Image.new_from_array(values)
    image = image.copy(interpretation="grey16" if values.shape[2] < 3 else "rgb16")
    image.write_to_file(str(path), bitdepth=16, **more)


@pytest.mark.parametrize("way", WAYS[:2])
@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_grey_of_a_png_is_rounded_with_and_without_alpha(
    channels: int, interlace: bool, way: str, tmp_path: Path
) -> None:
    values = made("u2", channels, low=33_000)  # where nothing is hidden, colours stay
    png(tmp_path / "a.png", values, interlace=interlace)
    assert np.array_equal(levels(tmp_path / "a.png", way), rounded(values))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channels", [3, 4])
def test_of_colours_the_upper_eight_bits_are_taken(channels: int, way: str, tmp_path: Path) -> None:
    values = made("u2", channels, low=33_000)
    more = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", metadata=None, **more)
    assert np.array_equal(levels(tmp_path / "a.tif", way), values >> 8)
    if way != "tifffile":
        png(tmp_path / "a.png", values)
        assert np.array_equal(levels(tmp_path / "a.png", way), values >> 8)
