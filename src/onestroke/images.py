"""The place of pixels: decode, encode, resize. Elsewhere an image is float32 sRGB, (N, 3, H, W) in [0, 1]."""

from __future__ import annotations

import glob
import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

# Each plugin puts its format into Image.OPEN when it is imported.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)
from torch import Tensor
from torch.nn import functional as F

from onestroke.errors import UserError
from onestroke.files import atomic

Grey = npt.NDArray[np.float32]

MAX_PIXELS = 200_000_000
WRITABLE = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""Suffix to Pillow's name. GIF is read only: 256 colours would spoil a painting without a word."""
EXTENSIONS = frozenset(WRITABLE) | {".gif"}

_KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
_WITHOUT_ALPHA = ("JPEG", "BMP")
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
_OPTIONS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}
_MAX_ASPECT = 8
# LittleCMS's own numbers, since Pillow has changed their Python names.
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


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, float32 in [0, 1]: `rgb` (1, 3, H, W) in sRGB, `alpha` (1, 1, H, W) or None."""

    rgb: Tensor
    alpha: Tensor | None = None

    @property
    def height(self) -> int:
        return self.rgb.shape[-2]

    @property
    def width(self) -> int:
        return self.rgb.shape[-1]


def read(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a picture of any kind in EXTENSIONS (the first frame of several), upright and converted to sRGB.

    16 bit grey keeps its precision; Pillow reduces 16 bit colour to 8. A broken colour profile is ignored
    with a warning. The kind is told by the content, not by the suffix.

    Raises:
        UserError: the file is missing, not regular, not readable, empty, no picture of a known kind, damaged
            or cut short, or its header tells of more than `max_pixels` pixels (nothing is decoded then).
    """
    path = Path(path)
    with _opened(path, max_pixels) as image:
        _load(path, image)
        return _picture(image, f"'{path}'")


def from_pil(image: Image.Image) -> Picture:
    """Convert what Pillow has opened or made as `read` does: upright, sRGB, alpha kept.

    Mode I counts as 16 bit grey, 0 to 65535; mode F as grey in [0, 1].

    Raises:
        UserError: the values of mode I or F lie outside of that.
    """
    image.load()
    return _picture(image, "the picture")


def read_training(
    path: str | os.PathLike[str], short_side: int, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Decode a picture fast, upright, with its shorter side `short_side` pixels long: uint8 RGB, (H, W, 3).

    A JPEG is decoded at a reduced scale and colour profiles are skipped. Alpha is flattened on white.

    Raises:
        UserError: as `read`; the shorter side is below half of `short_side`; the aspect is beyond 8 : 1.
    """
    path = Path(path)
    with _opened(path, max_pixels) as image:
        low, high = sorted(image.size)
        if 2 * low < short_side:
            raise UserError(
                f"'{path}' is too small: its shorter side has {low} pixels, training at {short_side} needs "
                f"{(short_side + 1) // 2} or more; leave it out or train at a smaller size"
            )
        if high > _MAX_ASPECT * low:
            raise UserError(
                f"'{path}' is too long and narrow ({image.width} x {image.height}, over {_MAX_ASPECT} : 1); "
                "crop it or leave it out"
            )
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft("RGB", (short_side, short_side))
        _load(path, image)
        small = _flat(_upright(image), f"'{path}'")
    # From the header's size, since a reduced JPEG has rounded its own.
    long_side = max(short_side, round(high * short_side / low))
    size = (short_side, long_side) if small.width <= small.height else (long_side, short_side)
    if small.size != size:
        small = small.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.array(small)


def to_pil(rgb: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """Clamp to [0, 1] and round to the nearest of 256 levels.

    Args:
        rgb: (3, H, W) or (1, 3, H, W).
        alpha: (1, H, W) or (1, 1, H, W), or None.

    Returns:
        An image of mode RGB, or RGBA where alpha is given.

    Raises:
        UserError: a value is not a finite number.
        ValueError: the shapes are others.
    """
    channels = _single(rgb, 3)
    if alpha is not None:
        channels = torch.cat((channels, _single(alpha, 1)))
    levels = (channels.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


def write(path: str | os.PathLike[str], rgb: Tensor, alpha: Tensor | None = None) -> None:
    """Encode to the kind that the suffix names and put the file in place whole, or leave what was there.

    Kinds without alpha (JPEG, BMP) are flattened on white. Shapes and ranges are those of `to_pil`.

    Raises:
        UserError: unknown suffix, sides too long for the kind, values that are not a number, no way to write.
        ValueError: the shapes are not those of `to_pil`.
    """
    path = Path(path)
    kind = WRITABLE.get(path.suffix.lower())
    if kind is None:
        problem = f"'{path.suffix}' is no suffix for that" if path.suffix else "it has no suffix"
        raise UserError(f"cannot write '{path}': {problem}; use one of {', '.join(WRITABLE)}")
    height, width = rgb.shape[-2:]
    longest = _LONGEST_SIDE.get(kind)
    if longest is not None and max(height, width) > longest:
        raise UserError(
            f"cannot write '{path}': {kind} holds at most {longest} pixels a side and the picture is "
            f"{width} x {height}; use .png"
        )
    try:
        if alpha is not None and kind in _WITHOUT_ALPHA:
            cover = _single(alpha, 1).clamp(0, 1)
            rgb, alpha = _single(rgb, 3).clamp(0, 1) * cover + (1 - cover), None
        image = to_pil(rgb, alpha)
    except UserError as error:
        raise UserError(f"cannot write '{path}': {error}") from None
    # Encoded in memory first: Pillow hides why a write failed, and a full disk has to be told as such.
    encoded = BytesIO()
    image.save(encoded, kind, **_OPTIONS.get(kind, {}))
    with atomic(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Resize (N, C, H, W) in [0, 1] to (N, C, height, width): bicubic, antialiased, clamped to [0, 1]."""
    if image.shape[-2:] == (height, width):
        return image
    resized = F.interpolate(image, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0, 1)


def fit(image: Tensor, *, short_side: int | None = None, max_side: int | None = None) -> Tensor:
    """Resize (N, C, H, W) in [0, 1], the aspect kept, no side below one pixel.

    Args:
        image: the pictures.
        short_side: what the shorter side becomes, by shrinking or enlarging; None keeps the size.
        max_side: what the longer side is shrunk to where it is longer, after `short_side`.

    Raises:
        UserError: a side asked for is below 1.
    """
    for name, side in (("short_side", short_side), ("max_side", max_side)):
        if side is not None and side < 1:
            raise UserError(f"{name} is {side}, but a picture has at least one pixel a side; use 1 or more")
    height, width = image.shape[-2:]
    scale = 1.0 if short_side is None else short_side / min(height, width)
    if max_side is not None:
        scale = min(scale, max_side / max(height, width))
    return resize(image, max(1, round(height * scale)), max(1, round(width * scale)))


def find(paths: Sequence[str]) -> list[Path]:
    """Expand files, folders and globs to files, in the order given, each once.

    A name that exists is taken literally, even with `[`, `*` or `?` in it. A folder gives its own pictures, a
    glob (`**` goes into folders) the pictures that it matches; both by suffix, no hidden files, 2 before 10.

    Raises:
        UserError: one of them gives nothing.
    """
    found: dict[str, Path] = {}
    for given in paths:
        for path in _expand(given):
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def _expand(given: str) -> list[Path]:
    if not given:
        raise UserError("the name of a picture is empty; give a file, a folder or a pattern")
    path = Path(given)
    if not os.path.lexists(path):
        path = Path(os.path.expanduser(given))
    if os.path.isdir(path):
        try:
            matches = [child for child in path.iterdir() if not child.name.startswith(".")]
        except OSError as error:
            raise UserError(f"the folder '{given}' may not be read ({error.strerror}); check it") from error
        problem = f"the folder '{given}' holds no pictures; known are {_listed()}"
    elif os.path.lexists(path):
        return [path]
    elif glob.has_magic(given):
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
        problem = f"no picture matches '{given}'; check the pattern, known are {_listed()}"
    else:
        raise UserError(f"there is no file or folder '{given}'; check the name")
    pictures = [match for match in matches if match.suffix.lower() in EXTENSIONS and os.path.isfile(match)]
    if not pictures:
        raise UserError(problem)
    return sorted(pictures, key=_natural)


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = re.split(r"([0-9]+)", str(path).casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], str(path)


def _listed() -> str:
    return ", ".join(sorted(EXTENSIONS))


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """The picture with its header read and its size allowed, and no pixel decoded yet."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"'{path}' is a folder, not a picture; name a file in it")
        if not stat.S_ISREG(mode):
            raise UserError(f"'{path}' is not a regular file; save the picture to a file first")
        file = path.open("rb")
    except FileNotFoundError:
        raise UserError(f"there is no file '{path}'; check the name") from None
    except PermissionError:
        raise UserError(f"'{path}' may not be read (permission denied); change its permissions") from None
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be opened ({error}); check the name and the disk") from error
    with file:
        head = file.read(16)
        file.seek(0)
        if not head:
            raise UserError(f"'{path}' is empty; replace it with a whole copy")
        # Not Image.open: that warns and refuses by a global limit, and tries kinds that start programs.
        for kind in _KINDS:
            factory, accept = Image.OPEN[kind]
            if accept is not None and accept(head):
                break
        else:
            raise UserError(f"'{path}' cannot be read as a picture; convert it to one of {_listed()} first")
        try:
            image = factory(file, "")
        except Exception as error:
            raise _damaged(path, error) from error
        width, height = image.size
        if width * height > max_pixels:
            raise UserError(
                f"'{path}' is too large: {width} x {height} is {width * height:,} pixels and {max_pixels:,} "
                "are allowed; make it smaller first"
            )
        yield image


def _load(path: Path, image: ImageFile.ImageFile) -> None:
    try:
        image.load()
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    # Decoders raise nearly anything on broken bytes, so whatever they raise is taken for that.
    detail = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError | Image.DecompressionBombError | Image.DecompressionBombWarning):
        return UserError(f"'{path}' is too large ({detail}); make it smaller first")
    return UserError(f"'{path}' is damaged or cut short ({detail}); replace it with a whole copy")


def _picture(image: Image.Image, name: str) -> Picture:
    icc = image.info.get("icc_profile")
    image = _upright(image)
    if _is_deep(image):
        grey, cover = _deep(image, name)
        rgb = _deep_to_srgb(grey, icc, name)
        alpha = None if cover is None else torch.from_numpy(cover)[None, None]
        return Picture(rgb, alpha)
    colour, mask = _split(image)
    return Picture(_tensor(_to_srgb(colour, icc, name)), None if mask is None else _tensor(mask))


def _flat(image: Image.Image, name: str) -> Image.Image:
    """Mode RGB, flattened on white, colour profile unheeded."""
    if _is_deep(image):
        grey, cover = _deep(image, name)
        if cover is not None:
            grey = grey * cover + (1 - cover)
        return Image.fromarray((grey * 255 + 0.5).astype(np.uint8)).convert("RGB")
    colour, mask = _split(image)
    colour = colour.convert("RGB")
    return colour if mask is None else Image.composite(colour, Image.new("RGB", colour.size, "white"), mask)


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours and, where there is transparency of any kind, alpha in mode L."""
    if not image.has_transparency_data:
        return image, None
    is_grey = image.mode in ("1", "L", "LA", "La")
    image = image.convert("LA" if is_grey else "RGBA")
    return image.convert("L" if is_grey else "RGB"), image.getchannel("A")


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return image  # A broken EXIF block is no reason to refuse the pixels.
    return image if turn is None else image.transpose(turn)


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _deep(image: Image.Image, name: str) -> tuple[Grey, Grey | None]:
    """Grey of more than 8 bits, and alpha where one value is marked as transparent: (H, W) in [0, 1]."""
    values = np.asarray(image)
    top = 1 if image.mode == "F" else 65535
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # also true where NaN is
        raise UserError(
            f"{name} holds grey values from {low:g} to {high:g} where 0 to {top} is the range; "
            "convert it to 8 or 16 bit first"
        )
    mark = image.info.get("transparency")
    cover = (values != mark).astype(np.float32) if isinstance(mark, int) else None
    return values.astype(np.float32) / np.float32(top), cover


def _deep_to_srgb(grey: Grey, icc: bytes | None, name: str) -> Tensor:
    if not icc:
        return torch.from_numpy(grey).expand(1, 3, -1, -1).contiguous()
    # LittleCMS as Pillow calls it takes 8 bits: send all 256 levels through the profile and interpolate.
    levels = np.arange(256, dtype=np.uint8)
    curve = np.asarray(_to_srgb(Image.fromarray(levels[None]), icc, name))[0] / 255.0
    planes = [np.interp(grey * 255.0, levels, curve[:, c]).astype(np.float32) for c in range(3)]
    return torch.from_numpy(np.stack(planes))[None]


def _to_srgb(image: Image.Image, icc: bytes | None, name: str) -> Image.Image:
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if icc:
        try:
            return _through_profile(image, icc)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError) as error:
            warnings.warn(f"the colour profile of {name} is ignored ({error})", stacklevel=2)
    return image.convert("RGB")


def _through_profile(image: Image.Image, icc: bytes) -> Image.Image:
    profile = ImageCms.ImageCmsProfile(BytesIO(icc))
    space = profile.profile.xcolor_space.strip()
    mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space)
    # Grey pictures with an RGB profile are common and well defined; other mixtures are mistakes.
    if mode is None or (mode != image.mode and (image.mode, mode) != ("L", "RGB")):
        raise ValueError(f"it is for {space or 'unknown'} and the picture is {image.mode}")
    # Unoptimised for grey: the table that LittleCMS makes is off by 7 levels in the dark of a linear curve.
    flags: Any = _BLACK_POINT_COMPENSATION | (_NO_OPTIMIZATION if mode == "L" else 0)
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags)
    if mode != "CMYK":
        # A profile that is sRGB in all but name must not cost a pass over the picture, nor rounding.
        steps = np.arange(0, 256, 15, dtype=np.uint8)
        colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
        probe = Image.fromarray(colours).convert(mode)
        before, after = probe.convert("RGB"), transform.apply(probe)
        if np.abs(np.asarray(after, dtype=np.int16) - np.asarray(before)).max() <= 1:
            return image.convert("RGB")
    return transform.apply(image.convert(mode))


def _tensor(image: Image.Image) -> Tensor:
    values = torch.from_numpy(np.array(image))
    planes = values.permute(2, 0, 1) if values.ndim == 3 else values[None]
    return planes.contiguous().to(torch.float32).div_(255)[None]


def _single(image: Tensor, channels: int) -> Tensor:
    """One picture (channels, H, W) in float32 on the CPU."""
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != channels:
        raise ValueError(f"expected ({channels}, H, W) or (1, {channels}, H, W), got {tuple(image.shape)}")
    image = image.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(image).all()):
        raise UserError("the picture holds values that are not a number; train it again or use another style")
    return image
