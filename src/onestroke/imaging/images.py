"""Decode, encode and resize pictures. In the rest of the code an image is float32 sRGB, (N, 3, H, W) in [0, 1].

The public functions are here; decoding/ implements the reading.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from onestroke.errors import UserError
from onestroke.files import atomic
from onestroke.imaging import decoding, metadata
from onestroke.imaging.decoding import MAX_PIXELS, FramesWarning, Picture, resize, seen
from onestroke.imaging.encoding import LONGEST_SIDE, LOSSY, WITHOUT_ALPHA, WRITABLE, Seal, encode, xmp_room
from onestroke.imaging.finding import search
from onestroke.imaging.kinds import EXTENSIONS
from onestroke.imaging.left_out import LeftOut
from onestroke.imaging.levels import levels_of

__all__ = [
    "EXTENSIONS",
    "LOSSY",
    "MAX_PIXELS",
    "WRITABLE",
    "FramesWarning",
    "Picture",
    "encoded",
    "find",
    "fit",
    "from_pil",
    "read",
    "read_training",
    "resize",
    "same_levels",
    "seen",
    "to_pil",
    "write",
    "xmp_room",
]

_MAX_ASPECT = 8


def read(
    path: str | os.PathLike[str],
    max_pixels: int = MAX_PIXELS,
    max_side: int | None = None,
    alpha_hides: bool = True,
) -> Picture:
    """Decode a picture of any known format, upright and converted to sRGB.

    The format is detected from the content, not from the suffix. 16 bit grey keeps its precision; with alpha, it is
    rounded to 8 bits, and of 16 bit colour Pillow takes the upper 8. A broken colour profile is ignored, and the first
    of several frames or pages is taken, each with a warning. Transparent pixels get the colour of visible pixels near
    them.

    Args:
        path: the file.
        max_pixels: maximum width * height.
        max_side: shrink the picture so that its longer side has at most this many pixels; None keeps its size.
            Shrinking takes little more memory than the file's decoder does.
        alpha_hides: False where alpha is a mask and not transparency: all pixels keep the colours of the file.

    Raises:
        UserError: the file is missing, not regular, not readable, empty, not a picture of a known format, damaged,
            cut short, or too large for `max_pixels` or for the memory; the size is checked before decoding.
    """
    path = Path(path)
    name = f"'{path}'"
    with decoding.opened(path, max_pixels) as image:
        width, height = image.size
        frames, exif, xmp = decoding.frames(path, image), decoding.exif_of(image), decoding.xmp_of(image)
        size = decoding.fitting(height, width, max_side=max_side)
        shrinks = size != (height, width)
        # A JPEG is decoded at no less than twice the size, as our resampling filter is better than the decoder's.
        loaded = decoding.load(path, image, (2 * size[1], 2 * size[0]) if shrinks else None)
        if frames > 1:
            warnings.warn(decoding.frames_sentence(name, image, frames), FramesWarning, stacklevel=2)
        picture = decoding.to_picture(loaded, name, size if shrinks else None, alpha_hides)
    return replace(picture, exif=exif or decoding.exif_of(loaded), frames=frames, xmp=xmp or decoding.xmp_of(loaded))


def from_pil(image: Image.Image) -> Picture:
    """Convert a PIL image of any mode as `read` does: upright, sRGB, alpha kept.

    Mode I is read as 16 bit grey, 0 to 65535, and mode F as grey in [0, 1].

    Raises:
        UserError: values of mode I or F are outside of that range, or the image can't be decoded.
    """
    with decoding.guarded("the picture"):
        image.load()
        return decoding.to_picture(image, "the picture")


def read_training(path: str | os.PathLike[str], short_side: int, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode a picture fast for training, upright and resized.

    A JPEG is decoded at a reduced scale, colour profiles are ignored, and alpha is flattened on white.

    Args:
        path: the file.
        short_side: length of the shorter side of the result, in pixels.
        max_pixels: maximum width * height of the file.

    Returns:
        uint8 RGB (H, W, 3) with min(H, W) = short_side.

    Raises:
        UserError: as `read`; the shorter side is below half of `short_side`; the aspect is beyond 8 : 1.
    """
    path = Path(path)
    name = f"'{path}'"
    with decoding.opened(path, max_pixels, quiet=True) as image:
        low, high = sorted(image.size)
        if 2 * low < short_side:
            raise UserError(
                f"{name} is too small: its shorter side has {low} pixels, training at {short_side} needs "
                f"{(short_side + 1) // 2} or more; leave it out or train at a smaller size"
            )
        if high > _MAX_ASPECT * low:
            raise UserError(
                f"{name} is too long and narrow ({image.width} x {image.height}, over {_MAX_ASPECT} : 1); "
                "crop it or leave it out"
            )
        frames = decoding.frames(path, image)
        if frames > 1:
            decoding.warn_frames_once(f"{decoding.frames_sentence(name, image, frames)}, as of all such files")
        small = decoding.upright(decoding.flat(decoding.load(path, image, (short_side, short_side)), name))
        # From the size in the header, since the size of a reduced JPEG is rounded.
        long_side = max(short_side, round(high * short_side / low))
        size = (short_side, long_side) if small.width <= small.height else (long_side, short_side)
        if small.size != size:
            small = small.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        return np.array(small)


def to_pil(rgb: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """Convert a tensor to a PIL image: clamp to [0, 1] and round to the nearest of 256 levels.

    Args:
        rgb: float (3, H, W) or (1, 3, H, W).
        alpha: float (1, H, W) or (1, 1, H, W), or None.

    Returns:
        An image of mode RGB, or RGBA where alpha is given.

    Raises:
        UserError: a value is not finite.
        ValueError: a shape is wrong.
    """
    channels = _single(rgb, 3)
    if alpha is not None:
        channels = torch.cat((channels, _single(alpha, 1)))
    return Image.fromarray(levels_of(channels))


def write(
    path: str | os.PathLike[str],
    rgb: Tensor,
    alpha: Tensor | None = None,
    quality: int | None = None,
    painted_in: str | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    seal: Seal | None = None,
) -> None:
    """Encode a picture in the format of the suffix and write the file atomically.

    For formats without alpha (JPEG, BMP) the picture is flattened on white.

    Args:
        path: the file to write; one that exists is replaced.
        rgb: float (3, H, W) or (1, 3, H, W), clamped to [0, 1].
        alpha: float (1, H, W) or (1, 1, H, W), or None.
        quality: 1 to 100, for the formats in LOSSY; None is 95.
        painted_in: the style of a painting: written into the metadata, by which `finding.search` recognises paintings.
        exif: the EXIF block of the painting's photo, copied as described in `metadata.of_painting`.
        xmp: the XMP packet of a painting, of at most `xmp_room` bytes, or None.
        seal: what is done to the encoded file last, such as signing it, or None.

    Raises:
        UserError: unknown suffix, a side too long for the format, values that are not finite, or the file can't be
            sealed or written.
        ValueError: a shape is wrong.
    """
    path = Path(path)
    # Encoded in memory first, since Pillow hides why a write failed, such as a full disk.
    content = encoded(path, rgb, alpha, quality, painted_in, exif, xmp)
    if seal is not None:
        content = seal.seal(content, WRITABLE[path.suffix.lower()])
    with atomic(path) as temporary:
        temporary.write_bytes(content)
        if seal is not None:
            seal.check(temporary, WRITABLE[path.suffix.lower()])


def encoded(
    path: Path,
    rgb: Tensor,
    alpha: Tensor | None = None,
    quality: int | None = None,
    painted_in: str | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
) -> bytes:
    """The content of the file that `write` would write, with its arguments; its errors but for those of writing."""
    height, width = rgb.shape[-2:]
    kind = _kind_of(path, height, width)
    try:
        if alpha is not None and kind in WITHOUT_ALPHA:
            cover = _single(alpha, 1).clamp(0, 1)
            rgb, alpha = _single(rgb, 3).clamp(0, 1) * cover + (1 - cover), None
        image = to_pil(rgb, alpha)
    except UserError as error:
        raise UserError(f"cannot write '{path}': {error}") from None
    block = None if painted_in is None else metadata.of_painting(exif, height, width, painted_in)
    return encode(image, kind, quality, block, xmp)


def _kind_of(path: Path, height: int, width: int) -> str:
    """The format of a file's suffix; a UserError if there is none, or it can't hold a picture of this size."""
    kind = WRITABLE.get(path.suffix.lower())
    if kind is None:
        problem = f"'{path.suffix}' is no suffix for that" if path.suffix else "it has no suffix"
        raise UserError(f"cannot write '{path}': {problem}; use one of {', '.join(WRITABLE)}")
    longest = LONGEST_SIDE.get(kind)
    if longest is not None and max(height, width) > longest:
        raise UserError(
            f"cannot write '{path}': {kind} holds at most {longest} pixels a side and the picture is "
            f"{width} x {height}; use .png"
        )
    return kind


def same_levels(one: Tensor, other: Tensor, within: int = 0) -> bool:
    """Whether two pictures are the same once they are written with 256 levels.

    Args:
        one, other: float of one shape (..., H, W), in [0, 1]; compared row by row, to save memory.
        within: the largest difference, in levels, that counts as the same.
    """
    rows = zip(one.unbind(-2), other.unbind(-2), strict=True)
    levels = (((a.clamp(0, 1) * 255 + 0.5).floor(), (b.clamp(0, 1) * 255 + 0.5).floor()) for a, b in rows)
    return all(bool(((a - b).abs() <= within).all()) for a, b in levels)


def fit(image: Tensor, *, short_side: int | None = None, max_side: int | None = None) -> Tensor:
    """Resize pictures, keeping the aspect; no side becomes shorter than one pixel.

    Args:
        image: float (N, C, H, W) in [0, 1].
        short_side: length of the shorter side in pixels, by shrinking or enlarging; None keeps the size.
        max_side: maximum length of the longer side in pixels, applied after `short_side`.

    Returns:
        float (N, C, height, width) in [0, 1].

    Raises:
        UserError: `short_side` or `max_side` is below 1.
    """
    return resize(image, *decoding.fitting(*image.shape[-2:], short_side=short_side, max_side=max_side))


def luminance(rgb: Tensor) -> Tensor:
    """Luma by Rec. 601 of sRGB values: (N, 3, H, W) -> (N, 1, H, W), in the same range."""
    return (rgb * rgb.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def find(paths: Sequence[str]) -> list[Path]:
    """`finding.search` including OneStroke's own paintings; returns the paths alone.

    Raises:
        UserError: a path gives no picture.
    """
    return [found.path for found in search(paths, LeftOut(), paintings=True)]


def _single(image: Tensor, channels: int) -> Tensor:
    """Check one picture and return it as float32 (channels, H, W) on the CPU."""
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != channels:
        raise ValueError(f"expected ({channels}, H, W) or (1, {channels}, H, W), got {tuple(image.shape)}")
    image = image.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(image).all()):
        raise UserError("the picture holds values that are not a number; train it again or use another style")
    return image
