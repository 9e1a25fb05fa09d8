"""From picture files and what Pillow opens to arrays: kinds, limits, orientation, profiles, alpha, depth."""

from __future__ import annotations

import importlib
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageCms, ImageFile
from torch import Tensor

from onestroke import kinds
from onestroke.errors import UserError

Grey = npt.NDArray[np.float32]

MAX_PIXELS = 200_000_000
_PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "TIFF": "TiffImagePlugin",
    "BMP": "BmpImagePlugin",
    "GIF": "GifImagePlugin",
    "AVIF": "AvifImagePlugin",
    "PPM": "PpmImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
}
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
    """A decoded picture, float32 in [0, 1]: `rgb` (1, 3, H, W) in sRGB, `alpha` (1, 1, H, W) or None.

    exif: the EXIF block as the file has it, beginning with `Exif\\0\\0` or with the byte order, or None.
    frames: how many frames or pages the file has; this is the first.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    exif: bytes | None = None
    frames: int = 1

    @property
    def height(self) -> int:
        return self.rgb.shape[-2]

    @property
    def width(self) -> int:
        return self.rgb.shape[-1]


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """The picture with its header read and its size allowed, and no pixel decoded yet; closed at the end.

    Raises:
        UserError: the file is missing, not regular, not readable, empty, no picture of a known kind, damaged,
            or its header tells of more than `max_pixels` pixels.
    """
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
        head = file.read(kinds.HEAD)
        file.seek(0)
        if not head:
            raise UserError(f"'{path}' is empty; replace it with a whole copy")
        kind = kinds.kind_of(head)
        if kind is None:
            raise UserError(f"'{path}' cannot be read as a picture; convert it to one of {kinds.KNOWN} first")
        if missing := kinds.unreadable(kind):
            raise UserError(f"'{path}' cannot be read, since {kind} {missing}; or convert it first")
        try:
            image = _opener(kind)(file, "")
        except Exception as error:
            raise _damaged(path, error) from error
        width, height = image.size
        if width * height > max_pixels:
            raise UserError(
                f"'{path}' is too large: {width} x {height} is {width * height:,} pixels and {max_pixels:,} "
                "are allowed; make it smaller first"
            )
        yield image


def _opener(kind: str) -> Callable[[Any, str], ImageFile.ImageFile]:
    """What reads a kind."""
    # Not Image.open: that warns and refuses by a global limit, and tries kinds that start programs.
    if kind == "HEIF":
        importlib.import_module("pillow_heif").register_heif_opener()
    else:
        importlib.import_module(f"PIL.{_PLUGINS[kind]}")  # which puts the kind into Image.OPEN
    return Image.OPEN[kind][0]


def load(path: Path, image: ImageFile.ImageFile) -> None:
    """Decode the pixels of what `opened` gave.

    Raises:
        UserError: the file is damaged, cut short or too large for the memory.
    """
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


def to_picture(image: Image.Image, name: str) -> Picture:
    """Upright, in sRGB, with the alpha of any kind of transparency.

    Args:
        image: of any mode, loaded.
        name: what messages call it.

    Raises:
        UserError: mode I or F holds values outside of 0 to 65535 or 0 to 1.
    """
    icc = image.info.get("icc_profile")
    image = upright(image)
    if _is_deep(image):
        grey, cover = _deep(image, name)
        rgb = _deep_to_srgb(grey, icc, name)
        alpha = None if cover is None else torch.from_numpy(cover)[None, None]
        return Picture(rgb, alpha)
    colour, mask = _split(image)
    return Picture(_tensor(_to_srgb(colour, icc, name)), None if mask is None else _tensor(mask))


def flat(image: Image.Image, name: str) -> Image.Image:
    """Mode RGB, flattened on white, colour profile unheeded.

    Args and Raises: as `to_picture`.
    """
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


def upright(image: Image.Image) -> Image.Image:
    """Turned or mirrored as its EXIF orientation asks."""
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
