"""Convert decoded PIL images to arrays: orientation, colour profile, alpha and bit depth.

The conversion works in strips of rows, so that no step holds a second copy of a large picture.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageCms
from torch import Tensor

from onestroke.imaging.decoding.guard import PictureWarning, short
from onestroke.imaging.decoding.samples import Samples, samples_of

Array = npt.NDArray[Any]

# LittleCMS's numeric flags, since Pillow has changed their Python names.
_BLACK_POINT_COMPENSATION, _NO_OPTIMIZATION = 0x2000, 0x0100
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRIP = 2**18  # pixels in a strip

ToRGB = Callable[[Image.Image], Image.Image]


class Source:
    """A loaded image as strips of sRGB values, in the orientation of the file.

    Args:
        image: a loaded image of any mode.
        name: of the picture, for messages.
        managed: whether its colour profile is applied.

    Raises:
        UserError: grey values are outside of the range of their type.
    """

    def __init__(self, image: Image.Image, name: str, managed: bool = True) -> None:
        self.image, self.name = image, name
        icc = image.info.get("icc_profile") if managed else None
        self.samples = samples_of(image)
        self._curve: Array | None = None
        if self.samples is not None:
            self._check_range(self.samples)
            mark = image.info.get("transparency")
            self.has_alpha = isinstance(mark, int)
            self._curve = _curve_of(icc, self.name) if icc else None
            self.channels = 1 if self._curve is None else 3
            return
        self.has_alpha = bool(image.has_transparency_data)
        grey = image.mode in ("1", "L", "LA", "La")
        mode = "L" if grey else "CMYK" if image.mode == "CMYK" else "RGB"
        through = _through_profile(mode, icc, self.name) if icc and image.mode != "LAB" else None
        self.channels = 1 if grey and through is None else 3
        if image.mode == "LAB":
            through = _from_lab()
        self._convert: ToRGB = through or (lambda strip: strip.convert("L" if grey else "RGB"))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.height, self.image.width

    def strips(self) -> Iterator[tuple[int, Array, Array | None]]:
        """Yield strips of n rows from top to bottom: first row, colours (channels, n, W), and alpha (n, W) or None.

        Colours and alpha are uint8, or float32 in [0, 1] where `samples` is not None (more than 8 bits).
        """
        height, width = self.size
        rows = max(1, _STRIP // width)
        for top in range(0, height, rows):
            strip = self.image.crop((0, top, width, min(top + rows, height)))
            yield (top, *(self._eight(strip) if self.samples is None else self._deep(strip, self.samples)))

    def _eight(self, strip: Image.Image) -> tuple[Array, Array | None]:
        cover = None
        if self.has_alpha:
            grey = strip.mode in ("1", "L", "LA", "La")
            strip = strip.convert("LA" if grey else "RGBA")
            cover = np.asarray(strip.getchannel("A"))
            strip = strip.convert("L" if grey else "RGB")
        planes = self._convert(strip).split()
        return np.stack([np.asarray(plane) for plane in planes]), cover

    def _deep(self, strip: Image.Image, samples: Samples) -> tuple[Array, Array | None]:
        stored = samples.stored(strip)
        mark = self.image.info.get("transparency")
        cover = (stored != mark).astype(np.float32) if self.has_alpha else None
        grey = samples.scaled(stored)
        if self._curve is None:
            return grey[None], cover
        levels = np.arange(256, dtype=np.uint8)
        return np.stack([np.interp(grey * 255.0, levels, c).astype(np.float32) for c in self._curve]), cover

    def _check_range(self, samples: Samples) -> None:
        height, width = self.size
        rows = max(1, _STRIP // width)
        lows, highs = [], []
        for top in range(0, height, rows):
            values = samples.stored(self.image.crop((0, top, width, min(top + rows, height))))
            lows.append(values.min())
            highs.append(values.max())
        samples.check_range(float(np.min(lows)), float(np.max(highs)), self.name)


def whole(source: Source, turn: Image.Transpose | None) -> tuple[Tensor, Tensor | None]:
    """Convert all of a source, upright: colours (1, C, H, W) and alpha (1, 1, H, W) or None, uint8 or float32."""
    height, width = source.size
    kind = np.uint8 if source.samples is None else np.float32
    pixels = np.empty((source.channels, *turned(height, width, turn)), kind)
    cover = np.empty((1, *turned(height, width, turn)), kind) if source.has_alpha else None
    lying = as_in_file(pixels, turn)
    lying_cover = None if cover is None else as_in_file(cover, turn)
    for top, colours, alpha in source.strips():
        lying[:, top : top + colours.shape[1]] = colours
        if lying_cover is not None and alpha is not None:
            lying_cover[0, top : top + colours.shape[1]] = alpha
    return torch.from_numpy(pixels)[None], None if cover is None else torch.from_numpy(cover)[None]


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """The transposition that brings an image upright, by its EXIF orientation; None if it is upright."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return None  # A broken EXIF block is no reason to refuse the pixels.


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation of an image."""
    turn = turn_of(image)
    return image if turn is None else image.transpose(turn)


def turned(height: int, width: int, turn: Image.Transpose | None) -> tuple[int, int]:
    """Height and width after a transposition."""
    return (width, height) if turn in (_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]) else (height, width)


def as_in_file(upright: Array, turn: Image.Transpose | None) -> Array:
    """A view of an upright array (C, H, W) in the orientation of the file, to write rows of the file into."""
    views: dict[Image.Transpose | None, Callable[[Array], Array]] = {
        None: lambda a: a,
        _TURNS[2]: lambda a: a[:, :, ::-1],
        _TURNS[3]: lambda a: a[:, ::-1, ::-1],
        _TURNS[4]: lambda a: a[:, ::-1],
        _TURNS[5]: lambda a: a.swapaxes(1, 2),
        _TURNS[6]: lambda a: np.rot90(a, 1, (1, 2)),
        _TURNS[7]: lambda a: a.swapaxes(1, 2)[:, ::-1, ::-1],
        _TURNS[8]: lambda a: np.rot90(a, -1, (1, 2)),
    }
    return views[turn](upright)


def flat(image: Image.Image, name: str) -> Image.Image:
    """Convert to mode RGB, flattened on white; the colour profile is ignored.

    Args and Raises: as in `Source`.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    result = Image.new("RGB", image.size)
    for top, colours, cover in Source(image, name, managed=False).strips():
        result.paste(_on_white(colours, cover), (0, top))
    return result


def _on_white(colours: Array, cover: Array | None) -> Image.Image:
    if colours.dtype == np.float32:
        if cover is not None:
            colours = colours * cover + (1 - cover)
        colours, cover = (colours * 255 + 0.5).astype(np.uint8), None
    image = Image.merge("RGB", [Image.fromarray(plane) for plane in np.broadcast_to(colours, (3, *colours.shape[1:]))])
    if cover is None:
        return image
    return Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(cover))


def _curve_of(icc: bytes, name: str) -> Array | None:
    """A grey profile as a lookup table (3, 256) in [0, 1], since Pillow's LittleCMS transforms take 8 bits only."""
    through = _through_profile("L", icc, name)
    if through is None:
        return None
    levels = np.arange(256, dtype=np.uint8)
    curve: Array = np.asarray(through(Image.fromarray(levels[None])))[0].T / 255.0
    return curve


def _through_profile(mode: str, icc: bytes, name: str) -> ToRGB | None:
    """The transform from a profile to sRGB; None if it changes nothing, or if it is broken, with a warning."""
    try:
        return _transform(mode, icc)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError) as error:
        warnings.warn(f"the colour profile of {name} is ignored ({short(str(error))})", PictureWarning, stacklevel=2)
        return None


def _from_lab() -> ToRGB:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC).apply


def _transform(own: str, icc: bytes) -> ToRGB | None:
    """Build the transform for pictures of mode `own`; raises ValueError for a profile of another colour space."""
    profile = ImageCms.ImageCmsProfile(BytesIO(icc))
    space = profile.profile.xcolor_space.strip()
    mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space)
    # Grey pictures with an RGB profile are common and well defined; other mixtures are mistakes.
    if mode is None or (mode != own and (own, mode) != ("L", "RGB")):
        raise ValueError(f"it is for {space or 'unknown'} and the picture is {own}")
    # Not optimised for grey: LittleCMS's lookup table is off by 7 levels in the dark part of a linear curve.
    flags: Any = _BLACK_POINT_COMPENSATION | (_NO_OPTIMIZATION if mode == "L" else 0)
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags)
    # A profile equal to sRGB is skipped, which saves a pass over the picture and its rounding.
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    probe = Image.fromarray(colours).convert(mode)
    after = transform.apply(probe)
    if mode != "CMYK":
        before = probe.convert("RGB")
        if np.abs(np.asarray(after, dtype=np.int16) - np.asarray(before)).max() <= 1:
            return None
    return lambda strip: transform.apply(strip.convert(mode))
