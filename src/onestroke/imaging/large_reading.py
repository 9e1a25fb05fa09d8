"""Read a picture of any size band by band, upright and in sRGB, with pyvips or tifffile where they are there."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from onestroke.errors import UserError
from onestroke.imaging import decoding
from onestroke.imaging.decoding import MAX_PIXELS, Picture
from onestroke.imaging.decoding.guard import damaged
from onestroke.imaging.decoding.memory import needs
from onestroke.imaging.decoding.samples import Samples, eight_bits, samples_of
from onestroke.imaging.raw_rows import band_rows
from onestroke.packages import installed

NEEDS = "pip install 'onestroke[large]'"
_PLAUSIBLE = 1000  # pixels that a byte of a file may hold, where there are more than MAX_PIXELS
_KINDS = {"uchar": "u1", "ushort": "u2", "char": "i1", "short": "i2"}
"""pyvips' name of the samples that are read -> that of numpy."""
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_UPRIGHT = (0, 1)
_ORIENTATION = 0x0112


def vips() -> Any:
    """The module pyvips, without its cache: that gives the old pixels of a file that was written anew."""
    module: Any = importlib.import_module("pyvips")
    module.cache_set_max(0)
    return module


@dataclass(frozen=True)
class Header:
    """What is known of a picture before its pixels are decoded.

    height, width: upright. memory: bytes that decoding it whole takes. alpha: whether it has transparency. exif, xmp,
    frames: see Picture.
    """

    height: int
    width: int
    memory: int
    exif: bytes | None
    xmp: bytes | None
    frames: int


def header(path: Path, counts: bool = False) -> Header:
    """Read the header of a picture of any plausible size.

    Args:
        path: the file.
        counts: whether its frames or pages are counted, which may take long; else `frames` is 1.

    Raises:
        UserError: as `images.read`; or it holds far more pixels than a file of its size can.
    """
    with decoding.opened(path, _most_pixels(path), quiet=True) as image:
        width, height = image.size
        if _orientation(image) > 4:
            width, height = height, width
        found = decoding.frames(path, image) if counts else 1
        needed = needs(image, shrinks=False)
        return Header(height, width, needed, decoding.exif_of(image), decoding.xmp_of(image), found)


def _most_pixels(path: Path) -> int:
    """The most pixels that a file of its size may hold."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return max(MAX_PIXELS, _PLAUSIBLE * size)


def _orientation(image: Image.Image) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        found = image.tag_v2.get(_ORIENTATION, 1)
    else:
        found = image.getexif().get(_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def bands(path: Path, alpha_hides: bool = True) -> Iterator[Picture]:
    """The picture from the top down, in bands of rows; as `images.read` gives it, with 8 bits a sample.

    Colours under transparent pixels are those of visible neighbours in the same band.

    Raises:
        UserError: no installed package reads it in bands, or it is damaged or of an unsupported sort.
    """
    name = f"'{path}'"
    by_vips, tiff = installed("pyvips"), installed("tifffile")
    if not by_vips and not (tiff and path.suffix.lower() in (".tif", ".tiff")):
        raise UserError(f"{name} is too large for the memory, and reading it in bands needs {NEEDS}")
    try:
        with decoding.opened(path, _most_pixels(path), quiet=True) as opened:
            samples = samples_of(opened)
        for image in _by_vips(path, name, samples) if by_vips else _by_tifffile(path, name, samples):
            yield decoding.to_picture(image, name, alpha_hides=alpha_hides)
    except (UserError, GeneratorExit):
        raise
    except Exception as error:  # pyvips and tifffile raise errors of many classes
        raise damaged(name, error) from error


def _by_vips(path: Path, name: str, samples: Samples | None) -> Iterator[Image.Image]:
    pyvips = vips()
    image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="truncated")
    turned = image.get("orientation") if image.get_typeof("orientation") else 1
    if turned not in _UPRIGHT:  # which reads it in another order: large ones through a temporary file
        image = pyvips.Image.new_from_file(str(path), access="random", fail_on="truncated").autorot()
    kind = _KINDS.get(image.format)
    # pyvips inverts unsigned samples itself, and no signed ones
    odd = kind in ("i1", "i2") and (image.bands > 1 or samples is None or samples.inverted)
    if kind is None or odd or image.bands not in _MODES:
        raise UserError(
            f"{name} is too large to be read at once, and in bands only pictures of 8 or 16 bits are read; convert it"
        )
    scale = None if samples is None else Samples(samples.top)
    mode = "CMYK" if image.interpretation == "cmyk" and image.bands == 4 else _MODES[image.bands]
    profile = image.get("icc-profile-data") if image.get_typeof("icc-profile-data") else None
    high, region = band_rows(image.width), pyvips.Region.new(image)
    for begin in range(0, image.height, high):
        rows = min(high, image.height - begin)
        pixels = np.frombuffer(region.fetch(0, begin, image.width, rows), kind)
        yield _band(name, mode, pixels.reshape(rows, image.width, image.bands), scale, profile)


def _band(name: str, mode: str, values: np.ndarray, samples: Samples | None, profile: bytes | None) -> Image.Image:
    """Stored values (H, W, C) as an image: grey of other than 8 unsigned bits scaled, and other samples reduced to 8.

    The same as when the picture is read at once: of 16 bit colours, Pillow takes the upper 8.
    """
    if values.shape[2] == 1 and samples is not None and values.dtype != np.uint8:
        samples.check_range(float(values.min()), float(values.max()), name)
        band = Image.fromarray(samples.scaled(values[..., 0]))
    else:
        if values.dtype == np.uint16:
            values = eight_bits(values) if values.shape[2] <= 2 else (values >> 8).astype(np.uint8)
        band = Image.frombytes(mode, values.shape[1::-1], values.tobytes())
    if profile is not None:
        band.info["icc_profile"] = bytes(profile)
    return band


def _by_tifffile(path: Path, name: str, samples: Samples | None) -> Iterator[Image.Image]:
    tifffile: Any = importlib.import_module("tifffile")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        plain = page.photometric.name in ("MINISWHITE", "MINISBLACK", "RGB") and page.planarconfig == 1
        turned = page.tags[_ORIENTATION].value if _ORIENTATION in page.tags else 1
        associated = any(int(extra) == 1 for extra in page.extrasamples)
        inverted, grey = page.photometric.name == "MINISWHITE", page.samplesperpixel == 1
        known = [np.uint8, np.uint16] if inverted or not grey else [np.uint8, np.uint16, np.int8, np.int16]
        if not plain or page.dtype not in known or turned != 1 or associated or (inverted and not grey):
            raise UserError(f"{name} is of a sort of TIFF that only pyvips reads in bands: {NEEDS}")
        profile = page.tags[34675].value if 34675 in page.tags else None
        mode = _MODES[page.samplesperpixel]
        for rows in _segments(page):
            levels = 255 - rows if inverted and samples is None else rows
            yield _band(name, mode, levels, samples, profile)


def _segments(page: Any) -> Iterator[np.ndarray]:
    """The strips of a page, or its rows of tiles, (n, width, samples)."""
    band: np.ndarray | None = None
    begin = 0
    for pixels, index, shape in page.segments():
        top, left = index[2], index[3]
        height, width = min(shape[1], page.imagelength - top), min(shape[2], page.imagewidth - left)
        if band is not None and top != begin:
            yield band
            band = None
        if band is None:
            band, begin = np.zeros((height, page.imagewidth, page.samplesperpixel), page.dtype), top
        if pixels is not None:  # a tile that the file leaves out is black
            band[:, left : left + width] = pixels.reshape(shape[1:])[:height, :width]
    if band is not None:
        yield band
